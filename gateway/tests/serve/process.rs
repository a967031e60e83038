//! A gateway process of the test's own: started, asked, killed, started again.
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use gateway_api::{
    FileStatus, GatewayStatus,
    client::{AdminClient, ClientError},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use s3_store::{S3Store, StoreConfig};

/// Longest that anything here may take: a bound against hanging, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until `done` gives a value.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An S3 store with the bucket `bucket`.
pub(crate) fn store() -> S3Store {
    S3Store::start_blocking(StoreConfig {
        buckets: vec!["bucket".to_owned()],
        ..StoreConfig::default()
    })
    .expect("the embedded store starts")
}

/// Settings of one share `/sales` on `bucket`/`onprem/`, with a short upload delay.
pub(crate) fn settings(store: &S3Store) -> String {
    format!(
        r#"
version = 1
[s3]
endpoint = "{}"
allow_http = true
addressing = "path"
region = "us-east-1"
access_key_id = "tidegate"
secret_access_key = "tidegate-secret"
[cache]
upload_delay_ms = 50
[[share]]
name = "sales"
bucket = "bucket"
prefix = "onprem/"
squash = "NoSquash"
cache_stale_timeout_seconds = 1
"#,
        store.endpoint()
    )
}

/// State and cache directories that outlive a process.
#[derive(Debug)]
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Set where a test that needs namespaces of its own may not be left out.
const NAMESPACES_REQUIRED: &str = "TIDEGATE_NAMESPACES_REQUIRED";

/// Words that run `script`, which ends by becoming a program, in user and mount namespaces of its own; `None` where
/// these are not allowed.
pub(crate) fn in_namespaces(script: &str) -> Option<Vec<OsString>> {
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let allowed = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if allowed.is_ok_and(|tried| tried.status.success()) {
        let words = unshare.into_iter().chain(["--", "sh", "-c", script, "sh"]);
        return Some(words.map(Into::into).collect());
    }
    let why = "user and mount namespaces are not allowed here";
    assert!(std::env::var_os(NAMESPACES_REQUIRED).is_none(), "{why}");
    eprintln!("left out: {why}");
    None
}

/// A running `gateway serve`.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) port: u16,
    admin: AdminClient,
}

impl Gateway {
    fn serving(home: &Home, settings: &str) -> Command {
        Self::serving_under(home, settings, &[])
    }

    /// The program, as another one with these words becomes it.
    fn serving_under(home: &Home, settings: &str, under: &[OsString]) -> Command {
        let file = home.path("settings.toml");
        fs::write(&file, settings).expect("settings can be written");
        let program = OsString::from(env!("CARGO_BIN_EXE_gateway"));
        let mut words = under.iter().chain([&program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command
            .args(words)
            .arg("serve")
            .args([Path::new("--settings"), &file])
            .args([Path::new("--state"), &home.path("state")])
            .args([Path::new("--cache"), &home.path("cache")])
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped());
        command
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the program, which must not serve: its exit code and what it said.
    pub(crate) fn start_in_vain(home: &Home, settings: &str) -> (Option<i32>, String) {
        Self::start_in_vain_with(home, settings, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_in_vain_with(
        home: &Home,
        settings: &str,
        more: &[String],
    ) -> (Option<i32>, String) {
        let ended =
            Self::serving(home, settings).args(more).output().expect("the gateway program starts");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    }

    /// Starts the program and waits for the line that names its port.
    pub(crate) fn start(home: &Home, settings: &str) -> Self {
        Self::start_armed(home, settings, None)
            .unwrap_or_else(|status| panic!("the gateway ended at its start: {status}"))
    }

    /// The same with a crash point, `name:nth`; its exit status, if it comes there before it serves.
    pub(crate) fn start_armed(
        home: &Home,
        settings: &str,
        point: Option<&str>,
    ) -> Result<Self, ExitStatus> {
        Self::start_on(home, settings, point, None)
    }

    /// The same on a cache disk of so many bytes.
    pub(crate) fn start_on(
        home: &Home,
        settings: &str,
        point: Option<&str>,
        cache_bytes: Option<u64>,
    ) -> Result<Self, ExitStatus> {
        let cache_bytes = cache_bytes.map(|bytes| format!("--cache-bytes={bytes}"));
        Self::start_with(home, settings, point, cache_bytes.as_slice())
    }

    /// The same with more arguments.
    pub(crate) fn start_with(
        home: &Home,
        settings: &str,
        point: Option<&str>,
        more: &[String],
    ) -> Result<Self, ExitStatus> {
        let mut command = Self::serving(home, settings);
        command.args(more).envs(point.map(|point| ("TIDEGATE_FAILPOINT", point)));
        Self::started(home, command)
    }

    /// The same with a clock that is wrong by the seconds that the file says.
    pub(crate) fn start_with_clock(home: &Home, settings: &str, wrong_by: &Path) -> Self {
        let mut command = Self::serving(home, settings);
        command.env("TIDEGATE_CLOCK", wrong_by);
        Self::started(home, command)
            .unwrap_or_else(|status| panic!("the gateway ended at its start: {status}"))
    }

    /// Starts the program by way of another one with these words, which becomes it.
    pub(crate) fn start_under(home: &Home, settings: &str, under: &[OsString]) -> Self {
        Self::started(home, Self::serving_under(home, settings, under))
            .unwrap_or_else(|status| panic!("the gateway ended at its start: {status}"))
    }

    fn started(home: &Home, mut command: Command) -> Result<Self, ExitStatus> {
        let mut child = command.spawn().expect("the gateway program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the gateway's words can be read");
        if line.is_empty() {
            return Err(child.wait().expect("it can be waited for"));
        }
        let port = line
            .trim()
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or_else(|| panic!("no port in {line:?}"));
        let admin = AdminClient::new(home.path("state/admin.sock"), PATIENCE);
        Ok(Self { child, port, admin })
    }

    /// Starts the program and kills it (kill -9) so many milliseconds later, whatever it does then.
    pub(crate) fn start_and_kill(
        home: &Home,
        settings: &str,
        more: &[String],
        milliseconds: usize,
    ) {
        let mut child =
            Self::serving(home, settings).args(more).spawn().expect("the gateway program starts");
        std::thread::sleep(Duration::from_millis(milliseconds as u64));
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// What a command of the program prints, or complains of.
    pub(crate) fn command(home: &Home, words: &[&str]) -> Result<String, String> {
        let done = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(words)
            .args([Path::new("--admin"), &home.path("state/admin.sock")])
            .output()
            .expect("the gateway program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
        if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
    }

    pub(crate) fn status(&self) -> GatewayStatus {
        self.admin.status().expect("the gateway answers")
    }

    /// Where a file of the share `sales` stands, or why that cannot be told.
    pub(crate) fn file(&self, path: &str) -> Result<FileStatus, ClientError> {
        let body = format!("{{\"share\":\"sales\",\"path\":\"{path}\"}}");
        let answer = self.admin.request("POST", "/v1/file", body.as_bytes())?;
        Ok(serde_json::from_slice(&answer).expect("a file's status"))
    }

    /// Waits until everything acknowledged is in S3.
    pub(crate) fn flush(&self) {
        self.admin.request("POST", "/v1/flush", b"").expect("the flush succeeds");
    }

    pub(crate) fn replace_settings(&self, settings: &str) {
        self.admin.request("PUT", "/v1/settings", settings.as_bytes()).expect("they are accepted");
    }

    /// kill -9, and gone when this returns.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn ended(mut self, why: &str) -> ExitStatus {
        until(why, || self.child.try_wait().expect("it can be waited for"))
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits"));
        kill(pid, Signal::SIGTERM).expect("it can be signalled");
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("a running child can be killed");
            self.child.wait().expect("a killed child can be waited for");
        }
    }
}
