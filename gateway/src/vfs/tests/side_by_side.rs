//! Changes of one directory at the same time.
use super::*;

/// Goal: what each reply says of the directory before and after is true, though nobody waits for the
/// others: a client that trusts it keeps its cache (RFC 1813 §2.6). Method: many creates and removes at
/// once; put in order, each begins where another has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_directory_are_told_one_after_the_other() {
    let f = Fixture::new().await;
    let root = f.root();
    for n in 0..20 {
        f.create(&format!("old{n}")).await;
    }
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let fs = fs.clone();
        tasks.spawn(async move {
            let name = format!("{}{}", if n % 3 == 0 { "old" } else { "new" }, n / 3);
            if n % 3 == 0 {
                return fs.remove(&owner(), root, name.as_bytes()).await.unwrap();
            }
            let name = format!("{name}.{n}");
            let how = CreateHow::Guarded(SetAttr::default());
            fs.create(&owner(), root, name.as_bytes(), how).await.unwrap().dir
        });
    }
    let mut changes: Vec<_> = tasks.join_all().await;
    changes.sort_by_key(|change| change.after.mtime);
    for pair in changes.windows(2) {
        assert_eq!(pair[1].before.unwrap(), pair[0].after.wcc());
        assert!(pair[1].after.mtime > pair[0].after.mtime);
    }
    assert_eq!(changes.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_create_one_name_one_does_and_all_unchecked_ones_get_its_file() {
    let f = Fixture::new().await;
    let root = f.root();
    let fs = Arc::new(f.fs);
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16_u8 {
            let fs = fs.clone();
            tasks.spawn(async move {
                let how = match n % 3 {
                    0 => CreateHow::Guarded(SetAttr::default()),
                    1 => CreateHow::Exclusive([n; 8]),
                    // With a size, as open(O_TRUNC) has: an existing file is locked for that.
                    _ => CreateHow::Unchecked(SetAttr { size: Some(0), ..SetAttr::default() }),
                };
                let name = format!("f{round}");
                (n % 3, fs.create(&owner(), root, name.as_bytes(), how).await)
            });
        }
        let mut made = Vec::new();
        for (how, created) in tasks.join_all().await {
            match created {
                Ok(created) => made.push((how, created.attr.ino)),
                Err(error) => assert!(error == FsError::Exists && how != 2, "{error} of {how}"),
            }
        }
        assert!(made.iter().all(|(_, ino)| *ino == made[0].1));
        assert!(made.iter().filter(|(how, _)| *how != 2).count() <= 1);
    }
}

/// Goal: no two changes wait for each other for ever. Method: a file older than its directory is
/// truncated by CREATE, removed and renamed back and forth by many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncating_removing_and_renaming_the_same_file_comes_to_an_end() {
    let f = Fixture::new().await;
    let root = f.root();
    f.create("f").await;
    let dir = f.fs.mkdir(&owner(), root, b"d", SetAttr::default()).await.unwrap().attr.ino;
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..90 {
        let fs = fs.clone();
        tasks.spawn(async move {
            let who = owner();
            let empty = SetAttr { size: Some(0), ..SetAttr::default() };
            // Whether each succeeds depends on who was first; that it ends does not.
            match n % 5 {
                0 => fs.rename(&who, root, b"f", dir, b"f").await.is_ok(),
                1 => fs.rename(&who, dir, b"f", root, b"f").await.is_ok(),
                2 => fs.create(&who, dir, b"f", CreateHow::Unchecked(empty)).await.is_ok(),
                3 => fs.create(&who, root, b"f", CreateHow::Unchecked(empty)).await.is_ok(),
                _ => fs.remove(&who, dir, b"f").await.is_ok(),
            }
        });
    }
    assert!(tasks.join_all().await.into_iter().any(|done| done));
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}
