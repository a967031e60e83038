//! The tree and who may change it.
use super::*;

fn mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

#[tokio::test]
async fn creates_follow_rfc_1813() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let create = |name: &'static [u8], how| f.fs.create(&who, root, name, how);
    let first = create(b"f", CreateHow::Exclusive([7; 8])).await.unwrap();
    assert_eq!(first.dir.before.unwrap().size, first.dir.after.size);
    assert!(first.dir.after.mtime > first.dir.before.unwrap().mtime);
    let again = create(b"f", CreateHow::Exclusive([7; 8])).await.unwrap();
    assert_eq!(again.attr.ino, first.attr.ino);
    let other = create(b"f", CreateHow::Exclusive([8; 8])).await;
    assert_eq!(other.unwrap_err(), FsError::Exists);
    let guarded = create(b"f", CreateHow::Guarded(mode(0o600))).await;
    assert_eq!(guarded.unwrap_err(), FsError::Exists);
    f.write(first.attr.ino, 0, b"content", Stability::Unstable).await;
    let opened = create(b"f", CreateHow::Unchecked(mode(0o600))).await.unwrap();
    assert_eq!(opened.attr.size, 7, "no size asked for: the content stays");
    let cut = SetAttr { size: Some(0), ..SetAttr::default() };
    let cut = create(b"f", CreateHow::Unchecked(cut)).await.unwrap();
    assert_eq!((cut.attr.size, cut.attr.ino), (0, first.attr.ino));
    let sized = SetAttr { size: Some(9), ..mode(0o600) };
    let sized = create(b"g", CreateHow::Guarded(sized)).await.unwrap();
    assert_eq!(f.content(sized.attr.ino).await, [0; 9]);
}

/// Goal: no way of making an entry makes one of a name that it cannot have, and what is refused leaves
/// nothing behind (RFC 1813 §3.2).
#[tokio::test]
async fn bad_names_are_refused_by_everything_that_makes_an_entry() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let there = f.create("there").await;
    f.upload_all().await;
    let journal = f.catalog.pending(None).await.unwrap();
    let times = f.fs.getattr(&who, root).await.unwrap();
    let long = [b'n'; names::NAME_BYTES_MAX + 1];
    let wide = "\u{e9}".repeat(names::NAME_BYTES_MAX / 2 + 1);
    for (name, wanted) in [
        (&b""[..], FsError::Invalid),
        (b"a/b", FsError::Invalid),
        (b"/", FsError::Invalid),
        (b"nul\0", FsError::Invalid),
        (b"\xff\xfe", FsError::Invalid),
        // Half a letter, a surrogate, and a letter that is longer than it need be.
        (b"half \xc3", FsError::Invalid),
        (b"\xed\xa0\x80", FsError::Invalid),
        (b"\xc0\xaf", FsError::Invalid),
        (b"s3key%mine", FsError::Invalid),
        (crate::store::SCRATCH_NAME.as_bytes(), FsError::Invalid),
        (&long, FsError::NameTooLong),
        (wide.as_bytes(), FsError::NameTooLong),
    ] {
        let shown = String::from_utf8_lossy(name);
        for how in [
            CreateHow::Unchecked(mode(0o600)),
            CreateHow::Guarded(mode(0o600)),
            CreateHow::Exclusive([1; 8]),
        ] {
            assert_eq!(f.fs.create(&who, root, name, how).await.unwrap_err(), wanted, "{shown}");
        }
        let made = f.fs.mkdir(&who, root, name, mode(0o755)).await;
        assert_eq!(made.unwrap_err(), wanted, "{shown}");
        let made = f.fs.symlink(&who, root, name, b"target", mode(0o777)).await;
        assert_eq!(made.unwrap_err(), wanted, "{shown}");
        let renamed = f.fs.rename(&who, root, b"there", root, name).await;
        assert_eq!(renamed.unwrap_err(), wanted, "{shown}");
    }
    let children = f.catalog.children(root, Ino(0), 100).await.unwrap();
    assert_eq!(children.iter().map(|child| child.ino).collect::<Vec<_>>(), [there]);
    assert_eq!(f.catalog.pending(None).await.unwrap(), journal);
    assert_eq!(f.catalog.next_due().await.unwrap(), None);
    assert_eq!(f.fs.getattr(&who, root).await.unwrap(), times);
}

#[tokio::test]
async fn exclusive_create_is_recognised_after_a_crash() {
    let f = Fixture::new().await;
    let how = CreateHow::Exclusive(*b"verifier");
    let made = f.fs.create(&owner(), f.root(), b"f", how).await.unwrap().attr.ino;
    let f = f.power_cut(0).await;
    let again = f.fs.create(&owner(), f.root(), b"f", how).await.unwrap();
    assert_eq!(again.attr.ino, made);
}

#[tokio::test]
async fn dots_lead_nowhere_else() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let dir = f.fs.mkdir(&who, root, b"d", mode(0o755)).await.unwrap().attr.ino;
    let ino = |attr: Result<Attr, FsError>| attr.unwrap().ino;
    assert_eq!(ino(f.fs.lookup(&who, root, b"..").await), root);
    assert_eq!(ino(f.fs.lookup(&who, dir, b".").await), dir);
    assert_eq!(ino(f.fs.lookup(&who, dir, b"..").await), root);
    assert_eq!(f.fs.rmdir(&who, dir, b".").await.unwrap_err(), FsError::Invalid);
    assert_eq!(f.fs.rmdir(&who, dir, b"..").await.unwrap_err(), FsError::NotEmpty);
    assert_eq!(f.fs.remove(&who, dir, b"..").await.unwrap_err(), FsError::IsDirectory);
    assert_eq!(f.fs.mkdir(&who, dir, b"..", mode(0o7)).await.unwrap_err(), FsError::Exists);
    let renamed = f.fs.rename(&who, root, b"d", dir, b"..").await;
    assert_eq!(renamed.unwrap_err(), FsError::Invalid);
    let scratch = crate::store::SCRATCH_NAME.as_bytes();
    let renamed = f.fs.rename(&who, root, b"d", dir, scratch).await;
    assert_eq!(renamed.unwrap_err(), FsError::Invalid, "no listing would show it");
}

#[tokio::test]
async fn removed_and_replaced_files_are_stale() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let (a, b) = (f.create("a").await, f.create("b").await);
    f.write(b, 0, b"replaced", Stability::FileSync).await;
    f.fs.rename(&who, root, b"a", root, b"b").await.unwrap();
    assert_eq!(f.fs.getattr(&who, b).await.unwrap_err(), FsError::Stale);
    assert_eq!(f.fs.lookup(&who, root, b"b").await.unwrap().ino, a);
    assert_eq!(f.fs.lookup(&who, root, b"a").await.unwrap_err(), FsError::NotFound);
    f.write(a, 0, b"pending", Stability::Unstable).await;
    f.fs.remove(&who, root, b"b").await.unwrap();
    assert_eq!(f.fs.commit(&who, a).await.unwrap_err(), FsError::Stale);
    assert_eq!(f.fs.read(&who, a, 0, 1).await.unwrap_err(), FsError::Stale);
    f.shared.removals_done().await;
    assert!(!f.shared.cache.exists(a).await.unwrap());
    f.upload_all().await;
    assert!(f.catalog.children(root, Ino(0), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn directories_are_removed_only_when_empty() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let dir = f.fs.mkdir(&who, root, b"d", mode(0o755)).await.unwrap().attr.ino;
    f.fs.symlink(&who, dir, b"l", b"../target", mode(0o777)).await.unwrap();
    assert_eq!(f.fs.rmdir(&who, root, b"d").await.unwrap_err(), FsError::NotEmpty);
    assert_eq!(f.fs.remove(&who, root, b"d").await.unwrap_err(), FsError::IsDirectory);
    assert_eq!(f.fs.rmdir(&who, dir, b"l").await.unwrap_err(), FsError::NotDirectory);
    let link = f.fs.lookup(&who, dir, b"l").await.unwrap();
    assert_eq!((link.kind, link.size), (FileKind::Symlink, 9));
    assert_eq!(&f.fs.readlink(&who, link.ino).await.unwrap().0[..], b"../target");
    f.fs.remove(&who, dir, b"l").await.unwrap();
    f.fs.rmdir(&who, root, b"d").await.unwrap();
    assert_eq!(f.fs.getattr(&who, dir).await.unwrap_err(), FsError::Stale);
}

#[tokio::test]
async fn paging_through_a_directory_sees_every_entry_once_while_it_changes() {
    let f = Fixture::new().await;
    let who = owner();
    for n in 0..20 {
        f.create(&format!("f{n:02}")).await;
    }
    let mut names = Vec::new();
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let ask = ReadDir { cookie, verifier, entries_max: 3, want_attr: true };
        let page = f.fs.readdir(&who, f.root(), ask).await.unwrap();
        assert!(page.entries.len() <= 3);
        for entry in &page.entries {
            cookie = entry.cookie;
            assert_eq!(entry.attr.as_ref().unwrap().ino, entry.ino);
            names.push(String::from_utf8(entry.name.clone()).unwrap());
        }
        verifier = page.verifier;
        if names.len() == 6 {
            f.fs.remove(&who, f.root(), b"f00").await.unwrap();
            f.fs.remove(&who, f.root(), b"f10").await.unwrap();
        }
        if page.end {
            break;
        }
    }
    assert_eq!(names.len(), 2 + 19);
    assert_eq!(&names[..3], [".", "..", "f00"]);
    let ask = ReadDir { cookie: 20, verifier: [1; 8], entries_max: 3, want_attr: false };
    assert_eq!(f.fs.readdir(&who, f.root(), ask).await.unwrap_err(), FsError::BadCookie);
}

#[tokio::test]
async fn mode_bits_decide_and_the_owner_may_always_reach_his_bytes() {
    let f = Fixture::new().await;
    let (root, stranger) = (f.root(), user(2000));
    let file = f.create("f").await;
    f.fs.setattr(&owner(), file, mode(0o000), None).await.unwrap();
    f.write(file, 0, b"mine", Stability::FileSync).await;
    assert_eq!(f.content(file).await, b"mine");
    assert_eq!(f.fs.read(&stranger, file, 0, 1).await.unwrap_err(), FsError::Access);
    let data = Bytes::from_static(b"x");
    let refused = f.fs.write(&stranger, file, 0, data, Stability::Unstable).await;
    assert_eq!(refused.unwrap_err(), FsError::Access);
    assert_eq!(
        f.fs.setattr(&stranger, file, mode(0o777), None).await.unwrap_err(),
        FsError::NotOwner
    );
    let give = SetAttr { uid: Some(2000), ..SetAttr::default() };
    assert_eq!(f.fs.setattr(&owner(), file, give, None).await.unwrap_err(), FsError::NotOwner);
    f.fs.setattr(&user(0), file, give, None).await.unwrap();
    let own = f.fs.mkdir(&owner(), root, b"own", mode(0o700)).await.unwrap().attr.ino;
    assert_eq!(f.fs.lookup(&stranger, own, b"x").await.unwrap_err(), FsError::Access);
    let made = f.fs.mkdir(&stranger, own, b"x", mode(0o755)).await;
    assert_eq!(made.unwrap_err(), FsError::Access);
    let ask = access::READ | access::LOOKUP | access::MODIFY | access::DELETE;
    assert_eq!(f.fs.access(&stranger, own, ask).await.unwrap().0, 0);
    assert_eq!(f.fs.access(&owner(), own, ask).await.unwrap().0, ask);
}

/// RFC 1813 §4.4: the owner's override "should not affect the return result" of ACCESS, nor should
/// what makes programs readable to those who may run them.
#[tokio::test]
async fn access_tells_the_mode_bits_and_nothing_of_the_owners_override() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, b"#!/bin/sh", Stability::FileSync).await;
    let ask = access::READ | access::MODIFY | access::EXTEND | access::EXECUTE;
    for (bits, of_owner, of_others) in [
        (0o000, 0, 0),
        (0o400, access::READ, 0),
        (0o200, access::MODIFY | access::EXTEND, 0),
        (0o711, ask, access::EXECUTE),
        (0o077, 0, ask),
    ] {
        f.fs.setattr(&owner(), file, mode(bits), None).await.unwrap();
        assert_eq!(f.fs.access(&owner(), file, ask).await.unwrap().0, of_owner, "{bits:o}");
        assert_eq!(f.fs.access(&user(2000), file, ask).await.unwrap().0, of_others, "{bits:o}");
    }
    f.fs.setattr(&owner(), file, mode(0o001), None).await.unwrap();
    assert_eq!(f.content(file).await, b"#!/bin/sh", "the owner's READ");
    f.fs.read(&user(2000), file, 0, 1).await.unwrap();
    let (of_root, _) = f.fs.access(&user(0), file, ask).await.unwrap();
    assert_eq!(of_root, ask);
}

#[tokio::test]
async fn sticky_directories_protect_the_files_of_others() {
    let f = Fixture::new().await;
    f.fs.setattr(&user(0), f.root(), mode(0o1777), None).await.unwrap();
    f.create("f").await;
    let stranger = user(2000);
    let removed = f.fs.remove(&stranger, f.root(), b"f").await;
    assert_eq!(removed.unwrap_err(), FsError::NotOwner);
    let moved = f.fs.rename(&stranger, f.root(), b"f", f.root(), b"g").await;
    assert_eq!(moved.unwrap_err(), FsError::NotOwner);
    f.fs.remove(&owner(), f.root(), b"f").await.unwrap();
}

#[tokio::test]
async fn setuid_goes_with_a_change_by_somebody_else_than_the_superuser() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.fs.setattr(&user(0), file, mode(0o6777), None).await.unwrap();
    f.write(file, 0, b"x", Stability::Unstable).await;
    assert_eq!(f.fs.getattr(&owner(), file).await.unwrap().mode, 0o777);
    f.fs.commit(&owner(), file).await.unwrap();
    assert_eq!(f.fs.getattr(&owner(), file).await.unwrap().mode, 0o777);
    f.fs.setattr(&user(0), file, mode(0o6777), None).await.unwrap();
    let group = SetAttr { gid: Some(50), ..SetAttr::default() };
    let change = f.fs.setattr(&owner(), file, group, None).await.unwrap();
    assert_eq!((change.after.mode, change.after.gid), (0o777, 50));
}

#[tokio::test]
async fn a_setattr_guard_must_match_the_time_of_the_last_change() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let ctime = f.fs.getattr(&owner(), file).await.unwrap().ctime;
    let change = f.fs.setattr(&owner(), file, mode(0o600), Some(ctime)).await.unwrap();
    assert!(change.after.ctime > ctime);
    let stale = f.fs.setattr(&owner(), file, mode(0o644), Some(ctime)).await;
    assert_eq!(stale.unwrap_err(), FsError::NotSync);
}

#[tokio::test]
async fn a_read_only_share_changes_nothing() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    let file = f.create("f").await;
    f.fs.set_mode(ShareMode::ReadOnly);
    let data = Bytes::from_static(b"x");
    let set = SetAttr::default();
    let refusals = [
        f.fs.write(&who, file, 0, data, Stability::Unstable).await.err(),
        f.fs.create(&who, root, b"g", CreateHow::Unchecked(set)).await.err(),
        f.fs.mkdir(&who, root, b"g", set).await.err(),
        f.fs.symlink(&who, root, b"g", b"t", set).await.err(),
        f.fs.remove(&who, root, b"f").await.err(),
        f.fs.rmdir(&who, root, b"f").await.err(),
        f.fs.rename(&who, root, b"f", root, b"g").await.err(),
        f.fs.setattr(&who, file, mode(0o600), None).await.err(),
    ];
    assert_eq!(refusals, [Some(FsError::ReadOnly); 8]);
    let (granted, _) = f.fs.access(&who, file, access::READ | access::MODIFY).await.unwrap();
    assert_eq!(granted, access::READ);
    f.fs.set_mode(ShareMode::ReadWrite);
    f.fs.remove(&who, root, b"f").await.unwrap();
}

#[tokio::test]
async fn what_is_known_is_served_while_s3_is_away_and_the_unknown_is_not_denied() {
    let f = Fixture::new().await;
    let who = owner();
    let object = f.object("o", b"remote").await;
    f.source.down.store(true, Ordering::SeqCst);
    let attr = f.fs.lookup(&who, f.root(), b"o").await.unwrap();
    assert_eq!((attr.ino, attr.mode), (object, 0o666));
    assert_eq!(f.fs.getattr(&who, object).await.unwrap().size, 6);
    let unknown = f.fs.lookup(&who, f.root(), b"unknown").await;
    assert_eq!(unknown.unwrap_err(), FsError::TryLater, "an error is not absence (I13)");
    assert_eq!(f.fs.read(&who, object, 0, 6).await.unwrap_err(), FsError::TryLater);
    let set = f.fs.setattr(&user(0), object, mode(0o600), None).await;
    assert_eq!(set.unwrap_err(), FsError::TryLater, "its other attributes are not known");
    f.source.down.store(false, Ordering::SeqCst);
    assert_eq!(f.fs.lookup(&who, f.root(), b"o").await.unwrap().mode, 0o640);
    assert_eq!(f.content(object).await, b"remote");
}

#[tokio::test]
async fn an_inode_of_another_share_is_stale() {
    let f = Fixture::new().await;
    let root = RootAttr { mode: 0o777, uid: 0, gid: 0, now: f.clock.now() };
    let other = f.catalog.ensure_share("other", "bucket2", "", root).await.unwrap();
    assert_eq!(f.fs.getattr(&owner(), other.root).await.unwrap_err(), FsError::Stale);
}

#[tokio::test]
async fn a_directory_has_a_link_for_each_directory_in_it() {
    let f = Fixture::new().await;
    let (root, who) = (f.root(), owner());
    assert_eq!(f.fs.getattr(&who, root).await.unwrap().links, 1, "nobody knows");
    let token = f.catalog.begin_listing(root).await.unwrap();
    f.catalog.finish_listing(token, f.clock.now()).await.unwrap();
    let mkdir = |dir, name: &'static [u8]| f.fs.mkdir(&who, dir, name, SetAttr::default());
    let (a, b) = (mkdir(root, b"a").await.unwrap(), mkdir(root, b"b").await.unwrap());
    assert_eq!((a.attr.links, b.dir.after.links), (2, 4));
    let (a, b) = (a.attr.ino, b.attr.ino);
    let inner = mkdir(a, b"inner").await.unwrap();
    assert_eq!(inner.dir.after.links, 3);
    assert_eq!(f.fs.getattr(&who, f.create("file").await).await.unwrap().links, 1);
    let moved = f.fs.rename(&who, a, b"inner", b, b"inner").await.unwrap();
    assert_eq!((moved.from_dir.after.links, moved.to_dir.after.links), (2, 3));
    let moved = f.fs.rename(&who, b, b"inner", root, b"a").await.unwrap();
    assert_eq!((moved.from_dir.after.links, moved.to_dir.after.links), (2, 4), "in place of a");
    assert_eq!(f.fs.rmdir(&who, root, b"b").await.unwrap().after.links, 3);
    let f = f.power_cut(5).await;
    assert_eq!(f.fs.getattr(&who, root).await.unwrap().links, 3);
}
