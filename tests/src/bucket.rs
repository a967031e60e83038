//! What a share's part of the bucket must come to look like, and waiting until it does.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use s3_store::{S3Store, StoredObject};

use crate::{numbers::sha256, seed, wait::poll_until};

/// From the last write to the object: seconds on a machine with virtualisation; here everything is
/// emulated, and 100 MiB have to go through the emulated network twice.
pub const UPLOAD_LIMIT: Duration = Duration::from_secs(300);

/// Where another S3 client puts its objects: they have neither metadata nor markers.
pub const FOREIGN: &str = "from elsewhere/";

/// The share's part of the bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    store: &'a S3Store,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// A file as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFile {
    /// What it is.
    pub kind: Kind,
    /// `stat %u`.
    pub owner: u32,
    /// `stat %g`.
    pub group: u32,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// SHA-256 of its bytes, or of a link's target; nothing for a directory.
    pub sha256: Option<String>,
}

/// Everything on the share, by path relative to its root; directories end in `/`.
pub type ClientTree = BTreeMap<String, ClientFile>;

/// A script that prints what [`parse_tree`] reads, run in the share's folder.
pub const LIST_TREE: &str = r#"find . -mindepth 1 -printf '%y %U %G %m %T@ %P\n' | sort -k 6
echo ==
find . -type f -exec sha256sum {} +
find . -type l -printf '%p\n' | while read -r link; do
    echo "$(readlink -n "$link" | sha256sum | head -c 64)  $link"
done"#;

/// Reads the output of [`LIST_TREE`].
///
/// # Errors
/// When a line is not as expected.
pub fn parse_tree(listing: &str) -> Result<ClientTree> {
    let (entries, sums) = listing.split_once("==\n").context("the listing has two parts")?;
    let mut tree = ClientTree::new();
    for line in entries.lines() {
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        let [kind, owner, group, mode, time, path] = words.as_slice() else {
            anyhow::bail!("not a line of find: {line:?}");
        };
        let (seconds, fraction) = time.split_once('.').context("a time with a fraction")?;
        let nanoseconds: i128 = format!("{fraction:0<9}")[..9].parse()?;
        let kind = match *kind {
            "f" => Kind::File,
            "d" => Kind::Directory,
            "l" => Kind::Link,
            other => anyhow::bail!("{path} is of the kind {other:?}"),
        };
        let file = ClientFile {
            kind,
            owner: owner.parse()?,
            group: group.parse()?,
            mode: u32::from_str_radix(mode, 8)?,
            mtime_ns: seconds.parse::<i128>()? * 1_000_000_000 + nanoseconds,
            sha256: None,
        };
        let slash = if kind == Kind::Directory { "/" } else { "" };
        tree.insert(format!("{path}{slash}"), file);
    }
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ./").context("a line of sha256sum")?;
        let file = tree.get_mut(path).with_context(|| format!("{path} was not listed"))?;
        file.sha256 = Some(sum.to_owned());
    }
    let unread = |file: &ClientFile| file.kind != Kind::Directory && file.sha256.is_none();
    let unread: Vec<&String> =
        tree.iter().filter(|(_, file)| unread(file)).map(|(path, _)| path).collect();
    ensure!(unread.is_empty(), "not read: {unread:?}");
    Ok(tree)
}

impl<'a> Bucket<'a> {
    /// The part of `store` that the share of [`crate::seed`] shows.
    pub fn new(store: &'a S3Store) -> Self {
        Self { store }
    }

    /// An object by its path below the prefix.
    pub fn object(&self, path: &str) -> Option<StoredObject> {
        self.store.object(seed::BUCKET, &format!("{}{path}", seed::PREFIX))
    }

    /// Puts an object as another S3 client does.
    pub fn put(&self, path: &str, body: &[u8]) {
        self.store.put(seed::BUCKET, &format!("{}{path}", seed::PREFIX), body);
    }

    /// Paths of all objects below the prefix.
    pub fn paths(&self) -> Vec<String> {
        self.store
            .keys(seed::BUCKET)
            .iter()
            .filter_map(|key| key.strip_prefix(seed::PREFIX))
            // The root's own marker, and the object that the gateway tries the store with, are no files.
            .filter(|path| !path.is_empty() && !path.starts_with(".tidegate-probe-"))
            .map(str::to_owned)
            .collect()
    }

    /// At most how many seconds after `written` the last of the objects came to be what it is: S3
    /// tells whole seconds. Zero if nothing was changed since.
    pub fn seconds_behind(&self, written: SystemTime) -> u64 {
        let times = self.paths().into_iter().filter_map(|path| self.object(&path));
        let last = times.map(|object| object.last_modified + Duration::from_secs(1)).max();
        last.and_then(|last| last.duration_since(written).ok()).map_or(0, |late| late.as_secs())
    }

    /// Waits until there is an object at `path`.
    ///
    /// # Errors
    /// When there is none within [`UPLOAD_LIMIT`].
    pub fn wait_for_key(&self, path: &str) -> Result<()> {
        poll_until(&format!("an object {path}"), UPLOAD_LIMIT, || {
            Ok(self.paths().iter().any(|known| known == path).then_some(()))
        })
    }

    /// Waits until the object at `path` has these bytes.
    ///
    /// # Errors
    /// When it does not come to that within [`UPLOAD_LIMIT`].
    pub fn wait_for(&self, path: &str, body: &[u8]) -> Result<StoredObject> {
        poll_until(&format!("object {path}"), UPLOAD_LIMIT, || {
            Ok(self.object(path).filter(|object| object.body == body))
        })
    }

    /// Waits until the bucket holds exactly the client's tree: one plain object per file with the
    /// same bytes, a marker for each directory, POSIX metadata on them, and nothing else. What is
    /// below [`FOREIGN`] is not looked at.
    ///
    /// # Errors
    /// What differs at the end of [`UPLOAD_LIMIT`].
    pub fn wait_until_equal(&self, tree: &ClientTree) -> Result<()> {
        let mut difference = String::new();
        let waited = poll_until("the bucket being as the share", UPLOAD_LIMIT, || {
            difference = self.difference(tree);
            Ok(difference.is_empty().then_some(()))
        });
        waited.with_context(|| format!("what differs:\n{difference}"))
    }

    /// The same, at this moment.
    ///
    /// # Errors
    /// What differs.
    pub fn ensure_equal(&self, tree: &ClientTree) -> Result<()> {
        let difference = self.difference(tree);
        ensure!(
            difference.is_empty(),
            "the bucket is not as the share; what differs:\n{difference}"
        );
        Ok(())
    }

    fn difference(&self, tree: &ClientTree) -> String {
        let mut lines = String::new();
        let ours = |path: &&String| !path.starts_with(FOREIGN);
        let paths = self.paths();
        for path in paths.iter().filter(ours).filter(|path| !tree.contains_key(*path)) {
            writeln!(lines, "only in the bucket: {path}").expect("writing to a String cannot fail");
        }
        for (path, file) in tree.iter().filter(|(path, _)| ours(path)) {
            let problem = match self.object(path) {
                None => Err(anyhow::anyhow!("no object")),
                Some(object) => check_object(&object, file),
            };
            if let Err(problem) = problem {
                writeln!(lines, "{path}: {problem}").expect("writing to a String cannot fail");
            }
        }
        lines
    }
}

/// Bytes, storage class and POSIX metadata (the keys and forms that AWS's own services share).
fn check_object(object: &StoredObject, file: &ClientFile) -> Result<()> {
    let meta = |name: &str| {
        object
            .user_meta
            .get(name)
            .with_context(|| format!("no metadata {name}: {:?}", object.user_meta))
    };
    match &file.sha256 {
        Some(sum) => ensure!(sha256(&object.body) == *sum, "other bytes ({})", object.body.len()),
        None => ensure!(object.body.is_empty(), "a directory marker with content"),
    }
    ensure!(object.storage_class == "STANDARD", "storage class {}", object.storage_class);
    ensure!(*meta("file-owner")? == file.owner.to_string(), "owner {}", meta("file-owner")?);
    ensure!(*meta("file-group")? == file.group.to_string(), "group {}", meta("file-group")?);
    let kind = match file.kind {
        Kind::File => 0o100_000,
        Kind::Directory => 0o040_000,
        Kind::Link => 0o120_000,
    };
    let mode = u32::from_str_radix(meta("file-permissions")?, 8)?;
    ensure!(mode == kind | file.mode, "mode {mode:o} instead of {:o}", kind | file.mode);
    let mtime = meta("file-mtime")?.strip_suffix("ns").context("a time in ns")?.parse::<i128>()?;
    // A directory's time moves with every entry; its marker is not written anew for that.
    ensure!(
        file.kind == Kind::Directory || mtime == file.mtime_ns,
        "mtime {mtime} instead of {}",
        file.mtime_ns
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(body: &[u8]) -> StoredObject {
        let meta = [
            ("file-owner", "65534"),
            ("file-group", "65534"),
            ("file-permissions", "0100644"),
            ("file-mtime", "1500000000000000000ns"),
        ];
        StoredObject {
            body: body.to_vec(),
            etag: String::new(),
            user_meta: meta.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            named: BTreeMap::new(),
            content_type: String::new(),
            storage_class: "STANDARD".to_owned(),
            encryption: None,
            acl: String::new(),
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            versions: 1,
            version_id: "null".to_owned(),
        }
    }

    fn listing(sum: &str) -> ClientTree {
        let text = format!(
            "d 0 0 755 1500000000.0000000000 a\nf 65534 65534 644 1500000000.0000000000 a/b c\n==\n{sum}  ./a/b c\n"
        );
        parse_tree(&text).unwrap()
    }

    #[test]
    fn a_tree_is_read_with_names_that_hold_spaces() {
        let tree = listing("00ff");
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["a/", "a/b c"]);
        assert_eq!(tree["a/b c"].mode, 0o644);
        assert_eq!(tree["a/b c"].mtime_ns, 1_500_000_000_000_000_000);
    }

    #[test]
    fn a_link_is_read_with_its_target_and_a_file_without_a_sum_is_none() {
        let entries = "l 0 0 777 1500000000.5000000000 link\n==\n";
        let target = sha256(b"elsewhere");
        let tree = parse_tree(&format!("{entries}{target}  ./link\n")).unwrap();
        let link = &tree["link"];
        assert_eq!((link.kind, link.sha256.as_ref()), (Kind::Link, Some(&target)));
        let mut stored = object(b"elsewhere");
        stored.user_meta = [
            ("file-owner", "0"),
            ("file-group", "0"),
            ("file-permissions", "0120777"),
            ("file-mtime", "1500000000500000000ns"),
        ]
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        check_object(&stored, link).unwrap();
        stored.user_meta.insert("file-permissions".to_owned(), "0100777".to_owned());
        assert!(check_object(&stored, link).is_err());
        assert!(parse_tree(entries).unwrap_err().to_string().contains("link"));
    }

    #[test]
    fn every_difference_of_an_object_is_found() {
        let tree = listing(&sha256(b"x"));
        let file = &tree["a/b c"];
        check_object(&object(b"x"), file).unwrap();
        assert!(check_object(&object(b"y"), file).is_err());
        let mut other = object(b"x");
        other.storage_class = "GLACIER".to_owned();
        assert!(check_object(&other, file).is_err());
        for name in ["file-owner", "file-group", "file-permissions", "file-mtime"] {
            let mut other = object(b"x");
            other.user_meta.remove(name);
            let missing = check_object(&other, file).unwrap_err().to_string();
            assert!(missing.contains(name), "{missing}");
        }
    }
}
