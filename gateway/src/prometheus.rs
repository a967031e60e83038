//! The status document as Prometheus reads it (text format 0.0.4), under AWS's metric names where AWS
//! has one for the same thing (namespace `AWS/StorageGateway`), so that dashboards carry over.
//!
//! Without a label: the gateway. With `share`: that share. What AWS measures in percent, bytes and
//! milliseconds is in percent, bytes and milliseconds here.
use std::fmt::Write;

use gateway_api::{
    ByteSize, GatewayStatus, ShareName,
    figures::{Figures, LATENCY_BOUNDS_MS, Latency, RequestFigures},
    status::{ShareState, UploadStatus},
};

/// The media type of what [`render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// S3 operations whose times AWS shows, and its names of them.
const AWS_TIMES: [(&str, &str); 3] = [
    ("GetObject", "S3GetObjectRequestTime"),
    ("PutObject", "S3PutObjectRequestTime"),
    ("UploadPart", "S3UploadPartRequestTime"),
];

/// Prometheus's names of what a metric is.
const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// One metric under way: its header is written before its first sample.
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("writing to a string works");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{name}{labels} {value}").expect("writing to a string works");
    }

    /// A metric of the gateway and of each share.
    fn metric(
        &mut self,
        status: &GatewayStatus,
        (name, kind, help): (&str, &str, &str),
        value: impl Fn(&Source<'_>) -> Option<f64>,
    ) {
        self.head(name, kind, help);
        for source in sources(status) {
            if let Some(value) = value(&source) {
                self.sample(name, &label(source.share, &[]), value);
            }
        }
    }

    /// The same for a number that there always is.
    fn count(
        &mut self,
        status: &GatewayStatus,
        metric: (&str, &str, &str),
        of: fn(&Source<'_>) -> u64,
    ) {
        self.metric(status, metric, |source| Some(number(of(source))));
    }

    /// A metric that only the gateway has.
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, GAUGE, help);
        self.sample(name, "", value);
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        source: &Source<'_>,
        of: &Latency,
    ) {
        let mut below = 0;
        for (bound, class) in LATENCY_BOUNDS_MS.iter().zip(of.classes) {
            below += class;
            let bound = bound.to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &label(source.share, &labels), below);
        }
        let labels_inf: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&format!("{name}_bucket"), &label(source.share, &labels_inf), of.count());
        self.sample(&format!("{name}_sum"), &label(source.share, labels), of.total_ms);
        self.sample(&format!("{name}_count"), &label(source.share, labels), of.count());
    }
}

/// The gateway, or one of its shares.
struct Source<'s> {
    share: Option<&'s ShareName>,
    figures: &'s Figures,
    upload: &'s UploadStatus,
}

fn sources(status: &GatewayStatus) -> impl Iterator<Item = Source<'_>> {
    let gateway = Source { share: None, figures: &status.figures, upload: &status.upload };
    let shares = status.shares.iter().map(|share| Source {
        share: Some(&share.name),
        figures: &share.figures,
        upload: &share.upload,
    });
    std::iter::once(gateway).chain(shares)
}

/// Share names and S3's operations need no escapes.
fn label(share: Option<&ShareName>, others: &[(&str, &str)]) -> String {
    let share = share.map(|share| format!("share=\"{share}\""));
    let others = others.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    let all: Vec<String> = share.into_iter().chain(others).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
fn number(n: u64) -> f64 {
    n as f64
}

fn percent(part: ByteSize, of: ByteSize) -> f64 {
    if of.0 == 0 { 0.0 } else { number(part.0) * 100.0 / number(of.0) }
}

/// The whole page.
pub fn render(status: &GatewayStatus) -> String {
    let mut page = Page { text: String::new() };
    cache(&mut page, status);
    transfers(&mut page, status);
    clients(&mut page, status);
    requests(&mut page, status);
    machine(&mut page, status);
    page.text
}

fn cache(page: &mut Page, status: &GatewayStatus) {
    let disk = &status.cache;
    page.gauge("TotalCacheSize", "Bytes of the cache disk.", disk.total.0);
    page.gauge("CacheUsed", "Bytes in use on the cache disk.", disk.used.0);
    page.gauge("CacheFree", "Bytes free on the cache disk.", disk.free.0);
    page.gauge(
        "CachePercentUsed",
        "Part of the cache disk in use, in percent.",
        percent(disk.used, disk.total),
    );
    page.metric(
        status,
        ("CachePercentDirty", GAUGE, "Bytes not in S3 yet, in percent of the cache disk."),
        |source| Some(percent(source.upload.dirty_bytes, disk.total)),
    );
    page.metric(
        status,
        ("CacheHitPercent", GAUGE, "READs that needed nothing from S3, in percent."),
        |source| source.figures.hit_percent(),
    );
}

fn transfers(page: &mut Page, status: &GatewayStatus) {
    page.count(status, ("CloudBytesUploaded", COUNTER, "Bytes that S3 has taken."), |source| {
        source.figures.uploaded_bytes.0
    });
    page.count(status, ("CloudBytesDownloaded", COUNTER, "Bytes that S3 has given."), |source| {
        source.figures.downloaded_bytes.0
    });
    page.count(
        status,
        ("DirtyFiles", GAUGE, "Files and directories whose object is not up to date."),
        |source| source.upload.dirty_files,
    );
    page.count(status, ("DirtyBytes", GAUGE, "Bytes of file content not in S3 yet."), |source| {
        source.upload.dirty_bytes.0
    });
    page.count(status, ("PendingDeletes", GAUGE, "Deletions not done in S3 yet."), |source| {
        source.upload.pending_deletes
    });
    page.count(
        status,
        ("OldestDirtySeconds", GAUGE, "How long the longest waiting file has waited."),
        |source| source.upload.oldest_seconds.unwrap_or(0),
    );
    page.count(
        status,
        ("FilesFailingUpload", GAUGE, "Objects whose upload has failed and is tried again."),
        |source| source.upload.failing,
    );
    let unavailable =
        status.shares.iter().filter(|share| matches!(share.state, ShareState::Unavailable(_)));
    page.gauge(
        "FileSharesUnavailable",
        "File shares whose bucket does not answer.",
        unavailable.count(),
    );
    page.count(
        status,
        ("HealthNotifications", COUNTER, "How often the operator was told something."),
        |source| source.figures.notifications,
    );
}

fn clients(page: &mut Page, status: &GatewayStatus) {
    page.count(status, ("ReadBytes", COUNTER, "Bytes that clients have read."), |source| {
        source.figures.read_bytes.0
    });
    page.count(
        status,
        ("ReadsFailed", COUNTER, "READs that failed or were to be sent again."),
        |source| source.figures.failed_reads,
    );
    page.count(status, ("WriteBytes", COUNTER, "Bytes that clients have written."), |source| {
        source.figures.written_bytes.0
    });
    page.count(
        status,
        ("FilesRenamed", COUNTER, "Files and directories that clients have renamed."),
        |source| source.figures.renamed,
    );
    page.gauge("NfsSessions", "Connections of NFS clients.", status.machine.nfs_sessions);
}

fn requests(page: &mut Page, status: &GatewayStatus) {
    let outcomes = |of: &RequestFigures| {
        [
            ("succeeded", of.succeeded),
            ("refused", of.refused),
            ("throttled", of.throttled),
            ("failed", of.failed),
        ]
    };
    page.head("S3Requests", "counter", "Requests to S3 by operation and outcome.");
    for source in sources(status) {
        for of in &source.figures.requests {
            for (outcome, count) in outcomes(of) {
                let labels = [("operation", of.operation.as_str()), ("outcome", outcome)];
                page.sample("S3Requests", &label(source.share, &labels), count);
            }
        }
    }
    page.head("S3RequestTime", "histogram", "Milliseconds that requests to S3 took.");
    for source in sources(status) {
        for of in &source.figures.requests {
            let labels = [("operation", of.operation.as_str())];
            page.histogram("S3RequestTime", &labels, &source, &of.latency);
        }
    }
    for (operation, name) in AWS_TIMES {
        page.head(name, "histogram", "Milliseconds that these requests to S3 took.");
        for source in sources(status) {
            for of in source.figures.requests.iter().filter(|of| of.operation == operation) {
                page.histogram(name, &[], &source, &of.latency);
            }
        }
    }
}

fn machine(page: &mut Page, status: &GatewayStatus) {
    let machine = &status.machine;
    page.gauge("MemTotalBytes", "Memory of the machine.", machine.memory_total.0);
    page.gauge("MemUsedBytes", "Memory in use.", machine.memory_used.0);
    page.gauge("UserCpuPercent", "Processor time in programs.", machine.user_cpu_percent);
    page.gauge("IoWaitPercent", "Processor time waiting for disks.", machine.io_wait_percent);
    page.gauge("UptimeSeconds", "Seconds since the gateway's start.", status.uptime_seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gateway_api::status::{CacheStatus, ShareStatus};

    use super::*;

    fn status() -> GatewayStatus {
        let mut latency = Latency { total_ms: 30, ..Latency::default() };
        latency.classes[1] = 3;
        let requests = vec![RequestFigures {
            operation: "PutObject".to_owned(),
            succeeded: 3,
            latency,
            ..RequestFigures::default()
        }];
        let figures =
            Figures { reads: 4, read_hits: 1, notifications: 7, requests, ..Figures::default() };
        let upload = UploadStatus { dirty_bytes: ByteSize(5), ..UploadStatus::default() };
        GatewayStatus {
            cache: CacheStatus { total: ByteSize(100), used: ByteSize(20), free: ByteSize(80) },
            upload: upload.clone(),
            figures: figures.clone(),
            shares: vec![ShareStatus {
                name: "sales".parse().unwrap(),
                bucket: "bucket".parse().unwrap(),
                prefix: "".parse().unwrap(),
                state: ShareState::Available,
                read_only: false,
                unrepresentable_keys: 0,
                pinned: None,
                refreshes: Vec::new(),
                capabilities: gateway_api::status::Capabilities::default(),
                upload,
                figures,
            }],
            ..GatewayStatus::default()
        }
    }

    #[test]
    fn gateway_and_share_have_aws_s_names() {
        let page = render(&status());
        for line in [
            "TotalCacheSize 100",
            "CacheUsed 20",
            "CacheFree 80",
            "CachePercentUsed 20",
            "CachePercentDirty 5",
            "CachePercentDirty{share=\"sales\"} 5",
            "CacheHitPercent{share=\"sales\"} 25",
            "S3Requests{operation=\"PutObject\",outcome=\"succeeded\"} 3",
            "S3PutObjectRequestTime_bucket{share=\"sales\",le=\"5\"} 0",
            "S3PutObjectRequestTime_bucket{share=\"sales\",le=\"10\"} 3",
            "S3PutObjectRequestTime_bucket{share=\"sales\",le=\"+Inf\"} 3",
            "S3RequestTime_sum{operation=\"PutObject\"} 30",
            "S3PutObjectRequestTime_count 3",
            "FileSharesUnavailable 0",
            "# TYPE HealthNotifications counter",
            "HealthNotifications 7",
            "HealthNotifications{share=\"sales\"} 7",
        ] {
            assert!(page.lines().any(|seen| seen == line), "{line} is not in\n{page}");
        }
    }

    /// What Prometheus refuses: a metric announced twice, a sample that no announcement is for, or the
    /// same sample twice.
    #[test]
    fn every_sample_is_announced_once() {
        let page = render(&status());
        let (mut names, mut samples) = (HashSet::new(), HashSet::new());
        let mut current = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(names.insert(current.clone()), "{current} twice");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(&current), "{name} below {current}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(name.to_owned()), "{name} twice");
            }
        }
        assert!(names.len() > 25, "{names:?}");
    }
}
