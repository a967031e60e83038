//! Other writers in the bucket. In each round clients and other writers change what they see; then the
//! gateway uploads and lists until both have met, and no version of either may be lost (I8, I10).
//!
//! Within a round the gateway asks S3 nothing, so its clients see the model exactly. What comes of the
//! meeting is decided by what each side had seen of the other: see [`Meeting`]. In some rounds other writers come once
//! more in the middle of the uploads: what the gateway was told by then that the bucket has of a file it has seen, and of
//! the rest it is as if they had come before.
//!
//! Objects that stand where a directory is, and keys that are no paths, are left to the tests of the
//! refresher.
use std::collections::{BTreeMap, HashSet};

use gateway::{ids::Ino, object::ETag, share::metadata::GENERATION, store::SCRATCH_NAME};
use proptest::{collection::vec, prelude::*};

use crate::{
    lockstep::Pair,
    ops::{self, Disk, NAMES, Op},
    reached::{self, Reached},
    scan::{self, Seen},
    tree::{Kind, Node, join},
    world::{BUCKET, PREFIX, World},
};

/// Rounds of one case.
const ROUNDS: std::ops::Range<usize> = 1..4;
/// Changes of one round.
const CHANGES: std::ops::Range<usize> = 1..16;
/// Changes of other writers in the middle of a meeting.
const LATE_CHANGES: std::ops::Range<usize> = 1..6;

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// By a client of the gateway, or of the gateway itself.
    Here(Op),
    /// An object of a name that a file could have.
    Put { dir: u8, name: u8, len: u16 },
    /// An object that is there gets other bytes.
    Replace { key: u8, len: u16 },
    /// An object that is there goes.
    Delete { key: u8 },
    /// A directory's marker.
    Marker { dir: u8, name: u8 },
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) disk: Disk,
    pub(crate) rounds: Vec<Round>,
}

/// What happens between two meetings, and in the middle of the second.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) changes: Vec<Change>,
    pub(crate) late: Option<Late>,
}

/// What other writers do while the gateway uploads.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    /// Requests that the gateway has made by then.
    pub(crate) requests: u8,
    pub(crate) changes: Vec<Change>,
}

impl From<Vec<Change>> for Round {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes, late: None }
    }
}

/// What other writers do.
fn there() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<u8>(), any::<u8>(), 1..2_000_u16)
            .prop_map(|(dir, name, len)| Change::Put { dir, name, len }),
        5 => (any::<u8>(), 1..2_000_u16).prop_map(|(key, len)| Change::Replace { key, len }),
        4 => any::<u8>().prop_map(|key| Change::Delete { key }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(dir, name)| Change::Marker { dir, name }),
    ]
}

fn late(requests: std::ops::Range<u8>) -> impl Strategy<Value = Option<Late>> {
    let late = (requests, vec(there(), LATE_CHANGES));
    proptest::option::of(late.prop_map(|(requests, changes)| Late { requests, changes }))
}

fn rounds(
    here: impl Strategy<Value = Op>,
    requests: std::ops::Range<u8>,
) -> impl Strategy<Value = Vec<Round>> {
    let change = prop_oneof![3 => here.prop_map(Change::Here), 2 => there()];
    let round = (vec(change, CHANGES), late(requests));
    vec(round.prop_map(|(changes, late)| Round { changes, late }), ROUNDS)
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let disk = prop_oneof![Just(Disk::Host), Just(Disk::Simulated)];
    (disk, rounds(ops::of_clients(), 0..12)).prop_map(|(disk, rounds)| Case { disk, rounds })
}

/// A case that begins with a large file that S3 has, full of bytes.
pub(crate) fn large_case() -> impl Strategy<Value = Case> {
    let begin = ops::large_file().prop_map(|ops| Round::from(ops.map(Change::Here).to_vec()));
    let disk = prop_oneof![Just(Disk::Host), Just(Disk::Simulated)];
    (disk, begin, rounds(ops::of_large_files(), 0..9)).prop_map(|(disk, begin, mut rounds)| {
        rounds.insert(0, begin);
        Case { disk, rounds }
    })
}

/// Runs a case.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    let mut both = Both { pair: Pair::new(World::new(case.disk, 0)), base: Vec::new(), puts: 0 };
    both.meet(None).map_err(|why| format!("at the start: {why}"))?;
    for (round, Round { changes, late }) in case.rounds.iter().enumerate() {
        for (i, change) in changes.iter().enumerate() {
            if std::env::var_os("TIDEGATE_MODEL_TRACE").is_some() {
                println!("{round}.{i} {change:?}");
            }
            both.change(change).map_err(|why| format!("round {round}, {i} {change:?}: {why}"))?;
        }
        both.meet(late.as_ref()).map_err(|why| format!("after round {round}: {why}"))?;
    }
    reached::note_end(&both.pair.world);
    Ok(())
}

/// Objects by key.
type Objects = BTreeMap<String, Vec<u8>>;

/// Which upload of the gateway's each object is of, by key; other writers' are of none.
type Uploads = BTreeMap<String, String>;

fn uploads(world: &World) -> Uploads {
    let tag = |key: &str| world.s3.object(BUCKET, key)?.user_meta.remove(GENERATION);
    let keys = world.s3.keys(BUCKET).into_iter();
    keys.filter_map(|key| tag(&key).map(|tag| (key, tag))).collect()
}

/// A file or symbolic link as gateway and bucket had it when they last met.
struct Base {
    ino: Ino,
    path: String,
    bytes: Vec<u8>,
}

/// The gateway with its model, and the bucket with its other writers.
struct Both {
    pair: Pair,
    base: Vec<Base>,
    puts: u32,
}

fn objects(world: &World) -> Objects {
    let keys = world.s3.keys(BUCKET);
    let body = |key: &str| world.s3.object(BUCKET, key).unwrap().body;
    keys.into_iter().map(|key| (key.clone(), body(&key))).collect()
}

/// Whether an object is the gateway's own on the way of another: nobody else knows of it.
fn is_scratch(key: &str) -> bool {
    key.contains(SCRATCH_NAME)
}

fn key(path: &str) -> String {
    format!("{PREFIX}{path}")
}

impl Both {
    fn change(&mut self, change: &Change) -> Result<(), String> {
        let world = &self.pair.world;
        let existing = |number: u8| {
            let mut keys = world.s3.keys(BUCKET);
            keys.retain(|key| !key.ends_with('/') && !is_scratch(key));
            (!keys.is_empty()).then(|| keys[usize::from(number) % keys.len()].clone())
        };
        let below = |dir: u8, name: &str| key(&join(&self.pair.tree.directory(dir), name));
        let name = |number: u8| NAMES[usize::from(number) % NAMES.len()];
        match *change {
            Change::Here(op) => return self.pair.apply(&op),
            Change::Put { dir, name: number, len } => {
                let key = below(dir, name(number));
                self.put(&key, len);
            }
            Change::Replace { key, len } => {
                if let Some(key) = existing(key) {
                    self.put(&key, len);
                }
            }
            Change::Delete { key } => {
                if let Some(key) = existing(key) {
                    world.s3.delete(BUCKET, &key);
                }
            }
            Change::Marker { dir, name: number } => {
                world.s3.put(BUCKET, &format!("{}/", below(dir, name(number))), b"");
            }
        }
        Ok(())
    }

    /// Bytes that no other object has.
    fn put(&mut self, key: &str, len: u16) {
        self.puts += 1;
        let mut body = format!("other writer {} ", self.puts).into_bytes();
        body.resize(body.len() + usize::from(len), b'.');
        self.pair.world.s3.put(BUCKET, key, &body);
    }

    /// Uploads and lists until gateway and bucket agree, and judges what has come of it.
    fn meet(&mut self, late: Option<&Late>) -> Result<(), String> {
        self.give_way();
        let mut meeting = Meeting::new(self);
        let world = &mut self.pair.world;
        world.run(world.gateway().write_back.flush_all());
        if let Some(late) = late {
            self.come_late(late, &mut meeting)?;
        }
        let world = &mut self.pair.world;
        world.upload()?;
        self.pair.mend();
        let world = &mut self.pair.world;
        world.drain()?;
        scan::refresh_all(world)?;
        world.drain()?;
        scan::refresh_all(world)?;
        let broken = world.run(world.gateway().catalog.verify()).unwrap();
        if !broken.is_empty() {
            return Err(format!("the catalog breaks its rules: {broken:?}"));
        }
        if world.uploads_left() > 0 {
            return Err("a multipart upload is left".to_owned());
        }
        let after = objects(world);
        meeting.note(&after);
        meeting.judge(&after).map_err(|why| format!("{why}\n{}", meeting.describe(&after)))?;
        let wanted = scan::of_bucket(world);
        let seen = scan::of_gateway(world)?;
        scan::same(&seen, &wanted)?;
        self.base = self.adopt(seen);
        Ok(())
    }

    /// The gateway uploads some of it; then other writers change what they see.
    fn come_late(&mut self, late: &Late, meeting: &mut Meeting) -> Result<(), String> {
        let before = uploads(&self.pair.world);
        let hold = self.pair.world.upload_held(late.requests.into())?;
        let by_then = uploads(&self.pair.world);
        let heard = self.heard_of();
        let is_done = |key: &str| {
            by_then.contains_key(key) && by_then.get(key) != before.get(key) && heard.contains(key)
        };
        meeting.seen_by_then(is_done, &objects(&self.pair.world));
        for change in &late.changes {
            self.change(change)?;
        }
        self.give_way();
        let mut there = objects(&self.pair.world);
        there.retain(|at, _| !is_scratch(at));
        reached::note(Reached::Late, meeting.changed(&there));
        meeting.there = there;
        self.pair.world.let_go(&hold);
        Ok(())
    }

    /// Keys of files whose objects the gateway knows as they are. Of one whose upload was not answered it does not know,
    /// nor can it find out once another writer has replaced that.
    fn heard_of(&self) -> HashSet<String> {
        let world = &self.pair.world;
        let is_known = |at: &str, ino: Ino| {
            let row = world.run(world.gateway().catalog.inode(ino)).ok()?;
            Some(row.etag.clone()? == ETag::new(world.s3.object(BUCKET, at)?.etag))
        };
        let files = self.pair.tree.nodes.iter().map(|(path, node)| (key(path), node.ino));
        files.filter(|(at, ino)| is_known(at, *ino) == Some(true)).map(|(at, _)| at).collect()
    }

    /// Other writers take back what stands where clients have something of the other kind, or where
    /// another object's directory is.
    fn give_way(&self) {
        let world = &self.pair.world;
        let keys = world.s3.keys(BUCKET);
        for at in &keys {
            let path = at[PREFIX.len()..].trim_end_matches('/');
            let is_object = !at.ends_with('/');
            let is_directory = self.pair.tree.nodes.get(path).is_some_and(Node::is_directory);
            let below = format!("{PREFIX}{path}/");
            let is_above = keys.iter().any(|key| key.starts_with(&below));
            let under_file = path
                .match_indices('/')
                .map(|(end, _)| &path[..end])
                .any(|dir| self.pair.tree.nodes.get(dir).is_some_and(|node| !node.is_directory()));
            let is_file = self.pair.tree.nodes.get(path).is_some_and(|node| !node.is_directory());
            if under_file || (is_object && (is_directory || is_above)) || (!is_object && is_file) {
                world.s3.delete(BUCKET, at);
            }
        }
    }

    /// The model goes on from what is there.
    fn adopt(&mut self, seen: Seen) -> Vec<Base> {
        let root = self.pair.tree.node("").clone();
        let mut base = Vec::new();
        let mut nodes = BTreeMap::from([(String::new(), root)]);
        for (path, node) in seen {
            match &node.kind {
                Kind::File(file) => {
                    let bytes = file.bytes.clone();
                    base.push(Base { ino: node.ino, path: path.clone(), bytes });
                }
                Kind::Symlink(target) => {
                    base.push(Base { ino: node.ino, path: path.clone(), bytes: target.clone() });
                }
                Kind::Directory => {}
            }
            nodes.insert(path, node);
        }
        self.pair.tree.nodes = nodes;
        self.pair.touched.clear();
        base
    }
}

/// What a file is here when the two meet.
struct Here {
    path: String,
    bytes: Vec<u8>,
    /// Whether its bytes were made here since the last meeting.
    is_news: bool,
    /// Where its object was, and whether anything of it was changed here since.
    base: Option<(String, bool)>,
    /// Where it was when the two last met.
    was: Option<String>,
    /// Whether the bucket had it when other writers came once more.
    is_published: bool,
}

/// Both sides right before they meet.
struct Meeting {
    here: Vec<Here>,
    directories: Vec<(String, bool)>,
    /// As gateway and bucket had it.
    base: Objects,
    there: Objects,
}

impl Meeting {
    fn new(both: &Both) -> Self {
        let tree = &both.pair.tree;
        let touched = &both.pair.touched;
        let base_of = |ino: Ino| both.base.iter().find(|base| base.ino == ino);
        let mut here = Vec::new();
        let mut directories = Vec::new();
        for (path, node) in tree.nodes.iter().filter(|(path, _)| !path.is_empty()) {
            let bytes = match &node.kind {
                Kind::Directory => {
                    directories.push((path.clone(), touched.made.contains(&node.ino)));
                    continue;
                }
                Kind::File(file) => &file.bytes,
                Kind::Symlink(target) => target,
            };
            let base = base_of(node.ino);
            let moved = base.is_some_and(|base| base.path != *path);
            let changed = moved || touched.attributes.contains(&node.ino);
            // A link is published whole, as if its bytes were news.
            let is_news =
                base.is_none() || touched.content.contains(&node.ino) || (changed && is_link(node));
            here.push(Here {
                path: path.clone(),
                bytes: bytes.clone(),
                is_news,
                base: base.map(|base| (base.path.clone(), changed)),
                was: base.map(|base| base.path.clone()),
                is_published: false,
            });
        }
        let base = both.base.iter().map(|base| (key(&base.path), base.bytes.clone())).collect();
        Self { here, directories, base, there: objects(&both.pair.world) }
    }

    /// What `is_done` says of is in the bucket as it is here: gateway and bucket have met there.
    fn seen_by_then(&mut self, is_done: impl Fn(&str) -> bool, there: &Objects) {
        for file in &mut self.here {
            let at = key(&file.path);
            if is_done(&at) && there.get(&at) == Some(&file.bytes) {
                file.is_news = false;
                file.is_published = true;
                file.base = Some((file.path.clone(), false));
                self.base.insert(at, file.bytes.clone());
            }
        }
    }

    /// How many objects others have changed since.
    fn changed(&self, there: &Objects) -> u64 {
        let differs = |at: &&String| self.there.get(*at) != there.get(*at);
        let keys: HashSet<&String> = self.there.keys().chain(there.keys()).collect();
        keys.iter().filter(|at| differs(at)).count() as u64
    }

    /// Whether the gateway has seen the object that is at `key` there.
    fn has_seen(&self, key: &str) -> bool {
        self.there.contains_key(key) && self.there.get(key) == self.base.get(key)
    }

    /// Notes what the two had to do with each other.
    fn note(&self, after: &Objects) {
        let is_kept = |at: &&String| at.contains(".conflict-") && !self.there.contains_key(*at);
        reached::note(Reached::Conflict, after.keys().filter(is_kept).count() as u64);
        let is_ours = |at: &str| self.here.iter().any(|file| file.is_news && key(&file.path) == at);
        let met = self.there.keys().filter(|at| !self.has_seen(at) && is_ours(at));
        reached::note(Reached::Met, met.count() as u64);
    }

    fn judge(&self, after: &Objects) -> Result<(), String> {
        self.ours(after)?;
        self.theirs(after)?;
        self.gone(after)?;
        self.nothing_else(after)?;
        self.directories(after)
    }

    /// Every file here is published with the bytes that it must have.
    fn ours(&self, after: &Objects) -> Result<(), String> {
        for file in &self.here {
            let at = key(&file.path);
            let object = self.base_key(file).and_then(|key| self.there.get(&key));
            let replaced = self.base_key(file).filter(|key| !self.has_seen(key)).and(object);
            let wanted = match (&file.base, replaced) {
                (_, _) if file.is_news => Some(&file.bytes),
                // Changed here in name or attributes only: their bytes.
                (Some((_, true)), Some(theirs)) => Some(theirs),
                (Some((_, true)), None) => Some(&file.bytes),
                // Untouched here: whatever is there, or nothing.
                (_, _) => object,
            };
            // Files that swap keys give their objects up, with their bytes: as if these were news.
            let may_be_ours = file.was.as_ref().is_some_and(|path| self.is_swapped(path));
            let is = after.get(&at);
            // Its attributes may have been still to come, and it is put back with them.
            let may_be_ours = may_be_ours || (file.is_published && object.is_none());
            if is != wanted && !(may_be_ours && is == Some(&file.bytes)) {
                return Err(format!("{at:?} is not what it must be"));
            }
        }
        Ok(())
    }

    /// Whether another file has been renamed to `path`, where one had its object.
    fn is_swapped(&self, path: &str) -> bool {
        let is_moved = |file: &&Here| file.was.as_ref().is_some_and(|was| was != path);
        self.here.iter().filter(is_moved).any(|file| file.path == path)
    }

    fn base_key(&self, file: &Here) -> Option<String> {
        file.base.as_ref().map(|(path, _)| key(path))
    }

    /// Every version of another writer that the gateway had not seen is still there.
    fn theirs(&self, after: &Objects) -> Result<(), String> {
        for (at, body) in self.there.iter().filter(|(at, _)| !at.ends_with('/')) {
            if !self.has_seen(at) && !after.values().any(|kept| kept == body) {
                return Err(format!("another writer's version of {at:?} is lost"));
            }
        }
        Ok(())
    }

    /// What was removed or renamed here, and not changed there, has gone.
    fn gone(&self, after: &Objects) -> Result<(), String> {
        let here: HashSet<String> = self.here.iter().map(|file| key(&file.path)).collect();
        for at in self.base.keys() {
            // A copy of another version may have come to the name within the same second.
            let is_new_copy = at.contains(".conflict-gw1-") && after.get(at) != self.base.get(at);
            let is_there = after.contains_key(at) && !is_new_copy;
            if self.has_seen(at) && !here.contains(at) && is_there {
                return Err(format!("{at:?} should have gone"));
            }
        }
        Ok(())
    }

    /// Every object is somebody's file, another writer's, a marker, or a conflict copy.
    fn nothing_else(&self, after: &Objects) -> Result<(), String> {
        let mut known: HashSet<String> = self.there.keys().cloned().collect();
        known.extend(self.here.iter().map(|file| key(&file.path)));
        known.extend(self.directories.iter().map(|(path, _)| format!("{}/", key(path))));
        for (at, body) in after.iter().filter(|(at, _)| !known.contains(*at)) {
            let theirs =
                || self.there.iter().any(|(at, version)| version == body && !self.has_seen(at));
            if !(at.contains(".conflict-gw1-") && theirs()) {
                return Err(format!("nobody made {at:?}"));
            }
        }
        Ok(())
    }

    /// A directory made here is there.
    fn directories(&self, after: &Objects) -> Result<(), String> {
        for (path, _) in self.directories.iter().filter(|(_, made)| *made) {
            let prefix = format!("{}/", key(path));
            if !after.keys().any(|at| at.starts_with(&prefix)) {
                return Err(format!("the directory {path:?} is lost"));
            }
        }
        Ok(())
    }

    /// Keys with the beginnings of their bodies.
    fn describe(&self, after: &Objects) -> String {
        let short = |objects: &Objects| {
            let short = |body: &Vec<u8>| {
                format!("{}:{:?}", body.len(), String::from_utf8_lossy(&body[..body.len().min(16)]))
            };
            objects
                .iter()
                .map(|(at, body)| format!("\n  {at:?} {}", short(body)))
                .collect::<String>()
        };
        let here: Vec<_> =
            self.here.iter().map(|f| (&f.path, f.bytes.len(), f.is_news, &f.base)).collect();
        format!(
            "before:{}\nthere:{}\nhere: {here:?}\nafter:{}",
            short(&self.base),
            short(&self.there),
            short(after)
        )
    }
}

fn is_link(node: &Node) -> bool {
    matches!(node.kind, Kind::Symlink(_))
}
