//! Goal: what an operator needs of S3 works while no gateway runs. Method: one is started and stopped,
//! and the program is asked with its state directory.
use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    BUCKET,
    process::{Gateway, Home, settings, store},
};

/// Runs a command with this standard input: what it prints, what it complains of, and whether it
/// ends with success.
fn run(home: &Home, words: &[&str], input: &[u8]) -> (String, String, bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(words)
        .args([Path::new("--state"), &home.path("state")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that refuses at once does not read.
    let _unread = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("words");
    (text(output.stdout), text(output.stderr), output.status.success())
}

/// settings.md, `gateway test-connection --state`: what is kept is tested, and what is to be, with
/// the secrets that are kept.
#[test]
fn a_connection_is_tested_without_a_gateway() {
    let (store, home) = (store(), Home::new());
    let right = settings(&store);
    Gateway::start(&home, &right).stop();
    let (text, _, usable) = run(&home, &["test-connection", "sales", "--json"], b"");
    assert!(usable, "{text}");
    assert_eq!(text.lines().count(), 12, "{text}");
    let bare = right.replace("secret_access_key = \"tidegate-secret\"\n", "");
    let test = ["test-connection", "sales", "--settings", "-"];
    let (text, _, usable) = run(&home, &test, bare.as_bytes());
    assert!(usable && text.contains("PASSED   Credentials"), "{text}");
    let other = bare.replace("access_key_id = \"tidegate\"", "access_key_id = \"other\"");
    let (text, _, usable) = run(&home, &test, other.as_bytes());
    assert!(!usable, "another key has no secret: {text}");
    assert!(!store.keys(BUCKET).iter().any(|key| key.contains("test-")));
}

/// settings.md, `gateway settings --state`: no secret is printed.
#[test]
fn kept_settings_are_printed_without_secrets() {
    let (store, home) = (store(), Home::new());
    Gateway::start(&home, &settings(&store)).stop();
    let (text, _, success) = run(&home, &["settings"], b"");
    assert!(success && text.contains("access_key_id = \"tidegate\""), "{text}");
    assert!(!text.contains("tidegate-secret"), "{text}");
}

/// settings.md, `gateway put-object`.
#[test]
fn an_object_is_stored_below_the_share_s_prefix() {
    let (store, home) = (store(), Home::new());
    Gateway::start(&home, &settings(&store)).stop();
    let put = |share, key| run(&home, &["put-object", share, key], b"what it holds");
    let (said, _, success) = put("sales", ".tidegate/support/a.tar.gz");
    assert!(success);
    assert_eq!(said, "s3://bucket/onprem/.tidegate/support/a.tar.gz: 13 bytes\n");
    let (said, _, _) = run(&home, &["put-object", "sales", "b", "--json"], b"other");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let expected = serde_json::json!({ "bucket": "bucket", "key": "onprem/b", "bytes": 5 });
    assert_eq!(said, expected);
    let object = store.object(BUCKET, "onprem/.tidegate/support/a.tar.gz").expect("it is there");
    assert_eq!(object.body, b"what it holds".as_slice());
    let long = "x".repeat(1024);
    for (share, key, says) in
        [("nobody", "a", "no share"), ("sales", "", "1 to 1024"), ("sales", long.as_str(), "1024")]
    {
        let (_, complaint, success) = put(share, key);
        assert!(!success && complaint.contains(says), "{share} {key}: {complaint}");
    }
}

/// settings.md, `gateway fetch`: standard output has every byte and nothing else, and the settings' proxy is
/// asked.
#[test]
fn a_file_is_fetched_by_the_proxy_of_the_settings() {
    let (store, home) = (store(), Home::new());
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("an address");
    let by_proxy = settings(&store).replace(
        "[s3]\n",
        &format!("[s3]\nhttp_proxy = \"http://{address}\"\nno_proxy = [\"127.0.0.1\"]\n"),
    );
    assert!(by_proxy.contains("http_proxy"), "{by_proxy}");
    Gateway::start(&home, &by_proxy).stop();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = proxy.accept().expect("a connection");
        let mut request = [0; 2048];
        let length = stream.read(&mut request).expect("a request");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n\0\n\n\x01";
        stream.write_all(answer).expect("it reads");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let url = "http://files.test/tidegate.update";
    let (fetched, complaint, success) = run(&home, &["fetch", url, "--max-bytes", "4"], b"");
    assert!(success, "{complaint}");
    assert_eq!(fetched, "\0\n\n\x01");
    let request = asked.join().expect("it was asked");
    assert!(request.starts_with(&format!("GET {url} HTTP/1.1\r\n")), "{request}");
    let nothing = format!("http://{address}/");
    let (fetched, complaint, success) = run(&home, &["fetch", &nothing, "--max-bytes", "4"], b"");
    assert!(!success && fetched.is_empty(), "{fetched}");
    assert!(complaint.contains("refused"), "{complaint}");
}
