//! Goal: whenever the power is cut while settings are kept, the next boot has those before or those after,
//! whole, and says nothing of broken ones. Method: every state that a disk may be in after a cut.
use std::{fs, path::Path};

use gateway_api::Secret;

use super::Machine;
use crate::{power_cut, seed};

fn zones() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
    dir
}

fn named(hostname: &str) -> Machine {
    let password_hash = Some(Secret::new(format!("$6$saltstring${}", "x".repeat(86))));
    Machine { hostname: hostname.to_owned(), password_hash, ..Machine::default() }
}

/// What a boot reads in a folder.
fn booted(config: &Path, zones: &Path) -> (Option<String>, Option<String>) {
    let (machine, problem) = Machine::load(&config.join("machine.toml"), zones).unwrap();
    (machine.map(|machine| machine.hostname), problem)
}

#[test]
fn a_change_of_the_settings_is_whole_or_not_at_all() {
    let (config, zones) = (tempfile::tempdir().unwrap(), zones());
    let path = config.path().join("machine.toml");
    for before in [None, Some("before")] {
        power_cut::restore(config.path(), &power_cut::Tree::new());
        if let Some(before) = before {
            named(before).store(&path).unwrap();
        }
        let tree = power_cut::tree(config.path());
        let operations = power_cut::record(|| named("after").store(&path).unwrap());
        assert_eq!(operations.len(), 8, "two files, each replaced: {operations:?}");
        for (done, state) in power_cut::trees(&tree, &operations) {
            power_cut::restore(config.path(), &state);
            let (found, problem) = booted(config.path(), zones.path());
            let found = found.as_deref();
            let whole = found == Some("after") || done < operations.len() && found == before;
            assert!(whole, "{found:?} after {:?}", &operations[..done]);
            assert_eq!(problem, None, "after {:?}", &operations[..done]);
            // And the change can be made again over what the cut has left.
            named("again").store(&path).unwrap();
            assert_eq!(booted(config.path(), zones.path()).0.as_deref(), Some("again"));
        }
    }
}

#[test]
fn a_seed_is_applied_to_its_end_at_the_next_boot() {
    const SEED: &str = "[machine]\nhostname = \"seeded\"\n[gateway]\nversion = 1\n";
    let (config, zones) = (tempfile::tempdir().unwrap(), zones());
    let path = config.path().join("machine.toml");
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let told = seed::Told { text: SEED.to_owned(), digest: "d1".to_owned(), ..Default::default() };
    let apply = || {
        let keep = |machine: Machine| Ok(machine.store(&path)?);
        let replaces = seed::Replaces::Settings;
        seed::apply(&told, config.path(), zones.path(), me, replaces, keep).unwrap();
    };
    named("before").store(&path).unwrap();
    let tree = power_cut::tree(config.path());
    let operations = power_cut::record(apply);
    assert_eq!(
        operations.len(),
        16,
        "the gateway's, the machine's two, and the note: {operations:?}"
    );
    for (done, state) in power_cut::trees(&tree, &operations) {
        power_cut::restore(config.path(), &state);
        let (found, problem) = booted(config.path(), zones.path());
        assert!(matches!(found.as_deref(), Some("before" | "seeded")), "{found:?}");
        assert_eq!(problem, None, "after {:?}", &operations[..done]);
        apply();
        assert_eq!(booted(config.path(), zones.path()).0.as_deref(), Some("seeded"));
        let gateway = fs::read_to_string(config.path().join("gateway-seed.toml")).unwrap();
        assert_eq!(gateway, "version = 1\n", "after {:?}", &operations[..done]);
    }
}
