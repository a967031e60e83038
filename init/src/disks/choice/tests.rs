//! Goal: nothing that holds anything is ever chosen, and each policy takes what it says. Method: tables of
//! disks.
use super::{super::CACHE_LABEL, *};
use CacheDisks::{Ask, EveryBlank, SingleBlank};

fn disk(device: &str, content: Content) -> Attached {
    Attached {
        device: device.to_owned(),
        size: ByteSize(150 << 30),
        model: String::new(),
        is_system: false,
        content: Ok(content),
    }
}

fn system() -> Attached {
    Attached { is_system: true, ..disk("/dev/sda", Content::Known("partitions")) }
}

fn cache(device: &str, uuid: &str) -> Attached {
    disk(device, Content::Xfs { label: CACHE_LABEL.to_owned(), uuid: uuid.to_owned() })
}

fn claimed(device: &str, uuid: &str) -> Attached {
    disk(device, Content::Claimed(Some(uuid.to_owned())))
}

fn small(device: &str) -> Attached {
    Attached { size: ByteSize(100 << 20), ..disk(device, Content::Blank) }
}

fn record(primary: Option<&str>, further: &[&str]) -> Record {
    Record {
        primary: primary.map(str::to_owned),
        further: further.iter().map(|uuid| (*uuid).to_owned()).collect(),
        released: Vec::new(),
    }
}

fn new(disks: &[Attached], policy: CacheDisks) -> Primary {
    primary(disks, &Record::default(), policy)
}

fn format(device: &str) -> Primary {
    Primary::Format { device: device.to_owned() }
}

#[track_caller]
fn words(choice: Primary) -> String {
    match choice {
        Primary::Nothing(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_blank_disk_becomes_the_cache() {
    for content in [Content::Blank, Content::Released, Content::Claimed(None)] {
        let disks = [system(), disk("/dev/sdb", Content::Data), disk("/dev/sdc", content)];
        assert_eq!(new(&disks, SingleBlank), format("/dev/sdc"));
        assert_eq!(new(&disks, EveryBlank), format("/dev/sdc"));
        assert!(words(new(&disks, Ask)).contains("/dev/sdc. Blank disks are not used"));
    }
}

#[test]
fn of_several_blank_disks_only_every_blank_takes_the_first() {
    let disks =
        [small("/dev/sda"), disk("/dev/sdb", Content::Blank), disk("/dev/sdc", Content::Blank)];
    assert_eq!(new(&disks, EveryBlank), format("/dev/sdb"));
    let said = words(new(&disks, SingleBlank));
    assert!(said.contains("/dev/sda, /dev/sdb, /dev/sdc"), "{said}");
}

#[test]
fn the_recorded_disk_is_mounted_whatever_its_name_and_the_policy() {
    let disks = [disk("/dev/sda", Content::Blank), cache("/dev/sdc", "aa")];
    let expected = Primary::Mount { device: "/dev/sdc".to_owned(), uuid: "aa".to_owned() };
    for policy in [SingleBlank, EveryBlank, Ask] {
        assert_eq!(primary(&disks, &record(Some("aa"), &[]), policy), expected);
    }
    // The power went between the note and the end of the claim.
    let noted = [claimed("/dev/sdb", "aa")];
    let choice = primary(&noted, &record(Some("aa"), &[]), SingleBlank);
    assert!(matches!(choice, Primary::Mount { .. }));
}

#[test]
fn a_missing_cache_disk_is_never_replaced_by_another() {
    for other in [disk("/dev/sda", Content::Blank), claimed("/dev/sda", "cc")] {
        let disks = [other, cache("/dev/sdb", "bb")];
        let said = words(primary(&disks, &record(Some("aa"), &["bb"]), EveryBlank));
        assert!(said.contains("attach it again"), "{said}");
    }
}

#[test]
fn of_a_cache_disk_and_its_copy_none_is_taken() {
    let disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "aa")];
    let said = words(primary(&disks, &record(Some("aa"), &[]), SingleBlank));
    assert!(said.contains("/dev/sdb, /dev/sdc are copies"), "{said}");
    let choice = further(&disks, &record(Some("bb"), &["aa"]));
    assert!(matches!(&choice[..], [Further::Missing { why, .. }] if why.contains("are copies")));
}

#[test]
fn an_interrupted_format_is_taken_up_again() {
    for begun in [disk("/dev/sdb", Content::Claimed(None)), claimed("/dev/sdb", "aa")] {
        let disks = [disk("/dev/sda", Content::Blank), begun];
        assert_eq!(new(&disks, SingleBlank), format("/dev/sdb"));
        assert_eq!(new(&disks, EveryBlank), format("/dev/sdb"));
    }
}

#[test]
fn anything_doubtful_is_left_alone_and_said() {
    let foreign = [cache("/dev/sdb", "bb"), disk("/dev/sdc", Content::Blank)];
    for policy in [SingleBlank, EveryBlank, Ask] {
        assert!(words(new(&foreign, policy)).contains("another appliance"));
        let full = [
            disk("/dev/sdb", Content::Known("an ext file system")),
            disk("/dev/sdc", Content::Data),
        ];
        let said = words(new(&full, policy));
        assert!(said.contains("/dev/sdb holds an ext file system"), "{said}");
        assert!(said.contains("/dev/sdc holds data"), "{said}");
        assert!(words(new(&[small("/dev/sdb")], policy)).contains("too small"));
        let broken = Attached {
            content: Err("input/output error".to_owned()),
            ..disk("/dev/sdb", Content::Blank)
        };
        assert!(words(new(&[broken], policy)).contains("input/output error"));
    }
    let said = words(new(&[system()], SingleBlank));
    assert!(!said.contains("/dev/sda"), "the system disk is not worth a word: {said}");
}

#[test]
fn further_disks_are_those_of_the_record_in_its_order() {
    let disks = [cache("/dev/sdb", "aa"), cache("/dev/sdc", "bb"), cache("/dev/sdd", "cc")];
    let found = further(&disks, &record(Some("aa"), &["cc", "dd", "bb"]));
    let mount = |device: &str, uuid: &str| Further::Mount {
        device: device.to_owned(),
        uuid: uuid.to_owned(),
    };
    assert_eq!(found[0], mount("/dev/sdd", "cc"));
    assert!(matches!(&found[1], Further::Missing { uuid, why }
        if uuid == "dd" && why.contains("not attached")));
    assert_eq!(found[2..], [mount("/dev/sdc", "bb")]);
}

#[test]
fn every_blank_takes_what_is_blank_and_large_enough_and_was_not_given_back() {
    let disks = [
        system(),
        cache("/dev/sdb", "aa"),
        disk("/dev/sdc", Content::Blank),
        disk("/dev/sdd", Content::Released),
        disk("/dev/sde", Content::Data),
        small("/dev/sdf"),
        claimed("/dev/sdg", "gg"),
        claimed("/dev/sdh", "hh"),
        cache("/dev/sdi", "ii"),
    ];
    let mut record = record(Some("aa"), &["hh"]);
    assert_eq!(to_allocate(&disks, &record, EveryBlank), ["/dev/sdc", "/dev/sdg"]);
    for policy in [SingleBlank, Ask] {
        assert_eq!(to_allocate(&disks, &record, policy), [""; 0]);
    }
    record.further = vec!["hh".to_owned(); FURTHER_MAX - 1];
    assert_eq!(to_allocate(&disks, &record, EveryBlank), ["/dev/sdc"]);
}
