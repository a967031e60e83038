//! PID 1 and its services log to journald through tracing.
use tracing_subscriber::layer::SubscriberExt;

/// Logs under `name` from now on. Without journald, log lines go nowhere: what matters is said on the
/// kernel's log as well ([`crate::sys::say`]).
pub(crate) fn install(name: &str) {
    let Ok(layer) = tracing_journald::layer() else { return };
    let subscriber =
        tracing_subscriber::registry().with(layer.with_syslog_identifier(name.to_owned()));
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        crate::sys::say("the log was installed twice");
    }
}
