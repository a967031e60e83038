//! S3 target and credentials, and their test.
use gateway_api::{
    Settings, ShareSettings,
    connection::ConnectionTest,
    settings::{Addressing, S3Settings},
};

use super::{gateway_settings, known_settings, refused, status::field};
use crate::console::{
    command::{AfterTest, Command},
    form::{Field, Problem, Values, choice, form, secret, text},
    grid::{Line, paragraph},
    list::list,
    menu::{Entry, entry, menu},
    page::{Page, Step},
    view::View,
};

const ENDPOINT: &str = "Endpoint";
const REGION: &str = "Region";
const ADDRESSING: &str = "Addressing";
const HTTP: &str = "Plain http";
const VARIANT: &str = "AWS endpoint";
const KEY: &str = "Access key id";
const SECRET: &str = "Secret access key";
const TOKEN: &str = "Session token";
const BUCKET: &str = "Bucket for the test";
const PREFIX: &str = "Prefix for the test";

const VIRTUAL_HOST: &str = "virtual-host";
const PATH: &str = "path";
const NO: &str = "refused";
const ALLOWED: &str = "allowed";
const STANDARD: &str = "standard";
const FIPS: &str = "FIPS";
const DUAL_STACK: &str = "dual-stack";
const FIPS_DUAL_STACK: &str = "FIPS and dual-stack";

/// The menu.
pub(super) fn page() -> Page {
    menu("S3 Target and Credentials", entries)
}

fn entries(_: &View) -> Vec<Entry> {
    vec![
        entry("View S3 Target", |_| view_target()),
        entry("Configure S3 Target and Credentials", configure),
        Entry { label: "Test S3 Connectivity".to_owned(), opens: Box::new(test) },
    ]
}

fn view_target() -> Page {
    Page::live(
        "View S3 Target",
        Box::new(|view| match gateway_settings(view) {
            Ok((_, settings)) => target_lines(&settings.s3),
            Err(why) => paragraph(&why),
        }),
    )
}

fn target_lines(s3: &S3Settings) -> Vec<Line> {
    let or = |text: &str, otherwise: &str| {
        if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
    };
    let mut lines = field("Endpoint", &or(&s3.endpoint, "AWS's endpoint of the region"));
    lines.extend(field("Region", &or(&s3.region, "not set")));
    lines.extend(field("Addressing", addressing(s3)));
    if s3.endpoint.is_empty() {
        lines.extend(field("AWS endpoint", variant(s3)));
    }
    lines.extend(field("HTTP proxy", &or(&s3.http_proxy, "none")));
    let who = if s3.credentials_file.is_empty() {
        or(&s3.access_key_id, "not set")
    } else {
        format!("from the file {}", s3.credentials_file)
    };
    lines.extend(field("Access key", &who));
    if let Some(end) = &s3.expires_at {
        lines.extend(field("", &format!("the credentials end at {end}")));
    }
    lines
}

fn addressing(s3: &S3Settings) -> &'static str {
    match s3.addressing {
        Addressing::VirtualHost => VIRTUAL_HOST,
        Addressing::Path => PATH,
    }
}

fn variant(s3: &S3Settings) -> &'static str {
    match (s3.fips, s3.dual_stack) {
        (false, false) => STANDARD,
        (true, false) => FIPS,
        (false, true) => DUAL_STACK,
        (true, true) => FIPS_DUAL_STACK,
    }
}

fn configure(view: &View) -> Page {
    let title = "Configure S3 Target and Credentials";
    match known_settings(view) {
        Ok((_, settings)) => {
            let share = settings.shares.first();
            form(title, Vec::new(), fields(&settings.s3, share), "Test, then save", submit)
        }
        Err(why) => refused(title, &why),
    }
}

fn fields(s3: &S3Settings, share: Option<&ShareSettings>) -> Vec<Field> {
    let http = if s3.allow_http { ALLOWED } else { NO };
    let bucket = share.map(|share| share.bucket.to_string()).unwrap_or_default();
    let prefix = share.map(|share| share.prefix.to_string()).unwrap_or_default();
    let empty = "Empty: as it is, for the same access key id.";
    vec![
        text(
            ENDPOINT,
            s3.endpoint.clone(),
            "Such as https://bucket.vpce-0a1b.s3.eu-west-1.vpce.amazonaws.com; empty for AWS's own.",
        ),
        text(REGION, s3.region.clone(), "The bucket's region, such as ap-northeast-2."),
        choice(
            ADDRESSING,
            &[VIRTUAL_HOST, PATH],
            addressing(s3),
            "virtual-host for AWS and its interface endpoints; path for most other S3 servers.",
        ),
        choice(
            VARIANT,
            &[STANDARD, FIPS, DUAL_STACK, FIPS_DUAL_STACK],
            variant(s3),
            "Which of AWS's endpoints, where no endpoint is given above.",
        ),
        choice(HTTP, &[NO, ALLOWED], http, "Plain http sends what files hold in the clear."),
        text(KEY, s3.access_key_id.clone(), "Of a user who may use the bucket."),
        secret(SECRET, empty),
        secret(TOKEN, "For temporary credentials. Empty: as it is, for the same access key id."),
        text(BUCKET, bucket, "A small object is written into it, read, and deleted again."),
        text(
            PREFIX,
            prefix,
            "The part of the bucket that the test writes below; empty for all of it.",
        ),
    ]
}

fn submit(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let (revision, settings) = known_settings(view).map_err(|why| Problem::new(ENDPOINT, why))?;
    let key = values.text(KEY).to_owned();
    // Secrets are not told back, so what is missing cannot be asked of the settings as a whole.
    if values.text(REGION).is_empty() {
        return Err(Problem::new(REGION, "Name the bucket's region, such as ap-northeast-2."));
    }
    if key.is_empty() && settings.s3.credentials_file.is_empty() {
        return Err(Problem::new(KEY, "Write the access key id of a user who may use the bucket."));
    }
    let (secret_access_key, session_token) = (values.secret(SECRET), values.secret(TOKEN));
    if secret_access_key.is_empty() && key != settings.s3.access_key_id {
        return Err(Problem::new(SECRET, "Another access key id needs its secret access key."));
    }
    let (fips, dual_stack) = match values.text(VARIANT) {
        FIPS => (true, false),
        DUAL_STACK => (false, true),
        FIPS_DUAL_STACK => (true, true),
        _ => (false, false),
    };
    let endpoint = values.text(ENDPOINT).to_owned();
    // Which of AWS's endpoints is no question for one of somebody else's.
    let ours = endpoint.is_empty();
    let mut s3 = S3Settings {
        endpoint,
        region: values.text(REGION).to_owned(),
        fips: fips && ours,
        dual_stack: dual_stack && ours,
        addressing: if values.text(ADDRESSING) == PATH {
            Addressing::Path
        } else {
            Addressing::VirtualHost
        },
        allow_http: values.text(HTTP) == ALLOWED,
        ..settings.s3.clone()
    };
    if !(secret_access_key.is_empty() && session_token.is_empty()) || key != s3.access_key_id {
        s3.access_key_id = key;
        s3.secret_access_key = secret_access_key;
        s3.session_token = session_token;
        s3.credentials_file.clear();
        s3.expires_at = None;
    }
    let share = share(settings.shares.as_slice(), values)?;
    let settings = Box::new(Settings { s3: s3.clone(), ..settings.clone() });
    if let Err(error) = settings.check() {
        let why = error.to_string();
        return Err(Problem::new(field_of(&why), why));
    }
    let test = Box::new(ConnectionTest { s3, share });
    let then = match revision {
        Some(revision) => AfterTest::Save { settings, revision },
        None => AfterTest::CannotSave,
    };
    Ok(Step::Do(Command::TestS3 { test, then }))
}

/// The share that the test is made with: one with this bucket and prefix, or one as it would be.
fn share(shares: &[ShareSettings], values: &Values<'_>) -> Result<ShareSettings, Problem> {
    let bucket = values
        .text(BUCKET)
        .parse()
        .map_err(|e: gateway_api::NameError| Problem::new(BUCKET, e.to_string()))?;
    let prefix = values
        .text(PREFIX)
        .parse()
        .map_err(|e: gateway_api::NameError| Problem::new(PREFIX, e.to_string()))?;
    let known = shares.iter().find(|share| share.bucket == bucket && share.prefix == prefix);
    match known {
        Some(share) => Ok(share.clone()),
        None => {
            let name = "test"
                .parse()
                .map_err(|e: gateway_api::NameError| Problem::new(BUCKET, e.to_string()))?;
            Ok(ShareSettings::new(name, bucket, prefix))
        }
    }
}

/// The field that a complaint of the settings names by its path.
fn field_of(problem: &str) -> &'static str {
    [
        ("s3.region", REGION),
        ("s3.access_key_id", KEY),
        ("s3.secret_access_key", SECRET),
        ("s3.credentials_file", KEY),
        ("s3.fips", VARIANT),
        ("s3.dual_stack", VARIANT),
        ("share.bucket", BUCKET),
    ]
    .into_iter()
    .find_map(|(path, field)| problem.starts_with(path).then_some(field))
    .unwrap_or(ENDPOINT)
}

/// Tests what is in force, for a share.
pub(super) fn test(view: &View) -> Step {
    let title = "Test S3 Connectivity";
    let (_, settings) = match known_settings(view) {
        Ok(settings) => settings,
        Err(why) => return Step::Open(refused(title, &why)),
    };
    match settings.shares.as_slice() {
        [] => Step::Open(refused(
            title,
            "There is no file share yet, and so no bucket to test: S3 Target and Credentials tests one \
             that you name.",
        )),
        [only] => test_share(&settings.s3, only),
        several => {
            let names = several.iter().map(|share| share.name.to_string()).collect();
            Step::Open(list(&format!("{title}: choose a share"), names, |name, view| {
                match known_settings(view) {
                    Ok((_, settings)) => {
                        let share = settings.shares.iter().find(|s| s.name.as_str() == name);
                        share.map_or(Step::Stay, |share| test_share(&settings.s3, share))
                    }
                    Err(why) => Step::Open(refused("Test S3 Connectivity", &why)),
                }
            }))
        }
    }
}

fn test_share(s3: &S3Settings, share: &ShareSettings) -> Step {
    let test = Box::new(ConnectionTest { s3: s3.clone(), share: share.clone() });
    Step::Do(Command::TestS3 { test, then: AfterTest::Nothing })
}
