//! For tests: what a disk may hold after the power was cut, at any moment and whatever was on its way.
//!
//! [`record`] runs real code on real files and notes every operation that changes a disk. [`trees`] and
//! [`devices`] say what may be found after a cut behind each of them: what was not synced may be there,
//! in part, or not at all; names change in their order (a journaling file system), and need not have
//! changed before their folder was synced.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Something that changes a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A file got this content, as a whole; it may be new.
    Write { path: PathBuf, content: Vec<u8> },
    /// A device, or a file in place of one, got these bytes there.
    WriteAt { path: PathBuf, at: u64, bytes: Vec<u8> },
    /// Content is durable.
    Sync { path: PathBuf },
    /// A file has another name.
    Rename { from: PathBuf, to: PathBuf },
    /// The names in a folder are durable.
    SyncFolder { path: PathBuf },
}

thread_local! {
    static NOTED: RefCell<Option<Vec<Operation>>> = const { RefCell::new(None) };
}

/// Notes an operation that was done, if somebody records.
pub(crate) fn note(operation: impl FnOnce() -> Operation) {
    NOTED.with_borrow_mut(|noted| {
        if let Some(noted) = noted {
            noted.push(operation());
        }
    });
}

/// Does something, and answers what changed the disk in doing so.
pub(crate) fn record(work: impl FnOnce()) -> Vec<Operation> {
    NOTED.set(Some(Vec::new()));
    work();
    NOTED.take().expect("nobody else records on this thread")
}

/// Files by their paths.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// The files of a folder.
pub(crate) fn tree(folder: &Path) -> Tree {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Makes the files of a folder those of a tree.
pub(crate) fn restore(folder: &Path, wanted: &Tree) {
    for path in tree(folder).into_keys() {
        fs::remove_file(path).unwrap();
    }
    for (path, content) in wanted {
        fs::write(path, content).unwrap();
    }
}

/// A file's content, by the number of the file.
#[derive(Clone, Debug, Default)]
struct Content {
    /// What is certainly there.
    durable: Vec<u8>,
    /// What was written since.
    written: Option<Vec<u8>>,
}

impl Content {
    fn possible(&self) -> Vec<Vec<u8>> {
        let mut all = vec![self.durable.clone()];
        if let Some(written) = &self.written {
            let half = written[..written.len() / 2].to_vec();
            all.extend([Vec::new(), half, written.clone()]);
            all.dedup();
        }
        all
    }
}

/// Each state after a cut, with the number of operations that had been done.
pub(crate) fn trees(before: &Tree, operations: &[Operation]) -> Vec<(usize, Tree)> {
    let mut contents: Vec<Content> = before
        .values()
        .map(|content| Content { durable: content.clone(), written: None })
        .collect();
    let mut durable: BTreeMap<PathBuf, usize> = before.keys().cloned().zip(0..).collect();
    // Names that have changed: what takes a name, and which name goes.
    let mut pending: Vec<(PathBuf, usize, Option<PathBuf>)> = Vec::new();
    let applied = |durable: &BTreeMap<PathBuf, usize>,
                   pending: &[(PathBuf, usize, Option<PathBuf>)]| {
        let mut names = durable.clone();
        for (name, file, gone) in pending {
            if let Some(gone) = gone {
                names.remove(gone);
            }
            names.insert(name.clone(), *file);
        }
        names
    };
    let mut states = Vec::new();
    for done in 0..=operations.len() {
        for changed in 0..=pending.len() {
            let names = applied(&durable, &pending[..changed]);
            let mut possible = vec![Tree::new()];
            for (name, file) in &names {
                let variants = contents[*file].possible();
                possible = possible
                    .iter()
                    .flat_map(|tree| {
                        variants.iter().map(|variant| {
                            let mut tree = tree.clone();
                            tree.insert(name.clone(), variant.clone());
                            tree
                        })
                    })
                    .collect();
            }
            states.extend(possible.into_iter().map(|tree| (done, tree)));
        }
        let Some(operation) = operations.get(done) else { break };
        let names = applied(&durable, &pending);
        match operation {
            Operation::Write { path, content } => {
                let file = names.get(path).copied().unwrap_or_else(|| {
                    contents.push(Content::default());
                    pending.push((path.clone(), contents.len() - 1, None));
                    contents.len() - 1
                });
                contents[file].written = Some(content.clone());
            }
            Operation::Sync { path } => {
                let content = &mut contents[names[path]];
                content.durable = content.written.take().unwrap_or_default();
            }
            Operation::Rename { from, to } => {
                pending.push((to.clone(), names[from], Some(from.clone())));
            }
            Operation::SyncFolder { path } => {
                assert!(names.keys().all(|name| name.parent() == Some(path)), "one folder");
                durable = names;
                pending.clear();
            }
            Operation::WriteAt { .. } => panic!("a device is no file of a tree"),
        }
    }
    states
}

/// Bytes at their places.
pub(crate) type Writes = Vec<(u64, Vec<u8>)>;

/// What was written to one device at each cut, with the number of operations that had been done. Of what
/// was not synced there may be all, none, all up to one, all but one, or one alone.
pub(crate) fn devices(device: &Path, operations: &[Operation]) -> Vec<(usize, Writes)> {
    let mut durable = Writes::new();
    let mut pending = Writes::new();
    let mut states = Vec::new();
    for done in 0..=operations.len() {
        let mut with = |some: &[(u64, Vec<u8>)]| {
            states.push((done, durable.iter().chain(some).cloned().collect()));
        };
        for up_to in 0..=pending.len() {
            with(&pending[..up_to]);
        }
        for one in 0..pending.len() {
            with(&pending[one..=one]);
            with(&[&pending[..one], &pending[one + 1..]].concat());
        }
        match operations.get(done) {
            Some(Operation::WriteAt { path, at, bytes }) if path == device => {
                pending.push((*at, bytes.clone()));
            }
            Some(Operation::Sync { path }) if path == device => durable.append(&mut pending),
            Some(_) | None => {}
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &str, content: &str) -> Operation {
        Operation::Write { path: path.into(), content: content.into() }
    }

    fn rename(from: &str, to: &str) -> Operation {
        Operation::Rename { from: from.into(), to: to.into() }
    }

    /// The contents of `/a` that are possible at the end.
    fn at_the_end(operations: &[Operation]) -> Vec<String> {
        let before = Tree::from([("/a".into(), b"old".to_vec())]);
        let states = trees(&before, operations);
        let last = states.into_iter().filter(|(done, _)| *done == operations.len());
        let mut found: Vec<String> = last
            .map(|(_, tree)| String::from_utf8(tree[Path::new("/a")].clone()).unwrap())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn what_is_not_synced_may_be_there_or_not() {
        let sync = Operation::Sync { path: "/b".into() };
        let folder = Operation::SyncFolder { path: "/".into() };
        assert_eq!(at_the_end(&[write("/a", "next")]), ["", "ne", "next", "old"]);
        let unsynced = [write("/b", "next"), rename("/b", "/a"), folder.clone()];
        assert_eq!(at_the_end(&unsynced), ["", "ne", "next"], "the file that came out empty");
        let named = [write("/b", "next"), sync.clone(), rename("/b", "/a")];
        assert_eq!(at_the_end(&named), ["next", "old"]);
        assert_eq!(at_the_end(&[&named[..], &[folder]].concat()), ["next"]);
    }

    #[test]
    fn writes_to_a_device_come_in_any_order_between_two_syncs() {
        let device = Path::new("/dev/x");
        let at = |at| Operation::WriteAt { path: device.into(), at, bytes: vec![1] };
        let sync = Operation::Sync { path: device.into() };
        let places = |operations: &[Operation]| {
            let last =
                devices(device, operations).into_iter().filter(|(d, _)| *d == operations.len());
            let mut all: Vec<Vec<u64>> =
                last.map(|(_, writes)| writes.iter().map(|(at, _)| *at).collect()).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(places(&[at(1), at(2)]), [vec![], vec![1], vec![1, 2], vec![2]]);
        assert_eq!(places(&[at(1), sync, at(2)]), [vec![1], vec![1, 2]]);
    }
}
