//! The set-up of tests of the gateway outside the appliance: store and gateway as processes of this
//! machine, run by any user, and clients in virtual machines.
//!
//! Each client has a LAN of its own, whose router is the host's loopback. Tests in one program take
//! turns.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, MutexGuard, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gateway_api::{admin, client::AdminClient, settings::Settings, status::GatewayStatus};
use image::PrintProgress;
use s3_store::S3Store;

use crate::{
    artifacts,
    client_image::ClientImage,
    client_vm::ClientVm,
    host,
    lab::{choose_accelerator, new_folder, start_store, turn},
    seed, small_disk,
    uplink::Guest,
    workspace::Workspace,
};

/// From the start of the process to the line that names its port.
const START_LIMIT: Duration = Duration::from_secs(120);
/// For an answer of the gateway; a flush waits for uploads.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// A running set-up.
#[derive(Debug)]
pub struct Laptop {
    /// The S3 store.
    pub store: Arc<S3Store>,
    workspace: Workspace,
    program: PathBuf,
    folder: PathBuf,
    image: ClientImage,
    /// Of the cache disk, if it is one of its own.
    cache_bytes: Option<u64>,
    gateway: Option<Child>,
    /// 0 before the first start.
    port: u16,
    _turn: MutexGuard<'static, ()>,
}

impl Laptop {
    /// Builds everything and starts the store; `change` may alter the gateway's settings. Logs, state
    /// and cache are in `out/test/NAME`.
    ///
    /// # Errors
    /// When anything of that fails.
    pub fn new(name: &str, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let turn = turn();
        let workspace = Workspace::find();
        host::ensure_packages(&[host::QEMU, &host::for_image()].concat())?;
        let folder = new_folder(&workspace, name)?;
        let image = ClientImage::build(&workspace, &mut PrintProgress::new())?;
        let program = artifacts::gateway(&workspace)?;
        let store = Arc::new(start_store(0, None)?);
        let mut settings = seed::settings(&store.endpoint())?;
        change(&mut settings);
        fs::write(folder.join("gateway.toml"), settings.to_toml()?)?;
        Ok(Self {
            store,
            workspace,
            program,
            folder,
            image,
            cache_bytes: None,
            gateway: None,
            port: 0,
            _turn: turn,
        })
    }

    /// The repository.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Puts more programs into the clients that are booted from now on, as `/usr/bin/NAME`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn add_programs(&mut self, programs: &[PathBuf]) -> Result<()> {
        self.image = self.image.with_programs(programs, &self.folder.join("programs.initramfs"))?;
        Ok(())
    }

    /// Gives gateways that are started from now on a cache disk of `bytes`, in memory: what is on it goes
    /// with the gateway, uploaded or not.
    pub fn limit_cache(&mut self, bytes: u64) {
        self.cache_bytes = Some(bytes);
    }

    /// Starts the gateway and waits for the line that names its port; a second start takes the port of
    /// the first.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_gateway(&mut self) -> Result<()> {
        ensure!(self.gateway.is_none(), "the gateway runs already");
        let file = |name: &str| self.folder.join(name);
        let log = fs::File::options().create(true).append(true).open(file("gateway.log"))?;
        let mut command = match self.cache_bytes {
            None => Command::new(&self.program),
            Some(bytes) => {
                fs::create_dir_all(file("cache"))?;
                small_disk::command(&self.program, &file("cache"), bytes)
            }
        };
        let mut process = command
            .arg("serve")
            .args([PathBuf::from("--settings"), file("gateway.toml")])
            .args([PathBuf::from("--state"), file("state")])
            .args([PathBuf::from("--cache"), file("cache")])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let output = BufReader::new(process.stdout.take().context("its output")?);
        self.gateway = Some(process);
        let (send, receive) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let line = receive
            .recv_timeout(START_LIMIT)
            .context("the gateway says nothing; see gateway.log")?;
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        self.port = port.with_context(|| format!("no port in {line:?}"))?;
        Ok(())
    }

    /// The gateway's current status.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<GatewayStatus> {
        Ok(self.admin().status()?)
    }

    /// `gateway flush`: returns when everything that was acknowledged before is in the bucket.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn flush(&self) -> Result<()> {
        self.admin().request("POST", admin::FLUSH, b"")?;
        Ok(())
    }

    fn admin(&self) -> AdminClient {
        AdminClient::new(self.folder.join("state/admin.sock"), ANSWER_LIMIT)
    }

    /// Kills the gateway with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_gateway(&mut self) -> Result<()> {
        let mut process = self.gateway.take().context("the gateway does not run")?;
        ensure!(process.try_wait()?.is_none(), "the gateway has ended by itself; see gateway.log");
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Boots a client whose files are in the folder `name`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn client(&self, name: &str) -> Result<ClientVm> {
        let accelerator = choose_accelerator(&self.workspace, &self.image.kernel)?;
        ClientVm::start(&self.image, &self.folder.join(name), accelerator, Guest::Client)
    }

    /// The shell command that mounts the share; `options` are added to the usual ones.
    ///
    /// # Errors
    /// When the gateway was never started.
    pub fn mount_command(&self, options: &str) -> Result<String> {
        ensure!(self.port != 0, "the gateway was never started");
        let (port, host, share) = (self.port, seed::HOST_FROM_GUEST, seed::SHARE);
        let options = if options.is_empty() { String::new() } else { format!(",{options}") };
        Ok(format!(
            "mkdir -p /mnt/{share} && mount -t nfs \
             -o vers=3,nolock,hard,proto=tcp,port={port},mountproto=tcp,mountport={port}{options} \
             {host}:/{share} /mnt/{share}"
        ))
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        if let Some(mut process) = self.gateway.take() {
            // It may have ended already, which is as good.
            process.kill().ok();
            process.wait().ok();
        }
    }
}
