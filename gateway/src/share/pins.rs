//! Which paths of a share are pinned: kept on the cache disk. Pure.

/// Pinned paths, below the share's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(Vec<String>);

impl Pins {
    /// Of paths as the settings have them: checked, perhaps with a `/` at the end.
    pub fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| path.trim_end_matches('/').to_owned()).collect())
    }

    /// Whether what is at `path` (without slashes at its ends) is pinned, or below something that is.
    pub fn covers(&self, path: &str) -> bool {
        self.0.iter().any(|pinned| {
            path.strip_prefix(pinned.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_or_below_a_pinned_path_is_pinned_and_nothing_beside_it() {
        let pins = Pins::new(&["reports/".to_owned(), "a/b.csv".to_owned()]);
        for path in ["reports", "reports/2026", "reports/2026/x", "a/b.csv"] {
            assert!(pins.covers(path), "{path}");
        }
        for path in ["", "report", "reports2", "a", "a/b.csv2", "a/b", "x/reports"] {
            assert!(!pins.covers(path), "{path}");
        }
        assert!(!Pins::default().covers("") && Pins::default().is_empty());
    }
}
