//! Goal: the report says what is, and what is mounted wrongly is known. Method: looks at invented disks.
use super::{super::CACHE_LABEL, *};
use crate::disks::file_system::Present;

fn uuids(uuids: &[&str]) -> Vec<String> {
    uuids.iter().map(|uuid| (*uuid).to_owned()).collect()
}

fn place(target: &str, device: &str, uuid: &str) -> Place {
    let disk = Some(Present { device: device.to_owned(), uuid: uuid.to_owned() });
    Place { target: target.to_owned(), disk }
}

fn lost(target: &str) -> Place {
    Place { target: target.to_owned(), disk: None }
}

fn disk(device: &str, content: Content) -> Attached {
    Attached {
        device: device.to_owned(),
        size: ByteSize(150 << 30),
        model: "Virtual disk".to_owned(),
        is_system: device == "/dev/sda",
        content: Ok(content),
    }
}

fn cache(device: &str, uuid: &str) -> Attached {
    disk(device, Content::Xfs { label: CACHE_LABEL.to_owned(), uuid: uuid.to_owned() })
}

fn look() -> Look {
    Look {
        record: Record {
            primary: Some("aa".to_owned()),
            further: uuids(&["cc", "bb"]),
            released: uuids(&["dd"]),
        },
        places: vec![
            place("/cache", "/dev/sdb", "aa"),
            place("/cache-disks/bb", "/dev/sdc", "bb"),
            place("/cache-disks/cc", "/dev/sdd", "cc"),
        ],
        ..Look::default()
    }
}

#[test]
fn what_is_mounted_and_must_not_be_is_known() {
    let look = look();
    for right in &look.places {
        assert!(!is_stale(right, &look.record), "{right:?}");
    }
    for wrong in [
        lost("/cache"),
        lost("/cache-disks/bb"),
        place("/cache", "/dev/sdb", "bb"),
        place("/cache-disks/dd", "/dev/sde", "dd"),
        place("/cache-disks/aa", "/dev/sdb", "aa"),
    ] {
        assert!(is_stale(&wrong, &look.record), "{wrong:?}");
    }
    let record = of_places(&look.places);
    assert!(look.places.iter().all(|place| !is_stale(place, &record)), "{record:?}");
    assert!(is_stale(&lost("/cache"), &of_places(&[lost("/cache")])));
}

#[test]
fn while_the_gateway_runs_nothing_is_unmounted() {
    let mut look = look();
    look.unmount_stale(Gateway::Runs);
    assert!(!look.gateway_must_end);
    look.places[0] = lost("/cache");
    look.unmount_stale(Gateway::Runs);
    assert!(look.gateway_must_end);
    let report = look.report();
    assert!(report.gateway_must_end && report.primary.is_none());
    assert!(report.problem.contains("was removed while in use"), "{}", report.problem);
}

fn known(name: &str, state: DiskState, files: u64) -> GatewayDisk {
    GatewayDisk {
        name: name.parse().unwrap(),
        path: String::new(),
        primary: name == "primary",
        state,
        total: ByteSize(0),
        free: ByteSize(0),
        cached_bytes: ByteSize(0),
        dirty_bytes: ByteSize(0),
        dirty_files: 0,
        files,
        problem: None,
    }
}

#[test]
fn what_the_gateway_says_of_its_disks_is_followed() {
    let mut look = look();
    look.disks = vec![cache("/dev/sde", "ee"), cache("/dev/sdf", "ff")];
    let said = [
        known("primary", DiskState::InUse, 5),
        known("bb", DiskState::Empty, 0),
        known("cc", DiskState::Draining, 3),
        known("dd", DiskState::Missing, 0),
        known("ee", DiskState::Missing, 9),
        known("ff", DiskState::Missing, 0),
        known("gg", DiskState::Missing, 7),
    ];
    let forgotten = std::cell::RefCell::new(Vec::new());
    look.hear_gateway(&said, |name| {
        forgotten.borrow_mut().push(name.to_owned());
        if name == "gg" { Err("7 files are only there".to_owned()) } else { Ok(()) }
    });
    assert!(look.draining);
    assert_eq!(look.record.further, ["cc", "ee"], "bb is empty, and ee came with the primary one");
    assert_eq!(look.record.released, ["dd", "bb"]);
    assert_eq!(forgotten.into_inner(), ["dd", "ff", "gg"]);
    assert_eq!(look.missing, ["gg"]);
    assert_eq!(look.warnings, ["cache disk gg: 7 files are only there"]);
    // Of the record's own ones that are missing none is forgotten.
    let mut look = self::look();
    let missing = [known("bb", DiskState::Missing, 0)];
    look.hear_gateway(&missing, |name| panic!("{name} is not to be forgotten"));
    assert_eq!(look.record, self::look().record);
}

#[test]
fn a_gateway_that_does_not_answer_is_asked_again() {
    let mut look = look();
    let store = |_: &Record| panic!("there is nothing new to note");
    look.ask_gateway(Err("the gateway does not answer".to_owned()), store);
    assert_eq!(look.record, self::look().record);
    assert!(look.report().gateway_silent);
    let mut look = self::look();
    look.ask_gateway(Ok(vec![known("bb", DiskState::InUse, 1)]), store);
    assert!(!look.report().gateway_silent);
    // What it says counts once it is noted.
    let mut look = self::look();
    let empty = || Ok(vec![known("bb", DiskState::Empty, 0)]);
    look.ask_gateway(empty(), |_| Err(anyhow::anyhow!("no space left")));
    assert_eq!(look.record, self::look().record);
    assert_eq!(look.warnings, ["no space left"]);
    look.ask_gateway(empty(), |record| {
        assert_eq!(record.released, ["dd", "bb"]);
        Ok(())
    });
    assert_eq!(look.record.released, ["dd", "bb"]);
}

#[test]
fn the_report_has_the_disks_in_the_order_of_the_record() {
    let report = look().report();
    assert_eq!(report.primary.unwrap().device, "/dev/sdb");
    let further: Vec<String> = report.further.into_iter().map(|disk| disk.uuid).collect();
    assert_eq!(further, ["cc", "bb"]);
    assert!(!report.gateway_must_end && report.problem.is_empty() && report.missing.is_empty());
}

#[test]
fn without_the_primary_disk_the_failure_is_the_problem_and_with_it_a_warning() {
    let error = || anyhow::anyhow!("no space left").context("noting the cache disks");
    let mut running = look();
    running.warn(&error());
    let report = running.report();
    assert!(report.problem.is_empty());
    assert_eq!(report.warnings, ["noting the cache disks: no space left"]);
    let mut ended = Look { places: Vec::new(), ..look() };
    ended.warn(&error());
    let report = ended.report();
    assert_eq!(report.problem, "noting the cache disks: no space left");
    assert_eq!(report.missing, ["aa"]);
    assert!(report.warnings.is_empty());
}

#[test]
fn a_damaged_record_is_made_anew_of_what_is_mounted_and_of_nothing_else() {
    let damage = || Err(anyhow::anyhow!("the record is damaged: no disk was touched"));
    let record = of_places(&look().places);
    let stored = std::cell::RefCell::new(Vec::new());
    let store = |record: &Record| {
        stored.borrow_mut().push(record.clone());
        Ok(())
    };
    let mut running = Look { record: record.clone(), ..look() };
    running.take_record(damage(), store).unwrap();
    assert_eq!((&running.record, stored.take()), (&record, vec![record.clone()]));
    assert!(running.warnings[0].contains("made anew of those in use"), "{:?}", running.warnings);
    let mut unkept = Look { record, ..look() };
    assert!(unkept.take_record(damage(), |_| Err(anyhow::anyhow!("read-only"))).is_err());

    let disks = vec![cache("/dev/sdb", "aa"), disk("/dev/sdc", Content::Blank)];
    let mut begun = Look { disks, ..Look::default() };
    let error = begun.take_record(damage(), store).unwrap_err();
    begun.warn(&error);
    assert_eq!(stored.take(), []);
    let report = begun.report();
    assert_eq!(report.problem, "the record is damaged: no disk was touched");
    let found: Vec<(Role, String)> =
        report.disks.into_iter().map(|disk| (disk.role, disk.holds)).collect();
    let either = "a cache disk, of this appliance or another one".to_owned();
    assert_eq!(found, [(Role::OtherCache, either), (Role::Blank, "blank".to_owned())]);
}

#[test]
fn each_disk_has_one_role() {
    let record = look().record;
    let other = Content::Xfs { label: "data".to_owned(), uuid: "aa".to_owned() };
    for (disk, role, holds) in [
        (disk("/dev/sda", Content::Known("partitions")), Role::System, "the appliance itself"),
        (cache("/dev/sdb", "aa"), Role::Primary, "a cache disk of this appliance"),
        (cache("/dev/sdb", "bb"), Role::Further, "a cache disk of this appliance"),
        (cache("/dev/sdb", "ee"), Role::OtherCache, "a cache disk of another appliance"),
        (disk("/dev/sdb", Content::Blank), Role::Blank, "blank"),
        (disk("/dev/sdb", Content::Released), Role::Blank, "blank: a released cache disk"),
        (
            disk("/dev/sdb", Content::Claimed(Some("ee".to_owned()))),
            Role::Blank,
            "blank: formatting it was begun and not ended",
        ),
        (
            disk("/dev/sdb", Content::Claimed(Some("bb".to_owned()))),
            Role::Further,
            "a cache disk of this appliance",
        ),
        (disk("/dev/sdb", other), Role::Foreign, "holds an XFS file system"),
        (disk("/dev/sdb", Content::Data), Role::Foreign, "holds data"),
    ] {
        let described = described(&disk, &record);
        assert_eq!((described.role, described.holds.as_str()), (role, holds));
        assert!(!described.name.contains('/'));
    }
}

#[test]
fn of_copies_none_is_the_one() {
    let mut disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "bb"), cache("/dev/sdd", "bb")];
    assert_eq!(only(&mut disks, "aa").unwrap().device, "/dev/sdb");
    assert!(only(&mut disks, "bb").is_none() && only(&mut disks, "cc").is_none());
}
