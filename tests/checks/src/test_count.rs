//! Counting tests by the summaries that cargo's test programs print.

/// The name of a test that failed, if a line says so: `test NAME ... FAILED`.
pub fn failed_test(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestCount {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
}

impl TestCount {
    /// Adds what a line says if it is a summary:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    pub fn add_line(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_, counts)) = rest.split_once(". ") else { return };
        for part in counts.split(';') {
            if let Some((number, what)) = part.trim().split_once(' ') {
                let number: u64 = number.parse().unwrap_or(0);
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_failed_is_named() {
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        for line in ["test a::b ... ok", "test result: FAILED. 4 passed; 2 failed", "a ... FAILED"]
        {
            assert_eq!(failed_test(line), None, "{line}");
        }
    }

    #[test]
    fn summaries_are_added_up_and_other_lines_are_not() {
        let mut count = TestCount::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test in_a_vm::story ... ok",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.00s",
        ] {
            count.add_line(line);
        }
        assert_eq!(count, TestCount { passed: 7, failed: 2 });
    }
}
