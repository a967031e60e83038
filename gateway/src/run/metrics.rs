//! Where metrics are served follows the settings.
use std::{future::pending, sync::Arc, time::Duration};

use super::gateway::Gateway;
use crate::{admin, tasks::Tasks};

/// Pause before an address that could not be listened on is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Serves metrics where the settings say, and elsewhere when they change, until the stop.
pub(super) async fn serve(gateway: Arc<Gateway>, tasks: Tasks) {
    let mut wanted = gateway.metrics_wanted();
    loop {
        let settings = wanted.borrow_and_update().clone();
        let listen = settings.listen;
        let stop = tasks.stopping().clone();
        let serving = async {
            let served = admin::metrics::serve(settings, Arc::clone(&gateway) as _, stop).await;
            let (Err(error), Some(listen)) = (served, listen) else { return pending().await };
            gateway.cannot_serve_metrics(Some(format!(
                "metrics cannot be served on {listen} ({error}): set metrics.listen to an address \
                 of this machine and a free port"
            )));
            tokio::time::sleep(RETRY).await;
        };
        tokio::select! {
            () = serving => {}
            changed = wanted.changed() => if changed.is_err() { return },
            () = tasks.stopping().cancelled() => return,
        }
        gateway.cannot_serve_metrics(None);
    }
}
