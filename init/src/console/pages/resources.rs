//! View System Resource Check: what the machine has against what it needs.
use gateway_api::{ByteSize, size::GIB};

use super::addresses;
use crate::console::{
    grid::{Attribute, Line, wrapped},
    page::Page,
    view::View,
};

/// AWS asks for four virtual CPUs; with fewer everything works and is slower.
const CPUS_RECOMMENDED: usize = 4;
/// The kernel keeps some of the memory for itself: these are 4 GiB and 1 GiB on the host.
const MEMORY_RECOMMENDED: ByteSize = ByteSize(GIB * 7 / 2);
const MEMORY_LEAST: ByteSize = ByteSize(GIB * 3 / 4);
/// AWS's smallest cache disk.
const CACHE_RECOMMENDED: ByteSize = ByteSize(150 * GIB);
/// mkfs and overhead take some of it.
const FILE_SYSTEM_SHARE_PERCENT: u64 = 95;
/// Parts of the system disk's partition that should be free, in percent.
const CONFIG_FREE_RECOMMENDED: u64 = 20;
const CONFIG_FREE_LEAST: u64 = 5;

/// A verdict in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// Works, but below what is recommended.
    Warning,
    /// Below what is needed.
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: &'static str,
}

/// Checks everything.
pub(super) fn checks(view: &View) -> Vec<Check> {
    vec![
        cpus(view.resources.cpus),
        memory(view.resources.memory, &view.resources.memory_in_use),
        system_disk(view.resources.config),
        cache_disk(view),
        clock(view),
        network(view),
        gateway(view),
        confinement(&view.resources.confinement),
        services(view),
    ]
}

/// How many of them failed.
pub(super) fn errors(view: &View) -> usize {
    checks(view).iter().filter(|check| check.verdict == Verdict::Fail).count()
}

fn cpus(cpus: usize) -> Check {
    let verdict = if cpus >= CPUS_RECOMMENDED { Verdict::Ok } else { Verdict::Warning };
    let advice = "give the virtual machine 4 CPUs";
    Check { what: "vCPU", verdict, found: format!("{cpus}, recommended 4"), advice }
}

fn memory(memory: ByteSize, in_use: &str) -> Check {
    let verdict = if memory >= MEMORY_RECOMMENDED {
        Verdict::Ok
    } else if memory >= MEMORY_LEAST {
        Verdict::Warning
    } else {
        Verdict::Fail
    };
    let advice = "give the virtual machine 4 GiB of memory or more";
    let found = format!("{memory}, recommended 4.0 GiB; {in_use}");
    Check { what: "Memory", verdict, found, advice }
}

fn system_disk(config: Option<(ByteSize, ByteSize)>) -> Check {
    let what = "System disk";
    let advice = "settings and journal have no room: restart the appliance, then see Logs";
    let Some((total, free)) = config else {
        let advice = "restart the appliance; if that does not help, see Logs";
        let found = "its partition for settings is not mounted: changes are lost at a restart";
        return Check { what, verdict: Verdict::Fail, found: found.to_owned(), advice };
    };
    let percent = free.0.saturating_mul(100).checked_div(total.0).unwrap_or(0);
    let verdict = match percent {
        CONFIG_FREE_RECOMMENDED.. => Verdict::Ok,
        CONFIG_FREE_LEAST.. => Verdict::Warning,
        _ => Verdict::Fail,
    };
    Check { what, verdict, found: format!("{free} of {total} free"), advice }
}

fn cache_disk(view: &View) -> Check {
    let what = "Cache disk";
    let found = view.machine.cache.clone();
    if !view.machine.cache_mounted {
        let advice = "attach a blank disk of 150 GiB or more, or see Cache Disks";
        return Check { what, verdict: Verdict::Fail, found, advice };
    }
    if !view.machine.cache_warnings.is_empty() {
        let found = view.machine.cache_warnings.join("; ");
        return Check { what, verdict: Verdict::Warning, found, advice: "see Cache Disks" };
    }
    let enough = CACHE_RECOMMENDED.0 / 100 * FILE_SYSTEM_SHARE_PERCENT;
    let total = view.gateway.as_ref().map_or(0, |status| status.cache.total.0);
    // While the gateway does not say how large it is, its being there is what counts.
    let verdict = if total == 0 || total >= enough { Verdict::Ok } else { Verdict::Warning };
    Check { what, verdict, found, advice: "a cache disk has 150 GiB or more" }
}

fn clock(view: &View) -> Check {
    let found = view.machine.clock.clone();
    let verdict = if found.starts_with("follows") { Verdict::Ok } else { Verdict::Fail };
    let advice = "name NTP servers: System Time Management, Edit NTP Configuration";
    Check { what: "Clock", verdict, found, advice }
}

/// What the gateway may touch; what is not as it should be stands in capitals.
fn confinement(found: &str) -> Check {
    let is_missing = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase());
    let verdict =
        if found.split([' ', ',']).any(is_missing) { Verdict::Warning } else { Verdict::Ok };
    let advice = "report this: the kernel does not confine the gateway as it should";
    Check { what: "Confinement", verdict, found: found.to_owned(), advice }
}

fn network(view: &View) -> Check {
    let reached = addresses::host(view);
    let verdict = match (reached, view.network.problems().next()) {
        (None, _) => Verdict::Fail,
        (Some(_), Some(_)) => Verdict::Warning,
        (Some(_), None) => Verdict::Ok,
    };
    let found = addresses::summary(view).join("; ");
    let advice = "connect the adapter, or see Network Configuration";
    Check { what: "Network", verdict, found, advice }
}

fn gateway(view: &View) -> Check {
    let (verdict, found) = match &view.gateway {
        Ok(status) => match &status.settings_problem {
            Some(problem) => (Verdict::Fail, problem.clone()),
            None if status.serving => (Verdict::Ok, "serves NFS".to_owned()),
            None => (Verdict::Warning, "is starting".to_owned()),
        },
        Err(why) if view.machine.cache_mounted => (Verdict::Fail, why.clone()),
        Err(_) => (Verdict::Fail, "waits for the cache disk".to_owned()),
    };
    Check { what: "Gateway", verdict, found, advice: "see Status, and Logs of the gateway" }
}

fn services(view: &View) -> Check {
    let machine = &view.machine;
    let troubles: Vec<&str> =
        machine.problems.iter().chain(&machine.services).map(String::as_str).collect();
    let (verdict, found) = if troubles.is_empty() {
        (Verdict::Ok, "run as they should".to_owned())
    } else {
        (Verdict::Warning, troubles.join("; "))
    };
    Check { what: "Services", verdict, found, advice: "see Logs" }
}

/// The page, drawn anew as things change.
pub(super) fn page() -> Page {
    Page::live("View System Resource Check", Box::new(|view| lines(&checks(view))))
}

fn lines(checks: &[Check]) -> Vec<Line> {
    let mut lines = Vec::new();
    for check in checks {
        let (mark, attribute) = match check.verdict {
            Verdict::Ok => ("[OK]", Attribute::Plain),
            Verdict::Warning => ("[WARNING]", Attribute::Bold),
            Verdict::Fail => ("[FAIL]", Attribute::Reverse),
        };
        let mut found = wrapped(&check.found, 52).into_iter();
        let first = found.next().unwrap_or_default();
        lines.push(Line::plain(format!(" {:<13}{first:<54}", check.what)).and(attribute, mark));
        lines.extend(found.take(2).map(|rest| Line::plain(format!(" {:<13}{rest}", ""))));
        if check.verdict != Verdict::Ok {
            let advice = wrapped(&format!("-> {}", check.advice), 64);
            lines.extend(advice.into_iter().map(|line| Line::plain(format!(" {:<13}{line}", ""))));
        }
    }
    lines
}
