//! A bound on memory: permits in bytes, taken before a buffer is filled, given back when it is gone.
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per permit: tokio's semaphore counts in `u32`.
const UNIT: u64 = 4096;

/// A budget of bytes. Cloning gives another handle to the same budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    permits: Arc<Semaphore>,
    total: u32,
}

/// Bytes taken from a budget; dropping gives them back.
#[derive(Debug)]
pub struct Reserved(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl MemoryBudget {
    /// A budget of `bytes`, rounded up to 4 KiB.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX >> 3);
        let total = total.min(u32::MAX >> 3);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// The whole budget, in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.total) * UNIT
    }

    /// Waits until `bytes` are free and takes them. More than the whole budget counts as the whole
    /// budget, so that every request is served in the end, if alone. Fair and cancel safe.
    pub async fn reserve(&self, bytes: u64) -> Reserved {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        let permit = Arc::clone(&self.permits)
            .acquire_many_owned(units)
            .await
            .expect("the semaphore is never closed");
        Reserved(permit)
    }

    /// Takes `bytes` if they are free at once and a quarter of the whole budget is left over for who
    /// must have some.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        if free.checked_sub(units)? < self.total / 4 {
            return None;
        }
        Arc::clone(&self.permits).try_acquire_many_owned(units).ok().map(Reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_need_not_have_it_leaves_a_quarter() {
        let budget = MemoryBudget::new(8 * UNIT);
        let taken = budget.try_reserve(6 * UNIT).expect("a quarter is left");
        assert!(budget.try_reserve(1).is_none());
        let _must = budget.reserve(2 * UNIT).await;
        drop(taken);
        assert!(budget.try_reserve(7 * UNIT).is_none() && budget.try_reserve(1).is_some());
    }

    #[tokio::test]
    async fn what_is_too_large_is_served_alone() {
        let budget = MemoryBudget::new(8192);
        let all = budget.reserve(1 << 40).await;
        assert_eq!(budget.permits.available_permits(), 0);
        drop(all);
        let _small = budget.reserve(1).await;
        assert_eq!(budget.permits.available_permits(), 1);
    }
}
