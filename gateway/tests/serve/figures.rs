//! What the gateway tells of itself: the command line's word, the metrics over TCP, renames, the journal.
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
};

use gateway_api::status::{Ability, HealthEvent, HealthEventKind, ShareState, Shutdown};
use s3_store::{FaultAction, FaultRule, Hold};

use crate::{
    BUCKET,
    mount::Mount,
    process::{Gateway, Home, PATIENCE, in_namespaces, settings, store, until},
};

/// `gateway COMMAND --admin …`: what it prints, and whether it ends with success.
fn ask(home: &Home, command: &str) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg(command)
        .args(["--admin".as_ref(), home.path("state/admin.sock").as_os_str()])
        .output()
        .expect("the gateway program starts");
    (String::from_utf8(output.stdout).expect("words"), output.status.success())
}

/// settings.md, `gateway test-connection`: what runs is tested, and what is to be.
#[test]
fn a_connection_is_tested_before_it_is_set() {
    let (store, home) = (store(), Home::new());
    let right = settings(&store);
    let _gateway = Gateway::start(&home, &right);
    let run = |arguments: &[&str], document: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["test-connection", "sales"]).args(arguments);
        command.args(["--admin".as_ref(), home.path("state/admin.sock").as_os_str()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the gateway program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(document.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        (String::from_utf8(output.stdout).expect("words"), output.status.success())
    };
    let (text, usable) = run(&[], "");
    assert!(usable && text.contains("PASSED   Delete the object"), "{text}");
    let (text, usable) = run(&["--settings", "-", "--json"], &right);
    assert!(usable && text.contains(r#""step":"credentials","outcome":"passed""#), "{text}");
    assert_eq!(text.lines().count(), 12, "{text}");
    let (text, usable) = run(&["--settings", "-"], &right.replace("tidegate-secret", "other"));
    assert!(!usable && text.contains("FAILED   Credentials"), "{text}");
    assert!(text.contains("-> enter the secret access key again"), "{text}");
    // The share's own look at what the bucket can do may still be under way.
    until("nothing stays in the bucket", || store.keys(BUCKET).is_empty().then_some(()));
}

/// A port that nobody listens on, at this moment.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address")
}

/// A connection, once somebody listens.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = until("metrics are served", || TcpStream::connect(address).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    stream
}

/// The answer to `GET /metrics`.
fn fetch(address: SocketAddr) -> String {
    let mut stream = connect(address);
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it takes the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Waits for the other side to hang up without a word.
fn hung_up(mut stream: TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("not hung up on: {other:?}"),
    }
}

/// settings.md, `gateway safe`: the word follows the bucket.
#[test]
fn one_word_says_whether_everything_is_in_s3() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    assert_eq!(ask(&home, "safe"), ("safe\n".to_owned(), true));
    let puts = |gateway: &Gateway| {
        let requests = gateway.status().figures.requests;
        requests.into_iter().find(|of| of.operation == "PutObject").unwrap_or_default()
    };
    // Finding out what the bucket can do is made of requests, too.
    until("the bucket is known", || {
        let known = gateway.status().shares[0].capabilities;
        (known.put_if_absent == Ability::Yes).then_some(())
    });
    let asked = puts(&gateway);
    assert_eq!(asked.latency.count(), store.request_counts()["PutObject"]);
    let refuse = FaultAction::FailBefore { status: 500, code: "InternalError".to_owned() };
    store.faults().add(FaultRule::new(refuse).operation("PutObject").times(u64::MAX));
    Mount::new(gateway.port, "sales").write("a", b"1");
    until("it is stuck", || (ask(&home, "safe") == ("stuck\n".to_owned(), false)).then_some(()));
    let status = gateway.status();
    assert_eq!(status.shutdown, Shutdown::Stuck);
    assert_eq!(status.shares[0].upload, status.upload, "one share has it all");
    assert!(status.upload.oldest_seconds.is_some());
    let failing = puts(&gateway);
    assert!(failing.failed > asked.failed, "{failing:?}");
    assert_eq!(failing.succeeded, asked.succeeded);
    store.faults().clear();
    gateway.flush();
    assert_eq!(ask(&home, "safe"), ("safe\n".to_owned(), true));
    let figures = gateway.status().figures;
    assert_eq!((figures.uploaded_bytes.0, figures.writes, figures.written_bytes.0), (1, 1, 1));
}

/// settings.md `[metrics]`: for who is listed, where the settings say, and nowhere else.
#[test]
fn metrics_are_served_where_the_settings_say() {
    let (store, home) = (store(), Home::new());
    store.put(BUCKET, "onprem/cold", &[7; 3000]);
    let at = free_port();
    let metrics = |at: SocketAddr, who: &str| {
        let shares = settings(&store);
        format!("{shares}\n[metrics]\nlisten = \"{at}\"\nclient_list = [\"{who}\"]\n")
    };
    let gateway = Gateway::start(&home, &metrics(at, "127.0.0.0/8"));
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.read("cold").unwrap().len(), 3000);
    let cold = gateway.status().figures;
    let mut reads = 1;
    // The first one had the bytes as they came.
    let warm = until("it is in the cache", || {
        share.read("cold").unwrap();
        reads += 1;
        let warm = gateway.status().figures;
        (warm.read_hits > cold.read_hits).then_some(warm)
    });
    assert_eq!(cold.downloaded_bytes, warm.downloaded_bytes, "warm reads never touch S3");
    assert!(warm.reads > cold.reads);
    assert!(cold.read_hits < cold.reads, "the first read was a miss");

    let answer = fetch(at);
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    for line in [
        "CloudBytesDownloaded{share=\"sales\"} 3000",
        &format!("ReadBytes{{share=\"sales\"}} {}", 3000 * reads),
        "FileSharesUnavailable 0",
        "S3Requests{operation=\"GetObject\",outcome=\"succeeded\"} 1",
    ] {
        assert!(answer.lines().any(|seen| seen == line), "{line} is not in\n{answer}");
    }
    assert_eq!(ask(&home, "metrics").0.lines().next(), answer.lines().find(|l| l.starts_with('#')));

    let open = connect(at);
    gateway.replace_settings(&metrics(at, "192.0.2.1"));
    hung_up(open);
    hung_up(connect(at));
    let elsewhere = free_port();
    gateway.replace_settings(&metrics(elsewhere, "192.0.2.1"));
    hung_up(connect(elsewhere));
    until("the old address is closed", || TcpStream::connect(at).err());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let taken_at = taken.local_addr().expect("it has an address");
    gateway.replace_settings(&metrics(taken_at, "127.0.0.1"));
    let problem = until("the status says why", || gateway.status().settings_problem);
    assert!(problem.contains("metrics.listen"), "{problem}");
    // All that is wrong is said.
    let shares = settings(&store);
    let (alone, _) = shares.split_once("[[share]]").expect("it is the last");
    gateway.replace_settings(&metrics(taken_at, "127.0.0.1").replace(&shares, alone));
    let said =
        |problem: &String| problem.contains("metrics.listen") && problem.contains("no file share");
    until("the status says both", || gateway.status().settings_problem.filter(said));
}

/// settings.md `[metrics]`: `HealthNotifications` counts events, of the gateway and of each share.
#[test]
fn events_are_counted_in_the_metrics() {
    let (store, home) = (store(), Home::new());
    let refuse = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    store.faults().add(FaultRule::new(refuse).times(u64::MAX));
    let _gateway = Gateway::start(&home, &settings(&store));
    for name in ["HealthNotifications{share=\"sales\"}", "HealthNotifications "] {
        until(name, || metric(&home, name).filter(|count| *count >= 1.0));
    }
}

/// The figure of the line that begins so.
fn metric(home: &Home, name: &str) -> Option<f64> {
    let text = ask(home, "metrics").0;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The same of what concerns no share. Method: the credentials have ended.
#[test]
fn events_of_the_gateway_itself_are_counted() {
    let (store, home) = (store(), Home::new());
    let (region, ended) = ("region = \"us-east-1\"\n", "2000-01-01T00:00:00Z");
    let wrong = format!("{region}expires_at = \"{ended}\"\n");
    let gateway = Gateway::start(&home, &settings(&store).replace(region, &wrong));
    let of_share = "HealthNotifications{share=\"sales\"}";
    until("one more is counted than the share's", || {
        let (all, share) = (metric(&home, "HealthNotifications ")?, metric(&home, of_share)?);
        (all - share >= 1.0).then_some(())
    });
    let events = gateway.status().events;
    let is_it = |event: &&HealthEvent| event.share.is_none();
    let told: Vec<_> = events.iter().filter(is_it).map(|event| event.kind).collect();
    assert_eq!(told, [HealthEventKind::CredentialsRejected], "{events:?}");
}

/// settings.md, `gateway status`: how fast uploads go tells how long the rest takes. Method: what is written second
/// waits at the store.
#[test]
fn the_rate_of_the_uploads_tells_how_long_the_rest_takes() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    share.write("first", &[1; 300_000]);
    gateway.flush();
    let hold = Hold::new();
    let held = FaultRule::new(FaultAction::Hold(hold.clone())).operation("PutObject");
    store.faults().add(held.times(u64::MAX));
    share.write("second", &[2; 300_000]);
    let status = until("both are known", || {
        let status = gateway.status();
        (status.figures.upload_bytes_per_second > 0 && status.upload.dirty_bytes.0 > 0)
            .then_some(status)
    });
    // Over ten seconds, or over those since the start.
    let rate = status.figures.upload_bytes_per_second;
    assert!(rate <= 300_000, "{rate}");
    assert_eq!(status.upload.drain_seconds, Some(300_000 / rate));
    assert_eq!(status.shares[0].upload.drain_seconds, status.upload.drain_seconds);
    hold.open();
    gateway.flush();
    assert_eq!(gateway.status().upload.dirty_bytes.0, 0);
}

/// settings.md, `--json`: what programs get.
#[test]
fn commands_answer_programs_too() {
    let (store, home) = (store(), Home::new());
    let _gateway = Gateway::start(&home, &settings(&store));
    let json = |words: &[&str]| -> serde_json::Value {
        let text = Gateway::command(&home, words).expect("it succeeds");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(json(&["flush", "--json"]), serde_json::json!({ "flushed": true }));
    assert_eq!(json(&["safe", "--json"]), serde_json::json!({ "shutdown": "safe" }));
    let refreshed = json(&["refresh", "sales", "--json"]);
    assert_eq!((&refreshed["directories"], &refreshed["failed"]), (&1.into(), &0.into()));
}

/// semantics.md "One file is one object": how far the rename of a directory is in the bucket, and what it costs.
/// Method: the store holds the copies.
#[test]
fn a_directory_s_rename_says_how_far_it_is() {
    let (store, home) = (store(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("old");
    for name in ["old/1", "old/2", "old/3"] {
        share.write(name, name.as_bytes());
    }
    gateway.flush();
    store.put(BUCKET, "onprem/old/theirs", b"of another writer");
    until("it is listed", || (share.list("old").len() == 4).then_some(()));
    let hold = Hold::new();
    let held = FaultRule::new(FaultAction::Hold(hold.clone())).operation("CopyObject");
    store.faults().add(held.times(u64::MAX));
    share.rename("old", "new");
    let renames = || gateway.status().renames;
    let told = until("all that moves is found", || renames().pop().filter(|told| told.all_found));
    assert_eq!(told.share.as_str(), "sales");
    assert_eq!((told.from.as_str(), told.to.as_deref()), ("onprem/old/", Some("onprem/new/")));
    assert_eq!((told.objects, told.objects_left), (4, 4));
    assert_eq!(told.requests, 3 * 4, "of each a question, a copy and a deletion");
    let text = ask(&home, "status").0;
    assert!(text.contains("onprem/old/") && text.contains("12 requests"), "{text}");
    hold.open();
    gateway.flush();
    until("it is over", || renames().is_empty().then_some(()));
}

/// Mounts the socket where journald's would be, in a name space of its own, then becomes the program.
const JOURNALD_IS: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal \
     && touch /run/systemd/journal/socket && mount --bind \"$1\" /run/systemd/journal/socket \
     && shift && exec \"$@\"";

/// settings.md: events are in the journal with their kind and share as fields. Method: a datagram socket of
/// the test's own where journald's would be (systemd, "Native Journal Protocol").
#[test]
fn events_are_in_the_journal_with_their_fields() {
    let Some(mut words) = in_namespaces(JOURNALD_IS) else { return };
    let (store, home) = (store(), Home::new());
    let at = home.path("journal");
    let journal = UnixDatagram::bind(&at).expect("a socket can be made");
    journal.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    let refuse = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    store.faults().add(FaultRule::new(refuse).times(u64::MAX));
    words.push(at.into_os_string());
    let _gateway = Gateway::start_under(&home, &settings(&store), &words);
    let mut entry = vec![0; 64 << 10];
    let fields = loop {
        let length = journal.recv(&mut entry).expect("the journal is written");
        let fields = journal_fields(&entry[..length]);
        if fields.contains_key("F_KIND") {
            break fields;
        }
    };
    for (name, value) in [
        ("F_KIND", "AccessDenied"),
        ("F_SHARE", "sales"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "gateway"),
    ] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name} of {fields:?}");
    }
    assert!(fields["MESSAGE"].starts_with("/sales: "), "{fields:?}");
}

/// The fields of a journal entry: `NAME=value` and a new line, or `NAME`, a new line, the length of the value as 64
/// bits, the least first, the value and a new line (systemd, "Native Journal Protocol").
fn journal_fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| matches!(byte, b'=' | b'\n')) {
        let (name, rest) = (text(&entry[..end]), &entry[end + 1..]);
        let (value, after) = if entry[end] == b'=' {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            rest.split_at(end)
        } else {
            let (length, rest) = rest.split_first_chunk().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*length)).expect("it fits");
            rest.split_at(length)
        };
        fields.insert(name, text(value));
        entry = after.get(1..).unwrap_or_default();
    }
    fields
}

/// A share without credentials asks S3 nothing, and no request of it is counted.
#[test]
fn what_is_refused_for_want_of_credentials_is_no_request() {
    let (store, home) = (store(), Home::new());
    let bare = settings(&store).replace("access_key_id = \"tidegate\"\n", "");
    let bare = bare.replace("secret_access_key = \"tidegate-secret\"\n", "");
    let gateway = Gateway::start(&home, &bare);
    let unavailable = |state: &ShareState| matches!(state, ShareState::Unavailable(_));
    until("the share has been refused", || {
        unavailable(&gateway.status().shares[0].state).then_some(())
    });
    assert_eq!(gateway.status().figures.requests, []);
    assert!(store.request_counts().is_empty());
}
