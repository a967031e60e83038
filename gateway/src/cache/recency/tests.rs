//! What leaves first, and that lists, files and counts hold together.
use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const BYTES: u32 = 1000;

fn part(ino: u64) -> Part {
    Part { ino: Ino(ino), number: 0 }
}

fn coldest(recency: &mut Recency) -> Option<Part> {
    recency.coldest().map(|at| recency.nodes[at as usize].part)
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
                let coldest = self.recency.look().unwrap().part;
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
    assert_eq!(coldest(&mut recency), Some(part(1)));
    assert_eq!(recency.kept.newest, None);
    recency.used(part(1), BYTES);
    assert_eq!(coldest(&mut recency), Some(part(2)), "used again much later");
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

#[test]
fn a_part_that_stays_is_looked_at_once_and_comes_first_when_it_may_leave() {
    let mut recency = Recency::default();
    for ino in 1..=3 {
        recency.used(part(ino), BYTES);
    }
    for ino in 1..=3 {
        let looked = recency.look().unwrap();
        assert_eq!(looked.part, part(ino));
        recency.stays(looked, Some(Stays::Dirty));
    }
    assert!(recency.look().is_none(), "all have been looked at");
    assert!(recency.is_known_clean(part(2)) && !recency.is_known_clean(part(9)));
    assert_eq!(recency.look().unwrap().part, part(2));
    recency.used(part(3), BYTES);
    assert_eq!(coldest(&mut recency), Some(part(3)), "it is looked at again after a use");
    // What nobody has used since the start is colder than that.
    assert!(recency.is_clean(part(9), BYTES));
    assert_eq!(coldest(&mut recency), Some(part(9)));
}

#[test]
fn a_part_that_has_left_is_not_taken_for_one_that_is_here() {
    let mut recency = Recency::default();
    recency.used(part(1), BYTES);
    recency.left(part(1));
    assert!(!recency.is_known_clean(part(1)));
    assert!(!recency.knows(part(1)) && coldest(&mut recency).is_none());
    assert!(recency.is_clean(part(1), BYTES), "somebody has looked, and it is here");
    assert_eq!(coldest(&mut recency), Some(part(1)));
}

#[test]
fn what_becomes_clean_while_it_is_looked_at_is_not_overheard() {
    let mut recency = Recency::default();
    recency.used(part(1), BYTES);
    let looked = recency.look().unwrap();
    recency.is_clean(part(1), BYTES);
    recency.stays(looked, Some(Stays::Dirty));
    let looked = recency.look().unwrap();
    recency.pins_changed();
    recency.stays(looked, Some(Stays::Pinned));
    let looked = recency.look().unwrap();
    recency.stays(looked, Some(Stays::Pinned));
    assert!(recency.look().is_none());
    assert_eq!(recency.look_at_pinned().unwrap().part, part(1), "if there is nothing else");
    assert!(recency.look_at_pinned().is_none());
}

#[test]
fn a_removed_file_takes_all_of_its_parts_along() {
    let mut recency = Recency::default();
    recency.used(part(1), BYTES);
    for number in 0..u32::try_from(PARTS_MAX).unwrap() - 2 {
        recency.used(Part { ino: Ino(2), number }, BYTES);
    }
    recency.used(part(3), BYTES);
    recency.removed(Ino(2));
    assert_eq!((recency.places.len(), recency.files.len()), (2, 0));
    for ino in [1, 3] {
        let next = recency.look().unwrap().part;
        assert_eq!(next, part(ino));
    }
    assert!(recency.look().is_none());
}

proptest! {
    /// Lists, places and byte counts agree after any sequence of calls.
    #[test]
    fn the_lists_hold_together(calls in prop::collection::vec((0..8_u8, 0..12_u64, 1..9_u32), 1..300)) {
        let mut recency = Recency::default();
        for (call, ino, bytes) in calls {
            let part = |ino| Part { ino: Ino(ino / 3), number: (ino % 3) as u32 };
            match call {
                0 if bytes > 4 => recency.left(part(ino)),
                0 => recency.gone(part(ino)),
                1 => {
                    let why = [None, Some(Stays::Dirty), Some(Stays::Pinned)][bytes as usize % 3];
                    let looked = if bytes > 6 { recency.look_at_pinned() } else { recency.look() };
                    if let Some(looked) = looked {
                        recency.stays(looked, why);
                    }
                }
                3 if bytes > 6 => recency.removed(Ino(ino / 3)),
                3 if bytes == 6 => recency.pins_changed(),
                3 => drop(recency.is_clean(part(ino), bytes)),
                2 => { recency.uses += VISIT_USES; recency.used(part(ino), bytes); }
                _ => recency.used(part(ino), bytes),
            }
            let mut found = 0;
            let lists = [
                (recency.trial, Segment::Trial),
                (recency.kept, Segment::Kept),
                (recency.left, Segment::Left),
                (recency.dirty, Segment::Aside(Stays::Dirty)),
                (recency.pinned, Segment::Aside(Stays::Pinned)),
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
            let mut behind_first = 0;
            for head in recency.files.values() {
                let (mut at, mut last) = (Some(*head), None);
                while let Some(here) = at {
                    let node = recency.nodes[here as usize];
                    prop_assert_eq!(node.file_before, last);
                    prop_assert_eq!(recency.places[&node.part], here);
                    (last, at, behind_first) = (Some(here), node.file_next, behind_first + 1);
                }
            }
            let numbered = recency.places.keys().filter(|part| part.number > 0).count();
            prop_assert_eq!(behind_first, numbered);
        }
    }
}
