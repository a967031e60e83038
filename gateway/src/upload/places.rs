//! The places of uploads that go on at once, and the jobs that wait for one.
//!
//! Handing out jobs waits for a sync of the catalog, and so do those that hand out what the ended ones have left free.
//! More jobs are handed out than there are places, then: twice as many as ended while that was waited for the last
//! time, so that it need not be waited for again before half of them have begun. Each begins where another has been
//! done by S3, and does not wait until the catalog has noted that.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The places of all uploads. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<oneshot::Sender<Place>>,
    under_way: usize,
    ended: u64,
}

/// A job's place: the next that waits has it when this is dropped, however the job ends.
#[derive(Debug)]
pub(super) struct Place(Option<Places>);

/// A place that its job may leave before it ends. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<HeldState>>);

#[derive(Debug, Default)]
struct HeldState {
    place: Option<Place>,
    /// How many jobs had a place when this one was left.
    under_way: usize,
}

impl Held {
    /// Holds `place`.
    pub(super) fn take(&self, place: Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).place = Some(place);
    }

    /// The next has it, if it was not left before; how many jobs had one then.
    pub(super) fn leave(&self) -> usize {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.place.take() {
            held.under_way = place.0.as_ref().map_or(0, Places::under_way);
        }
        held.under_way
    }
}

impl Places {
    /// A place for a job that begins, if there are not `most` with one already; else where to wait for the place of
    /// the next that ends. Who does not wait any more drops that.
    pub(super) fn take(&self, most: usize) -> Result<Place, oneshot::Receiver<Place>> {
        let mut state = self.lock();
        if state.under_way < most {
            state.under_way += 1;
            return Ok(Place(Some(self.clone())));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(receiver)
    }

    /// How many jobs have a place.
    pub(super) fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// How many jobs have left their places so far.
    pub(super) fn ended(&self) -> u64 {
        self.lock().ended
    }

    /// How many jobs have a place or wait for one.
    pub(super) fn taken(&self) -> usize {
        let state = self.lock();
        state.under_way + state.waiting.iter().filter(|waits| !waits.is_closed()).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.0.take() else { return };
        places.lock().ended += 1;
        loop {
            let next = {
                let mut state = places.lock();
                let next = state.waiting.pop_front();
                if next.is_none() {
                    state.under_way -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Place(Some(places.clone()))) {
                Ok(()) => return,
                // It does not wait any more; and this is no end of a job.
                Err(mut given_back) => given_back.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_to_the_first_that_still_waits() {
        let places = Places::default();
        let (one, two) = (places.take(2).unwrap(), places.take(2).unwrap());
        let mut waiting: Vec<_> = (0..3).map(|_| places.take(2).unwrap_err()).collect();
        drop(waiting.remove(0));
        drop(one);
        assert_eq!(places.under_way(), 2);
        assert!(waiting[1].try_recv().is_err(), "one ended, one begins");
        let third = waiting[0].try_recv().unwrap();
        drop((two, third));
        let fourth = waiting[1].try_recv().unwrap();
        assert_eq!((places.ended(), places.under_way()), (3, 1));
        drop(fourth);
        assert_eq!((places.ended(), places.under_way()), (4, 0));
    }

    #[test]
    fn a_place_that_is_left_before_its_job_ends_is_the_next_one_s() {
        let places = Places::default();
        let (held, other) = (Held::default(), Held::default());
        held.take(places.take(2).unwrap());
        other.take(places.take(2).unwrap());
        let (mut next, gone) = (places.take(2).unwrap_err(), places.take(2).unwrap_err());
        assert_eq!(places.taken(), 4);
        drop(gone);
        assert_eq!(places.taken(), 3, "who does not wait any more takes none");
        assert_eq!(held.leave(), 2);
        held.take(next.try_recv().expect("its job is not over, and another one has the place"));
        assert_eq!((places.taken(), places.ended()), (2, 1));
        // What is told at a job's end is what it was when the place was left.
        assert_eq!((other.leave(), held.leave(), other.leave()), (2, 1, 2));
        assert_eq!((places.taken(), places.ended()), (0, 3));
    }

    #[test]
    fn a_place_that_nobody_takes_goes_on_to_the_next() {
        let places = Places::default();
        let one = places.take(1).unwrap();
        let (gone, mut next) = (places.take(1).unwrap_err(), places.take(1).unwrap_err());
        drop(one);
        drop(gone);
        assert!(next.try_recv().is_ok());
    }
}
