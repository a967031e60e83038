//! Each operation on the gateway and on the model, and what must be the same afterwards.
use std::collections::HashSet;

use bytes::Bytes;
use gateway::{
    clock::Timestamp,
    vfs::{Attr, CreateHow, Created, FsError, Ino, SetAttr, SetTime, ShareFs, Stability},
};
use s3_store::{FaultAction, FaultRule};

use crate::{
    ops::{Case, Fault, How, MODES, NAMES, Op},
    reached::{self, Reached},
    tree::{File, Kind, Node, Tree, join},
    walk::{self, Inos, root},
    world::{PREFIX, World},
};

/// A listing is stale after so many seconds.
const STALE_SECONDS: u32 = 60;
/// Operations of S3 that a fault is for.
const OPERATIONS: [&str; 11] = [
    "PutObject",
    "CopyObject",
    "DeleteObject",
    "HeadObject",
    "GetObject",
    "ListObjectsV2",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "CreateMultipartUpload",
    "AbortMultipartUpload",
];
/// The name that two entries swap through.
const THIRD: &str = "third";

/// The gateway and the model.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) tree: Tree,
    pub(crate) touched: Touched,
    /// Operations so far: makes bytes and verifiers differ.
    step: u32,
    /// Wrong answers that S3 was told to give since it was last mended.
    broken: u64,
}

/// What was changed since somebody last looked.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Bytes.
    pub(crate) content: HashSet<Ino>,
    /// Attributes, or the name of the entry itself.
    pub(crate) attributes: HashSet<Ino>,
    /// Made.
    pub(crate) made: HashSet<Ino>,
}

impl Touched {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Runs a case and then compares everything.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    let mut pair = Pair::new(World::new(case.disk, STALE_SECONDS));
    let trace = std::env::var_os("TIDEGATE_MODEL_TRACE").is_some();
    for (i, op) in case.ops.iter().enumerate() {
        if trace {
            println!("{:?} {i} {op:?}", std::time::SystemTime::now());
        }
        let applied = pair.apply(op).and_then(|()| pair.world.figures_agree());
        applied.map_err(|why| format!("operation {i} {op:?}: {why}"))?;
    }
    pair.quiesce().map_err(|why| format!("at quiescence: {why}"))?;
    reached::note_end(&pair.world);
    pair.compare_elsewhere().map_err(|why| format!("on another gateway: {why}"))
}

impl Pair {
    pub(crate) fn new(world: World) -> Self {
        let ino = world.gateway().share.root;
        let root = Node { ino, kind: Kind::Directory, mode: 0o777, uid: 0, gid: 0, mtime: None };
        Self { world, tree: Tree::new(root), touched: Touched::default(), step: 0, broken: 0 }
    }

    pub(crate) fn fs(&self) -> &gateway::vfs::Vfs {
        &self.world.gateway().fs
    }

    pub(crate) fn ino(&self, path: &str) -> Ino {
        self.tree.node(path).ino
    }

    /// Whether S3 gives wrong answers at the moment.
    pub(crate) fn is_faulty(&self) -> bool {
        self.world.s3.faults().pending() > 0
    }

    /// What the gateway answered, if it is what the model says. While S3 is faulty the client may also be
    /// told to come again: then nothing was done.
    fn answered<T>(
        &self,
        faulty: bool,
        got: Result<T, FsError>,
        wanted: Result<(), FsError>,
    ) -> Result<Option<T>, String> {
        match (got, wanted) {
            (Ok(done), Ok(())) => Ok(Some(done)),
            (Err(error), Err(wanted)) if error == wanted => Ok(None),
            (Err(FsError::TryLater | FsError::Io), _) if faulty => {
                reached::note(Reached::CallFailed, 1);
                Ok(None)
            }
            (Ok(_), wanted) => Err(format!("answered Ok, not {wanted:?}")),
            (Err(error), wanted) => Err(format!("answered {error:?}, not {wanted:?}")),
        }
    }

    fn bytes(&self, len: u32) -> Vec<u8> {
        let low = |number: u32| u8::try_from(number % 251).unwrap();
        (0..len).map(|i| low(i / 512) ^ low(i) ^ low(self.step * 7 + 1)).collect()
    }

    /// Does one operation on both.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), String> {
        self.step += 1;
        match *op {
            Op::Create { dir, name, mode, how } => self.create(dir, name, mode, how),
            Op::Write { file, at, len, stable } => self.write(file, at.into(), len, stable),
            Op::Commit { file } => self.commit(file),
            Op::Read { file, at, len } => self.read(file, at, len),
            Op::Truncate { file, size } => self.truncate(file, size.into()),
            Op::Chmod { node, mode } => self.chmod(node, mode),
            Op::Chown { node, uid, gid } => self.chown(node, uid.into(), gid.map(u32::from)),
            Op::Utimes { node, seconds } => self.utimes(node, seconds),
            Op::Mkdir { dir, name, mode } => self.mkdir(dir, name, mode),
            Op::Symlink { dir, name, target } => self.symlink(dir, name, target),
            Op::Remove { node } => self.remove(node),
            Op::Rmdir { node } => self.rmdir(node),
            Op::Rename { node, dir, name } => {
                let Some(from) = self.tree.entry(node) else { return Ok(()) };
                let to = self.place(dir, name);
                self.rename(&from, &to)
            }
            Op::Swap { one, other } => self.swap(one, other),
            Op::Lookup { dir, name } => self.lookup(dir, name),
            Op::List { dir } => self.list(dir),
            Op::UseRemoved { which } => self.use_removed(which),
            Op::AdvanceClock { seconds } => {
                self.world.clock.advance_millis(i64::from(seconds) * 1000);
                Ok(())
            }
            Op::FlushIdle => {
                self.world.run(self.world.gateway().write_back.flush_idle());
                Ok(())
            }
            Op::Settle => {
                let settled = self.world.run(self.world.gateway().write_back.settle());
                settled.map_err(|error| error.to_string())?;
                self.world.empty_released()
            }
            Op::Refresh { dir } => self.refresh(dir),
            Op::Upload => self.world.upload(),
            Op::UploadBeside => {
                self.world.upload_beside();
                Ok(())
            }
            Op::Drain => {
                self.mend();
                self.world.drain()?;
                walk::all(&self.world, &self.tree, Inos::Same)
            }
            Op::Evict => {
                self.world.evict();
                Ok(())
            }
            Op::EvictSome { bytes } => {
                self.world.evict_some(bytes.into(), &self.tree);
                Ok(())
            }
            Op::Restart => {
                self.world.restart();
                self.survived()
            }
            Op::Crash => {
                reached::note_crash(self);
                self.world.crash();
                self.survived()
            }
            Op::CrashInUpload { requests } => {
                self.world.upload_some(requests.into())?;
                reached::note_crash(self);
                self.world.crash();
                self.survived()
            }
            Op::Break { fault, operation, times } => {
                self.break_s3(fault, operation, times);
                Ok(())
            }
            Op::Mend => {
                self.mend();
                Ok(())
            }
        }
    }

    /// The place that two numbers stand for.
    fn place(&self, dir: u8, name: u8) -> String {
        join(&self.tree.directory(dir), NAMES[usize::from(name) % NAMES.len()])
    }

    /// As [`Pair::place`]: its directory's inode, its name, its path.
    fn spot(&self, dir: u8, name: u8) -> (Ino, &'static [u8], String) {
        let directory = self.tree.directory(dir);
        let name = NAMES[usize::from(name) % NAMES.len()];
        (self.ino(&directory), name.as_bytes(), join(&directory, name))
    }

    fn made(&mut self, path: &str, made: Created, kind: Kind, mode: u32) -> Result<(), String> {
        if self.tree.removed.contains(&made.attr.ino) {
            return Err(format!("{:?} was used before", made.attr.ino));
        }
        self.tree.add(path, made.attr.ino, kind, mode);
        self.touched.made.insert(made.attr.ino);
        walk::attr(path, self.tree.node(path), &made.attr, Inos::Same)
    }

    fn create(&mut self, dir: u8, name: u8, mode: u8, how: How) -> Result<(), String> {
        let (dir, name, path) = self.spot(dir, name);
        let mode = MODES[usize::from(mode) % MODES.len()];
        let there = self.tree.nodes.get(&path).cloned();
        let file = there.as_ref().and_then(Node::file);
        let free = if there.is_none() { Ok(()) } else { Err(FsError::Exists) };
        let set = |size: Option<u32>| SetAttr {
            mode: Some(mode),
            size: size.map(u64::from),
            ..SetAttr::default()
        };
        let mut own = [0; 8];
        own[..4].copy_from_slice(&self.step.to_be_bytes());
        let (how, wanted, size) = match how {
            How::Guarded => (CreateHow::Guarded(set(None)), free, None),
            How::Unchecked(size) => {
                let wanted = if file.is_some() { Ok(()) } else { free };
                (CreateHow::Unchecked(set(size)), wanted, size)
            }
            How::Exclusive => (CreateHow::Exclusive(own), free, None),
            How::ExclusiveAgain => match file.and_then(|file| file.verifier) {
                Some(known) => (CreateHow::Exclusive(known), Ok(()), None),
                None => (CreateHow::Exclusive(own), free, None),
            },
        };
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().create(&root(), dir, name, how));
        let Some(made) = self.answered(faulty, got, wanted)? else { return Ok(()) };
        if there.is_none() {
            let (verifier, mode) = match how {
                CreateHow::Exclusive(verifier) => (Some(verifier), 0o644),
                CreateHow::Guarded(_) | CreateHow::Unchecked(_) => (None, mode),
            };
            let mut file = File { verifier, ..File::default() };
            file.resize(size.unwrap_or(0).into());
            return self.made(&path, made, Kind::File(file), mode);
        }
        if let Some(size) = size {
            self.touch_size(&path, size.into());
            let node = self.tree.node_mut(&path);
            node.mtime = None;
            node.file_mut().unwrap().resize(size.into());
        }
        walk::attr(&path, self.tree.node(&path), &made.attr, Inos::Same)
    }

    fn write(&mut self, file: u8, at: u64, len: u32, stable: bool) -> Result<(), String> {
        let Some(path) = self.tree.file(file) else { return Ok(()) };
        let bytes = self.bytes(len);
        self.write_bytes(&path, at, &bytes, stable)
    }

    pub(crate) fn write_bytes(
        &mut self,
        path: &str,
        at: u64,
        bytes: &[u8],
        stable: bool,
    ) -> Result<(), String> {
        let how = if stable { Stability::FileSync } else { Stability::Unstable };
        let faulty = self.is_faulty();
        let data = Bytes::copy_from_slice(bytes);
        let got = self.world.run(self.fs().write(&root(), self.ino(path), at, data, how));
        let Some(written) = self.answered(faulty, got, Ok(()))? else { return Ok(()) };
        if usize::try_from(written.count).unwrap() != bytes.len() {
            return Err(format!("{} bytes were written", written.count));
        }
        self.touched.content.insert(self.ino(path));
        let node = self.tree.node_mut(path);
        node.mtime = None;
        let file = node.file_mut().unwrap();
        file.write(at, bytes);
        if written.committed == Stability::Unstable {
            file.unstable.push((at, bytes.to_vec(), written.verifier));
        } else {
            file.settled();
        }
        walk::attr(path, self.tree.node(path), &written.change.after, Inos::Same)
    }

    fn commit(&mut self, file: u8) -> Result<(), String> {
        let Some(path) = self.tree.file(file) else { return Ok(()) };
        let got = self.world.run(self.fs().commit(&root(), self.ino(&path)));
        let (change, verifier) = got.map_err(|error| error.to_string())?;
        let file = self.tree.node_mut(&path).file_mut().unwrap();
        if file.unstable.iter().any(|(_, _, given)| *given != verifier) {
            return Err("the verifier has changed although nothing was lost".to_owned());
        }
        file.settled();
        walk::attr(&path, self.tree.node(&path), &change.after, Inos::Same)
    }

    fn read(&mut self, file: u8, at: u32, len: u32) -> Result<(), String> {
        let Some(path) = self.tree.file(file) else { return Ok(()) };
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().read(&root(), self.ino(&path), at.into(), len));
        let Some(read) = self.answered(faulty, got, Ok(()))? else { return Ok(()) };
        let all = &self.tree.node(&path).file().unwrap().bytes;
        let size = all.len();
        let from = usize::try_from(at).unwrap().min(size);
        let to = usize::try_from(at + len).unwrap().min(size);
        walk::bytes(&path, &read.data, &all[from..to])?;
        if read.eof != (usize::try_from(at + len).unwrap() >= size) {
            return Err(format!("eof is {}", read.eof));
        }
        walk::attr(&path, self.tree.node(&path), &read.attr, Inos::Same)
    }

    fn set(
        &mut self,
        path: &str,
        set: SetAttr,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), String> {
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().setattr(&root(), self.ino(path), set, None));
        let Some(done) = self.answered(faulty, got, Ok(()))? else { return Ok(()) };
        if let Some(size) = set.size {
            self.touch_size(path, size);
        }
        let node = self.tree.node_mut(path);
        let before = (node.mode, node.uid, node.gid);
        if let Some(file) = node.file_mut() {
            // What was written does not come back over what is set here.
            file.settled();
        }
        change(node);
        // What is set to what it is needs no publish; a time always does.
        if (node.mode, node.uid, node.gid) != before || set.mtime != SetTime::Keep {
            self.touched.attributes.insert(node.ino);
        }
        walk::attr(path, self.tree.node(path), &done.after, Inos::Same)
    }

    /// A size was set: to the one that the file has, that changes its time alone.
    fn touch_size(&mut self, path: &str, size: u64) {
        let node = self.tree.node(path);
        let touched = &mut self.touched;
        if node.size() == size { &mut touched.attributes } else { &mut touched.content }
            .insert(node.ino);
    }

    fn truncate(&mut self, file: u8, size: u64) -> Result<(), String> {
        let Some(path) = self.tree.file(file) else { return Ok(()) };
        self.set(&path, SetAttr { size: Some(size), ..SetAttr::default() }, |node| {
            node.mtime = None;
            node.file_mut().unwrap().resize(size);
        })
    }

    fn chmod(&mut self, node: u8, mode: u8) -> Result<(), String> {
        let Some(path) = self.tree.entry(node) else { return Ok(()) };
        let mode = MODES[usize::from(mode) % MODES.len()];
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        self.set(&path, set, |node| node.mode = mode)
    }

    fn chown(&mut self, node: u8, uid: u32, gid: Option<u32>) -> Result<(), String> {
        let Some(path) = self.tree.entry(node) else { return Ok(()) };
        let set = SetAttr { uid: Some(uid), gid, ..SetAttr::default() };
        self.set(&path, set, |node| node.chown(uid, gid))
    }

    fn utimes(&mut self, node: u8, seconds: u32) -> Result<(), String> {
        let Some(path) = self.tree.entry(node) else { return Ok(()) };
        let mtime = Timestamp::new(seconds.into(), self.step * 1000);
        let set = SetAttr { mtime: SetTime::To(mtime), ..SetAttr::default() };
        self.set(&path, set, |node| node.mtime = Some(mtime))
    }

    fn mkdir(&mut self, dir: u8, name: u8, mode: u8) -> Result<(), String> {
        let (dir, name, path) = self.spot(dir, name);
        let mode = MODES[usize::from(mode) % MODES.len()];
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        let wanted = self.is_free(&path);
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().mkdir(&root(), dir, name, set));
        match self.answered(faulty, got, wanted)? {
            Some(made) => self.made(&path, made, Kind::Directory, mode),
            None => Ok(()),
        }
    }

    fn symlink(&mut self, dir: u8, name: u8, target: u8) -> Result<(), String> {
        let (dir, name, path) = self.spot(dir, name);
        let target = format!("../{}/{target}", NAMES[usize::from(target) % NAMES.len()]);
        let target = target.into_bytes();
        let wanted = self.is_free(&path);
        let faulty = self.is_faulty();
        let set = SetAttr::default();
        let got = self.world.run(self.fs().symlink(&root(), dir, name, &target, set));
        match self.answered(faulty, got, wanted)? {
            Some(made) => self.made(&path, made, Kind::Symlink(target), 0o777),
            None => Ok(()),
        }
    }

    fn is_free(&self, path: &str) -> Result<(), FsError> {
        if self.tree.nodes.contains_key(path) { Err(FsError::Exists) } else { Ok(()) }
    }

    /// A path as the gateway is asked for it.
    fn at<'p>(&self, path: &'p str) -> (Ino, &'p [u8]) {
        let (dir, name) = crate::tree::split(path);
        (self.ino(dir), name.as_bytes())
    }

    fn remove(&mut self, node: u8) -> Result<(), String> {
        let Some(path) = self.tree.entry(node) else { return Ok(()) };
        let (dir, name) = self.at(&path);
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().remove(&root(), dir, name));
        if self.answered(faulty, got, self.tree.may_remove(&path))?.is_some() {
            self.tree.take(&path);
        }
        Ok(())
    }

    fn rmdir(&mut self, node: u8) -> Result<(), String> {
        let Some(path) = self.tree.entry(node) else { return Ok(()) };
        let (dir, name) = self.at(&path);
        let faulty = self.is_faulty();
        let got = self.world.run(self.fs().rmdir(&root(), dir, name));
        if self.answered(faulty, got, self.tree.may_rmdir(&path))?.is_some() {
            self.tree.take(&path);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.at(from), self.at(to));
        let faulty = self.is_faulty();
        let cx = root();
        let ask = || self.world.run(self.fs().rename(&cx, from_dir, from_name, to_dir, to_name));
        let mut got = ask();
        // What is below is being listed: it takes a second at most until the client is told so.
        for _client_comes_again in 0..60 {
            if faulty || !matches!(got, Err(FsError::TryLater)) {
                break;
            }
            got = ask();
        }
        if self.answered(faulty, got, self.tree.may_rename(from, to))?.is_some() {
            if from != to {
                self.touched.attributes.insert(self.ino(from));
            }
            self.tree.rename(from, to);
        }
        Ok(())
    }

    fn swap(&mut self, one: u8, other: u8) -> Result<(), String> {
        let (Some(one), Some(other)) = (self.tree.entry(one), self.tree.entry(other)) else {
            return Ok(());
        };
        let within = |path: &str, dir: &str| path == dir || path.starts_with(&format!("{dir}/"));
        if within(&one, &other) || within(&other, &one) {
            return Ok(());
        }
        for (from, to) in [(one.as_str(), THIRD), (other.as_str(), one.as_str()), (THIRD, &other)] {
            if self.tree.nodes.contains_key(from) {
                self.rename(from, to)?;
            }
        }
        Ok(())
    }

    fn lookup(&mut self, dir: u8, name: u8) -> Result<(), String> {
        let (dir, name, path) = self.spot(dir, name);
        let wanted = self.is_free(&path);
        let faulty = self.is_faulty();
        let got: Result<Attr, FsError> = self.world.run(self.fs().lookup(&root(), dir, name));
        let wanted = if wanted.is_ok() { Err(FsError::NotFound) } else { Ok(()) };
        match self.answered(faulty, got, wanted)? {
            Some(seen) => walk::attr(&path, self.tree.node(&path), &seen, Inos::Same),
            None => Ok(()),
        }
    }

    fn list(&mut self, dir: u8) -> Result<(), String> {
        let dir = self.tree.directory(dir);
        let faulty = self.is_faulty();
        let got = self.world.list(self.ino(&dir));
        let Some(listed) = self.answered(faulty, got, Ok(()))? else { return Ok(()) };
        let mut names: Vec<String> =
            listed.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect();
        names.sort();
        let wanted = self.tree.children(&dir);
        if names == wanted { Ok(()) } else { Err(format!("{dir:?} has {names:?}, not {wanted:?}")) }
    }

    fn use_removed(&mut self, which: u8) -> Result<(), String> {
        let removed = &self.tree.removed;
        if removed.is_empty() {
            return Ok(());
        }
        let ino = removed[usize::from(which) % removed.len()];
        match self.world.run(self.fs().getattr(&root(), ino)) {
            Err(FsError::Stale) => Ok(()),
            other => Err(format!("a removed file's handle answers {other:?}")),
        }
    }

    fn refresh(&mut self, dir: u8) -> Result<(), String> {
        let dir = self.ino(&self.tree.directory(dir));
        let faulty = self.is_faulty();
        match self.world.refresh(dir) {
            Ok(()) => walk_unless(faulty, &self.world, &self.tree),
            Err(_) if faulty => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// S3 answers well from here on.
    pub(crate) fn mend(&mut self) {
        let faults = self.world.s3.faults();
        // What was held is among those that are left.
        reached::note(Reached::Fault, self.broken.saturating_sub(faults.pending()));
        self.broken = 0;
        faults.clear();
    }

    fn break_s3(&mut self, fault: Fault, operation: u8, times: u8) {
        let action = match fault {
            Fault::SlowDown => FaultRule::slow_down(),
            Fault::Fails => FaultRule::new(FaultAction::FailBefore {
                status: 500,
                code: "InternalError".to_owned(),
            }),
            Fault::FailsAfter => FaultRule::fail_after(),
            Fault::Breaks => FaultRule::new(FaultAction::DropBefore),
            Fault::BreaksAfter => FaultRule::new(FaultAction::DropAfter),
            Fault::ShortBody => FaultRule::new(FaultAction::ShortBody { bytes: 1 }),
        };
        let operation = match fault {
            // Only these have one that a client reads.
            Fault::ShortBody => "GetObject",
            _ => OPERATIONS[usize::from(operation) % OPERATIONS.len()],
        };
        self.world.has_unheard_beginnings |= operation == "CreateMultipartUpload"
            && matches!(fault, Fault::FailsAfter | Fault::BreaksAfter);
        let rule = action.operation(operation).key_prefix(if operation.starts_with("List") {
            ""
        } else {
            PREFIX
        });
        self.world.s3.faults().add(rule.times(times.into()));
        self.broken += u64::from(times);
    }
}

fn walk_unless(faulty: bool, world: &World, tree: &Tree) -> Result<(), String> {
    if faulty { Ok(()) } else { walk::all(world, tree, Inos::Same) }
}
