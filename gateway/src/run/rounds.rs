//! What is done for a share again and again, for as long as it runs.
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Work that comes round.
#[async_trait]
pub(super) trait Rounds: Send {
    /// What it is done for.
    type Of: Send + Sync;

    /// Does it once; answers how long to pause.
    async fn round(&mut self, of: &Self::Of) -> Duration;
}

/// Does the rounds, the first after `first`, until nobody has what they are done for any more, or until
/// `stop`, wherever a round is. In its pauses nothing is held.
pub(super) async fn keep<R: Rounds>(
    of: Weak<R::Of>,
    first: Duration,
    mut rounds: R,
    stop: CancellationToken,
) {
    let coming_round = async {
        let mut pause = first;
        loop {
            tokio::time::sleep(pause).await;
            let Some(of) = Weak::upgrade(&of) else { return };
            pause = rounds.round(&of).await;
            drop::<Arc<_>>(of);
        }
    };
    tokio::select! {
        () = coming_round => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    /// Tells of each round, and never ends the third.
    struct Counted(mpsc::Sender<u32>, u32);

    #[async_trait]
    impl Rounds for Counted {
        type Of = ();

        async fn round(&mut self, (): &()) -> Duration {
            self.1 += 1;
            self.0.send(self.1).await.unwrap();
            if self.1 == 3 {
                pending::<()>().await;
            }
            Duration::from_millis(1)
        }
    }

    #[tokio::test]
    async fn rounds_end_with_what_they_are_for_or_with_the_stop() {
        let (told, mut rounds) = mpsc::channel(1);
        let (of, stop) = (Arc::new(()), CancellationToken::new());
        let keep = |of, told: &mpsc::Sender<u32>| {
            keep(of, Duration::ZERO, Counted(told.clone(), 0), stop.clone())
        };
        let going = tokio::spawn(keep(Arc::downgrade(&of), &told));
        for number in 1..=3 {
            assert_eq!(rounds.recv().await, Some(number));
        }
        assert_eq!(Arc::strong_count(&of), 2, "held while a round is under way");
        stop.cancel();
        going.await.unwrap();
        assert_eq!(Arc::strong_count(&of), 1);

        let stop = CancellationToken::new();
        let gone = Arc::downgrade(&of);
        drop(of);
        super::keep(gone, Duration::ZERO, Counted(told, 0), stop).await;
        assert_eq!(rounds.recv().await, None, "no round for nobody");
    }
}
