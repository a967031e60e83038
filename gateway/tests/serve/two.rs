//! Two gateways on one prefix, each with a client that writes the same names: what either has acknowledged is in
//! the bucket, under the name or beside it, whoever came first.
use std::collections::BTreeSet;

use crate::{
    BUCKET, keys,
    mount::Mount,
    process::{Gateway, Home, settings, store},
};

const ROUNDS: usize = 6;

#[test]
fn no_update_of_two_gateways_is_lost() {
    let store = store();
    let homes = [Home::new(), Home::new()];
    // Nothing goes to the bucket before both have written.
    let settings = settings(&store).replace("upload_delay_ms = 50", "upload_delay_ms = 3600000");
    let gateways = [0, 1].map(|at: usize| Gateway::start(&homes[at], &settings));
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        // Who was the last to publish `shared` may replace that, as its own client has.
        let mut expected = acknowledged.clone();
        for (at, gateway) in gateways.iter().enumerate() {
            let mut share = Mount::new(gateway.port, "sales");
            share.write("shared", words(at, round, "shared").as_bytes());
            share.write(&format!("round-{round}"), words(at, round, "new").as_bytes());
        }
        // Side by side, so that either may be the first in the bucket.
        std::thread::scope(|scope| {
            for gateway in &gateways {
                scope.spawn(|| gateway.flush());
            }
        });
        for at in 0..2 {
            acknowledged.insert(words(at, round, "new"));
            expected.extend([words(at, round, "shared"), words(at, round, "new")]);
        }
        let bodies = |key: String| {
            let object = store.object(BUCKET, &key).expect("it was listed");
            String::from_utf8(object.body).expect("words")
        };
        let found: BTreeSet<String> = keys(&store).into_iter().map(bodies).collect();
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} is nowhere in the bucket");
    }
    let copies = keys(&store).iter().filter(|key| key.contains(".conflict-")).count();
    assert!(copies >= ROUNDS, "{copies} conflict copies: the two hardly met");
}

/// What a gateway writes in a round.
fn words(gateway: usize, round: usize, name: &str) -> String {
    format!("gateway {gateway}, round {round}, {name}\n")
}
