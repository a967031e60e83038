//! Watches over the pages of one listing: what a server may answer, and that it comes to an end. Pure.
//!
//! S3 lists in the order of keys, every key once, below the prefix asked for. Of that nothing is
//! taken on trust that would cost an entry or an end: order is not needed; a key that is not below
//! the prefix, or a page asked for twice, makes the listing one that failed.
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::store::{ListPage, StoreError, StoreErrorKind, StoreOp};

/// Pages of one listing: a hundred million names, a thousand to a page as S3 gives them. At ten pages
/// a second they take three hours.
pub(super) const PAGES_MAX: usize = 100_000;

/// The pages so far.
#[derive(Debug, Default)]
pub(super) struct Pages {
    hasher: RandomState,
    /// Hashes of the continuation tokens so far.
    tokens: HashSet<u64>,
}

impl Pages {
    /// Looks at a page of the listing of `prefix`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`]: nothing may be concluded from this listing.
    pub(super) fn check(&mut self, prefix: &str, page: &ListPage) -> Result<(), StoreError> {
        if let Some(key) = page.stray(prefix) {
            return Err(refusal(format!("a listing of {prefix:?} shows {key:?}")));
        }
        let Some(token) = &page.next else { return Ok(()) };
        if !self.tokens.insert(self.hasher.hash_one(token)) {
            return Err(refusal(format!("a listing of {prefix:?} goes round in a circle")));
        }
        Ok(())
    }

    /// Pages after which there was another.
    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }
}

fn refusal(message: String) -> StoreError {
    let kind = StoreErrorKind::Invalid;
    StoreError { op: StoreOp::ListObjects, key: None, kind, request_id: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(prefix: &str, next: &str) -> ListPage {
        ListPage {
            objects: Vec::new(),
            prefixes: vec![prefix.to_owned()],
            next: Some(next.to_owned()),
        }
    }

    #[test]
    fn a_listing_that_never_ends_is_refused() {
        let mut pages = Pages::default();
        pages.check("p/", &page("p/a/", "1")).unwrap();
        pages.check("p/", &page("p/b/", "2")).unwrap();
        let error = pages.check("p/", &page("p/c/", "1")).unwrap_err();
        assert!(error.message.contains("circle"), "{error}");
        assert_eq!(pages.count(), 2);
    }

    #[test]
    fn a_key_of_elsewhere_is_refused_and_order_does_not_matter() {
        let mut pages = Pages::default();
        pages.check("p/", &page("p/z/", "1")).unwrap();
        pages.check("p/", &page("p/a/", "2")).unwrap();
        let error = pages.check("p/", &page("q/", "3")).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid);
    }
}
