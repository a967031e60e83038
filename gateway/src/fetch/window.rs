//! How far ahead of its readers a file is fetched: nothing for who jumps about, more and more for who
//! reads on. Pure.
//!
//! Told of every READ of a file that is not here as a whole, hits too: the next bytes are asked for
//! when a reader has used half of what was asked for ahead of it, not when it runs dry.
use std::{collections::HashMap, ops::Range};

use crate::ids::Ino;

/// First step ahead; also what all steps end at a multiple of: a GET.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// Longest step ahead: at 20 ms per request and 90 MiB/s per connection, a GET of 1 MiB takes 31 ms, so that 32 of
/// them side by side feed a reader of 1 GiB/s. Twice that, as half of it is used up before more is asked for.
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// How much READs of one reader may overtake each other: clients send several at a time.
const SLACK_BYTES_MIN: u64 = 256 << 10;
/// The same in READs.
const SLACK_READS: u64 = 4;
/// READs in a row after which somebody who began in the middle is taken to read on.
const READS_IN_A_ROW: u32 = 3;
/// Readers of one file that are told apart; the one that has not read for longest gives way.
const STREAMS_MAX: usize = 8;
/// Files whose readers are remembered, in one of two generations.
const FILES_MAX: usize = 2048;

/// One reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stream {
    /// Where it reads on.
    next: u64,
    /// Up to where bytes have been asked for.
    ahead: u64,
    /// How far ahead they are asked for; 0 while it is not known to read on.
    bytes: u64,
    /// READs in a row.
    reads: u32,
    /// When it read last, in READs of the file.
    last: u64,
}

/// The readers of one file.
#[derive(Clone, Debug, Default)]
struct Readers {
    streams: Vec<Stream>,
    reads: u64,
}

impl Readers {
    /// Notes a READ of `range`; answers what is to be fetched besides.
    fn read(&mut self, range: &Range<u64>) -> Option<Range<u64>> {
        self.reads += 1;
        let (reads, length) = (self.reads, range.end.saturating_sub(range.start));
        let slack = length.saturating_mul(SLACK_READS).max(SLACK_BYTES_MIN);
        let nearest = self
            .streams
            .iter_mut()
            .filter(|stream| stream.next.abs_diff(range.start) <= slack)
            .min_by_key(|stream| stream.next.abs_diff(range.start));
        let Some(stream) = nearest else { return self.begin(range) };
        stream.last = reads;
        if range.end <= stream.next {
            // Overtaken, or read again.
            return None;
        }
        stream.next = range.end;
        stream.reads = stream.reads.saturating_add(1);
        if stream.bytes == 0 {
            if stream.reads < READS_IN_A_ROW {
                return None;
            }
            stream.bytes = WINDOW_BYTES_MIN;
        } else if stream.ahead.saturating_sub(stream.next) >= stream.bytes / 2 {
            return None;
        } else {
            stream.bytes = (stream.bytes * 2).min(WINDOW_BYTES_MAX);
        }
        Some(stream.ask())
    }

    fn begin(&mut self, range: &Range<u64>) -> Option<Range<u64>> {
        if self.streams.len() >= STREAMS_MAX {
            let oldest = (0..self.streams.len()).min_by_key(|at| self.streams[*at].last)?;
            self.streams.swap_remove(oldest);
        }
        // Who begins at the beginning reads on, as a rule.
        let bytes = if range.start == 0 { WINDOW_BYTES_MIN } else { 0 };
        let mut stream =
            Stream { next: range.end, ahead: range.end, bytes, reads: 1, last: self.reads };
        let ahead = (bytes > 0).then(|| stream.ask());
        self.streams.push(stream);
        ahead
    }

    /// Bytes from `at` on could not be asked for.
    fn refused(&mut self, at: u64) {
        for stream in &mut self.streams {
            // The reader may have come there, and beyond, since it was asked for.
            let is_its = at < stream.ahead && stream.next.saturating_sub(at) <= stream.bytes;
            if is_its {
                stream.ahead = at.max(stream.next);
                stream.bytes = (stream.bytes / 2).max(WINDOW_BYTES_MIN);
            }
        }
    }
}

impl Stream {
    fn ask(&mut self) -> Range<u64> {
        let from = self.ahead.max(self.next);
        // Whole requests.
        self.ahead = self.next.saturating_add(self.bytes).next_multiple_of(WINDOW_BYTES_MIN);
        from..self.ahead
    }
}

/// The readers of all files of a share.
#[derive(Debug, Default)]
pub(super) struct Windows {
    young: HashMap<Ino, Readers>,
    old: HashMap<Ino, Readers>,
}

impl Windows {
    /// Notes a READ; answers what is to be fetched besides, if anything. May go beyond the end.
    pub(super) fn read(&mut self, ino: Ino, range: &Range<u64>) -> Option<Range<u64>> {
        if !self.young.contains_key(&ino) {
            let known = self.old.remove(&ino).unwrap_or_default();
            if self.young.len() >= FILES_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(ino, known);
        }
        self.young.get_mut(&ino)?.read(range).filter(|ahead| !ahead.is_empty())
    }

    /// Bytes of `ino` from `at` on could not be asked for: memory or the cache disk is short. Its readers
    /// are served less far ahead.
    pub(super) fn refused(&mut self, ino: Ino, at: u64) {
        for readers in [self.young.get_mut(&ino), self.old.get_mut(&ino)].into_iter().flatten() {
            readers.refused(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Reads on from `at` in steps; answers the ranges asked for and where the reader was then.
    fn read_on(readers: &mut Readers, at: &mut u64, step: u64, to: u64) -> Vec<(u64, Range<u64>)> {
        let mut asked = Vec::new();
        while *at < to {
            let range = *at..*at + step;
            *at = range.end;
            asked.extend(readers.read(&range).map(|ahead| (*at, ahead)));
        }
        asked
    }

    #[test]
    fn more_is_asked_for_when_half_is_used_and_a_reader_never_runs_dry() {
        let mut readers = Readers::default();
        let mut at = 0;
        let asked = read_on(&mut readers, &mut at, 65_536, 200 * MIB);
        let mut end = 65_536;
        let mut longest = 0;
        for (reader, ahead) in &asked {
            assert_eq!(ahead.start, end, "without a gap, nothing twice");
            assert!(*reader < ahead.start || ahead.start == 65_536, "before it is needed");
            longest = longest.max(ahead.end - reader);
            end = ahead.end;
        }
        assert!((WINDOW_BYTES_MAX..WINDOW_BYTES_MAX + MIB).contains(&longest));
        assert!(end >= 200 * MIB + WINDOW_BYTES_MAX / 2);
        assert!(asked.len() < 20, "{} requests", asked.len());
        let first: Vec<u64> =
            asked.iter().take(4).map(|(at, ahead)| (ahead.end - at) / MIB).collect();
        assert_eq!(first, [1, 2, 4, 8], "as much again as it has read");
    }

    #[test]
    fn who_jumps_about_gets_only_what_is_asked() {
        let mut readers = Readers::default();
        for i in 1..1000_u64 {
            let at = (i * 7919 * 4096) % (10 << 30);
            assert_eq!(readers.read(&(at..at + 4096)), None);
        }
        assert!(readers.streams.len() <= STREAMS_MAX);
        assert_eq!(readers.read(&(MIB..MIB + 4096)), None);
        assert_eq!(readers.read(&(MIB + 4096..MIB + 8192)), None);
        let third = readers.read(&(MIB + 8192..MIB + 12_288));
        assert_eq!(third, Some(MIB + 12_288..3 * MIB), "three in a row are no jump");
    }

    #[test]
    fn readers_of_one_file_keep_their_own_windows() {
        let mut readers = Readers::default();
        let mut places: Vec<u64> = (0..4).map(|i| i * 1000 * MIB).collect();
        for _ in 0..60 {
            for at in &mut places {
                let to = *at + MIB;
                read_on(&mut readers, at, 128 << 10, to);
            }
        }
        assert_eq!(readers.streams.len(), 4);
        assert!(readers.streams.iter().all(|stream| stream.bytes == WINDOW_BYTES_MAX));
    }

    #[test]
    fn reads_that_overtake_each_other_are_one_reader() {
        let mut readers = Readers::default();
        let order = [0, 2, 1, 4, 3, 5, 7, 6, 8_u64];
        let asked: Vec<_> =
            order.iter().filter_map(|i| readers.read(&(i * MIB..(i + 1) * MIB))).collect();
        assert_eq!(readers.streams.len(), 1);
        assert!(
            asked.len() >= 3 && asked.windows(2).all(|two| two[0].end <= two[1].start),
            "{asked:?}"
        );
    }

    #[test]
    fn what_was_refused_is_asked_for_again_and_less_far_ahead() {
        let mut windows = Windows::default();
        let (mut at, mut last) = (0, 0..0);
        while at < 100 * MIB {
            let ahead = windows.read(Ino(1), &(at..at + MIB));
            last = ahead.unwrap_or(last);
            at += MIB;
        }
        windows.refused(Ino(1), last.start);
        let mut next = None;
        while next.is_none() {
            next = windows.read(Ino(1), &(at..at + MIB));
            at += MIB;
        }
        let next = next.unwrap();
        assert!(next.start <= last.start.max(at) && next.start < last.end);
    }

    #[test]
    fn what_was_refused_where_the_reader_is_by_now_is_asked_for_again() {
        let mut windows = Windows::default();
        let step = 64 << 10;
        let ahead = windows.read(Ino(1), &(0..step)).unwrap();
        assert_eq!(ahead.start, step);
        // The beginning of the block.
        windows.refused(Ino(1), 0);
        let again = windows.read(Ino(1), &(step..2 * step)).unwrap();
        assert!(again.start <= 2 * step && again.end > again.start, "{again:?}");
    }

    #[test]
    fn files_are_remembered_within_bounds() {
        let mut windows = Windows::default();
        for ino in 0..10 * FILES_MAX as u64 {
            windows.read(Ino(ino), &(0..4096));
        }
        assert!(windows.young.len() <= FILES_MAX && windows.old.len() <= FILES_MAX);
        assert!(windows.read(Ino(10 * FILES_MAX as u64 - 1), &(0..4096)).is_none(), "known");
    }
}
