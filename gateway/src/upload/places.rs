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
    /// How many jobs may have a place.
    most: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
    under_way: usize,
    ended: u64,
}

/// A job's place: the next that waits begins when this is dropped, however the job ends, if so many may.
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
    /// `most` jobs may have a place from here on. Where that is more, those that wait begin; where it is fewer, as many
    /// of those under way come to their end first.
    pub(super) fn allow(&self, most: usize) {
        self.lock().most = most;
        self.fill();
    }

    /// A place for a job that begins, if one is free; else where to wait for the next that becomes free. Who does not
    /// wait any more drops that.
    pub(super) fn take(&self) -> Result<Place, oneshot::Receiver<Place>> {
        let mut state = self.lock();
        if state.under_way < state.most {
            state.under_way += 1;
            return Ok(Place(Some(self.clone())));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(receiver)
    }

    /// Gives free places to those that wait.
    fn fill(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                if state.under_way >= state.most {
                    return;
                }
                let Some(next) = state.waiting.pop_front() else { return };
                state.under_way += 1;
                next
            };
            if let Err(mut given_back) = next.send(Place(Some(self.clone()))) {
                // It does not wait any more; and this is no end of a job.
                given_back.0 = None;
                self.lock().under_way -= 1;
            }
        }
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
        {
            let mut state = places.lock();
            state.under_way -= 1;
            state.ended += 1;
        }
        places.fill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(most: usize) -> Places {
        let places = Places::default();
        places.allow(most);
        places
    }

    #[test]
    fn a_place_goes_to_the_first_that_still_waits() {
        let places = of(2);
        let (one, two) = (places.take().unwrap(), places.take().unwrap());
        let mut waiting: Vec<_> = (0..3).map(|_| places.take().unwrap_err()).collect();
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
        let places = of(2);
        let (held, other) = (Held::default(), Held::default());
        held.take(places.take().unwrap());
        other.take(places.take().unwrap());
        let (mut next, gone) = (places.take().unwrap_err(), places.take().unwrap_err());
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
        let places = of(1);
        let one = places.take().unwrap();
        let (gone, mut next) = (places.take().unwrap_err(), places.take().unwrap_err());
        drop(one);
        drop(gone);
        assert!(next.try_recv().is_ok());
    }

    #[test]
    fn where_fewer_may_go_as_many_end_first_and_where_more_may_those_that_wait_begin() {
        let places = of(3);
        let mut held: Vec<_> = (0..3).map(|_| places.take().unwrap()).collect();
        let mut waiting: Vec<_> = (0..4).map(|_| places.take().unwrap_err()).collect();
        places.allow(2);
        held.pop();
        assert_eq!((places.under_way(), places.taken()), (2, 6), "one more than may go has ended");
        assert!(waiting[0].try_recv().is_err());
        held.pop();
        held.push(
            waiting.remove(0).try_recv().expect("from there on one begins for each that ends"),
        );
        places.allow(4);
        held.extend(waiting.drain(..2).map(|mut next| next.try_recv().expect("two more may go")));
        assert!(waiting[0].try_recv().is_err());
        assert_eq!((places.under_way(), places.ended()), (4, 2));
    }
}
