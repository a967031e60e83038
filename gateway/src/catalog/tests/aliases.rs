//! Entries whose name is not the end of their key.
use super::{listing::page, *};

impl Fixture {
    /// Lists `dir` with one entry under an alias; `part/` is a directory.
    async fn list_alias(&self, dir: Ino, name: &str, part: &str) -> Ino {
        let mut token = self.catalog.begin_listing(dir).await.unwrap();
        let (part, kind) = match part.strip_suffix('/') {
            Some(part) => (part, ListedKind::Directory),
            None => (part, ListedKind::File { size: 7, etag: tag("e"), last_modified: at(70) }),
        };
        let entry = ListedEntry { name: name.to_owned(), part: Some(part.to_owned()), kind };
        let page = ListedPage { entries: vec![entry], ..page(&[]) };
        self.catalog.merge_listing_page(&mut token, page).await.unwrap();
        self.catalog.finish_listing(token, at(90)).await.unwrap();
        self.catalog.child(dir, name).await.unwrap().unwrap().ino
    }
}

#[tokio::test]
async fn a_directory_takes_the_name_and_the_object_is_beside_it_whatever_comes_first() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["x", "x/"]).await;
    let first = f.catalog.child(root, "x").await.unwrap().unwrap();
    assert_eq!(first.kind, FileKind::Directory);
    let beside = f.catalog.child(root, "x beside").await.unwrap().unwrap();
    assert_eq!((beside.key_part.as_deref(), &beside.object_key), (Some("x"), &Some(key("p/x"))));
    let mut token = f.catalog.begin_listing(root).await.unwrap();
    let mut all = Merged::default();
    for name in ["y", "x/", "x", "y/"] {
        let merged = f.catalog.merge_listing_page(&mut token, page(&[name])).await.unwrap();
        all.inserted += merged.inserted;
        all.renamed += merged.renamed;
        all.beside.extend(merged.beside);
    }
    assert!(f.catalog.finish_listing(token, at(90)).await.unwrap().is_empty());
    assert_eq!((all.inserted, all.renamed, all.beside), (2, 1, vec!["p/x".to_owned()]));
    assert_eq!(f.names(root).await, ["x", "x beside", "y", "y beside"]);
    assert_eq!(f.catalog.child(root, "x").await.unwrap().unwrap().ino, first.ino);
    assert_eq!(f.catalog.child(root, "x beside").await.unwrap().unwrap().ino, beside.ino);
    // The bucket loses a directory: its object has its name again.
    f.list(root, &["x", "y", "y/"]).await;
    assert_eq!(f.names(root).await, ["x", "y", "y beside"]);
    assert_eq!(f.catalog.child(root, "x").await.unwrap().unwrap().ino, beside.ino);
    f.verify().await;
}

#[tokio::test]
async fn an_object_that_is_changed_here_does_not_step_aside() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["x"]).await;
    let x = f.catalog.child(root, "x").await.unwrap().unwrap().ino;
    f.write(x, 3).await;
    f.list(root, &["x", "x/"]).await;
    assert_eq!(f.catalog.child(root, "x").await.unwrap().unwrap().ino, x);
    assert_eq!(f.drain().await, ["put p/x over"]);
    f.list(root, &["x=other", "x/"]).await;
    assert_eq!(f.catalog.child(root, "x beside").await.unwrap().unwrap().ino, x);
    f.verify().await;
}

#[tokio::test]
async fn keys_follow_their_parts_and_lead_back() {
    let f = Fixture::new().await;
    let whole = f.catalog.ensure_share("whole", "other", "", ROOT).await.unwrap();
    for (share, prefix) in [(&f.share, "p/"), (&whole, "")] {
        let empty = f.list_alias(share.root, "empty", "/").await;
        assert_eq!(f.catalog.key(empty).await.unwrap(), format!("{prefix}/"));
        assert_eq!(f.catalog.path(empty).await.unwrap(), "empty");
        let inner = f.list_alias(empty, "again", "/").await;
        let file = f.list_alias(inner, "dots", "..").await;
        assert_eq!(f.catalog.key(file).await.unwrap(), format!("{prefix}//.."));
        let (id, root) = (share.id, share.root);
        for (key, ino) in [("//..", file), ("//", inner), ("/", empty), ("", root)] {
            let key = format!("{prefix}{key}");
            let found = f.catalog.read({
                let key = key.clone();
                move |db| inode::at_key(db, id, &key)
            });
            let found = found.await.unwrap().map(|row| row.ino);
            assert_eq!(found, Some(ino), "{key:?}");
        }
        let aliased = f.catalog.aliased(share.id, Ino(0), 2).await.unwrap();
        assert_eq!(aliased.len(), 2);
        let rest = f.catalog.aliased(share.id, aliased[1].ino, 2).await.unwrap();
        assert_eq!(
            rest.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
            ["empty/again/dots"]
        );
        // Renamed, it has an ordinary key.
        f.rename((inner, "dots"), (empty, "plain")).await;
        assert_eq!(f.catalog.key(file).await.unwrap(), format!("{prefix}/plain"));
    }
    f.verify().await;
}
