//! Where log lines go: journald when it runs, standard error otherwise.
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Installs the process's log. Fields of events arrive in journald as `F_<NAME>`.
///
/// The S3 client's own crates log at most warnings: their finer levels could show request headers
/// (RUSTSEC-2023-0125 was such a case).
pub fn install() {
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("aws", LevelFilter::WARN)
        .with_target("hyper", LevelFilter::WARN)
        .with_target("rustls", LevelFilter::WARN);
    let registry = tracing_subscriber::registry();
    match tracing_journald::layer() {
        Ok(journald) => {
            let journald = journald.with_syslog_identifier("gateway".to_owned());
            registry.with(journald.with_filter(filter)).init();
        }
        Err(_no_journald) => {
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            registry.with(lines.with_filter(filter)).init();
        }
    }
}
