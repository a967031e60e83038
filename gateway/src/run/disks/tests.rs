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
    let first = open(&catalog, cache.path(), &both, host).await.unwrap();
    let ids = |disks: &[DiskAt]| -> Vec<(String, DiskId)> {
        disks.iter().map(|disk| (disk.name.clone(), disk.id)).collect()
    };
    assert_eq!(ids(&first)[0], ("primary".to_owned(), DiskId::PRIMARY));
    assert_ne!(first[1].id, first[2].id);
    let turned = [arg("b", b.path()), arg("a", a.path())];
    let second = open(&catalog, cache.path(), &turned, host).await.unwrap();
    assert_eq!((second[1].id, second[2].id), (first[2].id, first[1].id));
    catalog.set_draining(first[1].id, true).await.unwrap();
    let alone = open(&catalog, cache.path(), &both[..1], host).await.unwrap();
    assert!(alone[1].draining);
}

/// Goal: what is somebody else's is refused before anything is written, with words that say what to do; the
/// good disks given beside it stay as they are, too.
#[tokio::test]
async fn what_is_not_ours_is_refused_and_nothing_is_touched() {
    let new = || tempfile::tempdir().unwrap();
    let (cache, other, a, b) = (new(), new(), new(), new());
    let catalog = Catalog::open(cache.path()).unwrap();
    let stranger = Catalog::open(other.path()).unwrap();
    open(&stranger, other.path(), &[arg("a", a.path())], host).await.unwrap();
    let given = [arg("b", b.path()), arg("a", a.path())];
    let refused = open(&catalog, cache.path(), &given, host).await.unwrap_err();
    assert!(matches!(refused, DiskError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("another installation"), "{refused}");
    assert!(names(b.path()).is_empty() && catalog.disks().await.unwrap().is_empty());
    let renamed = open(&stranger, other.path(), &[arg("c", a.path())], host).await.unwrap_err();
    assert!(matches!(renamed, DiskError::OtherName { .. }), "{renamed}");
    let primary = open(&catalog, cache.path(), &[arg("o", other.path())], host).await.unwrap_err();
    assert!(matches!(primary, DiskError::InUse { .. }), "{primary}");
    // A mount that did not happen is no new disk.
    let unmounted = open(&stranger, other.path(), &[arg("a", b.path())], host).await.unwrap_err();
    assert!(matches!(unmounted, DiskError::NotThere { .. }), "{unmounted}");
    fs::write(a.path().join(MARK_FILE), "what").unwrap();
    let damaged = open(&stranger, other.path(), &[arg("a", a.path())], host).await.unwrap_err();
    assert!(matches!(damaged, DiskError::Mark { .. }), "{damaged}");
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
    assert!(names(b.path()).is_empty());
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
