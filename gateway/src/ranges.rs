//! Sets of byte ranges: ordered, merged, half-open. Pure.
use std::{collections::BTreeMap, ops::Range};

/// A set of bytes as disjoint, non-touching, half-open ranges `[start, end)` in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// start → end; every `end > start`, and below the next start.
    by_start: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `range`, merging what it touches. An empty range changes nothing.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.by_start.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        let merged: Vec<u64> = self.by_start.range(start..=end).map(|(&from, _)| from).collect();
        for from in merged {
            if let Some(to) = self.by_start.remove(&from) {
                end = end.max(to);
            }
        }
        self.by_start.insert(start, end);
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touched: Vec<(u64, u64)> = self
            .by_start
            .range(..range.end)
            .rev()
            .take_while(|(_, end)| **end > range.start)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in touched {
            self.by_start.remove(&start);
            if start < range.start {
                self.by_start.insert(start, range.start);
            }
            if end > range.end {
                self.by_start.insert(range.end, end);
            }
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// Whether every byte of `range` is in the set; an empty range always is.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty()
            || self
                .by_start
                .range(..=range.start)
                .next_back()
                .is_some_and(|(_, &end)| end >= range.end)
    }

    /// The parts of `range` that are not in the set, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Self::new();
        gaps.insert(range.clone());
        for held in self.overlapping(&range) {
            gaps.remove(held);
        }
        gaps.iter().collect()
    }

    /// The parts of the set within `range`, in order.
    pub fn overlapping(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        if range.is_empty() {
            return Vec::new();
        }
        let first = match self.by_start.range(..=range.start).next_back() {
            Some((&start, &end)) if end > range.start => start,
            _ => range.start,
        };
        self.by_start
            .range(first..range.end)
            .map(|(&start, &end)| start.max(range.start)..end.min(range.end))
            .collect()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.by_start.iter().map(|(&start, &end)| start..end)
    }

    /// How many ranges the set has.
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether the set holds no byte.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// How many bytes the set holds.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: u64 = 64;

    fn bitmap(set: &RangeSet) -> Vec<bool> {
        let mut bits = vec![false; usize::try_from(SPAN).unwrap()];
        for range in set.iter() {
            for at in range {
                bits[usize::try_from(at).unwrap()] = true;
            }
        }
        bits
    }

    proptest! {
        /// Every operation agrees with the same operation on a plain bitmap, and the set stays
        /// merged and in order.
        #[test]
        fn range_set_equals_a_bitmap(ops in prop::collection::vec((any::<bool>(), 0..SPAN, 0..SPAN), 0..40),
                                     ask in (0..SPAN, 0..SPAN)) {
            let mut set = RangeSet::new();
            let mut bits = vec![false; usize::try_from(SPAN).unwrap()];
            for (add, a, b) in ops {
                let range = a.min(b)..a.max(b);
                for at in range.clone() {
                    bits[usize::try_from(at).unwrap()] = add;
                }
                if add { set.insert(range) } else { set.remove(range) }
                prop_assert_eq!(&bitmap(&set), &bits);
                let all: Vec<_> = set.iter().collect();
                prop_assert!(all.iter().all(|range| !range.is_empty()));
                prop_assert!(all.windows(2).all(|two| two[0].end < two[1].start));
            }
            let range = ask.0.min(ask.1)..ask.0.max(ask.1);
            let within = |at: u64| bits[usize::try_from(at).unwrap()];
            prop_assert_eq!(set.covers(&range), range.clone().all(within));
            let missing: Vec<u64> = set.missing(range.clone()).into_iter().flatten().collect();
            prop_assert_eq!(missing, range.clone().filter(|at| !within(*at)).collect::<Vec<_>>());
            let held: Vec<u64> = set.overlapping(&range).into_iter().flatten().collect();
            prop_assert_eq!(held, range.filter(|at| within(*at)).collect::<Vec<_>>());
            prop_assert_eq!(set.bytes(), u64::try_from(bits.iter().filter(|bit| **bit).count()).unwrap());
        }
    }
}
