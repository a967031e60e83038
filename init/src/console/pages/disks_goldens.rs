//! The pages of cache disks as an operator sees them, and what keys lead to.
use gateway_api::ByteSize;

use crate::{
    console::{
        command::{Command, Finished},
        keys::Key,
        operator::{Operator, disk},
    },
    disks::{Disk, Order, Role},
    gateway_disks::{DiskState, GatewayDisk, Verb},
    machine::CacheDisks,
};

const GIB: u64 = 1 << 30;

fn uuid(digits: &str) -> String {
    digits.repeat(16)
}

/// An appliance with every kind of disk.
fn operator() -> Operator {
    let mut operator = Operator::logged_in();
    let ours = "a cache disk of this appliance";
    let theirs = "a cache disk of another appliance";
    operator.view.machine.disks.extend([
        Disk { uuid: Some(uuid("2a")), ..disk("sdc", 200, Role::Further, ours) },
        disk("sdd", 100, Role::Blank, "blank"),
        Disk { uuid: Some(uuid("3b")), ..disk("sde", 150, Role::OtherCache, theirs) },
        disk("sdf", 500, Role::Foreign, "holds an ext file system"),
    ]);
    operator.view.machine.cache = "150 GiB on /dev/sdb, 200 GiB on /dev/sdc".to_owned();
    operator.view.gateway_disks.as_mut().unwrap().push(GatewayDisk {
        name: uuid("2a").parse().unwrap(),
        path: format!("/cache-disks/{}", uuid("2a")),
        primary: false,
        state: DiskState::InUse,
        total: ByteSize(199 * GIB),
        free: ByteSize(100 * GIB),
        cached_bytes: ByteSize(90 * GIB),
        dirty_bytes: ByteSize(9 * GIB),
        dirty_files: 100,
        files: 31_000,
        problem: None,
    });
    operator.choose("Cache Disks");
    operator
}

fn further(operator: &mut Operator) -> &mut GatewayDisk {
    operator.view.gateway_disks.as_mut().unwrap().last_mut().unwrap()
}

fn order(operator: &Operator) -> Order {
    match operator.command() {
        Command::Disks(order) => order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_disk_is_listed_with_what_it_is() {
    let mut operator = Operator::logged_in();
    operator.choose("Cache Disks");
    operator.sees_golden("disks");
    let mut operator = self::operator();
    operator.sees_golden("disks-every-kind");
    operator.choose("sdb");
    operator.sees_golden("disk-primary");
    operator.types("x");
    operator.choose("sdf");
    operator.sees_golden("disk-foreign");
    operator.types("x");
    operator.choose("Look for changes");
    assert_eq!(order(&operator), Order::Look);
    operator.finished(Ok(Finished::Said(vec!["The disks were looked through.".to_owned()])));
    operator.types("\n");
    assert!(operator.sees().contains("further  in use, 99.0 GiB"), "{}", operator.sees());
}

#[test]
fn without_a_cache_disk_the_page_says_what_to_do() {
    let mut operator = Operator::logged_in();
    operator.view.machine.cache_mounted = false;
    operator.view.machine.cache =
        "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
    operator.view.machine.disks.clear();
    operator.view.gateway = Err("it is being started".to_owned());
    operator.view.gateway_disks = Err("it is being started".to_owned());
    operator.choose("Cache Disks");
    operator.sees_golden("disks-none");
}

#[test]
fn a_blank_disk_is_allocated_after_a_question_that_names_it() {
    let mut operator = operator();
    operator.choose("sdd");
    operator.sees_golden("disk-blank");
    operator.choose("Allocate");
    operator.sees_golden("disk-allocate");
    operator.types("\n");
    assert_eq!(operator.asked, None, "Enter means no");
    operator.choose("Allocate");
    operator.types("y");
    let expected = Order::Allocate { name: "sdd".to_owned(), size: ByteSize(100 * GIB) };
    assert_eq!(order(&operator), expected);
    operator.finished(Ok(Finished::Said(vec!["/dev/sdd is a cache disk.".to_owned()])));
    operator.view.machine.disks.retain(|disk| disk.name != "sdd");
    operator.types("\n");
    operator.sees_golden("disk-gone");
}

#[test]
fn releasing_a_disk_is_asked_followed_and_taken_back() {
    let mut operator = operator();
    operator.choose("sdc");
    operator.sees_golden("disk-further");
    operator.choose("Release");
    operator.sees_golden("disk-release");
    operator.types("y");
    let command = |verb| Command::GatewayDisk { verb, uuid: uuid("2a") };
    assert_eq!(operator.command(), command(Verb::Release));
    operator.finished(Ok(Finished::Said(vec!["The disk is being emptied.".to_owned()])));
    operator.types("\n");
    let known = further(&mut operator);
    known.state = DiskState::Draining;
    known.files = 120;
    known.dirty_bytes = ByteSize(3 << 20);
    known.cached_bytes = ByteSize(0);
    known.free = ByteSize(198 * GIB);
    operator.sees_golden("disk-draining");
    operator.choose("Keep after all");
    assert_eq!(operator.command(), command(Verb::Keep));
    operator.finished(Err("the disk is empty already".to_owned()));
    operator.types("\n");
    further(&mut operator).state = DiskState::Empty;
    assert!(operator.sees().contains("is being taken out of use"), "{}", operator.sees());
    operator.view.gateway_disks = Err("the gateway does not answer".to_owned());
    operator.sees_golden("disk-gateway-silent");
}

#[test]
fn another_appliance_s_disk_is_adopted_where_no_file_is_lost_and_wiped_after_its_name() {
    let mut operator = operator();
    operator.choose("sde");
    operator.sees_golden("disk-other");
    operator.choose("Adopt");
    operator.sees_golden("disk-adopt-refused");
    operator.types("x");
    for known in operator.view.gateway_disks.as_mut().unwrap() {
        known.files = 0;
    }
    operator.choose("Adopt");
    operator.sees_golden("disk-adopt");
    operator.types("y");
    assert_eq!(order(&operator), Order::Adopt { uuid: uuid("3b") });
    operator.finished(Err("this appliance has further cache disks: release them first".to_owned()));
    operator.asked = None;
    // Back over the question to the disk.
    operator.types("\n\x1b");
    operator.choose("Wipe");
    operator.types("yes\n\n");
    operator.sees_golden("disk-wipe-refused");
    assert_eq!(operator.asked, None);
    operator.press(Key::Clear);
    operator.types("sde\n\n");
    assert_eq!(order(&operator), Order::Wipe { uuid: uuid("3b") });
}

#[test]
fn a_missing_disk_is_said_and_forgotten_only_after_a_word() {
    let mut operator = operator();
    operator.view.machine.missing_disks = vec![uuid("4c")];
    operator.view.machine.cache_warnings = vec![
        "the further cache disk 4c4c4c4c is not attached: attach it again. It may hold files that are \
         not in the bucket yet"
            .to_owned(),
    ];
    operator.sees_golden("disks-missing");
    operator.choose("4c4c4c4c");
    operator.sees_golden("disk-missing");
    operator.choose("Forget it");
    operator.types("\n\n");
    operator.sees_golden("disk-forget-refused");
    assert_eq!(operator.asked, None);
    operator.types("forget\n\n");
    assert_eq!(order(&operator), Order::Forget { uuid: uuid("4c") });
    let mut operator = Operator::logged_in();
    operator.view.machine.cache_warnings = vec!["the disk 4c4c4c4c is not attached".to_owned()];
    operator.choose("View System Resource Check (0 Errors)");
    assert!(operator.sees().contains("the disk 4c4c4c4c is not attached"), "{}", operator.sees());
    assert!(operator.sees().contains("[WARNING]"), "{}", operator.sees());
    operator.types("xx");
    assert!(operator.sees().contains("the disk 4c4c4c4c is not attached"), "{}", operator.sees());
}

#[test]
fn which_blank_disks_are_used_is_a_setting() {
    let mut operator = Operator::logged_in();
    operator.choose("Cache Disks");
    operator.choose("Set which blank disks");
    operator.sees_golden("disks-policy");
    operator.types("n\n\n");
    let Command::Change { settings, on_trial: false, .. } = operator.command() else {
        panic!("{:?}", operator.command())
    };
    assert_eq!(settings.cache_disks, CacheDisks::Ask);
}
