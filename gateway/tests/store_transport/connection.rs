//! The test of a connection: each thing that can be wrong is found by its own step, and said with what
//! to do about it.
use gateway::connection;
use gateway_api::{
    Secret, ShareSettings,
    connection::{ConnectionTest, Outcome, Step, StepReport},
    settings::S3Settings,
};
use s3_store::{FaultAction, FaultRule, S3Store};
use tokio::net::TcpListener;

use super::{
    fronts::{AUTHORITY, proxy, s3, tls_front},
    settings,
};

const NAME: &str = ".tidegate-probe-test-1";

fn target(s3: S3Settings) -> ConnectionTest {
    let share = ShareSettings::new(
        "sales".parse().unwrap(),
        "bucket".parse().unwrap(),
        "onprem/".parse().unwrap(),
    );
    ConnectionTest { s3, share }
}

fn plain(store: &S3Store) -> ConnectionTest {
    target(S3Settings { allow_http: true, ..settings(store.endpoint()) })
}

async fn reports(target: &ConnectionTest) -> Vec<StepReport> {
    let mut reports = Vec::new();
    connection::test(target, NAME, &mut |report| reports.push(report)).await;
    let steps: Vec<Step> = reports.iter().map(|report| report.step).collect();
    assert_eq!(steps, Step::ALL, "every step is reported once, in order");
    reports
}

/// The step that failed, what was seen and what is advised; everything after it is skipped.
fn failure(reports: &[StepReport]) -> (Step, String, String) {
    let at = reports.iter().position(|report| !report.is_usable()).expect("a step fails");
    for later in &reports[at + 1..] {
        assert!(matches!(later.outcome, Outcome::Skipped { .. }), "{later:?}");
    }
    match &reports[at].outcome {
        Outcome::Failed { why, advice } => (reports[at].step, why.clone(), advice.clone()),
        other => panic!("{other:?}"),
    }
}

async fn fails(target: &ConnectionTest, step: Step, why: &str, advice: &str) {
    let (failed, seen, advised) = failure(&reports(target).await);
    assert_eq!(failed, step, "{seen}");
    assert!(seen.contains(why), "{step:?}: {seen}");
    assert!(advised.contains(advice), "{step:?}: {advised}");
}

fn outcome(reports: &[StepReport], step: Step) -> &Outcome {
    &reports.iter().find(|report| report.step == step).unwrap().outcome
}

#[tokio::test]
async fn a_right_target_passes_every_step_and_nothing_is_left_behind() {
    let store = s3().await;
    let front = tls_front(store.address()).await;
    let target = target(S3Settings {
        ca_bundle: AUTHORITY.to_owned(),
        ..settings(format!("https://localhost:{}", front.address.port()))
    });
    let reports = reports(&target).await;
    for report in &reports {
        assert!(matches!(report.outcome, Outcome::Passed { .. }), "{report:?}");
    }
    assert!(
        matches!(outcome(&reports, Step::Name), Outcome::Passed { note } if note.contains("private"))
    );
    assert!(matches!(outcome(&reports, Step::Tls), Outcome::Passed { note } if note == "TLSv1.3"));
    assert!(store.keys("bucket").is_empty());
}

#[tokio::test]
async fn through_a_proxy_and_without_its_password() {
    let store = s3().await;
    let front = tls_front(store.address()).await;
    let (proxy, heads) = proxy(front.address, Some("me:p@ss:word")).await;
    let with = |password: &str| {
        target(S3Settings {
            ca_bundle: AUTHORITY.to_owned(),
            http_proxy: format!("http://{}", proxy.address),
            proxy_user: "me".to_owned(),
            proxy_password: Secret::new(password),
            ..settings("https://store.test".to_owned())
        })
    };
    let reports = reports(&with("p@ss:word")).await;
    assert!(reports.iter().all(StepReport::is_usable), "{reports:?}");
    assert!(
        matches!(outcome(&reports, Step::Name), Outcome::Passed { note } if note.contains("the proxy"))
    );
    assert!(heads.lock().unwrap().iter().all(|head| head.starts_with("CONNECT store.test:443 ")));
    fails(&with("wrong"), Step::Tls, "407", "user and password").await;
}

#[tokio::test]
async fn the_way_fails_where_it_is_broken() {
    let store = s3().await;
    let front = tls_front(store.address()).await;
    let https = |host: &str| settings(format!("https://{host}:{}", front.address.port()));

    let nowhere = target(https("no-such-host.invalid"));
    fails(&nowhere, Step::Name, "no-such-host.invalid", "DNS servers").await;

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = target(settings(format!("https://localhost:{}", closed.port())));
    fails(&closed, Step::Connect, "refused", "nothing listens").await;

    fails(&target(https("localhost")), Step::Tls, "UnknownIssuer", "CA bundle").await;
    let other_name = S3Settings { ca_bundle: AUTHORITY.to_owned(), ..https("127.0.0.2") };
    fails(&target(other_name), Step::Tls, "", "another name").await;
    let no_tls = target(settings(format!("https://localhost:{}", store.address().port())));
    fails(&no_tls, Step::Tls, "", "speaks https").await;
}

/// The test runs itself again in a network namespace, which has no route at all.
#[tokio::test]
async fn a_machine_without_default_gateway_is_told_to_set_one() {
    const NAME: &str = "connection::a_machine_without_default_gateway_is_told_to_set_one";
    const INSIDE: &str = "TIDEGATE_WITHOUT_ROUTES";
    if std::env::var_os(INSIDE).is_some() {
        let endpoint = target(settings("https://192.0.2.9:443".to_owned()));
        return fails(&endpoint, Step::Connect, "unreachable", "set a default gateway").await;
    }
    let unshare = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command
    };
    if !unshare().arg("true").output().unwrap().status.success() {
        eprintln!("skipped: user and network namespaces are not allowed here");
        return;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
    let output = again.env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[tokio::test]
async fn what_s3_refuses_is_told_apart() {
    let store = s3().await;
    let right = plain(&store);

    let mut wrong = right.clone();
    wrong.s3.secret_access_key = Secret::new("another");
    fails(&wrong, Step::Credentials, "SignatureDoesNotMatch", "secret access key again").await;
    wrong.s3.access_key_id = "nobody".to_owned();
    fails(&wrong, Step::Credentials, "HTTP 403", "access key id").await;

    let mut other_bucket = right.clone();
    other_bucket.share.bucket = "no-such-bucket".parse().unwrap();
    fails(&other_bucket, Step::Bucket, "NoSuchBucket", "name and region").await;

    for (operation, step, right_named) in [
        ("ListObjectsV2", Step::List, "s3:ListBucket"),
        ("PutObject", Step::Put, "s3:PutObject"),
        ("GetObject", Step::Get, "s3:GetObject"),
        ("CreateMultipartUpload", Step::Multipart, "s3:PutObject"),
        ("UploadPart", Step::Multipart, "s3:PutObject"),
        ("DeleteObject", Step::Delete, "s3:DeleteObject"),
    ] {
        let action = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
        store.faults().add(FaultRule::new(action).operation(operation).times(1));
        fails(&right, step, "AccessDenied", right_named).await;
        assert!(store.keys("bucket").is_empty(), "{operation}: the object is cleaned up");
        assert_eq!(store.uploads_in_progress("bucket"), 0, "{operation}: the upload is given up");
    }
}

#[tokio::test]
async fn http_and_missing_conditions_are_warnings_and_a_read_only_share_is_not_written() {
    let store = s3().await;
    let mut target = plain(&store);
    let found = reports(&target).await;
    assert!(
        matches!(outcome(&found, Step::Tls), Outcome::Warning { advice, .. } if advice.contains("https"))
    );

    let action = FaultAction::FailBefore { status: 501, code: "NotImplemented".to_owned() };
    store.faults().add(FaultRule::new(action).operation("PutObject").skip(1).times(1));
    let found = reports(&target).await;
    let condition = outcome(&found, Step::ConditionalWrite);
    assert!(
        matches!(condition, Outcome::Warning { advice, .. } if advice.contains("nobody but this gateway"))
    );

    let before = store.request_counts()["PutObject"];
    target.share.read_only = true;
    let found = reports(&target).await;
    assert!(found.iter().all(StepReport::is_usable));
    assert!(
        matches!(outcome(&found, Step::Delete), Outcome::Skipped { because } if because.contains("read-only"))
    );
    assert_eq!(store.request_counts()["PutObject"], before);
}
