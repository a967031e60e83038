//! What leaves the cache first: 2Q (Johnson and Shasha, 1994) over parts of files. Pure.
//!
//! A part that is used comes into the *trial* segment; one that is used again after others were comes into
//! the *kept* one, which holds three quarters of the bytes here at most and gives its coldest back to the
//! trial. Parts leave the trial first. So a tree that is read once, however large, goes through the trial
//! and pushes nothing out that is used again and again. What has left is remembered for a while: who is
//! asked for again then is kept at once, so that what people work with next overtakes what they worked with
//! last. Bounded: a part that is not known here is colder than all that are.
//!
//! What was found not to be free to leave is set aside until somebody says that it is, so that each such part
//! is looked at once and not by everybody who needs room.
use std::collections::HashMap;

use crate::ids::Ino;

/// Bytes of a file that are kept or leave together; a smaller file is one part.
pub const PART_BYTES: u64 = 8 << 20;
/// Parts known: 12 MiB of memory, about.
const PARTS_MAX: usize = 128 * 1024;
/// Uses, of whatever parts, that count as one visit from its first on: a part that is read from end to
/// end is used once.
const VISIT_USES: u64 = 2048;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The file.
    pub ino: Ino,
    /// Counts [`PART_BYTES`].
    pub number: u32,
}

/// Why a part cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// S3 does not have the file as it is here, or it is being written.
    Dirty,
    /// Its path is pinned.
    Pinned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Trial,
    Kept,
    /// Not here any more.
    Left,
    /// Set aside: cannot leave.
    Aside(Stays),
}

#[derive(Clone, Copy, Debug)]
struct Node {
    part: Part,
    newer: Option<u32>,
    older: Option<u32>,
    /// The neighbours among the file's parts, of those behind its first.
    file_next: Option<u32>,
    file_before: Option<u32>,
    segment: Segment,
    /// Whether it is a kept one, wherever it is at the moment.
    kept: bool,
    bytes: u32,
    /// When the visit began, in uses.
    visit: u64,
}

/// One segment, a list of nodes.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    newest: Option<u32>,
    oldest: Option<u32>,
    bytes: u64,
    parts: usize,
}

/// The parts that were used lately.
#[derive(Debug, Default)]
pub struct Recency {
    nodes: Vec<Node>,
    free: Vec<u32>,
    places: HashMap<Part, u32>,
    /// Of each file that has parts behind its first, one of those.
    files: HashMap<Ino, u32>,
    trial: List,
    kept: List,
    left: List,
    dirty: List,
    pinned: List,
    uses: u64,
    dropped: u64,
    pins: u64,
}

/// A part that is being looked at, and what its answer is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) part: Part,
    /// How many it has, about.
    pub(super) bytes: u32,
    pins: u64,
}

impl Recency {
    /// Notes a use of the part, which has at least `bytes`.
    pub fn used(&mut self, part: Part, bytes: u32) {
        self.uses += 1;
        let Some(&at) = self.places.get(&part) else { return self.add(part, bytes) };
        let mut node = self.take_out(at);
        node.bytes = node.bytes.max(bytes);
        if node.segment == Segment::Left || self.uses - node.visit >= VISIT_USES {
            node.visit = self.uses;
            node.kept = true;
        }
        node.segment = node.home();
        self.put_newest(at, node);
    }

    /// The part that should leave first, set aside as if it could not: say what has come of it by
    /// [`Recency::left`] or [`Recency::stays`]. Whoever says meanwhile that it may leave is not overheard.
    pub(super) fn look(&mut self) -> Option<Looked> {
        let at = self.coldest()?;
        Some(self.set_aside(at))
    }

    /// The same of pinned parts that were found not to be free to leave.
    pub(super) fn look_at_pinned(&mut self) -> Option<Looked> {
        let at = self.pinned.oldest?;
        Some(self.set_aside(at))
    }

    fn set_aside(&mut self, at: u32) -> Looked {
        let mut node = self.take_out(at);
        node.segment = Segment::Aside(Stays::Dirty);
        self.put_newest(at, node);
        Looked { part: node.part, bytes: node.bytes, pins: self.pins }
    }

    fn coldest(&mut self) -> Option<u32> {
        // Not before something must leave: while there is room nobody has a share.
        self.rebalance();
        self.trial.oldest.or(self.kept.oldest)
    }

    /// The part that was looked at cannot leave; `None`: nobody knows.
    pub(super) fn stays(&mut self, looked: Looked, why: Option<Stays>) {
        let Some(&at) = self.places.get(&looked.part) else { return };
        if self.nodes[at as usize].segment != Segment::Aside(Stays::Dirty) {
            // It was used since, or said to be free.
            return;
        }
        match why {
            Some(Stays::Dirty) => {}
            Some(Stays::Pinned) if looked.pins == self.pins => {
                let mut node = self.take_out(at);
                node.segment = Segment::Aside(Stays::Pinned);
                self.put_newest(at, node);
            }
            Some(Stays::Pinned) | None => self.put_back(at),
        }
    }

    /// Gives a part that was set aside back, as the coldest of where it came from.
    fn put_back(&mut self, at: u32) {
        let mut node = self.take_out(at);
        node.segment = node.home();
        self.put_oldest(at, node);
    }

    /// The part has left the cache to make room.
    pub fn left(&mut self, part: Part) {
        let Some(&at) = self.places.get(&part) else { return };
        let mut node = self.take_out(at);
        node.segment = Segment::Left;
        node.kept = false;
        self.put_newest(at, node);
        // Half as many as are here, as 2Q has it.
        let here = self.trial.parts + self.kept.parts + self.dirty.parts + self.pinned.parts;
        while self.left.parts > here / 2 + 1
            && let Some(oldest) = self.left.oldest
        {
            self.gone(self.nodes[oldest as usize].part);
        }
    }

    /// S3 has the file of the part, which is here and has `bytes`: it may leave. If it is not known it was not
    /// used for long, and comes before all that are. `false` when there is no place for it.
    pub(super) fn is_clean(&mut self, part: Part, bytes: u32) -> bool {
        if self.is_known_clean(part) {
            return true;
        }
        if let Some(&at) = self.places.get(&part) {
            self.put_back(at);
            return true;
        }
        if self.places.len() >= PARTS_MAX {
            self.dropped += 1;
            return false;
        }
        let at = self.make(part, bytes);
        self.put_oldest(at, self.nodes[at as usize]);
        true
    }

    /// The same, if it is known that the part is here; else `false`.
    pub(super) fn is_known_clean(&mut self, part: Part) -> bool {
        let Some(&at) = self.places.get(&part) else { return false };
        match self.nodes[at as usize].segment {
            Segment::Aside(Stays::Dirty) => self.put_back(at),
            Segment::Aside(Stays::Pinned) | Segment::Trial | Segment::Kept => {}
            // It has left, and may have come back or not.
            Segment::Left => return false,
        }
        true
    }

    /// Other paths are pinned from now on.
    pub(super) fn pins_changed(&mut self) {
        self.pins += 1;
        // Of what is not known nobody knows either.
        self.dropped += 1;
        while let Some(at) = self.pinned.newest {
            self.put_back(at);
        }
    }

    /// The file will not come again: all of its parts are forgotten.
    pub fn removed(&mut self, ino: Ino) {
        self.gone(Part { ino, number: 0 });
        let mut next = self.files.remove(&ino);
        while let Some(at) = next {
            let node = self.take_out(at);
            self.places.remove(&node.part);
            self.free.push(at);
            next = node.file_next;
        }
    }

    fn gone(&mut self, part: Part) {
        if let Some(at) = self.places.remove(&part) {
            let node = self.take_out(at);
            self.leave_file(&node);
            self.free.push(at);
        }
    }

    /// Whether the part is here and was used lately.
    pub fn knows(&self, part: Part) -> bool {
        let at = self.places.get(&part);
        at.is_some_and(|at| self.nodes[*at as usize].segment != Segment::Left)
    }

    /// How many parts were forgotten because there were too many: they may be in the cache.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn add(&mut self, part: Part, bytes: u32) {
        if self.places.len() >= PARTS_MAX {
            self.make_place();
        }
        let at = self.make(part, bytes);
        self.put_newest(at, self.nodes[at as usize]);
    }

    fn make_place(&mut self) {
        if let Some(left) = self.left.oldest {
            self.gone(self.nodes[left as usize].part);
            return;
        }
        let coldest = self.coldest().or(self.pinned.oldest);
        // A dirty one is told of when it is dirty no more.
        self.dropped += u64::from(coldest.is_some());
        if let Some(at) = coldest.or(self.dirty.oldest) {
            self.gone(self.nodes[at as usize].part);
        }
    }

    /// A node that is in no list yet.
    fn make(&mut self, part: Part, bytes: u32) -> u32 {
        let node = Node {
            part,
            newer: None,
            older: None,
            file_next: None,
            file_before: None,
            segment: Segment::Trial,
            kept: false,
            bytes,
            visit: self.uses,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than PARTS_MAX")
            }
        };
        self.places.insert(part, at);
        if part.number > 0 {
            let next = self.files.insert(part.ino, at);
            self.nodes[at as usize].file_next = next;
            if let Some(next) = next {
                self.nodes[next as usize].file_before = Some(at);
            }
        }
        at
    }

    /// Takes a part that goes out of the list of its file's.
    fn leave_file(&mut self, node: &Node) {
        if node.part.number == 0 {
            return;
        }
        if let Some(next) = node.file_next {
            self.nodes[next as usize].file_before = node.file_before;
        }
        match (node.file_before, node.file_next) {
            (Some(before), next) => self.nodes[before as usize].file_next = next,
            (None, Some(next)) => drop(self.files.insert(node.part.ino, next)),
            (None, None) => drop(self.files.remove(&node.part.ino)),
        }
    }

    /// Gives the coldest kept parts back to the trial until the kept ones have their share.
    fn rebalance(&mut self) {
        while self.kept.bytes > (self.kept.bytes + self.trial.bytes) / 4 * 3
            && let Some(oldest) = self.kept.oldest
            && self.kept.newest != Some(oldest)
        {
            let mut node = self.take_out(oldest);
            (node.segment, node.kept) = (Segment::Trial, false);
            self.put_newest(oldest, node);
        }
    }

    fn list(&mut self, segment: Segment) -> &mut List {
        match segment {
            Segment::Trial => &mut self.trial,
            Segment::Kept => &mut self.kept,
            Segment::Left => &mut self.left,
            Segment::Aside(Stays::Dirty) => &mut self.dirty,
            Segment::Aside(Stays::Pinned) => &mut self.pinned,
        }
    }

    /// Takes the node out of its list; answers it as it was.
    fn take_out(&mut self, at: u32) -> Node {
        let node = self.nodes[at as usize];
        match node.newer {
            Some(newer) => self.nodes[newer as usize].older = node.older,
            None => self.list(node.segment).newest = node.older,
        }
        match node.older {
            Some(older) => self.nodes[older as usize].newer = node.newer,
            None => self.list(node.segment).oldest = node.newer,
        }
        let list = self.list(node.segment);
        list.bytes -= u64::from(node.bytes);
        list.parts -= 1;
        node
    }

    /// Puts the node at the new end of the list of its segment.
    fn put_newest(&mut self, at: u32, node: Node) {
        let list = self.list(node.segment);
        let older = list.newest.replace(at);
        list.oldest.get_or_insert(at);
        list.bytes += u64::from(node.bytes);
        list.parts += 1;
        if let Some(older) = older {
            self.nodes[older as usize].newer = Some(at);
        }
        self.nodes[at as usize] = Node { newer: None, older, ..node };
    }

    /// The same at the old end.
    fn put_oldest(&mut self, at: u32, node: Node) {
        let list = self.list(node.segment);
        let newer = list.oldest.replace(at);
        list.newest.get_or_insert(at);
        list.bytes += u64::from(node.bytes);
        list.parts += 1;
        if let Some(newer) = newer {
            self.nodes[newer as usize].older = Some(at);
        }
        self.nodes[at as usize] = Node { newer, older: None, ..node };
    }
}

impl Node {
    /// The segment of one that may leave.
    fn home(&self) -> Segment {
        if self.kept { Segment::Kept } else { Segment::Trial }
    }
}

#[cfg(test)]
mod tests;
