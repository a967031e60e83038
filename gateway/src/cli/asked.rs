//! What a running gateway is asked for in more than one request, or answers with more than one line.
use std::{path::Path, time::Duration};

use gateway_api::{
    GatewayStatus, Settings, ShareName,
    admin::{
        self, AliasedKey, KeysPage, KeysRequest, RefreshReport, RefreshRequest, SettingsReport,
    },
    connection::{ConnectionTest, StepReport},
    disks::{DiskName, DiskRequest, ForgetReport, ForgetRequest},
    failing::{FailingPage, FailingRequest},
};

use serde_json::json;

use super::{AdminArgs, DisksAction, QUICK, StoredArgs, or_json};
use crate::{
    connection,
    status_text::{render_flush, render_progress},
    terminal,
};

type BoxError = Box<dyn std::error::Error>;

/// Longest step of a connection's test: four addresses that do not answer.
const TEST_PATIENCE: Duration = Duration::from_secs(120);
/// How often the progress of what takes long is looked at, and whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const FLUSH_LOOK_INTERVAL: Duration = Duration::from_secs(5);
const END_INTERVAL: Duration = Duration::from_millis(50);
/// Keys printed at most.
const KEYS_MAX: usize = 100_000;
/// Failing objects printed at most.
const FAILING_MAX: usize = 10_000;
/// A flush waits for uploads: a day is longer than anybody watches.
const PATIENT: Duration = Duration::from_secs(24 * 3600);

/// Does something about a cache disk; answers what to say.
pub(super) fn disks(action: &DisksAction) -> Result<String, BoxError> {
    let asked = |name: &DiskName| serde_json::to_vec(&DiskRequest { name: name.clone() });
    Ok(match action {
        DisksAction::Release { name, json, admin } => {
            admin.client(QUICK).request("POST", admin::DISKS_RELEASE, &asked(name)?)?;
            or_json(*json, &json!({ "name": name, "draining": true }), || {
                format!("cache disk {name} is being emptied; `gateway disks` shows how far it is")
            })?
        }
        DisksAction::Keep { name, json, admin } => {
            admin.client(QUICK).request("POST", admin::DISKS_KEEP, &asked(name)?)?;
            or_json(*json, &json!({ "name": name, "draining": false }), || {
                format!("cache disk {name} is used again")
            })?
        }
        DisksAction::Forget { name, lose_dirty, json, admin } => {
            let body = ForgetRequest { name: name.clone(), lose_dirty: *lose_dirty };
            let body = serde_json::to_vec(&body)?;
            let answer = admin.client(PATIENT).request("POST", admin::DISKS_FORGET, &body)?;
            let report: ForgetReport = serde_json::from_slice(&answer)?;
            or_json(*json, &report, || crate::disks_text::render_forgotten(name, &report))?
        }
    })
}

/// Asks for a refresh and shows how far it is until it has ended.
pub(super) fn refresh(
    admin: &AdminArgs,
    request: &RefreshRequest,
) -> Result<RefreshReport, BoxError> {
    let show = |status: &GatewayStatus| render_progress(status, request);
    let body = serde_json::to_vec(request)?;
    let answer = watched(admin, (admin::REFRESH, body), LOOK_INTERVAL, show)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Waits until everything written so far is in S3, and shows what is left meanwhile.
pub(super) fn flush(admin: &AdminArgs) -> Result<(), BoxError> {
    watched(admin, (admin::FLUSH, Vec::new()), FLUSH_LOOK_INTERVAL, render_flush).map(drop)
}

/// Posts what takes long; on standard error goes what `show` makes of the status, a line when it has changed.
fn watched(
    admin: &AdminArgs,
    (route, body): (&'static str, Vec<u8>),
    every: Duration,
    show: impl Fn(&GatewayStatus) -> String,
) -> Result<Vec<u8>, BoxError> {
    let client = admin.client(PATIENT);
    let asked = std::thread::spawn(move || client.request("POST", route, &body));
    let (mut pause, mut shown) = (Duration::ZERO, String::new());
    while !asked.is_finished() {
        // The answer is what counts: a look that fails says nothing of it.
        if pause >= every
            && let Ok(status) = admin.client(QUICK).status()
        {
            pause = Duration::ZERO;
            let line = show(&status);
            if line != shown {
                eprint!("{}", terminal::lines(&line));
                shown = line;
            }
        }
        std::thread::sleep(END_INTERVAL);
        pause += END_INTERVAL;
    }
    Ok(asked.join().map_err(|_| "the request has died")??)
}

/// Replaces the settings by those of a file.
pub(super) fn replace_settings(
    admin: &AdminArgs,
    file: &Path,
    force_delete: bool,
) -> Result<SettingsReport, BoxError> {
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let path = format!("{}?force_delete={force_delete}", admin::SETTINGS);
    let answer = admin.client(QUICK).request("PUT", &path, &text)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Tests a connection, here or in a running gateway, and shows each step as it ends; answers whether
/// the gateway could work with it.
pub(super) fn test_connection(
    share: &ShareName,
    file: Option<&Path>,
    stored: &StoredArgs,
    json: bool,
    admin: &AdminArgs,
) -> Result<bool, BoxError> {
    let kept = stored.read()?;
    let here = file.is_some() || kept.is_some();
    let settings = match (file, kept) {
        (Some(file), kept) => {
            let text = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())?
            } else {
                std::fs::read_to_string(file)
                    .map_err(|e| format!("cannot read {}: {e}", file.display()))?
            };
            let mut settings = Settings::from_toml(&text)?;
            if let Some(kept) = kept {
                settings.s3.keep_secrets_of(&kept.s3);
            }
            settings
        }
        (None, Some(kept)) => kept,
        (None, None) => {
            let text = admin.client(QUICK).request("GET", admin::SETTINGS, b"")?;
            Settings::from_toml(&String::from_utf8(text)?)?
        }
    };
    let found = settings.shares.into_iter().find(|found| found.name == *share);
    let found = found.ok_or_else(|| format!("no share is called {share}"))?;
    let target = ConnectionTest { s3: settings.s3, share: found };
    let mut usable = true;
    let mut show = |report: StepReport| {
        usable &= report.is_usable();
        if json {
            println!("{}", terminal::lines(&serde_json::to_string(&report).unwrap_or_default()));
        } else {
            print!("{}", crate::status_text::render_step(&report));
        }
    };
    if here {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(connection::test(&target, &connection::scratch_name(), &mut show));
    } else {
        admin.client(TEST_PATIENCE).test_connection(&target, show)?;
    }
    Ok(usable)
}

/// What fails, up to a number that somebody might read; where it ends if it is cut off.
pub(super) fn failing(
    admin: &AdminArgs,
    share: Option<&ShareName>,
) -> Result<FailingPage, BoxError> {
    let client = admin.client(QUICK);
    let mut all = FailingPage::default();
    loop {
        let body = FailingRequest { share: share.cloned(), after: all.next };
        let answer = client.request("POST", admin::FAILING, &serde_json::to_vec(&body)?)?;
        let page: FailingPage = serde_json::from_slice(&answer)?;
        all.failing.extend(page.failing);
        all.next = page.next;
        if all.next.is_none() || all.failing.len() >= FAILING_MAX {
            return Ok(all);
        }
    }
}

/// All keys that are shown under an alias, up to a number that somebody might read; and whether there are more.
pub(super) fn keys(
    admin: &AdminArgs,
    share: &ShareName,
) -> Result<(Vec<AliasedKey>, bool), BoxError> {
    let client = admin.client(QUICK);
    let (mut keys, mut after) = (Vec::new(), 0);
    while keys.len() < KEYS_MAX {
        let body = serde_json::to_vec(&KeysRequest { share: share.clone(), after })?;
        let page: KeysPage =
            serde_json::from_slice(&client.request("POST", admin::KEYS, &body)?)?;
        keys.extend(page.keys);
        match page.next {
            Some(next) => after = next,
            None => return Ok((keys, false)),
        }
    }
    Ok((keys, true))
}
