//! One listing per directory at a time, whose progress everybody may watch.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

use super::RefreshError;
use crate::ids::Ino;

/// Listings of one share that are under way or wait for their turn. More directories than that are
/// not listed at the same time.
const FLIGHTS_MAX: usize = 1024;

/// How far a listing of a directory has come: that of which number, and how many of its pages are in
/// the catalog. The default is before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    flight: u64,
    pages: u64,
}

/// How a listing is.
#[derive(Clone, Debug)]
enum State {
    /// So many pages are in the catalog, and more are to come.
    Under(u64),
    /// It has ended, and has shown so many names.
    Ended(Result<u64, RefreshError>),
}

/// What somebody who watches a listing is told.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It goes on.
    Part(Progress),
    /// It has ended, and has shown so many names.
    Ended(Result<u64, RefreshError>),
}

/// A listing under way. Clones watch the same.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    number: u64,
    /// When it was asked for.
    pub(super) begun: Instant,
    state: watch::Receiver<State>,
}

impl Flight {
    /// Waits for its end; answers how many names it has shown.
    pub(super) async fn ended(mut self) -> Result<u64, RefreshError> {
        match self.state.wait_for(|state| matches!(state, State::Ended(_))).await.as_deref() {
            Ok(State::Ended(outcome)) => outcome.clone(),
            Ok(State::Under(_)) | Err(_) => Err(RefreshError::Interrupted),
        }
    }

    /// Waits until it has more pages in the catalog than `seen` says, or its end.
    pub(super) async fn beyond(mut self, seen: Progress) -> Seen {
        let known = if seen.flight == self.number { seen.pages } else { 0 };
        let news = |state: &State| match state {
            State::Under(pages) => *pages > known,
            State::Ended(_) => true,
        };
        match self.state.wait_for(news).await.as_deref() {
            Ok(State::Under(pages)) => Seen::Part(Progress { flight: self.number, pages: *pages }),
            Ok(State::Ended(outcome)) => Seen::Ended(outcome.clone()),
            Err(_) => Seen::Ended(Err(RefreshError::Interrupted)),
        }
    }
}

/// The listings under way. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    of: HashMap<Ino, Flight>,
}

/// The duty to list a directory; ends the flight when it is dropped.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Flights,
    dir: Ino,
    state: watch::Sender<State>,
}

impl Flights {
    /// The listing of `dir` that is under way, or a new one and the duty to do it. `None` when too
    /// many are under way.
    pub(super) fn join(&self, dir: Ino) -> Option<(Flight, Option<Lead>)> {
        let mut table = self.lock();
        if let Some(flight) = table.of.get(&dir) {
            return Some((flight.clone(), None));
        }
        if table.of.len() >= FLIGHTS_MAX {
            return None;
        }
        table.last += 1;
        let (state, watched) = watch::channel(State::Under(0));
        let flight = Flight { number: table.last, begun: Instant::now(), state: watched };
        table.of.insert(dir, flight.clone());
        Some((flight, Some(Lead { flights: self.clone(), dir, state })))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Another page is in the catalog, and it is not the last.
    pub(super) fn page(&self) {
        self.state.send_modify(|state| {
            if let State::Under(pages) = state {
                *pages += 1;
            }
        });
    }

    /// The listing has ended.
    pub(super) fn end(self, outcome: Result<u64, RefreshError>) {
        // Whoever comes from here on begins another, before anybody learns of the end.
        self.flights.lock().of.remove(&self.dir);
        self.state.send_replace(State::Ended(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if matches!(*self.state.borrow(), State::Under(_)) {
            self.flights.lock().of.remove(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: Ino = Ino(16);

    #[tokio::test]
    async fn who_watches_is_told_of_pages_that_he_has_not_seen() {
        let flights = Flights::default();
        let (flight, lead) = flights.join(DIR).unwrap();
        let lead = lead.unwrap();
        assert!(flights.join(DIR).unwrap().1.is_none(), "one at a time");
        lead.page();
        let Seen::Part(first) = flight.clone().beyond(Progress::default()).await else {
            panic!("it goes on")
        };
        let mut waiting = Box::pin(flight.clone().beyond(first));
        assert!(futures_now(waiting.as_mut()).await, "nothing new");
        lead.page();
        let Seen::Part(second) = waiting.await else { panic!("it goes on") };
        assert_eq!((first.pages, second.pages), (1, 2));
        let after = flight.clone().beyond(second);
        lead.end(Ok(7));
        assert!(matches!(after.await, Seen::Ended(Ok(7))));
        let (next, lead) = flights.join(DIR).unwrap();
        lead.unwrap().page();
        // What was seen of an earlier listing says nothing of this one.
        assert!(matches!(next.beyond(second).await, Seen::Part(_)));
    }

    #[tokio::test]
    async fn a_listing_that_is_given_up_ends_and_makes_room() {
        let flights = Flights::default();
        let (flight, lead) = flights.join(DIR).unwrap();
        drop(lead);
        assert!(matches!(flight.ended().await, Err(RefreshError::Interrupted)));
        assert!(flights.join(DIR).unwrap().1.is_some());
    }

    #[test]
    fn listings_under_way_are_bounded() {
        let flights = Flights::default();
        let held: Vec<_> = (0..).map_while(|n| flights.join(Ino(n))).collect();
        assert_eq!(held.len(), FLIGHTS_MAX);
        assert!(flights.join(Ino(0)).is_some(), "one that is under way may be joined");
        drop(held);
        assert!(flights.lock().of.is_empty());
    }

    /// Polls once; true when it is pending.
    async fn futures_now<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending()))
            .await
    }
}
