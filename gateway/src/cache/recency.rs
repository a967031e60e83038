//! What leaves the cache first: 2Q (Johnson and Shasha, 1994) over parts of files. Pure.
//!
//! A part that is used comes into the *trial* segment; one that is used again after others were comes into
//! the *kept* one, which holds three quarters of the bytes here at most and gives its coldest back to the
//! trial. Parts leave the trial first. So a tree that is read once, however large, goes through the trial
//! and pushes nothing out that is used again and again. What has left is remembered for a while: who is
//! asked for again then is kept at once, so that what people work with next overtakes what they worked with
//! last. Bounded: a part that is not known here is colder than all that are.
use std::collections::HashMap;

use crate::ids::Ino;

/// Bytes of a file that are kept or leave together; a smaller file is one part.
pub const PART_BYTES: u64 = 8 << 20;
/// Parts known: 8 MiB of memory, about.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Trial,
    Kept,
    /// Not here any more.
    Left,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    part: Part,
    newer: Option<u32>,
    older: Option<u32>,
    segment: Segment,
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
    trial: List,
    kept: List,
    left: List,
    uses: u64,
    dropped: u64,
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
            node.segment = Segment::Kept;
        }
        self.put_newest(at, node);
    }

    /// The part that should leave first.
    pub fn coldest(&mut self) -> Option<Part> {
        // Not before something must leave: while there is room nobody has a share.
        self.rebalance();
        let at = self.trial.oldest.or(self.kept.oldest)?;
        Some(self.nodes[at as usize].part)
    }

    /// The part has left the cache to make room.
    pub fn left(&mut self, part: Part) {
        let Some(&at) = self.places.get(&part) else { return };
        let mut node = self.take_out(at);
        node.segment = Segment::Left;
        self.put_newest(at, node);
        // Half as many as are here, as 2Q has it.
        while self.left.parts > (self.trial.parts + self.kept.parts) / 2 + 1
            && let Some(oldest) = self.left.oldest
        {
            self.gone(self.nodes[oldest as usize].part);
        }
    }

    /// The part cannot leave now: others come before it next time.
    pub fn spared(&mut self, part: Part) {
        if let Some(&at) = self.places.get(&part) {
            let node = self.take_out(at);
            self.put_newest(at, node);
        }
    }

    /// The part will not come again: its file was removed.
    pub fn gone(&mut self, part: Part) {
        if let Some(at) = self.places.remove(&part) {
            self.take_out(at);
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
            if let Some(left) = self.left.oldest {
                self.gone(self.nodes[left as usize].part);
            } else if let Some(coldest) = self.coldest() {
                self.gone(coldest);
                self.dropped += 1;
            }
        }
        let node = Node {
            part,
            newer: None,
            older: None,
            segment: Segment::Trial,
            bytes,
            visit: self.uses,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than PARTS_MAX")
            }
        };
        self.places.insert(part, at);
        self.put_newest(at, node);
    }

    /// Gives the coldest kept parts back to the trial until the kept ones have their share.
    fn rebalance(&mut self) {
        while self.kept.bytes > (self.kept.bytes + self.trial.bytes) / 4 * 3
            && let Some(oldest) = self.kept.oldest
            && self.kept.newest != Some(oldest)
        {
            let mut node = self.take_out(oldest);
            node.segment = Segment::Trial;
            self.put_newest(oldest, node);
        }
    }

    fn list(&mut self, segment: Segment) -> &mut List {
        match segment {
            Segment::Trial => &mut self.trial,
            Segment::Kept => &mut self.kept,
            Segment::Left => &mut self.left,
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
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const BYTES: u32 = 1000;

    fn part(ino: u64) -> Part {
        Part { ino: Ino(ino), number: 0 }
    }

    /// A cache of so many parts, and how often it had what was asked for.
    struct Cache {
        recency: Recency,
        here: HashSet<Part>,
        room: usize,
    }

    impl Cache {
        fn new(room: usize) -> Self {
            Self { recency: Recency::default(), here: HashSet::new(), room }
        }

        /// Reads each part; answers how many were here.
        fn read(&mut self, inos: std::ops::Range<u64>) -> usize {
            let mut hits = 0;
            for ino in inos {
                hits += usize::from(!self.here.insert(part(ino)));
                if self.here.len() > self.room {
                    let coldest = self.recency.coldest().unwrap();
                    assert!(self.here.remove(&coldest));
                    self.recency.left(coldest);
                }
                self.recency.used(part(ino), BYTES);
            }
            hits
        }
    }

    /// Goal: a tree of ten times the cache, read once, leaves the working set where it is. Method: a cache of
    /// 10,000 parts; the same with plain LRU has nothing of the working set afterwards.
    #[test]
    fn a_scan_pushes_nothing_out_that_is_used_again_and_again() {
        let working = 0..5000_u64;
        let mut cache = Cache::new(10_000);
        for _ in 0..3 {
            cache.read(working.clone());
        }
        cache.read(1_000_000..1_100_000);
        assert_eq!(cache.read(working.clone()), 5000, "of the working set");
        let mut lru: Vec<u64> = working.clone().chain(1_000_000..1_100_000).collect();
        let kept = lru.split_off(lru.len() - 10_000);
        assert!(working.clone().all(|ino| !kept.contains(&ino)));
    }

    #[test]
    fn a_working_set_that_nobody_uses_any_more_is_overtaken_by_the_next() {
        let mut cache = Cache::new(10_000);
        for _ in 0..4 {
            cache.read(0..7000);
        }
        let mut hits = Vec::new();
        for _ in 0..12 {
            hits.push(cache.read(50_000..57_000));
        }
        assert!(hits[11] > 6500, "{hits:?}");
    }

    #[test]
    fn reading_a_part_from_end_to_end_is_one_use() {
        let mut recency = Recency::default();
        for _ in 0..VISIT_USES {
            recency.used(part(1), BYTES);
        }
        recency.used(part(2), BYTES);
        assert_eq!(recency.coldest(), Some(part(1)));
        assert_eq!(recency.kept.newest, None);
        recency.used(part(1), BYTES);
        assert_eq!(recency.coldest(), Some(part(2)), "used again much later");
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut recency = Recency::default();
        for ino in 0..2 * PARTS_MAX as u64 {
            recency.used(part(ino), BYTES);
        }
        assert_eq!((recency.places.len(), recency.nodes.len()), (PARTS_MAX, PARTS_MAX));
        assert_eq!(recency.dropped(), PARTS_MAX as u64);
        assert!(!recency.knows(part(0)) && recency.knows(part(2 * PARTS_MAX as u64 - 1)));
    }

    proptest! {
        /// Lists, places and byte counts agree after any sequence of calls.
        #[test]
        fn the_lists_hold_together(calls in prop::collection::vec((0..4_u8, 0..12_u64, 1..9_u32), 1..300)) {
            let mut recency = Recency::default();
            for (call, ino, bytes) in calls {
                match call {
                    0 if bytes > 4 => recency.left(part(ino)),
                    0 => recency.gone(part(ino)),
                    1 => recency.spared(part(ino)),
                    2 => { recency.uses += VISIT_USES; recency.used(part(ino), bytes); }
                    _ => recency.used(part(ino), bytes),
                }
                let mut found = 0;
                let lists = [
                    (recency.trial, Segment::Trial),
                    (recency.kept, Segment::Kept),
                    (recency.left, Segment::Left),
                ];
                for (list, segment) in lists {
                    let (mut at, mut last, mut bytes) = (list.newest, None, 0);
                    while let Some(here) = at {
                        let node = recency.nodes[here as usize];
                        prop_assert_eq!((node.newer, node.segment), (last, segment));
                        prop_assert_eq!(recency.places[&node.part], here);
                        (last, at, found) = (Some(here), node.older, found + 1);
                        bytes += u64::from(node.bytes);
                    }
                    prop_assert_eq!((list.oldest, list.bytes), (last, bytes));
                }
                prop_assert_eq!(found, recency.places.len());
            }
        }
    }
}
