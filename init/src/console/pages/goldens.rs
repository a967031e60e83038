//! The pages as an operator sees them, and what keys lead to.
use std::{path::Path, time::Duration};

use gateway_api::{
    ByteSize, Secret,
    status::{HealthEvent, HealthEventKind, ShareState, Shutdown, UploadStatus},
};

use crate::{
    console::{
        command::{Command, Finished, Outcome, StepReport},
        keys::Key,
        operator::Operator,
    },
    machine::Machine,
    seed::Seed,
    shutdown::Ending,
    unkept::{self, Unkept},
    unread::{self, Unread, Why},
};

/// A gateway that crashes in a loop, in the supervisor's words.
const TROUBLE: &str = "gateway has ended 5 times in a row and is started again: cannot listen on \
                       0.0.0.0:2049: Address in use. See Logs";

#[test]
fn the_front_page_is_for_everybody() {
    let mut operator = Operator::new();
    operator.sees_golden("front");
    operator.types("x\x1bq");
    operator.sees_golden("front");
}

#[test]
fn trouble_is_said_with_what_to_do() {
    let mut operator = Operator::new();
    let view = &mut operator.view;
    view.machine.cache_mounted = false;
    view.machine.cache =
        "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
    view.gateway = Err("the gateway does not answer".to_owned());
    view.network.adapters[0].problem = Some("eth0 has no link: connect the adapter".to_owned());
    view.network.adapters[0].addresses.clear();
    // As a phase that fails says it: the secret was not quoted.
    let broken = "[gateway.s3]\nsecret_access_key = SEEDED-secret\n";
    let why = Seed::parse(broken, Path::new("/")).unwrap_err();
    view.machine.problems.push(format!("seed: {why:#}"));
    operator.sees_golden("front-trouble");
    assert!(!operator.sees().contains("SEEDED"), "{}", operator.sees());
    let mut operator = Operator::new();
    operator.view.gateway = Err("it is being started".to_owned());
    operator.view.machine.services.push(TROUBLE.to_owned());
    operator.sees_golden("front-crashing");
}

#[test]
fn wrong_s3_settings_are_said_beside_the_share() {
    let mut operator = Operator::new();
    let status = operator.view.gateway.as_mut().unwrap();
    status.settings_problem = Some("[s3] access_key_id is not set".to_owned());
    let why = "HTTP 403 SignatureDoesNotMatch (check access key and secret) ".repeat(8);
    status.shares[0].state = ShareState::Unavailable(why);
    status.shares = vec![status.shares[0].clone(); 5];
    operator.sees_golden("front-wrong-settings");
    operator.press(Key::End);
    operator.sees_golden("front-wrong-settings-end");
}

#[test]
fn long_mount_commands_go_on_in_the_next_line() {
    let mut operator = Operator::new();
    operator.view.network.adapters[0].addresses = vec!["2001:db8::15/64".to_owned()];
    let name = "a-share-with-a-long-name-of-its-own";
    operator.view.gateway.as_mut().unwrap().shares[0].name = name.parse().unwrap();
    operator.sees_golden("front-long-name");
}

#[test]
fn at_the_first_visit_a_password_is_set() {
    let mut operator = Operator::new();
    operator.view.password_set = Ok(false);
    operator.sees_golden("front-no-password");
    operator.types("\n");
    operator.sees_golden("first-password");
    operator.types("short\nshort\n\n");
    operator.sees_golden("first-password-short");
    operator.press(Key::Clear);
    operator.types("correct horse\n");
    operator.press(Key::Clear);
    operator.types("correct hors\n\n");
    operator.sees_golden("first-password-differs");
    operator.types("e\n\n");
    let password = Secret::new("correct horse");
    assert_eq!(operator.command(), Command::SetPassword { password, first: true });
    operator.finished(Ok(Finished::LoggedIn));
    assert!(operator.sees().contains("Enter command:"), "{}", operator.sees());
}

#[test]
fn a_first_password_that_cannot_be_kept_lets_in_all_the_same_and_says_so() {
    let mut operator = Operator::new();
    operator.view.password_set = Ok(false);
    operator.types("\ncorrect horse\ncorrect horse\n\n");
    let why =
        "the settings cannot be kept on the system disk: No space left on device (os error 28)";
    operator.finished(Ok(Finished::SetFor(unkept::of_password(why))));
    operator.view.password_set = Ok(true);
    operator.sees_golden("password-unkept");
    operator.types("x");
    assert!(operator.sees().contains("Enter command:"), "{}", operator.sees());
    let mut unkept = Unkept::default();
    unkept.not_kept(why.to_owned(), operator.view.now);
    operator.view.machine.problems.extend(unkept.problem());
    operator.types("x");
    operator.sees_golden("front-unkept");
}

#[test]
fn settings_that_are_not_read_are_said_and_no_first_password_is_taken() {
    let mut operator = Operator::new();
    operator.view.password_set = Ok(false);
    let mut unread = Unread::default();
    let why = Why::Silence("was given up after 300 s".to_owned());
    unread.missed("machine settings", why, operator.view.now);
    operator.view.machine.problems.extend(unread.problem(false));
    operator.sees_golden("front-unread");
    operator.types("\ncorrect horse\ncorrect horse\n\n");
    operator.finished(unread.allows_change().map(|()| Finished::LoggedIn));
    operator.sees_golden("first-password-unread");
}

#[test]
fn who_has_lost_the_settings_goes_on_without_them_after_a_question() {
    let mut operator = Operator::new();
    operator.view.password_set = Ok(false);
    let mut unread = Unread::default();
    let why = "/config/machine.toml: Input/output error (os error 5)".to_owned();
    unread.missed("machine settings", Why::Unreadable(why), operator.view.now);
    operator.view.machine.problems.extend(unread.problem(false));
    operator.view.machine.settings_unreadable = unread.can_be_given_up().map(str::to_owned);
    operator.sees_golden("front-unreadable");
    operator.types("\n");
    operator.sees_golden("settings-unreadable");
    operator.types("\n");
    assert_eq!(operator.asked, None, "Enter means no");
    operator.types("\ny");
    assert_eq!(operator.command(), Command::GiveUpSettings);
    operator.finished(Ok(Finished::Said(vec![unread::GIVEN_UP.to_owned()])));
    operator.sees_golden("settings-given-up");
    operator.view.machine.settings_unreadable = None;
    operator.types("x\n");
    assert!(operator.sees().contains("Set the console's password"), "{}", operator.sees());
}

#[test]
fn nobody_comes_in_without_the_password() {
    let mut operator = Operator::new();
    operator.types("\n");
    operator.sees_golden("log-in");
    operator.types("\n\n");
    assert_eq!(operator.asked, None, "an empty one is not asked for");
    operator.types("guess\n\n");
    assert_eq!(operator.command(), Command::LogIn(Secret::new("guess")));
    operator.sees_golden("log-in-checking");
    operator.finished(Err("this is not the password".to_owned()));
    operator.sees_golden("log-in-wrong");
    operator.types("\n");
    operator.sees_golden("log-in");
    operator.types("correct horse\n\n");
    operator.finished(Ok(Finished::LoggedIn));
    operator.sees_golden("main");
}

#[test]
fn while_it_is_not_known_whether_there_is_a_password_none_is_set() {
    let mut operator = Operator::new();
    operator.view.password_set = Err("PID 1 does not answer: no such file".to_owned());
    operator.types("\n");
    operator.sees_golden("log-in-unknown");
    operator.types("\n");
    operator.sees_golden("front");
}

#[test]
fn leaving_the_page_of_a_log_in_does_not_lose_it() {
    let mut operator = Operator::new();
    operator.types("\nguess\n\n\x1b\x1b");
    operator.finished(Ok(Finished::LoggedIn));
    operator.sees_golden("front");
}

#[test]
fn who_is_idle_is_logged_out() {
    let mut operator = Operator::logged_in();
    operator.waits(Duration::from_secs(599));
    operator.sees_golden("main");
    operator.waits(Duration::from_secs(1));
    operator.sees_golden("front");
    let mut operator = Operator::logged_in();
    operator.types("x");
    operator.sees_golden("front");
}

#[test]
fn ending_the_machine_is_asked_first_and_enter_means_no() {
    for (label, ending) in [("Reboot", Ending::Reboot), ("Shut Down", Ending::PowerOff)] {
        let mut operator = Operator::logged_in();
        operator.choose(label);
        operator.types("\n");
        assert_eq!(operator.asked, None);
        operator.choose(label);
        operator.types("y");
        assert_eq!(operator.command(), Command::End(ending));
    }
    let mut operator = Operator::logged_in();
    let upload = UploadStatus {
        dirty_files: 2,
        dirty_bytes: ByteSize(4096),
        drain_seconds: Some(150),
        ..UploadStatus::default()
    };
    operator.view.gateway.as_mut().unwrap().upload = upload;
    operator.choose("Shut Down");
    operator.sees_golden("shut-down");
    operator.types("y");
    operator.finished(Ok(Finished::Said(vec!["Shutting down ...".to_owned()])));
    operator.sees_golden("shut-down-begun");
}

#[test]
fn the_status_is_live() {
    let mut operator = Operator::logged_in();
    operator.choose("Status");
    operator.sees_golden("status");
    let status = operator.view.gateway.as_mut().unwrap();
    status.shutdown = Shutdown::Uploading;
    status.upload.dirty_files = 3;
    status.upload.dirty_bytes = ByteSize(5 << 30);
    status.upload.oldest_seconds = Some(200);
    status.upload.drain_seconds = Some(7300);
    status.figures.upload_bytes_per_second = 700_000;
    operator.sees_golden("status-uploading");
    operator.view.gateway.as_mut().unwrap().events = vec![HealthEvent {
        at_unix_seconds: 1_795_788_003,
        kind: HealthEventKind::Conflict,
        share: Some("sales".parse().unwrap()),
        message: "report.txt was changed in the bucket: both versions are kept".to_owned(),
    }];
    operator.press(Key::End);
    let page = operator.sees();
    let event = "| Event        2026-11-27 14:00:03 UTC conflict: sales: report.txt";
    assert!(page.lines().any(|line| line.starts_with(event)), "{page}");
    operator.view.gateway = Err("it is being started".to_owned());
    operator.sees_golden("status-no-gateway");
}

#[test]
fn resources_are_checked_and_errors_counted() {
    let mut operator = Operator::logged_in();
    operator.choose("View System Resource Check");
    operator.sees_golden("resources");
    let view = &mut operator.view;
    view.resources.cpus = 2;
    view.network.adapters[0].problem = Some("eth0: the DHCP server does not answer".to_owned());
    view.resources.config = None;
    view.machine.cache_mounted = false;
    view.machine.cache = "no blank disk is attached".to_owned();
    view.machine.clock = "not kept right: name NTP servers".to_owned();
    view.gateway = Err("it is being started".to_owned());
    view.machine.services.push(TROUBLE.to_owned());
    operator.sees_golden("resources-trouble");
    operator.types("x");
    assert!(
        operator.sees().contains("View System Resource Check (4 Errors)"),
        "{}",
        operator.sees()
    );
}

#[test]
fn the_time_zone_is_chosen_by_region_and_city() {
    let mut operator = Operator::logged_in();
    operator.choose("System Time Management");
    operator.sees_golden("system-time");
    operator.choose("Time Zone");
    operator.sees_golden("time-zone-regions");
    operator.types("as");
    operator.sees_golden("time-zone-search");
    operator.types("\nxyz");
    operator.sees_golden("time-zone-no-match");
    operator.press(Key::Clear);
    operator.types("tok\n");
    let Command::Change { settings, revision: 5, on_trial: false } = operator.command() else {
        panic!("{:?}", operator.command())
    };
    assert_eq!(settings.timezone, "Asia/Tokyo");
    operator.finished(Ok(Finished::Said(vec!["The settings are in use.".to_owned()])));
    operator.sees_golden("time-zone-set");
    operator.types("\n");
    assert!(operator.sees().contains(": Synchronize System Time"), "{}", operator.sees());
}

#[test]
fn ntp_servers_are_edited_and_what_a_seed_added_stays() {
    let mut operator = Operator::logged_in();
    let settings = operator.view.settings.as_mut().unwrap();
    settings.ntp_servers = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    operator.choose("System Time Management");
    operator.choose("Edit NTP Configuration");
    operator.press(Key::Clear);
    operator.types("two words");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("ntp-refused");
    operator.press(Key::Clear);
    operator.types("time.example\n");
    operator.press(Key::Clear);
    operator.press(Key::PageDown);
    operator.types("\n");
    let Command::Change { settings, revision: 5, on_trial: false } = operator.command() else {
        panic!()
    };
    assert_eq!(settings.ntp_servers, ["time.example", "c", "d", "e"]);
    let mut operator = Operator::logged_in();
    operator.choose("System Time Management");
    operator.choose("View NTP Configuration");
    operator.sees_golden("ntp");
}

#[test]
fn the_clock_is_set_after_a_question() {
    let mut operator = Operator::logged_in();
    operator.choose("System Time Management");
    operator.choose("Synchronize System Time");
    operator.sees_golden("synchronize");
    operator.types("y");
    assert_eq!(operator.command(), Command::StepClock);
    operator.finished(Err("chrony does not keep the clock".to_owned()));
    operator.types("\nn");
    operator.choose("View System Time");
    assert_eq!(operator.command(), Command::ClockState);
    let tracking = ["Reference ID    : 0A000202 (10.0.2.2)", "Stratum         : 3"];
    operator.finished(Ok(Finished::Said(tracking.map(str::to_owned).to_vec())));
    operator.sees_golden("clock");
}

#[test]
fn settings_on_trial_are_asked_for_until_they_are_over() {
    let mut operator = Operator::logged_in();
    let before = operator.view.settings.clone();
    operator.view.machine.trial_until = Some(160);
    operator.view.settings =
        Ok(Machine { hostname: "other".to_owned(), ..before.clone().unwrap() });
    operator.waits(Duration::from_secs(3));
    operator.sees_golden("trial");
    operator.types("y");
    assert_eq!(operator.command(), Command::Confirm);
    operator.waits(Duration::from_secs(1));
    assert!(operator.sees().contains("Keeping the settings"), "{}", operator.sees());
    operator.finished(Ok(Finished::Said(vec!["The settings are kept.".to_owned()])));
    operator.view.machine.trial_until = None;
    operator.types("\n");
    operator.sees_golden("main");

    operator.view.machine.trial_until = Some(300);
    operator.waits(Duration::from_secs(1));
    operator.types("\n");
    assert_eq!(operator.command(), Command::Revert, "Enter is the harmless answer");
    operator.finished(Err("PID 1 does not answer".to_owned()));
    operator.waits(Duration::from_secs(1));
    assert!(operator.sees().contains("Keep these settings?"), "{}", operator.sees());
    operator.view.machine.trial_until = None;
    operator.view.settings = before;
    operator.waits(Duration::from_secs(1));
    operator.sees_golden("trial-over");
    let kept = super::trial::over(operator.view.settings.as_ref().ok(), &operator.view.settings);
    operator.app.open(kept);
    assert!(operator.sees().contains("kept on another console"), "{}", operator.sees());
}

#[test]
fn a_trial_is_said_to_who_is_not_logged_in() {
    let mut operator = Operator::new();
    operator.view.machine.trial_until = Some(160);
    operator.waits(Duration::from_secs(1));
    operator.sees_golden("front-trial");
    operator.types("\ncorrect horse\n\n");
    operator.finished(Ok(Finished::LoggedIn));
    operator.waits(Duration::from_secs(1));
    assert!(operator.sees().contains("Keep these settings? [y/N]"), "{}", operator.sees());
}

#[test]
fn the_journal_is_followed_while_its_end_is_watched() {
    let mut operator = Operator::logged_in();
    operator.choose("Logs");
    operator.sees_golden("logs");
    assert_eq!(operator.app.wanted_journal(), None);
    operator.choose("Gateway: warnings and errors");
    let filter = operator.app.wanted_journal().unwrap();
    assert_eq!((filter.identifiers, filter.priority), (&["gateway"][..], 4));
    assert!(operator.sees().contains("Nothing of this kind so far."), "{}", operator.sees());
    for n in 0..60 {
        operator.app.line(format!("Nov 23 18:00:{n:02} tidegate gateway[99]: line {n}"));
    }
    operator.sees_golden("journal");
    operator.press(Key::PageUp);
    operator.app.line("the last".to_owned());
    assert!(!operator.sees().contains("the last"), "who reads is not disturbed");
    operator.press(Key::End);
    operator.app.line("the very last".to_owned());
    assert!(operator.sees().contains("the very last"));
    operator.types("x");
    assert_eq!(operator.app.wanted_journal(), None);
}

#[test]
fn a_page_is_found_by_number_and_by_arrows() {
    let mut operator = Operator::logged_in();
    operator.types("4");
    operator.sees_golden("main-typed");
    operator.press(Key::Down);
    operator.press(Key::Up);
    operator.types("\n");
    let by_number = operator.sees();
    let mut operator = Operator::logged_in();
    for _ in 0..3 {
        operator.press(Key::Down);
    }
    operator.types("\n");
    assert_eq!(operator.sees(), by_number);
    let mut operator = Operator::logged_in();
    operator.types("99\n");
    operator.sees_golden("main-no-such-number");
}

#[test]
fn steps_appear_one_by_one() {
    let mut operator = Operator::logged_in();
    operator.choose("Reboot");
    operator.types("y");
    let (job, _) = operator.asked.clone().unwrap();
    for (title, outcome, advice) in [
        ("DNS server 10.0.2.3, s3.ap-northeast-2.amazonaws.com: 3 addresses", Outcome::Passed, ""),
        (
            "S3 endpoint s3.ap-northeast-2.amazonaws.com port 443: timed out",
            Outcome::Failed,
            "Something on the way drops it: open this port in the firewall.",
        ),
        ("Credentials", Outcome::Skipped, ""),
    ] {
        let (title, advice) = (title.to_owned(), advice.to_owned());
        operator.app.step(job, StepReport { title, outcome, advice });
    }
    operator.sees_golden("steps");
}

#[test]
fn every_page_works_when_nothing_answers() {
    let main = Operator::logged_in().sees();
    let numbers = main.lines().filter_map(|line| {
        let (number, label) = line.trim_start_matches('|').split_once(": ")?;
        Some((number.trim().parse::<u32>().ok()?, label.trim_end_matches(['|', ' '])))
    });
    let entries: Vec<(u32, &str)> = numbers.collect();
    assert_eq!(entries.last(), Some(&(17, "Shut Down")), "all of them are on the page:\n{main}");
    for (entry, _) in entries {
        for below in 1..=13 {
            let mut operator = Operator::logged_in();
            operator.view = crate::console::view::View::unseen();
            let is_main = |operator: &Operator| operator.sees().contains("exit session");
            operator.types(&format!("{entry}\n"));
            let page = operator.sees();
            assert_eq!(page.lines().count(), 25, "{page}");
            assert!(page.lines().all(|line| line.starts_with('|')), "{page}");
            if !is_main(&operator) {
                operator.types(&format!("{below}\n"));
            }
            for _ in 0..4 {
                if !is_main(&operator) {
                    operator.types("\x1b");
                }
            }
            assert!(is_main(&operator), "no way back from {entry}, {below}:\n{}", operator.sees());
        }
    }
}
