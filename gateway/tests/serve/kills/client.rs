//! A client that changes a directory of its own and keeps the manifest of what it was told.
use std::collections::{BTreeMap, BTreeSet};

use super::{content::Content, dice::Dice};
use crate::mount::{Mount, WRITE_BYTES_MAX};

/// Names of files in a directory: so few that they meet again.
const NAMES: usize = 6;
/// Directories below a client's own.
const DIRS: usize = 3;
/// Empty directories in each of them.
const EMPTY: usize = 2;
/// The largest small file: its bytes travel with its row.
const SMALL: usize = 6_000;
const MEDIUM: usize = 300_000;
/// More than one request takes: two parts and more.
const LARGE: usize = 17 << 20;

/// Files by their paths; empty directories by theirs, which end with `/`.
type Files = BTreeMap<String, Content>;

/// What a client was told, kept where no kill of the gateway and no power cut reaches it.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    files: Files,
    /// As it is if the call under way is done.
    maybe: Option<Files>,
}

impl Manifest {
    /// Whether a call is under way.
    pub(super) fn is_asking(&self) -> bool {
        self.maybe.is_some()
    }

    /// Whether a file has bytes that nobody has promised.
    pub(super) fn is_unsure(&self) -> bool {
        self.files.values().any(Content::is_unsure)
    }

    /// What a tree has of the client `number`, as [`Manifest::settle`] takes it.
    pub(super) fn part_of(
        number: usize,
        files: &BTreeMap<String, Vec<u8>>,
        dirs: &BTreeSet<String>,
    ) -> BTreeMap<String, Vec<u8>> {
        let own = format!("c{number}/");
        let empty = dirs.iter().filter(|dir| dir.split('/').count() > 2);
        let empty = empty.map(|dir| (format!("{dir}/"), Vec::new()));
        let files = files.iter().map(|(path, content)| (path.clone(), content.clone()));
        files.chain(empty).filter(|(path, _)| path.starts_with(&own)).collect()
    }

    /// Takes what was found after a start for what is.
    ///
    /// # Errors
    /// What was acknowledged and is not there, or is there and was not written.
    pub(super) fn settle(&mut self, found: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
        let fits = |files: &Files| -> Result<(), String> {
            if !files.keys().eq(found.keys()) {
                let names: Vec<_> = found.keys().collect();
                return Err(format!("there is {names:?}, not {:?}", files.keys()));
            }
            match files.iter().find(|(path, content)| !content.allows(&found[*path])) {
                Some((path, content)) => Err(format!(
                    "{path}: {} bytes that were not written so; {} were, of which some {} promised",
                    found[path].len(),
                    content.len(),
                    if content.is_unsure() { "are not" } else { "and all are" },
                )),
                None => Ok(()),
            }
        };
        let known = fits(&self.files);
        let maybe = self.maybe.take();
        if let Err(why) = known {
            match maybe.as_ref().map(fits) {
                Some(Ok(())) => {}
                Some(Err(other)) => return Err(format!("{why}; nor with the last call: {other}")),
                None => return Err(why),
            }
        }
        let sure = |(path, bytes): (&String, &Vec<u8>)| (path.clone(), Content::of(bytes.clone()));
        self.files = found.iter().map(sure).collect();
        Ok(())
    }
}

/// The paths of a client: `cN/dM/fK`.
fn path(client: usize, dice: &mut Dice) -> String {
    format!("c{client}/d{}/f{}", dice.below(DIRS), dice.below(NAMES))
}

/// Where clients work, and what they do not do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Whose turn is whose share: the first client has the first, and so on, round and round.
    pub(super) shares: &'static [&'static str],
    /// Whether directories are renamed.
    pub(super) swaps: bool,
}

impl Work {
    pub(super) fn share(&self, client: usize) -> &'static str {
        self.shares[client % self.shares.len()]
    }
}

/// A client at work. Every method that calls the gateway panics where it does not answer any more.
pub(super) struct Client<'m> {
    number: usize,
    work: Work,
    share: Mount,
    manifest: &'m mut Manifest,
    dice: Dice,
    largest: usize,
    /// Told of the manifest before a call is made, and when it was answered.
    noted: &'m dyn Fn(&Manifest),
}

impl<'m> Client<'m> {
    pub(super) fn new(
        number: usize,
        work: Work,
        port: u16,
        manifest: &'m mut Manifest,
        dice: Dice,
    ) -> Self {
        Self::noting((number, work), port, manifest, dice, (LARGE, &|_| {}))
    }

    /// The same with files of at most `largest` bytes, or a few more; `noted` is told of the manifest before a
    /// call is made, and when it was answered.
    pub(super) fn noting(
        (number, work): (usize, Work),
        port: u16,
        manifest: &'m mut Manifest,
        dice: Dice,
        (largest, noted): (usize, &'m dyn Fn(&Manifest)),
    ) -> Self {
        let share = Mount::new(port, work.share(number));
        let mut client = Self { number, work, share, manifest, dice, largest, noted };
        if work.swaps {
            client.end_swap();
        }
        client
    }

    /// Makes the directories of a client.
    pub(super) fn prepare(number: usize, work: Work, port: u16) {
        let mut share = Mount::new(port, work.share(number));
        share.mkdir(&format!("c{number}"));
        for dir in 0..DIRS {
            share.mkdir(&format!("c{number}/d{dir}"));
        }
    }

    /// Makes one change or reads one file. Panics where the gateway does not answer any more.
    pub(super) fn step(&mut self) {
        let path = path(self.number, &mut self.dice);
        match (self.dice.below(20), self.manifest.files.contains_key(&path)) {
            (0..=4, _) => self.replace(&path),
            (5..=7, true) => self.write_into(&path, true),
            (8 | 9, true) => self.write_into(&path, false),
            (10 | 11, true) => self.rename(&path),
            (12, true) => self.remove(&path),
            (13 | 14, true) => self.read(&path),
            (15, _) if self.work.swaps => self.swap_directories(),
            (16, true) => self.write_stable(&path),
            (17, true) => self.resize(&path),
            (18 | 19, _) => self.make_or_remove_directory(),
            (_, _) => self.replace(&path),
        }
    }

    /// Does `call`, which leads to `files` if it is done.
    fn change(&mut self, files: Files, call: impl FnOnce(&mut Mount)) {
        self.manifest.maybe = Some(files);
        (self.noted)(self.manifest);
        call(&mut self.share);
        self.manifest.files = self.manifest.maybe.take().expect("it was said above");
        (self.noted)(self.manifest);
    }

    fn length(&mut self) -> usize {
        let most = match self.dice.below(60) {
            0 if self.largest >= LARGE => return LARGE + self.dice.below(SMALL),
            0..=20 => MEDIUM,
            _ => SMALL,
        };
        self.dice.below(most.min(self.largest))
    }

    fn replace(&mut self, path: &str) {
        let mut files = self.manifest.files.clone();
        files.insert(path.to_owned(), Content::default());
        self.change(files, |share| drop(share.create(path)));
        let len = self.length();
        let bytes = self.dice.bytes(len);
        self.write(path, 0, bytes, true);
    }

    fn write_into(&mut self, path: &str, commit: bool) {
        let len = self.manifest.files[path].len();
        // Also past the end, over a hole.
        let at = self.dice.below(len + 10_000);
        let some = 1 + self.dice.below(SMALL);
        let bytes = self.dice.bytes(some);
        self.write(path, at, bytes, commit);
    }

    fn write(&mut self, path: &str, at: usize, bytes: Vec<u8>, commit: bool) {
        let content = self.manifest.files.get_mut(path).expect("it is there");
        // Each WRITE for itself: a gateway that finds the file quiet between two commits what it has.
        for (number, piece) in bytes.chunks(WRITE_BYTES_MAX).enumerate() {
            content.write(at + number * WRITE_BYTES_MAX, piece.to_vec());
        }
        let before = self.manifest.files.clone();
        self.change(before, |share| {
            let file = share.lookup(path).expect("it is there");
            if commit {
                share.write_at(&file, at as u64, &bytes);
            } else {
                share.write_unstable(&file, at as u64, &bytes);
            }
        });
        if commit {
            self.committed(path);
        }
    }

    fn committed(&mut self, path: &str) {
        self.manifest.files.get_mut(path).expect("it is there").commit();
        (self.noted)(self.manifest);
    }

    /// A WRITE that is stable when it is answered (RFC 1813 §3.3.7, FILE_SYNC). It promises nothing of what was
    /// written before it.
    fn write_stable(&mut self, path: &str) {
        if self.manifest.files[path].is_unsure() {
            return self.write_into(path, true);
        }
        let at = self.dice.below(self.manifest.files[path].len() + 1);
        let some = 1 + self.dice.below(SMALL);
        let bytes = self.dice.bytes(some);
        self.manifest.files.get_mut(path).expect("it is there").write(at, bytes.clone());
        let before = self.manifest.files.clone();
        self.change(before, |share| {
            let file = share.lookup(path).expect("it is there");
            share.write_stable(&file, at as u64, &bytes);
        });
        self.committed(path);
    }

    /// SETATTR of the size: cut, or longer by zeros.
    fn resize(&mut self, path: &str) {
        if self.manifest.files[path].is_unsure() {
            return self.write_into(path, true);
        }
        let mut bytes = self.manifest.files[path].all();
        bytes.resize(self.dice.below(bytes.len() + 10_000), 0);
        let size = bytes.len() as u64;
        let mut files = self.manifest.files.clone();
        files.insert(path.to_owned(), Content::of(bytes));
        self.change(files, |share| share.resize(path, size));
    }

    fn make_or_remove_directory(&mut self) {
        let (dir, which) = (self.dice.below(DIRS), self.dice.below(EMPTY));
        let path = format!("c{}/d{dir}/e{which}", self.number);
        let mut files = self.manifest.files.clone();
        if files.remove(&format!("{path}/")).is_some() {
            self.change(files, |share| share.rmdir(&path));
        } else {
            files.insert(format!("{path}/"), Content::default());
            self.change(files, |share| share.mkdir(&path));
        }
    }

    fn rename(&mut self, from: &str) {
        let to = path(self.number, &mut self.dice);
        let mut files = self.manifest.files.clone();
        let content = files.remove(from).expect("it is there");
        files.insert(to.clone(), content);
        self.change(files, |share| share.rename(from, &to));
    }

    fn remove(&mut self, path: &str) {
        let mut files = self.manifest.files.clone();
        files.remove(path);
        self.change(files, |share| share.remove(path));
    }

    /// Gives two directories each other's names, by way of a third.
    fn swap_directories(&mut self) {
        self.rename_directory(0, DIRS);
        self.rename_directory(1, 0);
        self.rename_directory(DIRS, 1);
    }

    /// Gives the directory that an end of the gateway left under the third name one of the two back.
    fn end_swap(&mut self) {
        let dirs = self.share.list(&format!("c{}", self.number));
        let is_there = |number: usize| dirs.contains(&format!("d{number}"));
        if is_there(DIRS) {
            let free = (0..2).find(|number| !is_there(*number)).expect("one of the two is away");
            self.rename_directory(DIRS, free);
        }
    }

    fn rename_directory(&mut self, from: usize, to: usize) {
        let [from, to] = [from, to].map(|dir| format!("c{}/d{dir}", self.number));
        let moved = |(path, content): (&String, &Content)| match path.strip_prefix(&from) {
            Some(rest) if rest.starts_with('/') => (format!("{to}{rest}"), content.clone()),
            _ => (path.clone(), content.clone()),
        };
        let files = self.manifest.files.iter().map(moved).collect();
        self.change(files, |share| share.rename(&from, &to));
    }

    fn read(&mut self, path: &str) {
        let found = self.share.read(path).expect("it can be read");
        assert!(found == self.manifest.files[path].all(), "{path} holds something else");
    }
}
