//! S3, shares, proxy, disks, export and the gateway console as an operator sees them.
use gateway_api::{ByteSize, Settings, connection::ConnectionTest};

use crate::console::{
    command::{AfterTest, Command, Finished, Outcome, StepReport, Tool},
    keys::Key,
    operator::Operator,
};

fn at(label: &str) -> Operator {
    let mut operator = Operator::logged_in();
    operator.choose(label);
    operator
}

/// The gateway's settings that a command puts into force.
fn put(operator: &Operator) -> Settings {
    match operator.command() {
        Command::PutGateway { settings, revision: 7 } => *settings,
        other => panic!("{other:?}"),
    }
}

fn tested(operator: &Operator) -> (ConnectionTest, Option<Settings>) {
    match operator.command() {
        Command::TestS3 { test, then } => {
            let save = match then {
                AfterTest::Save { settings, revision: 7 } => Some(*settings),
                AfterTest::Nothing => None,
                other => panic!("{other:?}"),
            };
            (*test, save)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_is_tested_and_then_saved() {
    let mut operator = at("S3 Target and Credentials");
    operator.choose("View S3 Target");
    operator.sees_golden("s3-view");
    operator.types("x");
    operator.choose("Configure S3 Target");
    operator.sees_golden("s3-configure");
    operator.press(Key::Clear);
    operator.types("http://10.0.2.2:9000\n");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("s3-plain-http");
    // To the field of plain http, and to the access key after it.
    for _ in 0..4 {
        operator.press(Key::Down);
    }
    operator.types(" \n");
    operator.press(Key::Clear);
    operator.types("AKIDOTHER");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("s3-secret-missing");
    operator.types("hush");
    operator.press(Key::PageDown);
    operator.types("\n");
    let (test, save) = tested(&operator);
    assert_eq!((test.s3.endpoint.as_str(), test.s3.allow_http), ("http://10.0.2.2:9000", true));
    assert_eq!(test.s3.access_key_id, "AKIDOTHER");
    assert_eq!(test.s3.secret_access_key.expose(), "hush");
    assert_eq!(test.share.name.as_str(), "sales", "as the share would be");
    let save = save.unwrap();
    assert_eq!(save.s3, test.s3);
    let (job, _) = operator.asked.clone().unwrap();
    let step = |title: &str, outcome, advice: &str| StepReport {
        title: title.to_owned(),
        outcome,
        advice: advice.to_owned(),
    };
    operator.app.step(job, step("Name (DNS): 10.0.2.2", Outcome::Passed, ""));
    operator.app.step(
        job,
        step("Clock: 20 minutes off", Outcome::Failed, "Set it: System Time Management."),
    );
    operator.app.step(job, step("Credentials", Outcome::Skipped, ""));
    let command = Box::new(Command::PutGateway { settings: Box::new(save), revision: 7 });
    let said = "S3 cannot be used like this.".to_owned();
    let ask = "Save these settings all the same?";
    operator.finished(Ok(Finished::Offer { said, ask, command }));
    operator.sees_golden("s3-tested");
    operator.types("y");
    assert_eq!(put(&operator).s3.access_key_id, "AKIDOTHER");
    operator.finished(Ok(Finished::Said(vec!["The settings are saved and in force.".to_owned()])));
    operator.types("\n");
    assert!(operator.sees().contains("View S3 Target"), "the form is gone: {}", operator.sees());
}

#[test]
fn what_was_typed_stays_when_a_test_fails_and_is_not_saved() {
    let mut operator = at("S3 Target and Credentials");
    operator.choose("Configure S3 Target");
    operator.press(Key::Down);
    operator.press(Key::Clear);
    operator.types("eu-west-1");
    operator.press(Key::PageDown);
    operator.types("\n");
    let (_, save) = tested(&operator);
    let command = Box::new(Command::PutGateway { settings: Box::new(save.unwrap()), revision: 7 });
    let said = "S3 cannot be used like this.".to_owned();
    operator.finished(Ok(Finished::Offer { said, ask: "Save?", command }));
    operator.types("n");
    assert!(operator.sees().contains("eu-west-1"), "{}", operator.sees());
}

#[test]
fn s3_is_tested_with_what_is_in_force() {
    let operator = at("Test S3 Connectivity");
    let (test, save) = tested(&operator);
    assert_eq!((test.share.name.as_str(), save), ("sales", None));
    let mut operator = Operator::logged_in();
    operator.view.gateway_settings.as_mut().unwrap().1.shares.clear();
    operator.choose("Test S3 Connectivity");
    operator.sees_golden("s3-nothing-to-test");
    operator.types("x");
    operator.view.gateway_settings = Err("it is being started".to_owned());
    operator.choose("Test S3 Connectivity");
    operator.sees_golden("s3-no-gateway");
}

#[test]
fn s3_is_tested_while_no_gateway_runs() {
    let mut operator = Operator::logged_in();
    let (_, settings) = operator.view.gateway_settings.clone().unwrap();
    operator.view.gateway_settings = Err("it is being started".to_owned());
    operator.view.stored_settings = Ok(settings);
    operator.choose("Test S3 Connectivity");
    let (test, _) = tested(&operator);
    assert_eq!((test.share.name.as_str(), test.s3.region.as_str()), ("sales", "ap-northeast-2"));
    operator.finished(Ok(Finished::Said(vec!["S3 can be used.".to_owned()])));
    operator.types("\n");
    operator.choose("S3 Target and Credentials");
    operator.choose("Configure S3 Target");
    operator.press(Key::Down);
    operator.press(Key::Clear);
    operator.types("eu-west-1");
    operator.press(Key::PageDown);
    operator.types("\n");
    match operator.command() {
        Command::TestS3 { test, then: AfterTest::CannotSave } => {
            assert_eq!(test.s3.region, "eu-west-1");
        }
        other => panic!("{other:?}"),
    }
    let said = "S3 can be used. The gateway does not run and keeps these settings.";
    operator.finished(Err(said.to_owned()));
    operator.types("\n");
    assert!(operator.sees().contains("eu-west-1"), "what was typed stays: {}", operator.sees());
}

#[test]
fn a_proxy_is_set_and_removed() {
    let mut operator = at("HTTP Proxy Configuration");
    operator.sees_golden("proxy");
    operator.choose("Remove an HTTP proxy");
    assert!(operator.sees().contains("HTTP Proxy not configured"), "{}", operator.sees());
    operator.types("\n");
    operator.choose("View current HTTP proxy");
    operator.sees_golden("proxy-none");
    operator.types("x");
    operator.choose("Configure HTTP proxy");
    operator.types("http://proxy\n");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("proxy-refused");
    operator.press(Key::Clear);
    operator.types("2001:db8::9\n\nme\nhush\n10.0.0.0/8 .example.com\n\n");
    let s3 = put(&operator).s3;
    assert_eq!(s3.http_proxy, "http://[2001:db8::9]:3128");
    assert_eq!((s3.proxy_user.as_str(), s3.proxy_password.expose()), ("me", "hush"));
    assert_eq!(s3.no_proxy, ["10.0.0.0/8", ".example.com"]);
    operator.finished(Ok(Finished::Said(vec!["saved".to_owned()])));
    operator.view.gateway_settings.as_mut().unwrap().1.s3 = s3;
    operator.types("\n");
    operator.choose("Remove an HTTP proxy");
    operator.sees_golden("proxy-remove");
    operator.types("y");
    assert_eq!(put(&operator).s3.http_proxy, "");
}

#[test]
fn a_share_is_created_changed_and_deleted() {
    let mut operator = at("File Shares");
    operator.sees_golden("shares");
    operator.choose("Create a file share");
    operator.sees_golden("share-create");
    operator.types("a/b\nbackup-2\n\n");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("share-refused");
    operator.press(Key::Clear);
    operator.types("photos\n\n2026\n");
    operator.press(Key::Clear);
    operator.types("10.0.0.0/8 192.0.2.7\ny\na");
    operator.press(Key::PageDown);
    operator.types("\n");
    let settings = put(&operator);
    assert_eq!(settings.shares.len(), 2);
    let share = &settings.shares[1];
    assert_eq!((share.name.as_str(), share.prefix.as_str()), ("photos", "2026/"));
    assert_eq!(share.bucket.as_str(), "backup-2");
    assert!(share.read_only);
    assert_eq!(share.squash, gateway_api::settings::Squash::AllSquash);
    let clients: Vec<String> = share.client_list.iter().map(ToString::to_string).collect();
    assert_eq!(clients, ["10.0.0.0/8", "192.0.2.7/32"]);
    operator.finished(Ok(Finished::Said(vec!["saved".to_owned()])));
    operator.types("\n");

    operator.choose("/sales");
    operator.sees_golden("share");
    operator.choose("Mount commands");
    operator.sees_golden("mount-commands");
    operator.types("x");
    operator.choose("Change");
    for _ in 0..10 {
        operator.press(Key::Down);
    }
    operator.press(Key::Clear);
    operator.types("60");
    operator.sees_golden("share-change");
    operator.press(Key::PageDown);
    operator.types("\n");
    let changed = put(&operator).shares;
    assert_eq!(changed[0].cache_stale_timeout_seconds, 60);
    operator.finished(Err("somebody else has changed them: read them again".to_owned()));
    operator.types("\n\x1b");

    let status = operator.view.gateway.as_mut().unwrap();
    status.shares[0].upload.dirty_files = 3;
    status.shares[0].upload.dirty_bytes = ByteSize(1 << 20);
    operator.choose("Delete");
    operator.sees_golden("share-delete");
    operator.types("y");
    let Command::DeleteShare { settings, revision: 7 } = operator.command() else {
        panic!("{:?}", operator.command())
    };
    assert!(settings.shares.is_empty());
}

#[test]
fn what_a_form_has_no_field_for_stays() {
    let mut operator = Operator::logged_in();
    operator.view.gateway_settings.as_mut().unwrap().1.shares[0].pinned =
        vec!["reports/".to_owned()];
    operator.choose("File Shares");
    operator.choose("/sales");
    operator.choose("Change");
    operator.press(Key::PageDown);
    operator.types("\n");
    let expected = operator.view.gateway_settings.as_ref().unwrap().1.clone();
    assert_eq!(put(&operator), expected);
}

#[test]
fn documents_are_shown() {
    let mut operator = at("Settings Export");
    operator.sees_golden("export-menu");
    operator.choose("View");
    operator.sees_golden("export");
    operator.types("x");
    operator.choose("Offer for Download");
    match operator.command() {
        Command::OfferText { name, text } => {
            assert_eq!(name, "tidegate-20261123-180000.toml");
            assert!(text.contains("[gateway.s3]") && text.contains("[machine]"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let mut operator = Operator::logged_in();
    operator.view.machine.cache_mounted = false;
    operator.view.machine.cache = "no blank disk is attached".to_owned();
    operator.view.gateway = Err("it is being started".to_owned());
    operator.view.gateway_settings = Err("it is being started".to_owned());
    operator.choose("File Shares");
    operator.sees_golden("shares-no-gateway");
}

#[test]
fn the_gateway_console_runs_one_command_at_a_time() {
    let mut operator = at("Gateway Console");
    operator.types("h\nsh\nncport -d 192.0.2.7 -p 443\n");
    let tool = Tool::Connect { host: "192.0.2.7".to_owned(), port: 443 };
    assert_eq!(operator.command(), Command::Tool(tool));
    operator.sees_golden("gateway-console-busy");
    operator.types("dig a\n");
    assert_eq!(operator.asked.as_ref().unwrap().0, 2, "the first is not over");
    operator.finished(Ok(Finished::Said(vec!["192.0.2.7 port 443: open".to_owned()])));
    operator.sees_golden("gateway-console");
    operator.types("\n");
    assert_eq!(
        operator.command(),
        Command::Tool(Tool::LookUp { name: "a".to_owned(), server: None })
    );
    operator.finished(Err("no name server is known".to_owned()));
    operator.types("passwd\n");
    operator.types("correct mouse\ncorrect mouse\n\n");
    let password = gateway_api::Secret::new("correct mouse");
    assert_eq!(operator.command(), Command::SetPassword { password, first: false });
    operator.finished(Ok(Finished::LoggedIn));
    operator.sees_golden("password-changed");
    operator.types("\nexit\n");
    assert!(operator.sees().contains("Enter command:"), "{}", operator.sees());
}
