//! The command line: what `gateway` can be told.
mod asked;
mod stored;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use gateway_api::{
    FileStatus, ShareName,
    admin::{self, ADMIN_SOCKET, FileRequest, RefreshRequest},
    client::AdminClient,
    disks::{DiskName, DiskNameError, DisksStatus},
    status::Shutdown,
};
use serde::Serialize;
use serde_json::json;

pub use self::stored::StoredArgs;

/// The NFS gateway of Tidegate: files on the cache disk at once, in the bucket seconds later.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve file shares until SIGTERM.
    Serve(ServeArgs),
    /// Show the state of a running gateway.
    Status {
        /// Print the whole status document as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print one word: `safe` if everything written is in S3, `uploading`, or `stuck`. Only `safe` ends
    /// with success.
    Safe {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print the metrics as Prometheus reads them, under AWS's names.
    Metrics {
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show where a file stands: waiting, being uploaded, failing, or in S3.
    File {
        /// The share.
        share: ShareName,
        /// The file inside it.
        path: String,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Wait until everything written so far is in S3.
    Flush {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List a directory of the bucket again, or a whole tree: what others did in it shows.
    Refresh {
        /// The share.
        share: ShareName,
        /// Directory inside it.
        #[arg(default_value = "")]
        path: String,
        /// Everything below it too; how far it is shows on standard error and in the status.
        #[arg(long)]
        recursive: bool,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List what fails to get to S3: which files and deletions, since when, how often, why, and when it is tried
    /// again.
    Failing {
        /// The share; all if left out.
        share: Option<ShareName>,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List the objects that are shown under an alias, since no file can have their names.
    Keys {
        /// The share.
        share: ShareName,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Test a share's connection to S3 step by step: name, TCP, TLS, clock, credentials, bucket, and
    /// each right that the gateway needs. Writes one small object under the prefix and deletes it.
    TestConnection {
        /// The share.
        share: ShareName,
        /// Test it as this TOML file would have it (`-`: standard input); no gateway needs to run.
        /// With --state, secrets that it leaves empty are those of the state directory.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Where the settings are kept, if no gateway is to be asked.
        #[command(flatten)]
        stored: StoredArgs,
        /// Print each report as a line of JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show what a TLS server shows of itself: protocol, certificates, names, validity, and whether the
    /// machine's authorities, or those of the CA bundle, vouch for it. Goes there without the proxy.
    Sslcheck {
        /// Whom to ask: HOST, HOST:PORT, [IPV6]:PORT; port 443 by default.
        server: String,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Where the settings are kept: their CA bundle counts.
        #[command(flatten)]
        stored: StoredArgs,
    },
    /// Store standard input as an object of a share's bucket; no gateway needs to run. For what is no
    /// file of the share, such as a support bundle; an object that has the key is replaced.
    PutObject {
        /// The share.
        share: ShareName,
        /// Key, below the share's prefix.
        key: String,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Where the settings are kept.
        #[command(flatten)]
        stored: StoredArgs,
    },
    /// Write what is at a URL (http or https) to standard output, by the proxy and with the CA bundle of the
    /// settings; no gateway needs to run. For what is no file of a share, such as an update.
    Fetch {
        /// The URL.
        url: String,
        /// Most that is taken.
        #[arg(long, value_name = "BYTES")]
        max_bytes: u64,
        /// Where the settings are kept.
        #[command(flatten)]
        stored: StoredArgs,
    },
    /// Show the cache disks; release one so that it can be taken away, keep it after all, or forget one that is
    /// gone.
    #[command(args_conflicts_with_subcommands = true)]
    Disks {
        /// What to do; without it they are shown.
        #[command(subcommand)]
        action: Option<DisksAction>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show or replace the settings.
    Settings {
        /// Replace them by this TOML file; without it they are printed, secrets left out.
        #[arg(long, value_name = "FILE", conflicts_with = "state")]
        replace: Option<PathBuf>,
        /// Replace them also if a share goes of which S3 does not have everything. That waits on the cache disk, until
        /// a share of the same name, bucket and prefix is set again.
        #[arg(long, requires = "replace")]
        force_delete: bool,
        /// Where the settings are kept, if no gateway is to be asked.
        #[command(flatten)]
        stored: StoredArgs,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Subcommands of `gateway disks`.
#[derive(Debug, Subcommand)]
pub enum DisksAction {
    /// Put nothing new on a disk, upload or move what it has, and drop what S3 has. When `gateway disks` says
    /// `empty` it can be taken away.
    Release {
        /// Its name.
        name: DiskName,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a release back.
    Keep {
        /// Its name.
        name: DiskName,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Forget a missing disk that will not come back.
    Forget {
        /// Its name.
        name: DiskName,
        /// Lose the files of which only this disk had the bytes.
        #[arg(long)]
        lose_dirty: bool,
        /// Print what was lost as JSON.
        #[arg(long)]
        json: bool,
        /// Which gateway to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// A cache disk besides the primary, as `NAME=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// Its stable name.
    pub name: DiskName,
    /// Where it is mounted.
    pub dir: PathBuf,
}

impl std::str::FromStr for DiskArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, dir) = text.split_once('=').ok_or("write NAME=DIR")?;
        let name = name.parse().map_err(|error: DiskNameError| error.to_string())?;
        if dir.is_empty() {
            Err("write NAME=DIR".to_owned())
        } else {
            Ok(Self { name, dir: dir.into() })
        }
    }
}

/// Arguments of `gateway serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Settings to start from: applied at the first start, and again whenever the file changes.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Where settings and keys are kept.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The cache: data not yet in S3 lives here. Must be a local disk.
    #[arg(long, value_name = "DIR")]
    pub cache: PathBuf,
    /// Another disk for the cache's data, with the name that it keeps wherever it is mounted. May be given several
    /// times. One that was given before and is not now is missing.
    #[arg(long, value_name = "NAME=DIR")]
    pub cache_disk: Vec<DiskArg>,
    /// Where NFS and MOUNT are served; port 0 takes any and prints it. Not needed when the sockets
    /// are handed over (LISTEN_FDS).
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// The admin socket; `admin.sock` in the state directory if left out.
    #[arg(long, value_name = "SOCKET")]
    pub admin: Option<PathBuf>,
    /// Takes the cache disk for one of so many bytes, for tests of a full one.
    #[cfg(feature = "testing")]
    #[arg(long, hide = true)]
    pub cache_bytes: Option<u64>,
}

/// Which gateway a command asks.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// Its admin socket.
    #[arg(long, value_name = "SOCKET", default_value = ADMIN_SOCKET)]
    pub admin: PathBuf,
}

impl AdminArgs {
    fn client(&self, time_limit: Duration) -> AdminClient {
        AdminClient::new(&self.admin, time_limit)
    }
}

const QUICK: Duration = Duration::from_secs(30);

/// What a command has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to print.
    pub text: String,
    /// Whether the command ends with success.
    pub success: bool,
}

/// Runs every command but `serve`.
///
/// # Errors
/// Words for the operator.
pub fn ask(command: &Command) -> Result<Answer, Box<dyn std::error::Error>> {
    let text = match command {
        Command::Serve(_) => unreachable!("main runs serve itself"),
        Command::Safe { json, admin } => {
            let shutdown = admin.client(QUICK).status()?.shutdown;
            let text =
                or_json(*json, &json!({ "shutdown": shutdown }), || shutdown.as_str().to_owned())?;
            return Ok(Answer { text, success: shutdown == Shutdown::Safe });
        }
        Command::Metrics { admin } => crate::prometheus::render(&admin.client(QUICK).status()?),
        Command::Status { json: true, admin } => {
            serde_json::to_string_pretty(&admin.client(QUICK).status()?)?
        }
        Command::Status { json: false, admin } => {
            crate::status_text::render(&admin.client(QUICK).status()?)
        }
        Command::File { share, path, json, admin } => {
            let body = FileRequest { share: share.clone(), path: path.clone() };
            let body = serde_json::to_vec(&body)?;
            let answer = admin.client(QUICK).request("POST", admin::FILE, &body)?;
            let status: FileStatus = serde_json::from_slice(&answer)?;
            or_json(*json, &status, || crate::status_text::render_file(&status))?
        }
        Command::Flush { json, admin } => {
            asked::flush(admin)?;
            let words = || "everything written before this command is in S3".to_owned();
            or_json(*json, &json!({ "flushed": true }), words)?
        }
        Command::Refresh { share, path, recursive, json, admin } => {
            let body =
                RefreshRequest { share: share.clone(), path: path.clone(), recursive: *recursive };
            let report = asked::refresh(admin, &body)?;
            or_json(*json, &report, || crate::status_text::render_refresh(&body, &report))?
        }
        Command::Keys { share, json, admin } => {
            let (keys, more) = asked::keys(admin, share)?;
            if *json && more {
                eprintln!("and more: these are the first {}", keys.len());
            }
            or_json(*json, &keys, || crate::status_text::render_keys(&keys, more))?
        }
        Command::Failing { share, json, admin } => {
            let page = asked::failing(admin, share.as_ref())?;
            or_json(*json, &page, || crate::status_text::render_failing(&page))?
        }
        Command::TestConnection { share, settings, stored, json, admin } => {
            let success = asked::test_connection(share, settings.as_deref(), stored, *json, admin)?;
            return Ok(Answer { text: String::new(), success });
        }
        Command::Sslcheck { server, json, stored } => {
            let lines = stored::sslcheck(stored, server)?;
            or_json(*json, &json!({ "server": server, "shows": lines }), || lines.join("\n"))?
        }
        Command::PutObject { share, key, json, stored } => {
            let put = stored::put_object(stored, share, key, std::io::stdin())?;
            or_json(*json, &put, || put.to_string())?
        }
        Command::Fetch { url, max_bytes, stored } => {
            stored::fetch(stored, url, *max_bytes)?;
            // Standard output is what was fetched, and nothing else.
            String::new()
        }
        Command::Disks { action: Some(action), .. } => asked::disks(action)?,
        Command::Disks { action: None, json, admin } => {
            let answer = admin.client(QUICK).request("GET", admin::DISKS, b"")?;
            let status: DisksStatus = serde_json::from_slice(&answer)?;
            or_json(*json, &status, || crate::disks_text::render(&status))?
        }
        Command::Settings { replace: None, stored, admin, .. } => match stored.read()? {
            Some(mut settings) => {
                settings.s3.forget_secrets();
                settings.to_toml()?
            }
            None => String::from_utf8(admin.client(QUICK).request("GET", admin::SETTINGS, b"")?)?,
        },
        Command::Settings { replace: Some(file), force_delete, admin, .. } => {
            let report = asked::replace_settings(admin, file, *force_delete)?;
            let text = crate::status_text::render_settings(&report);
            return Ok(Answer { text, success: report.refused.is_empty() });
        }
    };
    Ok(Answer { text, success: true })
}

/// The document, or the same in words.
fn or_json(
    json: bool,
    document: &impl Serialize,
    words: impl FnOnce() -> String,
) -> serde_json::Result<String> {
    if json { serde_json::to_string_pretty(document) } else { Ok(words()) }
}
