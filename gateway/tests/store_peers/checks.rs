//! The checks. Each works below a prefix of its own and says in words what is not as it must be.
//! Those whose names begin with `if-` are of conditions on writes.
use std::{fmt::Debug, future::Future, pin::Pin};

use bytes::Bytes;
use gateway::{
    object::{ETag, ObjectKey},
    store::{
        Expect, ObjectStore, PutOptions, StoreError, StoreErrorKind as Kind, UploadedPart, UserMeta,
    },
};

type Checked<'c> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'c>>;
type Check = for<'c> fn(&'c dyn ObjectStore, &'c str) -> Checked<'c>;

/// Every check with its name.
pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("round-trip", |store, at| Box::pin(round_trip(store, at))),
    ("get-if-match", |store, at| Box::pin(get_if_match(store, at))),
    ("metadata", |store, at| Box::pin(metadata(store, at))),
    ("missing", |store, at| Box::pin(missing(store, at))),
    ("odd-keys", |store, at| Box::pin(odd_keys(store, at))),
    ("pages", |store, at| Box::pin(pages(store, at))),
    ("copy", |store, at| Box::pin(copy(store, at))),
    ("copy-source-if-match", |store, at| Box::pin(copy_source(store, at))),
    ("parts", |store, at| Box::pin(parts(store, at))),
    ("parts-copied", |store, at| Box::pin(parts_copied(store, at))),
    ("parts-aborted", |store, at| Box::pin(parts_aborted(store, at))),
    ("if-none-match-put", |store, at| Box::pin(if_none_match_put(store, at))),
    ("if-match-put", |store, at| Box::pin(if_match_put(store, at))),
    ("if-match-put-missing", |store, at| Box::pin(if_match_put_missing(store, at))),
    ("if-none-match-copy", |store, at| Box::pin(if_none_match_copy(store, at))),
    ("if-match-copy", |store, at| Box::pin(if_match_copy(store, at))),
    ("if-none-match-complete", |store, at| Box::pin(if_none_match_complete(store, at))),
    ("if-match-complete", |store, at| Box::pin(if_match_complete(store, at))),
    ("if-match-delete", |store, at| Box::pin(if_match_delete(store, at))),
];

/// The least size of a part that is not the last.
const PART_BYTES: usize = 5 << 20;

fn key(at: &str, name: &str) -> ObjectKey {
    ObjectKey::new(format!("{at}{name}")).unwrap()
}

fn other_tag() -> ETag {
    ETag::new("\"00000000000000000000000000000000\"")
}

fn options() -> PutOptions {
    PutOptions {
        user: UserMeta::from([("file-owner".to_owned(), "1000".to_owned())]),
        content_type: Some("text/plain".to_owned()),
        ..PutOptions::default()
    }
}

async fn put(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    body: &'static [u8],
) -> Result<ETag, String> {
    let body = Bytes::from_static(body);
    Ok(ok(store.put(key, body, &options(), &Expect::Anything).await)?.etag)
}

fn ok<T>(done: Result<T, StoreError>) -> Result<T, String> {
    done.map_err(|error| error.to_string())
}

fn refused<T: Debug>(done: Result<T, StoreError>, kinds: &[Kind]) -> Result<(), String> {
    match done {
        Ok(done) => Err(format!("done, not refused: {done:?}")),
        Err(error) if kinds.contains(&error.kind) => Ok(()),
        Err(error) => Err(format!("refused as {:?}, not {kinds:?}: {error}", error.kind)),
    }
}

fn same<T: PartialEq + Debug>(is: T, wanted: T) -> Result<(), String> {
    if is == wanted { Ok(()) } else { Err(format!("{is:?}, not {wanted:?}")) }
}

async fn body(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Vec<u8>, String> {
    let head = ok(store.head(key).await)?;
    Ok(ok(store.get(key, 0..head.size, &head.etag).await)?.to_vec())
}

async fn round_trip(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    let etag = put(store, &k, b"hello").await?;
    let head = ok(store.head(&k).await)?;
    same((head.size, &head.etag), (5, &etag))?;
    same(&ok(store.get(&k, 1..4, &etag).await)?[..], b"ell")?;
    let listed = ok(store.list(at, None).await)?;
    same(listed.objects.iter().map(|o| (o.size, &o.etag)).collect(), vec![(5, &etag)])
}

async fn get_if_match(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    put(store, &k, b"hello").await?;
    refused(store.get(&k, 0..5, &other_tag()).await, &[Kind::Changed])
}

async fn metadata(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    put(store, &k, b"x").await?;
    same(ok(store.head(&k).await)?.user, options().user)
}

async fn missing(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "none");
    refused(store.head(&k).await, &[Kind::NotFound])?;
    refused(store.get(&k, 0..1, &other_tag()).await, &[Kind::NotFound])?;
    ok(store.delete(&k, None).await)
}

async fn odd_keys(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    for name in ["a b", "a+b%2B&=?#;", "서울", "e\u{301}", "x//y", "q/../r", "tab\t", "t/"] {
        let k = key(at, name);
        let etag = put(store, &k, b"odd").await?;
        same(body(store, &k).await?, b"odd".to_vec()).map_err(|why| format!("{name:?}: {why}"))?;
        let dir = &k.as_str()[..k.as_str().rfind('/').map_or(0, |slash| slash + 1)];
        let listed = ok(store.list(dir, None).await)?;
        if !listed.objects.iter().any(|object| object.key == k.as_str()) {
            return Err(format!("{name:?} is not listed"));
        }
        ok(store.delete(&k, Some(&etag)).await)?;
    }
    Ok(())
}

async fn pages(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    for i in 0..1010 {
        put(store, &key(at, &format!("{i:05}")), b"").await?;
    }
    put(store, &key(at, "00007/below"), b"").await?;
    let (mut objects, mut prefixes, mut next) = (Vec::new(), Vec::new(), None);
    loop {
        let page = ok(store.list(at, next.as_deref()).await)?;
        objects.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.prefixes);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    same((objects.len(), objects.is_sorted()), (1010, true))?;
    same(prefixes, vec![format!("{at}00007/")])
}

async fn copy(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let (from, to) = (key(at, "from"), key(at, "to"));
    let etag = put(store, &from, b"body").await?;
    let new = PutOptions {
        user: UserMeta::from([("file-permissions".to_owned(), "0100600".to_owned())]),
        ..options()
    };
    for k in [&to, &from] {
        ok(store.copy(&from, &etag, k, &new, &Expect::Anything).await)?;
        same(ok(store.head(k).await)?.user, new.user.clone())?;
        same(body(store, k).await?, b"body".to_vec())?;
    }
    Ok(())
}

async fn copy_source(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let (from, to) = (key(at, "from"), key(at, "to"));
    put(store, &from, b"body").await?;
    let copied = store.copy(&from, &other_tag(), &to, &options(), &Expect::Anything).await;
    refused(copied, &[Kind::Changed])
}

async fn sent(
    store: &dyn ObjectStore,
    k: &ObjectKey,
) -> Result<(String, Vec<UploadedPart>), String> {
    let id = ok(store.create_multipart(k, &options()).await)?;
    let large = Bytes::from(vec![1; PART_BYTES]);
    let parts = vec![
        ok(store.put_part(k, &id, 1, large).await)?,
        ok(store.put_part(k, &id, 2, Bytes::from_static(b"end")).await)?,
    ];
    Ok((id, parts))
}

async fn parts(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    let (id, parts) = sent(store, &k).await?;
    refused(store.head(&k).await, &[Kind::NotFound])?;
    let etag = ok(store.complete_multipart(&k, &id, &parts, &Expect::Anything).await)?.etag;
    let head = ok(store.head(&k).await)?;
    same((head.size, head.etag, head.user), (PART_BYTES as u64 + 3, etag, options().user))
}

async fn parts_copied(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let (from, to) = (key(at, "from"), key(at, "to"));
    let bytes: Vec<u8> = (0..PART_BYTES + 100).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let put = store.put(&from, bytes.clone().into(), &options(), &Expect::Anything).await;
    let etag = ok(put)?.etag;
    let id = ok(store.create_multipart(&to, &options()).await)?;
    let (half, size) = (PART_BYTES as u64, bytes.len() as u64);
    let mut parts = Vec::new();
    for (number, range) in [(1, 0..half), (2, half..size)] {
        parts.push(ok(store.copy_part(&to, &id, number, &from, &etag, range).await)?);
    }
    ok(store.complete_multipart(&to, &id, &parts, &Expect::Anything).await)?;
    if body(store, &to).await? == bytes { Ok(()) } else { Err("other bytes".to_owned()) }
}

async fn parts_aborted(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    let (id, _) = sent(store, &k).await?;
    let pending = ok(store.list_multipart(at, None).await)?.uploads;
    same(pending.iter().map(|p| p.upload_id.as_str()).collect(), vec![id.as_str()])?;
    ok(store.abort_multipart(&k, &id).await)?;
    ok(store.abort_multipart(&k, &id).await)?;
    same(ok(store.list_multipart(at, None).await)?.uploads.len(), 0)?;
    refused(store.put_part(&k, &id, 1, Bytes::from_static(b"x")).await, &[Kind::NotFound])
}

async fn if_none_match_put(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    ok(store.put(&k, Bytes::from_static(b"1"), &options(), &Expect::Absent).await)?;
    let again = store.put(&k, Bytes::from_static(b"2"), &options(), &Expect::Absent).await;
    refused(again, &[Kind::Changed])
}

async fn if_match_put(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    let tag = Expect::Tag(put(store, &k, b"1").await?);
    ok(store.put(&k, Bytes::from_static(b"2"), &options(), &tag).await)?;
    let again = store.put(&k, Bytes::from_static(b"3"), &options(), &tag).await;
    refused(again, &[Kind::Changed])
}

async fn if_match_put_missing(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let tag = Expect::Tag(other_tag());
    let put = store.put(&key(at, "none"), Bytes::new(), &options(), &tag).await;
    refused(put, &[Kind::NotFound, Kind::Changed])
}

async fn if_none_match_copy(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let (from, to) = (key(at, "from"), key(at, "to"));
    let etag = put(store, &from, b"body").await?;
    put(store, &to, b"there").await?;
    let copied = store.copy(&from, &etag, &to, &options(), &Expect::Absent).await;
    refused(copied, &[Kind::Changed])
}

async fn if_match_copy(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let (from, to) = (key(at, "from"), key(at, "to"));
    let etag = put(store, &from, b"body").await?;
    put(store, &to, b"there").await?;
    let expect = Expect::Tag(other_tag());
    refused(store.copy(&from, &etag, &to, &options(), &expect).await, &[Kind::Changed])
}

async fn if_none_match_complete(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    put(store, &k, b"there").await?;
    let (id, parts) = sent(store, &k).await?;
    let completed = store.complete_multipart(&k, &id, &parts, &Expect::Absent).await;
    refused(completed, &[Kind::Changed])?;
    ok(store.abort_multipart(&k, &id).await)
}

async fn if_match_complete(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    put(store, &k, b"there").await?;
    let (id, parts) = sent(store, &k).await?;
    let expect = Expect::Tag(other_tag());
    refused(store.complete_multipart(&k, &id, &parts, &expect).await, &[Kind::Changed])?;
    ok(store.abort_multipart(&k, &id).await)
}

async fn if_match_delete(store: &dyn ObjectStore, at: &str) -> Result<(), String> {
    let k = key(at, "k");
    put(store, &k, b"there").await?;
    refused(store.delete(&k, Some(&other_tag())).await, &[Kind::Changed])
}
