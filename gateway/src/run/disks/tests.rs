//! Which directories are taken for cache disks, and which are refused untouched.
use super::*;
use crate::{cache::HostDisk, ids::DiskId};

fn arg(name: &str, dir: &Path) -> DiskArg {
    DiskArg { name: name.parse().unwrap(), dir: dir.to_owned() }
}

fn host() -> Arc<dyn DiskIo> {
    Arc::new(HostDisk)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Goal: a disk keeps its number, whatever order it is given in; a new one gets one of its own.
#[tokio::test]
async fn a_disk_is_known_again_by_its_name() {
    let (cache, a, b) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalog = Catalog::open(cache.path()).unwrap();
    let both = [arg("a", a.path()), arg("b", b.path())];
    let first = open(&catalog, cache.path(), &both, host).await.unwrap().disks;
    let ids = |disks: &[DiskAt]| -> Vec<(String, DiskId)> {
        disks.iter().map(|disk| (disk.name.clone(), disk.id)).collect()
    };
    assert_eq!(ids(&first)[0], ("primary".to_owned(), DiskId::PRIMARY));
    assert_ne!(first[1].id, first[2].id);
    let turned = [arg("b", b.path()), arg("a", a.path())];
    let second = open(&catalog, cache.path(), &turned, host).await.unwrap().disks;
    assert_eq!((second[1].id, second[2].id), (first[2].id, first[1].id));
    catalog.set_draining(first[1].id, true).await.unwrap();
    let alone = open(&catalog, cache.path(), &both[..1], host).await.unwrap().disks;
    assert!(alone[1].draining);
}

/// The names of those that are taken besides the primary, and why the others are not.
async fn given(
    catalog: &Catalog,
    cache: &Path,
    given: &[DiskArg],
) -> (Vec<String>, BTreeMap<String, String>) {
    let Given { disks, left_out } = open(catalog, cache, given, host).await.unwrap();
    let why = left_out.into_iter().map(|(name, why)| (name.to_string(), why));
    (disks.into_iter().skip(1).map(|disk| disk.name).collect(), why.collect())
}

/// Goal: what is somebody else's is left out untouched, with words that say what to do; the good disk given beside
/// it is used.
#[tokio::test]
async fn what_is_not_ours_is_left_out_and_nothing_of_it_is_touched() {
    let new = || tempfile::tempdir().unwrap();
    let (cache, other, a, b, blank) = (new(), new(), new(), new(), new());
    let catalog = Catalog::open(cache.path()).unwrap();
    let stranger = Catalog::open(other.path()).unwrap();
    assert_eq!(given(&stranger, other.path(), &[arg("a", a.path())]).await.0, ["a"]);
    let mark = fs::read(a.path().join(MARK_FILE)).unwrap();
    let both = [arg("a", a.path()), arg("b", b.path())];
    let (used, left_out) = given(&catalog, cache.path(), &both).await;
    assert_eq!(used, ["b"]);
    assert!(left_out["a"].contains("another installation"), "{left_out:?}");
    assert_eq!(catalog.disks().await.unwrap().len(), 1, "one that was never used is not known");
    for (what, why) in [
        (arg("c", a.path()), "but is \"a\""),
        // A mount that did not happen is no new disk.
        (arg("a", blank.path()), "Is the disk mounted?"),
        (arg("a", &blank.path().join("none")), "No such file"),
        (arg("o", cache.path()), "holds a cache already"),
    ] {
        let name = what.name.to_string();
        let (used, left_out) = given(&stranger, other.path(), &[what]).await;
        assert!(used.is_empty() && left_out[&name].contains(why), "{left_out:?}");
    }
    assert_eq!(fs::read(a.path().join(MARK_FILE)).unwrap(), mark);
    assert!(names(blank.path()).is_empty());
    fs::write(a.path().join(MARK_FILE), "what").unwrap();
    let (used, left_out) = given(&stranger, other.path(), &[arg("a", a.path())]).await;
    assert!(used.is_empty() && left_out["a"].contains(MARK_FILE), "{left_out:?}");
}

/// Goal: a command line that does not fit together is a mistake, and nothing begins.
#[tokio::test]
async fn a_disk_is_given_once_and_under_a_name_of_its_own() {
    let new = || tempfile::tempdir().unwrap();
    let (cache, a, b) = (new(), new(), new());
    let catalog = Catalog::open(cache.path()).unwrap();
    for wrong in [
        vec![arg("b", b.path()), arg("c", b.path())],
        vec![arg("b", b.path()), arg("b", a.path())],
        vec![arg("primary", b.path())],
        vec![arg("b", cache.path())],
        (0..8).map(|n| arg(&n.to_string(), b.path())).collect(),
    ] {
        let refused = open(&catalog, cache.path(), &wrong, host).await.unwrap_err();
        assert!(matches!(refused, DiskError::Arguments(_)), "{refused}");
    }
    assert!(names(b.path()).is_empty() && catalog.disks().await.unwrap().is_empty());
}

/// Goal: a catalog is never made over the files of another one, which would take them for nobody's.
#[tokio::test]
async fn a_primary_disk_has_its_own_catalog_or_nothing() {
    let new = || tempfile::tempdir().unwrap();
    let (primary, further, lost) = (new(), new(), new());
    check_primary(primary.path()).unwrap();
    let catalog = Catalog::open(primary.path()).unwrap();
    open(&catalog, primary.path(), &[arg("a", further.path())], host).await.unwrap();
    check_primary(primary.path()).unwrap();
    let refused = check_primary(further.path()).unwrap_err();
    assert!(matches!(refused, DiskError::NotPrimary { .. }), "{refused}");
    fs::create_dir_all(lost.path().join("data/0a")).unwrap();
    check_primary(lost.path()).unwrap();
    fs::write(lost.path().join("data/0a/17"), "bytes").unwrap();
    let refused = check_primary(lost.path()).unwrap_err();
    assert!(matches!(refused, DiskError::NoCatalog { .. }), "{refused}");
    assert_eq!(names(lost.path()), ["data"]);
}
