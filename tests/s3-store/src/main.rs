//! The S3 store as a program: prints its endpoint when it listens, stops on Ctrl-C or SIGTERM.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use s3_store::{FaultRule, S3Store, StoreConfig};
use tokio::signal::unix::{SignalKind, signal};

/// An S3 server for tests and for trying Tidegate.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// A bucket to make where it is missing; may be given again.
    #[arg(long, value_name = "NAME")]
    bucket: Vec<String>,
    /// Keep everything in this folder between runs; without it everything is in memory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The access key id that requests are signed with.
    #[arg(long, default_value = "tidegate")]
    access_key: String,
    /// Its secret.
    #[arg(long, default_value = "tidegate-secret")]
    secret_key: String,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Requests to BUCKET.DOMAIN name the bucket in the host.
    #[arg(long, default_value = "localhost", value_name = "DOMAIN")]
    base_domain: String,
    /// Delay of every request in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Most MiB a second of every connection, in each direction.
    #[arg(long, value_name = "MIB")]
    rate_mib: Option<u64>,
    /// Play a store that ignores If-Match and If-None-Match on writes.
    #[arg(long)]
    ignore_conditions: bool,
    /// Refuse writes with a request header that begins so, such as x-amz-checksum-; may be given again.
    #[arg(long, value_name = "PREFIX")]
    unknown_header: Vec<String>,
    /// A fault, such as PutObject:skip=2:times=3:fail-after=500/InternalError; may be given again.
    #[arg(long, value_name = "RULE")]
    fault: Vec<FaultRule>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let store = S3Store::start(StoreConfig {
        listen: arguments.listen,
        access_key_id: arguments.access_key,
        secret_access_key: arguments.secret_key,
        region: arguments.region,
        buckets: arguments.bucket,
        directory: arguments.dir,
        base_domain: Some(arguments.base_domain),
    })
    .await?;
    let faults = store.faults();
    faults.set_latency(Duration::from_millis(arguments.latency_ms));
    faults.set_rate_per_connection(arguments.rate_mib.map(|mib| mib << 20));
    faults.set_ignore_write_conditions(arguments.ignore_conditions);
    let unknown: Vec<&str> = arguments.unknown_header.iter().map(String::as_str).collect();
    faults.set_unknown_headers(&unknown);
    arguments.fault.into_iter().for_each(|rule| faults.add(rule));

    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", store.endpoint())?;
    output.flush()?;
    drop(output);
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    drop(store);
    Ok(())
}
