//! Goal: a form that stood open while somebody else changed the same settings undoes nothing of it. Method:
//! every form that writes settings is opened, the view changes, the form is submitted.
use std::net::IpAddr;

use gateway_api::settings::StorageClass;

use crate::{
    console::{
        command::{AfterTest, Command},
        keys::Key,
        operator::Operator,
        view::View,
    },
    machine::{Adapter, Machine},
};

const SAYS: &str = "changed while this form was open";

/// The menu entries to a form, and what is typed into it so that it can be submitted.
struct Form {
    path: &'static [&'static str],
    types: &'static str,
}

const MACHINE: [Form; 6] = [
    Form { path: &["Network Configuration", "Configure Static IP"], types: "" },
    Form { path: &["Network Configuration", "Configure Hostname"], types: "" },
    Form { path: &["Network Configuration", "Edit DNS Configuration"], types: "" },
    Form { path: &["Network Configuration", "Set MTU"], types: "1400" },
    Form { path: &["System Time Management", "Edit NTP Configuration"], types: "192.0.2.1" },
    Form { path: &["Cache Disks", "Set which blank disks"], types: "" },
];
const GATEWAY: [Form; 4] = [
    Form { path: &["HTTP Proxy Configuration", "Configure HTTP proxy"], types: "proxy" },
    Form { path: &["S3 Target", "Configure S3"], types: "" },
    Form { path: &["File Shares", "Create a file share"], types: "photos\nphotos" },
    Form { path: &["File Shares", "/sales", "Change"], types: "" },
];

/// Opens the form, has something else happen, and submits it.
fn submitted(form: &Form, meanwhile: fn(&mut View)) -> Operator {
    let mut operator = Operator::logged_in();
    for label in form.path {
        operator.choose(label);
    }
    operator.types(form.types);
    meanwhile(&mut operator.view);
    operator.press(Key::PageDown);
    operator.types("\n");
    operator
}

fn another_machine(view: &mut View) {
    let name_servers: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap()];
    let machine = view.settings.as_mut().unwrap();
    machine.network.name_servers = name_servers;
    machine.network.adapters = vec![Adapter { mtu: Some(9000), ..Adapter::automatic("eth0") }];
    machine.ntp_servers = vec!["192.0.2.123".to_owned()];
    view.settings_revision += 1;
}

fn another_gateway(view: &mut View) {
    let (revision, settings) = view.gateway_settings.as_mut().unwrap();
    settings.shares[0].storage_class = StorageClass::StandardIa;
    *revision += 1;
}

#[test]
fn a_form_that_was_overtaken_is_not_saved() {
    for form in &MACHINE {
        let operator = submitted(form, another_machine);
        assert_eq!(operator.asked, None, "{:?}", form.path);
        assert!(operator.sees().contains(SAYS), "{:?}:\n{}", form.path, operator.sees());
    }
    for form in &GATEWAY {
        let operator = submitted(form, another_gateway);
        assert_eq!(operator.asked, None, "{:?}", form.path);
        assert!(operator.sees().contains(SAYS), "{:?}:\n{}", form.path, operator.sees());
    }
    submitted(&GATEWAY[3], another_gateway).sees_golden("form-overtaken");
}

#[test]
fn what_it_does_not_write_may_change_meanwhile() {
    for form in &MACHINE {
        let asked = submitted(form, another_gateway).command();
        assert!(matches!(asked, Command::Change { revision: 5, .. }), "{asked:?}");
    }
    for form in &GATEWAY {
        match submitted(form, another_machine).command() {
            Command::PutGateway { revision, .. }
            | Command::TestS3 { then: AfterTest::Save { revision, .. }, .. } => {
                assert_eq!(revision, 7);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Settings that were tried and taken back are those that the form shows.
#[test]
fn what_is_as_it_was_is_no_change() {
    let taken_back = |view: &mut View| view.settings_revision += 2;
    let asked = submitted(&MACHINE[1], taken_back).command();
    assert!(matches!(asked, Command::Change { revision: 7, .. }), "{asked:?}");
}

#[test]
fn a_form_from_before_the_settings_were_known_does_not_replace_them() {
    let mut operator = Operator::logged_in();
    operator.view.settings = Err("PID 1 does not answer".to_owned());
    operator.choose("System Time Management");
    operator.choose("Edit NTP Configuration");
    let ntp_servers = vec!["192.0.2.123".to_owned()];
    operator.view.settings = Ok(Machine { ntp_servers, ..Machine::default() });
    operator.press(Key::PageDown);
    operator.types("\n");
    assert_eq!(operator.asked, None);
    assert!(operator.sees().contains(SAYS), "{}", operator.sees());
}
