//! How the build tells what it is doing. It owns no terminal: a caller brings its own [`Progress`].

use std::time::Instant;

/// Receives what the build does, in order, from one thread.
pub trait Progress {
    /// A new step has begun, for example `packages: fetching 58`.
    fn step(&mut self, what: &str);
    /// Something worth knowing about the step in hand, for example a size.
    fn note(&mut self, what: &str);
    /// Something the user should act upon; the build goes on.
    fn warn(&mut self, what: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&mut self, _what: &str) {}
    fn note(&mut self, _what: &str) {}
    fn warn(&mut self, _what: &str) {}
}

/// Prints lines to standard error, each with the seconds since the start.
#[derive(Debug)]
pub struct PrintProgress {
    started: Instant,
}

impl PrintProgress {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }

    fn print(&self, text: &str) {
        eprintln!("[{:6.1} s] {text}", self.started.elapsed().as_secs_f64());
    }
}

impl Default for PrintProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for PrintProgress {
    fn step(&mut self, what: &str) {
        self.print(what);
    }
    fn note(&mut self, what: &str) {
        self.print(&format!("  {what}"));
    }
    fn warn(&mut self, what: &str) {
        self.print(&format!("warning: {what}"));
    }
}

/// A byte count for people: `12.3 MiB`.
#[must_use]
pub(crate) fn human(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    if tenths == 0 {
        format!("{:.1} KiB", f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1024.0)
    } else {
        format!("{}.{} MiB", tenths / 10, tenths % 10)
    }
}
