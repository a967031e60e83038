//! A place where requests wait until a test lets them go on: an order of events without a clock.

use tokio::sync::watch;

/// Holds the requests of its rule until it is opened. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Hold {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    come: u64,
    open: bool,
}

impl Hold {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        Self { state: watch::Sender::default() }
    }

    /// Returns when so many requests have come to it since it was made.
    ///
    /// # Panics
    /// Never: the state lives as long as this.
    pub async fn come(&self, requests: u64) {
        let mut state = self.state.subscribe();
        state.wait_for(|state| state.come >= requests).await.expect("self holds the sender");
    }

    /// Lets everybody go on, and everybody who comes later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    pub(crate) async fn pass(&self) {
        let mut state = self.state.subscribe();
        self.state.send_modify(|state| state.come += 1);
        state.wait_for(|state| state.open).await.expect("self holds the sender");
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        self.state.same_channel(&other.state)
    }
}

impl Eq for Hold {}
