//! Goal: no failure keeps the boot from its end, and what a child says or does not say is told to the
//! operator. Method: phases that fail, and a fake that records the children and answers for them.
use std::time::Duration;

use super::*;
use crate::{
    children::{self, ChildError, record::Recorder},
    disks,
    machine::Unreadable,
};

fn boot(answers: Vec<Result<Vec<u8>, ChildError>>) -> (Boot, crate::children::record::Asked) {
    let (entries, asked) = Recorder::new(answers);
    (Boot { entries, ..Boot::default() }, asked)
}

#[test]
fn a_phase_that_fails_is_told_and_the_next_one_runs() {
    const LIMIT: Duration = Duration::from_secs(7);
    let phases = [
        here("first", |_| Err(anyhow!("no such device"))),
        Phase {
            on_failure: OnFailure::Note,
            ..here("second", |_| Err(anyhow!("not known to this kernel")))
        },
        in_child("third", LIMIT, |boot, limit| {
            boot.notes.push(format!("had {} s", limit.as_secs()));
            Ok(())
        }),
    ];
    let (mut boot, _) = boot(Vec::new());
    run(&phases, &mut boot);
    assert_eq!(boot.state.problems, ["first: no such device"]);
    assert_eq!(boot.failed, ["first"]);
    assert_eq!(boot.notes, ["second: not known to this kernel", "had 7 s"]);
    assert_eq!(
        boot.took.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["first", "second", "third"]
    );
}

/// Goal: PID 1 does nothing itself that can hang. Method: children that do not come to an end, and children
/// that have done everything: PID 1, which here could do none of it, is content with that.
#[test]
fn what_can_hang_is_done_by_children() {
    // The kernel's own file systems and calls; whoever adds one has to know that it cannot hang.
    const CANNOT: [&str; 6] =
        ["mounts", "kernel settings", "processes", "host name", "time zone", "network settings"];
    let done = |told: &str| Ok(told.as_bytes().to_vec());
    let found = serde_json::to_string(&seed::Told::default()).unwrap();
    for phase in PHASES {
        let Work::InChild(limit, work) = phase.work else {
            assert!(CANNOT.contains(&phase.name), "{} has no limit", phase.name);
            continue;
        };
        let (children, answers) = match phase.name {
            "drivers" => (vec!["phase drivers"], vec![done(r#"{"Ok":null}"#)]),
            "config partition" => (vec!["phase config-partition"], vec![done(r#"{"Ok":null}"#)]),
            "machine settings" => {
                (vec!["phase machine-settings"], vec![done(r#"{"Ok":[null,null]}"#)])
            }
            "seed" => (
                vec!["find-seed", "phase seed"],
                vec![done(&found), done(r#"{"Ok":{"machine":null,"problem":null}}"#)],
            ),
            "journal" => (vec!["phase journal"], vec![done(r#"{"Ok":null}"#)]),
            other => panic!("{other} is not known here"),
        };
        let (mut well, asked) = boot(answers);
        work(&mut well, limit).unwrap_or_else(|error| panic!("{}: {error:#}", phase.name));
        let asked: Vec<String> = asked.borrow().iter().map(|(e, ..)| e.join(" ")).collect();
        assert_eq!(asked, children);

        let (mut hung, _) = boot(vec![Err(ChildError::TooLong(limit))]);
        run(std::slice::from_ref(phase), &mut hung);
        let said = format!("was given up after {} s", limit.as_secs());
        assert!(hung.state.problems[0].ends_with(&said), "{:?}", hung.state.problems);
        assert_eq!(hung.failed, [phase.name]);
    }
}

#[test]
fn the_settings_are_read_before_the_seed_changes_them_and_used_after_it() {
    let at = |name| PHASES.iter().position(|phase| phase.name == name).unwrap();
    let order = ["mounts", "config partition", "machine settings", "seed", "host name"];
    assert!(order.map(at).is_sorted());
}

#[test]
fn a_seed_s_settings_are_used_whether_or_not_they_could_be_kept() {
    let told = seed::Told { text: "[machine]".to_owned(), ..seed::Told::default() };
    let before = Machine { hostname: "before".to_owned(), ..Machine::default() };
    let seeded = in_child::Seeded {
        machine: Some(Machine { hostname: "seeded".to_owned(), ..Machine::default() }),
        problem: Some("no room".to_owned()),
        gateway: false,
    };
    let answers = vec![
        Ok(serde_json::to_vec(&told).unwrap()),
        Ok(serde_json::to_vec(&Ok::<_, String>(seeded)).unwrap()),
    ];
    let (mut boot, asked) = boot(answers);
    boot.machine = before;
    run(&[in_child("seed", SEED_LIMIT, apply_seed)], &mut boot);
    assert_eq!(boot.machine.hostname, "seeded");
    assert_eq!(boot.state.problems, ["seed: no room"]);
    assert!(asked.borrow()[1].1.contains("before"), "it keeps the password of those in use");
}

#[test]
fn what_is_to_be_kept_is_written_by_a_child_that_is_given_up() {
    let settings = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
    let (mut boot, asked) =
        boot(vec![Ok(br#"{"Ok":null}"#.to_vec()), Err(ChildError::TooLong(KEEP_LIMIT))]);
    keep_settings(&mut boot, &settings).unwrap();
    let why = keep_settings(&mut boot, &settings).unwrap_err().to_string();
    assert_eq!(why, "was given up after 25 s");
    let asked = asked.borrow();
    assert_eq!(asked[0].0, ["phase", "keep-settings"]);
    assert_eq!(serde_json::from_str::<Machine>(&asked[0].1).unwrap(), settings);
}

#[test]
fn a_seed_that_is_not_found_in_time_is_a_problem_and_no_end() {
    let (mut boot, asked) = boot(vec![Err(ChildError::TooLong(SEED_LIMIT))]);
    run(&[in_child("seed", SEED_LIMIT, apply_seed)], &mut boot);
    assert_eq!(boot.state.problems, ["seed: looking for one: was given up after 60 s"]);
    assert_eq!(asked.borrow()[0].0, ["find-seed"]);
}

/// Goal: an operator's settings survive a disk that stood still while the machine booted. Method: children that
/// are given up, and what is asked of them afterwards.
#[test]
fn settings_that_were_not_read_in_time_are_not_written_over() {
    let no_time = || Err(ChildError::TooLong(FILES_LIMIT));
    let phases = ["config partition", "machine settings"];
    let phases = || PHASES.iter().filter(|phase| phases.contains(&phase.name));
    let mounted = || Ok(br#"{"Ok":null}"#.to_vec());
    for (answers, asked_for, failed) in [
        (vec![mounted(), no_time()], 2, "machine settings"),
        // It is not waited for the same disk once more.
        (vec![no_time()], 1, "config partition"),
    ] {
        let (mut boot, asked) = boot(answers);
        phases().for_each(|phase| run(std::slice::from_ref(phase), &mut boot));
        assert_eq!(asked.borrow().len(), asked_for);
        assert_eq!(boot.failed, [failed]);
        assert_eq!(boot.machine, Machine::default(), "for want of others");
        assert!(boot.unread.problem(false).unwrap().contains("was given up after 300 s"));
        let why = keep_settings(&mut boot, &Machine::default()).unwrap_err().to_string();
        assert!(why.contains("nothing is to be written over them"), "{why}");
        assert_eq!(asked.borrow().len(), asked_for, "nobody is sent to write");
    }
}

/// Goal: settings that the disk does not give are not taken for none. Method: a child that says so at the boot and late,
/// and then has read them.
#[test]
fn settings_that_cannot_be_read_are_asked_for_until_they_are() {
    let lost = || Ok(br#"{"Unreadable":"/config/machine.toml: I/O error"}"#.to_vec());
    let settings = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
    let late = in_child::Late { machine: settings.clone(), ..Default::default() };
    let late = serde_json::to_vec(&Ok::<_, String>(late)).unwrap();
    let (mut boot, asked) = boot(vec![lost(), lost(), Ok(late)]);
    run(&[in_child(MACHINE_SETTINGS, FILES_LIMIT, load_machine)], &mut boot);
    assert_eq!(boot.state.problems, ["machine settings: /config/machine.toml: I/O error"]);
    for _ in 0..2 {
        assert!(boot.unread.problem(false).unwrap().contains("I/O error"));
        assert!(keep_settings(&mut boot, &Machine::default()).is_err());
        let begun = begin_reading(&mut boot).unwrap();
        let read = take_in(&mut boot, begun, Some(0));
        assert_eq!(read.is_ok(), !boot.unread.any());
    }
    assert!(!boot.unread.any() && boot.state.problems.is_empty());
    assert_eq!(asked.borrow().len(), 3, "nobody is sent to write");
}

#[test]
fn late_reading_waits_for_settings_that_cannot_be_read_until_they_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.toml");
    // Reading a folder fails neither because it is not there nor because of what it holds.
    fs::create_dir(&path).unwrap();
    let late = |given_up, apply: fn(in_child::Found) -> in_child::Seeded| {
        let asked = in_child::Asked { told: Some(told("seeded")), given_up, ..Default::default() };
        in_child::late_in(&path, folder.path(), Ok(()), asked, apply)
    };
    assert!(late(false, |_| unreachable!()).is_err());
    assert!(path.is_dir());
    // An operator gives them up.
    let late = late(true, |found| in_child::Seeded {
        machine: Some(Machine { hostname: found.told.digest, ..found.machine }),
        ..Default::default()
    });
    let late = late.unwrap();
    assert_eq!(late.machine, Machine { hostname: "seeded".to_owned(), ..Machine::default() });
    assert!(late.failed[0].why.starts_with("given up"), "{:?}", late.failed);
    assert_eq!(late.failed[0].phase, MACHINE_SETTINGS);
    assert!(!path.exists() && folder.path().join("machine.toml.unreadable").is_dir());
}

#[test]
fn the_child_that_reads_late_hears_that_settings_were_given_up() {
    let lost = || Ok(br#"{"Unreadable":"/config/machine.toml: I/O error"}"#.to_vec());
    let (mut boot, asked) = boot(vec![lost(), Ok(Vec::new()), Ok(Vec::new())]);
    run(&[in_child(MACHINE_SETTINGS, FILES_LIMIT, load_machine)], &mut boot);
    begin_reading(&mut boot).unwrap();
    boot.unread.give_up(Duration::ZERO).unwrap();
    begin_reading(&mut boot).unwrap();
    let asked = asked.borrow();
    let heard = [&asked[1].1, &asked[2].1]
        .map(|input| serde_json::from_str::<in_child::Asked>(input).unwrap().given_up);
    assert_eq!(heard, [false, true]);
}

/// Goal: an order to give up settings comes from nobody who has not logged in where one can. Method: the same settings
/// that cannot be read, with a password that is known and without.
#[test]
fn settings_are_given_up_by_nobody_while_a_password_is_known() {
    for has_password in [true, false] {
        let (mut boot, _) = boot(Vec::new());
        let hash = gateway_api::Secret::new(format!("$6$saltstring${}", "x".repeat(86)));
        boot.machine.password_hash = has_password.then_some(hash);
        boot.miss(SEED, &Unreadable("machine.toml: I/O error".to_owned()).into());
        assert_eq!(boot.lost_settings().is_some(), !has_password, "nor is it offered");
        let given_up = boot.give_up_settings(Duration::ZERO);
        assert_eq!((given_up.is_ok(), boot.unread.is_given_up()), (!has_password, !has_password));
        assert_eq!(given_up.err().is_some_and(|why| why.contains("restart")), has_password);
    }
}

#[test]
fn a_partition_that_says_it_cannot_be_mounted_is_as_one_without_settings() {
    let answers: Vec<Result<Vec<u8>, ChildError>> =
        [r#"{"Err":"foreign"}"#, r#"{"Ok":[null,null]}"#, r#"{"Ok":null}"#]
            .map(|said| Ok(said.as_bytes().to_vec()))
            .into();
    let (mut boot, _) = boot(answers);
    run(&[in_child("config", CONFIG_LIMIT, mount_config)], &mut boot);
    run(&[in_child("settings", FILES_LIMIT, load_machine)], &mut boot);
    assert_eq!(boot.state.problems, ["config: foreign"]);
    keep_settings(&mut boot, &Machine::default()).unwrap();
}

/// Goal: who starts with a disk that stands still ends where he would have ended with one that answers at once. Method:
/// the same answers of the config partition, at the boot and late.
#[test]
fn what_a_partition_says_late_is_as_what_it_says_at_the_boot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.toml");
    let in_use = Machine { hostname: "in-use".to_owned(), ..Machine::default() };
    let late = |said: anyhow::Error, given_up| {
        let asked = in_child::Asked { told: None, given_up, machine: in_use.clone() };
        in_child::late_in(&path, folder.path(), Err(said), asked, |_| unreachable!())
    };
    let found = late(anyhow!("foreign"), false).unwrap();
    let why = in_child::Failed::new(CONFIG_PARTITION, "foreign");
    assert_eq!((found.machine, found.failed), (in_use.clone(), vec![why]), "it goes on");
    let unreadable = || anyhow::Error::from(Unreadable("I/O error".to_owned()));
    assert!(late(unreadable(), false).is_err(), "it may be read yet");
    assert_eq!(late(unreadable(), true).unwrap().failed[0].why, "I/O error", "but nobody waits");
    for (said, is_missed) in [("Err", false), ("Unreadable", true)] {
        let (mut boot, _) = boot(vec![Ok(format!(r#"{{"{said}":"why"}}"#).into_bytes())]);
        run(&[in_child(CONFIG_PARTITION, CONFIG_LIMIT, mount_config)], &mut boot);
        assert_eq!(boot.unread.any(), is_missed, "{said}");
        assert_eq!(boot.failed, [CONFIG_PARTITION]);
    }
}

/// Goal: a boot that has no memory for a child, or hears nothing of use from it, does not take the settings for none.
/// Method: such children, and the one that says what is on the partition.
#[test]
fn whoever_has_not_said_what_is_on_the_partition_has_not_said_that_there_are_no_settings() {
    let no_memory = Err(ChildError::Start(std::io::Error::from_raw_os_error(libc::ENOMEM)));
    let said = |words: &[u8]| Ok(words.to_vec());
    for (answer, is_missed) in
        [(no_memory, true), (said(b""), true), (said(br#"{"Err":"foreign"}"#), false)]
    {
        let (mut boot, _) = boot(vec![answer]);
        run(&[in_child(CONFIG_PARTITION, CONFIG_LIMIT, mount_config)], &mut boot);
        assert_eq!(boot.unread.any(), is_missed, "{:?}", boot.state.problems);
    }
}

/// Goal: a partition that is busy, away, or for which there is no memory is asked for again. Method: what mounting and
/// reading it may say.
#[test]
fn only_what_is_on_the_partition_is_a_reason_to_go_on_without_it() {
    use nix::errno::Errno;
    let may_pass = |error: anyhow::Error| {
        in_child::unless_known(error.context("the config partition")).is::<Unreadable>()
    };
    let mount_says = |errno| disks::not_mounted("/dev/sda3", errno);
    for errno in [Errno::EINVAL, Errno::EUCLEAN, Errno::EBADMSG] {
        assert!(!may_pass(mount_says(errno)), "{errno}");
        assert!(may_pass(std::io::Error::from(errno).into()), "not mount has said {errno}");
    }
    let others = [
        Errno::EIO,
        Errno::ENXIO,
        Errno::ENODEV,
        Errno::EBUSY,
        Errno::ENOMEM,
        Errno::EMFILE,
        Errno::EROFS,
        Errno::EACCES,
        Errno::EILSEQ,
    ];
    for errno in others {
        assert!(may_pass(mount_says(errno)) && may_pass(std::io::Error::from(errno).into()));
    }
    assert!(may_pass(anyhow!("the system disk sda has no config partition")), "it is away");
    let said = in_child::unless_known(mount_says(Errno::EIO));
    assert!(format!("{said:#}").contains("mounting /dev/sda3 on /config: EIO"), "{said:#}");
    let said = in_child::unless_known(mount_says(Errno::EUCLEAN));
    assert!(format!("{said:#}").contains("mounting /dev/sda3 on /config: EUCLEAN"), "{said:#}");
}

#[test]
fn settings_that_are_read_late_are_used_and_what_was_said_is_said_no_more() {
    let settings = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
    let failed = vec![in_child::Failed::new(SEED, "no room")];
    let late = in_child::Late { machine: settings.clone(), failed, gateway: true, note: None };
    let late = || Ok(serde_json::to_vec(&Ok::<_, String>(&late)).unwrap());
    let (mut boot, asked) = boot(vec![
        Err(ChildError::TooLong(FILES_LIMIT)),
        Ok(Vec::new()),
        late(),
        late(),
        Ok(br#"{"Ok":null}"#.to_vec()),
    ]);
    boot.state.problems.push("seed: VLAN".to_owned());
    run(&[in_child(MACHINE_SETTINGS, FILES_LIMIT, load_machine)], &mut boot);
    // One that says nothing, and one that breaks off.
    for code in [Some(0), None] {
        let begun = begin_reading(&mut boot).unwrap();
        assert!(take_in(&mut boot, begun, code).is_err());
        assert!(boot.unread.any() && boot.failed == [MACHINE_SETTINGS]);
    }
    let begun = begin_reading(&mut boot).unwrap();
    assert_eq!(take_in(&mut boot, begun, Some(0)).unwrap().machine, settings);
    assert_eq!(asked.borrow()[1].0, ["phase", "late-settings"]);
    assert_eq!(boot.state.problems, ["seed: VLAN", "seed: no room"]);
    assert_eq!((boot.failed.as_slice(), boot.unread.any()), (&[SEED][..], false));
    keep_settings(&mut boot, &settings).unwrap();
}

#[test]
fn where_there_are_no_settings_those_of_a_first_boot_are_found_late() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("UTC"), b"TZif2").unwrap();
    let path = folder.path().join("machine.toml");
    let find = || {
        let asked = in_child::Asked::default();
        in_child::late_in(&path, folder.path(), Ok(()), asked, |_| unreachable!()).unwrap()
    };
    assert_eq!((find().machine, find().failed.len()), (Machine::default(), 0));
    let settings = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
    settings.store(&path).unwrap();
    assert_eq!((find().machine, find().failed.len()), (settings.clone(), 0));
    fs::write(&path, "damaged").unwrap();
    let late = find();
    assert_eq!(late.machine, settings);
    assert!(late.failed[0].why.starts_with("damaged"), "{:?}", late.failed);
}

fn told(hostname: &str) -> seed::Told {
    let text = format!("[machine]\nhostname = \"{hostname}\"\n");
    seed::Told { text, digest: hostname.to_owned(), ..seed::Told::default() }
}

/// Goal: the seed of a boot that could not read the settings is neither lost nor applied to others. Method: a
/// disk that stands still before the seed is applied, and while it is.
#[test]
fn a_seed_waits_until_the_settings_are_known() {
    let no_time = || Err(ChildError::TooLong(FILES_LIMIT));
    let found = || Ok(serde_json::to_vec(&told("seeded")).unwrap());
    let phases = [MACHINE_SETTINGS, SEED].map(|name| {
        let position = PHASES.iter().position(|phase| phase.name == name).unwrap();
        &PHASES[position]
    });
    let before = Machine { hostname: "before".to_owned(), ..Machine::default() };
    let read = serde_json::to_vec(&Ok::<_, String>((Some(&before), None::<String>))).unwrap();
    for (answers, entries, in_use, failed) in [
        (vec![no_time(), found()], 2, Machine::default(), MACHINE_SETTINGS),
        (vec![Ok(read), found(), no_time()], 3, before.clone(), SEED),
    ] {
        let (mut boot, asked) = boot(answers);
        phases.iter().for_each(|phase| run(std::slice::from_ref(phase), &mut boot));
        assert_eq!(asked.borrow().len(), entries, "nobody applies it to other settings");
        assert_eq!((&boot.machine, boot.failed.as_slice()), (&in_use, [failed].as_slice()));
        assert!(keep_settings(&mut boot, &in_use).is_err(), "after {failed}");
        let seeded = Machine { hostname: "seeded".to_owned(), ..Machine::default() };
        let late = in_child::Late { machine: seeded.clone(), ..Default::default() };
        let late = serde_json::to_vec(&Ok::<_, String>(late)).unwrap();
        let (entries, asked) = Recorder::new(vec![Ok(Vec::new()), Ok(late)]);
        boot.entries = entries;
        // The first one breaks off.
        let begun = begin_reading(&mut boot).unwrap();
        assert!(take_in(&mut boot, begun, None).is_err());
        let begun = begin_reading(&mut boot).unwrap();
        assert_eq!(take_in(&mut boot, begun, Some(0)).unwrap().machine, seeded);
        for (_, input, _) in asked.borrow().iter() {
            let asked: in_child::Asked = serde_json::from_str(input).unwrap();
            assert_eq!((asked.told, asked.given_up), (Some(told("seeded")), false));
        }
        assert!(boot.failed.is_empty() && boot.state.problems.is_empty(), "{:?}", boot.failed);
    }
}

#[test]
fn a_seed_that_comes_late_replaces_nothing_that_is_newer_and_no_password() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("UTC"), b"TZif2").unwrap();
    let path = folder.path().join("machine.toml");
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let find = |seed: Option<seed::Told>| {
        let apply = |found| in_child::seed_in(found, folder.path(), folder.path(), me);
        let asked = in_child::Asked { told: seed, ..Default::default() };
        let late = in_child::late_in(&path, folder.path(), Ok(()), asked, apply).unwrap();
        assert!(late.failed.is_empty(), "{:?}", late.failed);
        late.machine
    };
    let password_hash = Some(gateway_api::Secret::new(format!("$6$saltstring${}", "x".repeat(86))));
    let named = |hostname: &str| Machine {
        hostname: hostname.to_owned(),
        password_hash: password_hash.clone(),
        ..Machine::default()
    };
    named("before").store(&path).unwrap();
    assert_eq!(find(Some(told("seeded"))), named("seeded"), "with the password on the disk");
    assert_eq!(find(None), named("seeded"), "it is on the disk");
    named("newer").store(&path).unwrap();
    assert_eq!(find(Some(told("seeded"))), named("newer"), "the same seed again");
}

/// Goal: whoever gives up lost settings of an appliance that was set up by a seed has its password again, not an open
/// console. Method: settings that are lost after the seed was applied, given up late or gone at the boot.
#[test]
fn where_the_settings_are_lost_a_seed_that_was_applied_sets_the_machine_up_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("UTC"), b"TZif2").unwrap();
    let path = folder.path().join("machine.toml");
    let files = [path.clone(), path.with_extension("toml.last")];
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let hash = format!("$6$saltstring${}", "x".repeat(86));
    let seed = |name: &str| {
        let machine = format!("[machine]\nhostname = \"{name}\"\npassword_hash = \"{hash}\"\n");
        let text = machine + "[gateway]\nversion = 1\n";
        seed::Told { text, digest: name.to_owned(), ..seed::Told::default() }
    };
    let late = |told: seed::Told, given_up| {
        let apply = |found| in_child::seed_in(found, folder.path(), folder.path(), me);
        let asked = in_child::Asked { told: Some(told), given_up, ..Default::default() };
        let late = in_child::late_in(&path, folder.path(), Ok(()), asked, apply).unwrap();
        assert_eq!(late.machine.password_hash.as_ref().map(|hash| hash.expose()), Some(&*hash));
        (late.machine.hostname, late.gateway)
    };
    let is = |name: &str, gateway| (name.to_owned(), gateway);
    let lose = |file: &std::path::PathBuf| {
        let _absent = fs::remove_file(file);
        fs::create_dir(file).unwrap();
    };
    assert_eq!(late(seed("seeded"), false), is("seeded", true));
    let password_hash = Some(gateway_api::Secret::new(hash.clone()));
    let operator = Machine { hostname: "operator".to_owned(), password_hash, ..Default::default() };
    operator.store(&path).unwrap();
    // They are read in the end.
    assert_eq!(late(seed("seeded"), true), is("operator", false));
    files.iter().for_each(lose);
    assert_eq!(late(seed("seeded"), true), is("seeded", false), "its gateway's part stays");
    assert_eq!(Machine::load(&path, folder.path()).unwrap().0.unwrap().hostname, "seeded");
    // A power cut when they are kept aside: the next boot finds none, nor does one for which both are damaged.
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(late(seed("seeded"), false), is("seeded", false));
    files.iter().for_each(|file| fs::write(file, "version = \"one\"").unwrap());
    assert_eq!(late(seed("seeded"), false), is("seeded", false));
    // Part of a seed is better than none.
    files.iter().for_each(lose);
    let half = seed::Told { incomplete: true, ..seed("half") };
    assert_eq!(late(half, true), is("half", false));
    assert_eq!(late(seed("seeded"), false), is("seeded", true), "and the whole one better");
    // The note of it is lost, too.
    files.iter().for_each(lose);
    lose(&folder.path().join("seed-applied"));
    assert_eq!(late(seed("seeded"), true), is("seeded", false));
    assert_eq!(late(seed("seeded"), false), is("seeded", false));
}

#[test]
fn what_is_noted_of_an_update_is_read_with_the_settings_that_are_read_late() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.toml");
    let late = || {
        let asked = in_child::Asked::default();
        in_child::late_in(&path, folder.path(), Ok(()), asked, |_| unreachable!()).unwrap()
    };
    let (none, failed) = (late().note, late().failed);
    assert_eq!((none, failed), (None, Vec::new()), "there was no update");
    let standing =
        |slot, version: &str| crate::update::Standing { slot, version: version.parse().unwrap() };
    let note = Note {
        from: standing(crate::slot::Slot::A, "1.3.0"),
        to: standing(crate::slot::Slot::B, "1.4.0"),
        stage: crate::update::Stage::Ready,
        why: None,
        gateway_ran: true,
    };
    let file = folder.path().join("update.json");
    note.store(&file).unwrap();
    let said = serde_json::to_vec(&Ok::<_, String>(late())).unwrap();
    let (mut boot, _) = boot(vec![Ok(said)]);
    let begun = begin_reading(&mut boot).unwrap();
    assert_eq!(take_in(&mut boot, begun, Some(0)).unwrap().note, Some(note));
    fs::write(&file, "{").unwrap();
    let late = late();
    assert_eq!((late.note, late.failed[0].phase.as_str()), (None, "update"), "no reason to stop");
}

/// Goal: a gateway that has started without a part of the seed is told of it, and no other one. Method: seeds with such a
/// part and without, whose other part can be kept or not.
#[test]
fn a_seed_for_the_gateway_that_comes_late_is_told_once_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("UTC"), b"TZif2").unwrap();
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let late = |text: &str| {
        let told =
            seed::Told { text: text.to_owned(), digest: text.to_owned(), ..Default::default() };
        let asked = in_child::Asked { told: Some(told), ..Default::default() };
        let path = folder.path().join("machine.toml");
        let apply = |found| in_child::seed_in(found, folder.path(), folder.path(), me);
        let late = in_child::late_in(&path, folder.path(), Ok(()), asked, apply).unwrap();
        (late.gateway, late.failed.len())
    };
    let both = "[machine]\nhostname = \"gate7\"\n[gateway]\nversion = 1\n";
    assert_eq!(late("[machine]\nhostname = \"gate7\"\n"), (false, 0), "of no concern to it");
    assert_eq!(late(both), (true, 0));
    assert_eq!(late(both), (false, 0), "applied already");
    // An attempt that was given up may have written it after the gateway had read the one before.
    fs::remove_file(folder.path().join("seed-applied")).unwrap();
    assert_eq!(late(both), (true, 0), "the same, but written now");
    fs::create_dir(folder.path().join("machine.new")).unwrap();
    assert_eq!(late(&both.replace('7', "8")), (true, 1), "though the machine's part is not kept");
    let said = in_child::Late { gateway: true, ..Default::default() };
    let said = serde_json::to_vec(&Ok::<_, String>(said)).unwrap();
    let none = serde_json::to_vec(&Ok::<_, String>(in_child::Late::default())).unwrap();
    let broke_off = || Ok(Vec::new());
    let answers = vec![Ok(said), broke_off(), Ok(none.clone()), broke_off(), Ok(none)];
    let (mut boot, _) = boot(answers);
    let mut takes = |code| {
        let begun = begin_reading(&mut boot).unwrap();
        let known = take_in(&mut boot, begun, code).ok();
        boot.held_seed = Some(told("seeded"));
        known.map(|known| known.gateway)
    };
    assert_eq!((takes(Some(0)), takes(None)), (Some(true), None));
    assert_eq!(takes(Some(0)), Some(true), "one that broke off may have written it");
    boot.held_seed = None;
    let mut takes = |code| {
        let begun = begin_reading(&mut boot).unwrap();
        take_in(&mut boot, begun, code).ok().map(|known| known.gateway)
    };
    assert_eq!((takes(None), takes(Some(0))), (None, Some(false)), "without a seed nobody has");
}

/// Goal: no older write of the settings comes after a newer one. Method: writers that are given up and live on.
#[test]
fn no_settings_are_written_while_an_earlier_writer_has_not_ended() {
    let done = || Ok(br#"{"Ok":null}"#.to_vec());
    let settings = Machine::default();
    let answers = vec![Err(ChildError::TooLong(KEEP_LIMIT)), done(), done()];
    let (entries, asked, ended) = Recorder::with_lingering(answers);
    let mut boot = Boot::with(entries);
    assert!(keep_settings(&mut boot, &settings).is_err());
    for _ in 0..3 {
        let why = keep_settings(&mut boot, &settings).unwrap_err();
        assert_eq!(why.to_string(), "an earlier attempt has not ended yet");
        assert!(!children::may_be_done(&why), "it has not begun");
    }
    assert!(begin_reading(&mut boot).is_err(), "reading may write, too");
    assert_eq!(asked.borrow().len(), 1, "none has begun");
    assert_eq!(read_note(&mut boot).unwrap(), None, "another file");
    ended.set(true);
    keep_settings(&mut boot, &settings).unwrap();
}

/// Goal: settings that are refused and on the disk all the same are written over by those in use. Method: a disk that
/// fails once the file has its name, and what PID 1 makes of what its child says.
#[test]
fn settings_that_have_their_name_when_the_disk_fails_may_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Machine { hostname: "gate7".to_owned(), ..Machine::default() };
    let said = |path: &str| {
        let kept = settings.store(&folder.path().join(path)).map_err(anyhow::Error::from);
        Ok(serde_json::to_vec(&in_child::Outcome::from(kept)).unwrap())
    };
    let not_written = said("absent/machine.toml");
    crate::small_disk::fail_to_sync(folder.path());
    let (mut boot, _) = boot(vec![not_written, said("machine.toml")]);
    let why = keep_settings(&mut boot, &settings).unwrap_err();
    assert!(!children::may_be_done(&why), "{why:#}");
    let why = keep_settings(&mut boot, &settings).unwrap_err();
    assert_eq!(why.to_string(), "syncing its folder: the disk fails");
    assert!(children::may_be_done(&why) && folder.path().join("machine.toml").exists());
}
