//! Goal: an order does what the operator saw and means, and nothing that loses files. Method: tables of
//! disks, records and gateways.
use super::{super::CACHE_LABEL, *};
use crate::{disks::file_system::Present, gateway_disks::DiskState, signatures::Content};

const SIZE: ByteSize = ByteSize(150 << 30);

fn disk(device: &str, content: Content) -> Attached {
    Attached {
        device: device.to_owned(),
        size: SIZE,
        model: String::new(),
        is_system: false,
        content: Ok(content),
    }
}

fn cache(device: &str, uuid: &str) -> Attached {
    disk(device, Content::Xfs { label: CACHE_LABEL.to_owned(), uuid: uuid.to_owned() })
}

fn record(primary: Option<&str>, further: &[&str]) -> Record {
    Record {
        primary: primary.map(str::to_owned),
        further: further.iter().map(|uuid| (*uuid).to_owned()).collect(),
        released: Vec::new(),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T>, words: &str) {
    let said = format!("{:#}", outcome.unwrap_err());
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_disk_is_allocated_only_while_it_is_what_the_operator_saw() {
    let none = record(None, &[]);
    for content in [Content::Blank, Content::Released, Content::Claimed(None)] {
        let disks = [disk("/dev/sdb", content)];
        assert_eq!(to_allocate(&disks, &none, "sdb", SIZE).unwrap(), "/dev/sdb");
        refused(to_allocate(&disks, &none, "sdc", SIZE), "not attached any more");
        refused(to_allocate(&disks, &none, "sdb", ByteSize(1)), "another disk");
    }
    let xfs = Content::Xfs { label: "data".to_owned(), uuid: "xx".to_owned() };
    for full in [Content::Data, Content::Known("an ext file system"), xfs] {
        refused(to_allocate(&[disk("/dev/sdb", full)], &none, "sdb", SIZE), "not blank: holds");
    }
    refused(to_allocate(&[cache("/dev/sdb", "bb")], &none, "sdb", SIZE), "not blank: a cache disk");
    let system = Attached { is_system: true, ..disk("/dev/sda", Content::Blank) };
    refused(to_allocate(&[system], &none, "sda", SIZE), "not blank");
    // The last step of formatting it is missing: it is in use.
    let noted = [disk("/dev/sdb", Content::Claimed(Some("aa".to_owned())))];
    refused(to_allocate(&noted, &record(Some("aa"), &[]), "sdb", SIZE), "not blank");
    let small = Attached { size: ByteSize(1 << 20), ..disk("/dev/sdb", Content::Blank) };
    refused(to_allocate(&[small], &none, "sdb", ByteSize(1 << 20)), "smaller than 1.0 GiB");
}

#[test]
fn without_its_primary_disk_an_appliance_takes_no_further_one() {
    let blank = disk("/dev/sdc", Content::Blank);
    let known = record(Some("aa"), &[]);
    refused(
        to_allocate(std::slice::from_ref(&blank), &known, "sdc", SIZE),
        "attach the cache disk",
    );
    let disks = [cache("/dev/sdb", "aa"), blank];
    assert_eq!(to_allocate(&disks, &known, "sdc", SIZE).unwrap(), "/dev/sdc");
    let many = Record { further: vec!["bb".to_owned(); FURTHER_MAX], ..known };
    refused(to_allocate(&disks, &many, "sdc", SIZE), "7 further cache disks already");
}

fn gateway_disk(files: u64, dirty: u64) -> GatewayDisk {
    GatewayDisk {
        name: "primary".parse().unwrap(),
        path: "/cache".to_owned(),
        primary: true,
        state: DiskState::InUse,
        total: SIZE,
        free: SIZE,
        cached_bytes: ByteSize(0),
        dirty_bytes: ByteSize(dirty),
        dirty_files: dirty.min(1),
        files,
        problem: None,
    }
}

#[test]
fn another_appliance_s_disk_is_adopted_only_where_nothing_is_lost() {
    let disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "cc")];
    let silent = || Err("it is being started".to_owned());
    let adopt = |record: &Record, known| to_adopt(&disks, record, "cc", &known);
    let none = record(None, &[]);
    assert_eq!(adopt(&none, silent()).unwrap(), "/dev/sdc", "there is no gateway to ask");
    let own = record(Some("aa"), &[]);
    assert_eq!(adopt(&own, Ok((vec![gateway_disk(0, 0)], Shutdown::Safe))).unwrap(), "/dev/sdc");
    refused(
        adopt(&own, Ok((vec![gateway_disk(1, 0)], Shutdown::Safe))),
        "files are on the cache disk",
    );
    refused(
        adopt(&own, Ok((vec![gateway_disk(0, 7)], Shutdown::Safe))),
        "files are on the cache disk",
    );
    refused(adopt(&own, Ok((Vec::new(), Shutdown::Safe))), "files are on the cache disk");
    for word in [Shutdown::Uploading, Shutdown::Stuck] {
        refused(adopt(&own, Ok((vec![gateway_disk(0, 0)], word))), "are not in the bucket yet");
    }
    refused(adopt(&own, silent()), "not known: it is being started");
    let two = record(Some("aa"), &["bb"]);
    refused(adopt(&two, Ok((vec![gateway_disk(0, 0)], Shutdown::Safe))), "release them first");
    refused(adopt(&record(Some("ee"), &[]), silent()), "or forget it first");
    refused(adopt(&record(Some("cc"), &[]), silent()), "is a cache disk of this appliance");
    refused(to_adopt(&disks, &none, "dd", &silent()), "not attached any more");
    let copies = [cache("/dev/sdb", "cc"), cache("/dev/sdc", "cc")];
    refused(to_adopt(&copies, &none, "cc", &silent()), "are copies");
}

#[test]
fn a_damaged_record_is_begun_anew_only_where_nothing_is_lost() {
    let orders = [
        Order::Look,
        Order::Allocate { name: "sdb".to_owned(), size: SIZE },
        Order::Adopt { uuid: "aa".to_owned() },
        Order::Wipe { uuid: "aa".to_owned() },
        Order::Forget { uuid: "aa".to_owned() },
    ];
    let begun = |disks: &[Attached], places: &[Place]| {
        orders.each_ref().map(|order| {
            let anew = begin_anew(order, disks, places, anyhow!("the record is damaged"));
            if let Ok(record) = &anew {
                assert_eq!(*record, Record::default());
            } else {
                refused(anew, "the record is damaged");
                return false;
            }
            true
        })
    };
    let ours = [cache("/dev/sda", "aa"), disk("/dev/sdb", Content::Blank)];
    assert_eq!(begun(&ours, &[]), [false, false, true, false, false], "it may be this one's");
    let begun_before = disk("/dev/sda", Content::Claimed(Some("aa".to_owned())));
    let blank = [begun_before, disk("/dev/sdb", Content::Blank)];
    assert_eq!(begun(&blank, &[]), [false, true, true, false, false], "nothing is there to lose");
    let present = Present { device: "/dev/sda".to_owned(), uuid: "aa".to_owned() };
    let mounted = |target: &str, disk| [Place { target: target.to_owned(), disk }];
    assert_eq!(begun(&ours, &mounted("/cache", Some(present))), [false; 5], "a look makes it anew");
    let gone = mounted("/cache", None);
    assert_eq!(begun(&ours, &gone), [false, false, true, false, false], "taken away while in use");
}

#[test]
fn only_other_appliances_cache_disks_are_wiped() {
    let disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "cc"), disk("/dev/sdd", Content::Data)];
    let own = record(Some("aa"), &[]);
    assert_eq!(to_wipe(&disks, &own, "cc").unwrap(), "/dev/sdc");
    refused(to_wipe(&disks, &own, "aa"), "is a cache disk of this appliance");
    refused(to_wipe(&disks, &own, "dd"), "not attached");
}

#[test]
fn only_what_is_not_attached_is_forgotten() {
    let disks = [cache("/dev/sdb", "aa")];
    let mut own = record(Some("aa"), &["bb", "cc"]);
    refused(forget(&disks, &mut own, "aa"), "it is attached");
    forget(&disks, &mut own, "dd").unwrap();
    assert_eq!(own, record(Some("aa"), &["bb", "cc"]), "only the gateway knew it");
    forget(&disks, &mut own, "bb").unwrap();
    assert_eq!(own, record(Some("aa"), &["cc"]));
    forget(&[], &mut own, "aa").unwrap();
    assert_eq!(own, Record::default(), "the others are of no use without the catalog");
}
