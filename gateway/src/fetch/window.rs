//! How far ahead a reader is served: doubles while it reads on, starts over when it jumps. Pure.
use std::ops::Range;

/// First step ahead.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// Longest step ahead: at 20 ms per request and 90 MiB/s per connection, eight 1 MiB blocks on
/// connections of their own keep a 400 MiB/s reader fed; twice that is slack.
const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// One file's reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    next: u64,
    bytes: u64,
}

impl Window {
    /// Notes a miss at `range` and answers what to bring besides: the bytes right behind it.
    pub(super) fn miss(&mut self, range: &Range<u64>) -> Range<u64> {
        // Readers of one file overtake each other a little: a miss up to one window ahead of or
        // behind the expected place still counts as reading on.
        let slack = self.bytes.max(WINDOW_BYTES_MIN);
        let reads_on = range.start > 0 && range.start.abs_diff(self.next) <= slack;
        self.bytes = if reads_on {
            (self.bytes * 2).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
        } else if range.start == 0 {
            WINDOW_BYTES_MIN
        } else {
            0
        };
        self.next = range.end.saturating_add(self.bytes);
        range.end..self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_on_doubles_the_window_up_to_its_bound() {
        let mut window = Window::default();
        let mut at = 0;
        let mut ahead = Vec::new();
        for _ in 0..7 {
            let more = window.miss(&(at..at + 65_536));
            ahead.push((more.end - more.start) >> 20);
            at = more.end;
        }
        assert_eq!(ahead, [1, 2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn a_jump_fetches_only_what_is_asked() {
        let mut window = Window::default();
        window.miss(&(0..4096));
        assert!(window.miss(&(900 << 20..(900 << 20) + 4096)).is_empty());
        assert!(window.miss(&(100 << 20..(100 << 20) + 4096)).is_empty());
    }
}
