//! What a rename has to look at, counted in entries.
use super::*;

impl Fixture {
    /// Renames in the root; answers how many entries were looked at.
    async fn looked_at(&self, from: &str, to: &str) -> Result<usize, CatalogError> {
        let root = self.share.root;
        let spec = RenameSpec {
            from_dir: root,
            from_name: from.to_owned(),
            to_dir: root,
            to_name: to.to_owned(),
        };
        Ok(self.catalog.rename(spec, stamp(7)).await?.looked_at)
    }
}

/// Goal: the rename of a directory costs the same however much is below it. Method: entries are listed,
/// made and moved there, and those looked at are counted.
#[tokio::test]
async fn a_rename_does_not_look_at_what_is_below() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.list(root, &["top/", "away"]).await;
    let top = f.catalog.child(root, "top").await.unwrap().unwrap().ino;
    let names: Vec<String> = (0..3000).map(|n| format!("f{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    f.list(top, &names).await;
    let sub = f.mkdir(top, "sub").await;
    f.file(sub, "made").await;
    f.rename((root, "away"), (sub, "a longer name than any other")).await;
    assert_eq!(f.looked_at("top", "a longer top").await.unwrap(), 0);
    // As long a name as still has room for `sub/a longer name than any other` after `p/` and its slash.
    let longest = 1024 - "p//sub/a longer name than any other".len();
    let name = |bytes: usize| "n".repeat(bytes);
    assert_eq!(f.looked_at("a longer top", &name(longest)).await.unwrap(), 0);
    f.verify().await;
    let refused = f.looked_at(&name(longest), &name(longest + 1)).await;
    assert!(matches!(refused, Err(CatalogError::KeyTooLong)));
    assert_eq!(f.looked_at(&name(longest), "top").await.unwrap(), 0, "no key grows");
    f.verify().await;
}

/// Goal: what has gone does not stand in the way for ever. Method: the longest key goes, and a rename
/// that it would have forbidden looks for it where it was, once.
#[tokio::test]
async fn a_key_that_has_gone_is_looked_for_only_where_it_was() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let top = f.mkdir(root, "top").await;
    for n in 0..10 {
        f.file(top, &format!("f{n}")).await;
    }
    let aside = f.mkdir(top, "aside").await;
    for n in 0..100 {
        f.file(aside, &format!("f{n}")).await;
    }
    let deep = f.mkdir(top, "deep").await;
    let long = "l".repeat(250);
    f.file(deep, &long).await;
    f.catalog.remove(deep, &long, RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    f.file(deep, "short").await;
    let name = |bytes: usize| "n".repeat(bytes);
    // Ten files and two directories, and what is in `deep`.
    assert_eq!(f.looked_at("top", &name(900)).await.unwrap(), 12 + 1);
    assert_eq!(f.looked_at(&name(900), "top").await.unwrap(), 0);
    assert_eq!(f.looked_at("top", &name(900)).await.unwrap(), 0, "it has been learnt");
    f.verify().await;
}
