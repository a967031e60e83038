//! READDIR and READDIRPLUS by crate nfs3_client.
use std::collections::BTreeSet;

use nfs3_client::nfs3_types::nfs3::{
    Nfs3Result, READDIR3args, READDIRPLUS3args, REMOVE3args, cookieverf3, nfs_fh3, nfsstat3,
};

use crate::{Client, Gateway, entry, procedures::create};

const FILES: usize = 700;

async fn filled(gateway: &Gateway) -> (Client, nfs_fh3, BTreeSet<String>) {
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let names: BTreeSet<String> = (0..FILES).map(|i| format!("file-{i:04}")).collect();
    for name in &names {
        create(&mut client, &root, name).await;
    }
    (client, root, names)
}

/// One page's names with their cookies, its verifier and whether it was the last.
async fn page(
    client: &mut Client,
    dir: &nfs_fh3,
    (cookie, cookieverf): (u64, cookieverf3),
    plus: bool,
    count: u32,
) -> Result<(Vec<(String, u64)>, cookieverf3, bool), nfsstat3> {
    let dir = dir.clone();
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if plus {
        let (dircount, maxcount) = (count, count);
        let args = READDIRPLUS3args { dir, cookie, cookieverf, dircount, maxcount };
        match client.readdirplus(&args).await.unwrap() {
            Nfs3Result::Err((status, _)) => Err(status),
            Nfs3Result::Ok(page) => {
                let entries = page.reply.entries.into_inner().into_iter().map(|entry| {
                    assert_eq!(entry.name_attributes.unwrap().fileid, entry.fileid);
                    assert_eq!(entry.name_handle.unwrap().data.len(), 40);
                    (name(entry.name.as_ref()), entry.cookie)
                });
                Ok((entries.collect(), page.cookieverf, page.reply.eof))
            }
        }
    } else {
        match client.readdir(&READDIR3args { dir, cookie, cookieverf, count }).await.unwrap() {
            Nfs3Result::Err((status, _)) => Err(status),
            Nfs3Result::Ok(page) => {
                let entries = page.reply.entries.into_inner().into_iter();
                let entries = entries.map(|e| (name(e.name.as_ref()), e.cookie));
                Ok((entries.collect(), page.cookieverf, page.reply.eof))
            }
        }
    }
}

async fn list(client: &mut Client, dir: &nfs_fh3, plus: bool, count: u32) -> Vec<String> {
    let (mut all, mut from) = (Vec::new(), (0, cookieverf3::default()));
    loop {
        let (entries, verifier, end) = page(client, dir, from, plus, count).await.unwrap();
        assert!(!entries.is_empty() || end);
        from = (entries.last().map_or(from.0, |(_, cookie)| *cookie), verifier);
        all.extend(entries.into_iter().map(|(name, _)| name));
        if end {
            return all;
        }
    }
}

#[tokio::test]
async fn every_name_is_listed_once_whatever_the_size_of_the_pages() {
    let gateway = Gateway::start().await;
    let (mut client, root, names) = filled(&gateway).await;
    for (plus, count) in [(false, 300), (false, 8192), (true, 600), (true, 8192), (true, 1 << 20)] {
        let mut listed = list(&mut client, &root, plus, count).await;
        assert_eq!(&listed[..2], [".", ".."], "plus {plus}, count {count}");
        let named: BTreeSet<String> = listed.drain(2..).collect();
        assert_eq!(named, names, "plus {plus}, count {count}");
    }
}

#[tokio::test]
async fn removing_what_was_listed_skips_and_repeats_nothing() {
    let gateway = Gateway::start().await;
    let (mut client, root, names) = filled(&gateway).await;
    let (mut seen, mut from) = (BTreeSet::new(), (0, cookieverf3::default()));
    loop {
        let (entries, verifier, end) = page(&mut client, &root, from, true, 4096).await.unwrap();
        from = (entries.last().unwrap().1, verifier);
        for (name, _) in entries.into_iter().filter(|(name, _)| !name.starts_with('.')) {
            client.remove(&REMOVE3args { object: entry(&root, &name) }).await.unwrap().unwrap();
            assert!(seen.insert(name));
        }
        if end {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[tokio::test]
async fn a_cookie_of_another_time_and_too_small_a_page_are_refused() {
    let gateway = Gateway::start().await;
    let (mut client, root, _) = filled(&gateway).await;
    for plus in [false, true] {
        let other = (5, cookieverf3(*b"anything"));
        let refused = page(&mut client, &root, other, plus, 8192).await.unwrap_err();
        assert_eq!(refused, nfsstat3::NFS3ERR_BAD_COOKIE);
        for count in [0, 64, 120] {
            let from = (0, cookieverf3::default());
            let refused = page(&mut client, &root, from, plus, count).await.unwrap_err();
            assert_eq!(refused, nfsstat3::NFS3ERR_TOOSMALL, "plus {plus}, count {count}");
        }
    }
    let file = create(&mut client, &root, "plain").await;
    let from = (0, cookieverf3::default());
    let refused = page(&mut client, &file, from, false, 8192).await.unwrap_err();
    assert_eq!(refused, nfsstat3::NFS3ERR_NOTDIR);
}
