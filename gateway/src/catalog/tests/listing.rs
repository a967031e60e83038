//! Listings against local changes: nothing local is eaten, nothing deleted comes back.
use super::*;

pub(super) const DEFAULTS: ListDefaults =
    ListDefaults { file_mode: 0o666, directory_mode: 0o777, uid: 65534, gid: 65534 };

/// A page: `name/` is a directory, `name=etag` a file with that tag (default tag `e`).
pub(super) fn page(names: &[&str]) -> ListedPage {
    let entry = |text: &&str| match text.strip_suffix('/') {
        Some(name) => {
            ListedEntry { name: name.to_owned(), part: None, kind: ListedKind::Directory }
        }
        None => {
            let (name, etag) = text.split_once('=').unwrap_or((text, "e"));
            let kind = ListedKind::File { size: 7, etag: tag(etag), last_modified: at(70) };
            ListedEntry { name: name.to_owned(), part: None, kind }
        }
    };
    ListedPage {
        entries: names.iter().map(entry).collect(),
        marker: None,
        defaults: DEFAULTS,
        beside: |name| format!("{name} beside"),
        now: at(80),
    }
}

impl Fixture {
    pub(super) async fn list(&self, dir: Ino, names: &[&str]) -> (Merged, Vec<Ino>) {
        let mut token = self.catalog.begin_listing(dir).await.unwrap();
        let merged = self.catalog.merge_listing_page(&mut token, page(names)).await.unwrap();
        (merged, self.catalog.finish_listing(token, at(90)).await.unwrap())
    }

    pub(super) async fn names(&self, dir: Ino) -> Vec<String> {
        let rows = self.catalog.children(dir, Ino(0), 1000).await.unwrap();
        let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_listing_brings_changes_and_takes_away_entries_of_the_bucket() {
    let f = Fixture::new().await;
    let root = f.share.root;
    assert_eq!(f.list(root, &["a", "b", "d/"]).await.0.inserted, 3);
    let a = f.catalog.child(root, "a").await.unwrap().unwrap();
    assert_eq!((a.size, a.mode, a.needs_head, a.dirty), (7, 0o666, true, false));
    assert_eq!(a.object_key, Some(key("p/a")));
    let before = f.catalog.inode(root).await.unwrap();
    assert_eq!(f.list(root, &["a", "b", "d/"]).await, (Merged::default(), vec![]));
    assert_eq!(f.catalog.inode(root).await.unwrap().mtime, before.mtime);
    let (merged, gone) = f.list(root, &["a=other"]).await;
    assert_eq!(merged.changed, [a.ino]);
    assert_eq!(gone.len(), 1);
    assert_eq!(f.names(root).await, ["a"]);
    assert_eq!(f.catalog.inode(a.ino).await.unwrap().etag, Some(tag("other")));
    f.verify().await;
}

#[tokio::test]
async fn a_listing_that_does_not_end_removes_nothing() {
    let f = Fixture::new().await;
    f.list(f.share.root, &["a", "b"]).await;
    let mut token = f.catalog.begin_listing(f.share.root).await.unwrap();
    f.catalog.merge_listing_page(&mut token, page(&["a"])).await.unwrap();
    drop(token);
    assert_eq!(f.names(f.share.root).await, ["a", "b"]);
}

#[tokio::test]
async fn local_changes_are_not_eaten() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["edited", "renamed", "removed", "dir/"]).await;
    let edited = f.catalog.child(root, "edited").await.unwrap().unwrap().ino;
    f.write(edited, 3).await;
    f.rename((root, "renamed"), (root, "new name")).await;
    f.catalog.remove(root, "removed", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.file(root, "created").await;
    let (merged, gone) = f.list(root, &["edited=foreign", "renamed", "removed", "dir/"]).await;
    assert_eq!((merged.inserted, merged.conflicts, gone), (0, vec![edited], vec![]));
    assert_eq!(f.names(root).await, ["created", "dir", "edited", "new name"]);
    let (_, gone) = f.list(root, &["dir/"]).await;
    assert!(gone.is_empty());
    assert_eq!(f.names(root).await, ["created", "dir", "edited", "new name"]);
    f.verify().await;
}

/// Goal: what the journal does while a listing runs is not undone by it. Method: begin a listing,
/// do everything, then merge the old view.
#[tokio::test]
async fn a_listing_older_than_a_publish_or_a_deletion_does_not_undo_it() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["gone", "moved", "over"]).await;
    let mut token = f.catalog.begin_listing(root).await.unwrap();
    f.file(root, "fresh").await;
    f.catalog.remove(root, "gone", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.rename((root, "moved"), (root, "here")).await;
    let over = f.catalog.child(root, "over").await.unwrap().unwrap().ino;
    f.write(over, 3).await;
    f.drain().await;
    assert_eq!(f.catalog.pending(None).await.unwrap(), PendingCounts::default());
    let old = page(&["gone", "moved", "over"]);
    let merged = f.catalog.merge_listing_page(&mut token, old).await.unwrap();
    assert_eq!(merged, Merged::default());
    assert!(f.catalog.finish_listing(token, at(90)).await.unwrap().is_empty());
    assert_eq!(f.names(root).await, ["fresh", "here", "over"]);
    // A listing that begins now tells the truth again.
    f.list(root, &["gone=again", "here"]).await;
    assert_eq!(f.names(root).await, ["gone", "here"]);
    f.verify().await;
}

#[tokio::test]
async fn the_old_prefix_of_a_renamed_directory_stays_hidden_until_it_is_empty() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["d/"]).await;
    let dir = f.catalog.child(root, "d").await.unwrap().unwrap().ino;
    f.list(dir, &["x", "y"]).await;
    f.rename((root, "d"), (root, "e")).await;
    assert_eq!(f.list(root, &["d/"]).await.0.inserted, 0);
    let jobs = f.claim().await;
    for job in jobs {
        if let Job::Sync(job) = job {
            f.catalog
                .finish_sync(job.op, job.inode.version, &job.key, &tag("t"), at(9))
                .await
                .unwrap();
        }
    }
    assert_eq!(f.list(root, &["d/", "e/"]).await.0.inserted, 0);
    let mut token = f.catalog.begin_listing(root).await.unwrap();
    f.drain().await;
    let merged = f.catalog.merge_listing_page(&mut token, page(&["d/", "e/"])).await.unwrap();
    assert_eq!(merged.inserted, 0);
    f.catalog.finish_listing(token, at(90)).await.unwrap();
    assert_eq!(f.names(root).await, ["e"]);
    assert_eq!(f.names(dir).await, ["x", "y"]);
    f.verify().await;
}

/// An attempt of unknown outcome may be seen at the key that its file has left: it is nobody else's.
#[tokio::test]
async fn what_an_attempt_may_have_left_at_a_renamed_file_s_old_key_is_hidden() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "d").await;
    f.drain().await;
    f.file(root, "f").await;
    f.file(dir, "x").await;
    let much_later = at(1000 * SOON);
    for job in f.claim().await {
        f.catalog.fail_job(job.op(), "no answer", much_later).await.unwrap();
    }
    f.rename((root, "f"), (root, "g")).await;
    f.rename((root, "d"), (root, "e")).await;
    let late = f.catalog.child(root, "g").await.unwrap().unwrap().ino;
    let change = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    let stamp = Stamp { due: much_later, ..stamp(8) };
    f.catalog.set_attr(late, change, stamp).await.unwrap();
    assert_eq!(f.list(root, &["f", "d/", "e/"]).await.0.inserted, 0);
    for round in 0..10 {
        let jobs = f.catalog.claim_jobs(at(SOON).plus_millis(round * 2000), 100).await.unwrap();
        for job in jobs {
            f.perform(job, 0).await;
        }
    }
    assert!(f.catalog.renames().await.unwrap().is_empty(), "the walk is at its end");
    assert_eq!(f.list(root, &["f", "d/", "e/"]).await.0.inserted, 0);
    f.drain().await;
    assert_eq!(
        f.list(root, &["f=theirs", "d/", "e/", "g"]).await.0.inserted,
        2,
        "then it is others'"
    );
    f.verify().await;
}

#[tokio::test]
async fn a_listing_of_a_renamed_directory_is_not_merged() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "d").await;
    let mut token = f.catalog.begin_listing(dir).await.unwrap();
    f.rename((root, "d"), (root, "e")).await;
    assert!(matches!(
        f.catalog.merge_listing_page(&mut token, page(&["x"])).await,
        Err(CatalogError::Changed)
    ));
}

#[tokio::test]
async fn a_directory_gone_from_the_bucket_goes_with_what_is_clean_below_it() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["d/", "keep/"]).await;
    let dir = f.catalog.child(root, "d").await.unwrap().unwrap().ino;
    f.list(dir, &["x", "sub/"]).await;
    let keep = f.catalog.child(root, "keep").await.unwrap().unwrap().ino;
    f.list(keep, &["clean"]).await;
    f.file(keep, "dirty").await;
    let (_, gone) = f.list(root, &[]).await;
    assert_eq!(gone.len(), 2);
    assert_eq!(f.names(root).await, ["keep"]);
    assert_eq!(f.names(keep).await, ["dirty"]);
    f.verify().await;
}

#[tokio::test]
async fn many_entries_are_removed_in_bounded_steps() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["d/"]).await;
    let dir = f.catalog.child(root, "d").await.unwrap().unwrap().ino;
    let names: Vec<String> = (0..2500).map(|n| format!("f{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    f.list(dir, &names).await;
    f.list(root, &[&names[..], &["d/"]].concat()).await;
    let (_, gone) = f.list(root, &[]).await;
    assert_eq!(gone.len(), 5000);
    assert!(f.names(root).await.is_empty());
    f.verify().await;
}

#[tokio::test]
async fn a_directory_learns_of_its_marker_from_its_own_listing_or_from_head() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["d/", "implied/"]).await;
    let dir = f.catalog.child(root, "d").await.unwrap().unwrap();
    assert!(dir.needs_head && dir.object_key.is_none());
    let mut token = f.catalog.begin_listing(dir.ino).await.unwrap();
    assert_eq!(token.prefix, "p/d/");
    let with_marker = ListedPage { marker: Some(tag("m")), ..page(&[]) };
    f.catalog.merge_listing_page(&mut token, with_marker).await.unwrap();
    f.catalog.finish_listing(token, at(90)).await.unwrap();
    let attr = HeadAttr {
        mode: Some(0o750),
        uid: Some(3),
        gid: Some(4),
        atime: at(1),
        mtime: at(2),
        defaults: DEFAULTS,
    };
    assert!(matches!(
        f.catalog.apply_head(dir.ino, Some((tag("other").into(), attr))).await,
        Err(CatalogError::Changed)
    ));
    let row = f.catalog.apply_head(dir.ino, Some((tag("m").into(), attr))).await.unwrap();
    assert_eq!((row.mode, row.needs_head, row.object_key), (0o750, false, Some(key("p/d/"))));
    let implied = f.catalog.child(root, "implied").await.unwrap().unwrap();
    let row = f.catalog.apply_head(implied.ino, None).await.unwrap();
    assert!(!row.needs_head && row.object_key.is_none());
    f.catalog.remove(root, "d", RemoveKind::EmptyDirectory, stamp(9)).await.unwrap();
    assert_eq!(f.drain().await, ["delete p/d/"]);
}

/// A client keeps names as long as the directory's times stay.
#[tokio::test]
async fn a_name_that_goes_shows_in_the_times_of_its_directory() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["d/", "keep/"]).await;
    let keep = f.catalog.child(root, "keep").await.unwrap().unwrap().ino;
    f.list(keep, &["clean/", "x"]).await;
    f.file(keep, "dirty").await;
    let before = f.catalog.inode(root).await.unwrap();
    let (_, gone) = f.list(root, &["keep/"]).await;
    assert!(gone.is_empty(), "no file was known below it");
    let after = f.catalog.inode(root).await.unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);

    let before = f.catalog.inode(keep).await.unwrap();
    f.list(root, &[]).await;
    assert_eq!(f.names(keep).await, ["dirty"]);
    let after = f.catalog.inode(keep).await.unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);

    f.list(root, &["keep/", "lost"]).await;
    let lost = f.catalog.child(root, "lost").await.unwrap().unwrap();
    let before = f.catalog.inode(root).await.unwrap();
    assert!(f.catalog.mark_gone(&lost, at(95)).await.unwrap());
    let after = f.catalog.inode(root).await.unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    f.verify().await;
}
