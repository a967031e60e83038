//! The gateway outside the appliance, as any user on this machine, mounted by a stock Linux client:
//! the same steps as in the appliance, and the process killed right after fsync.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    artifacts,
    bucket::{Bucket, UPLOAD_LIMIT},
    client_image::ClientImage,
    client_vm::ClientVm,
    host,
    lab::{choose_accelerator, new_folder, start_store},
    numbers::{numbers, sha256},
    seed,
    uplink::Guest,
    workspace::Workspace,
};
use image::PrintProgress;
use s3_store::FaultRule;
use steps::{
    SCRIPT_LIMIT, an_object_by_another_client_appears, change_everything, copy_and_read_back,
    settle, touch_and_echo,
};

mod steps;

/// A gateway process; killed when dropped.
struct Gateway {
    process: Child,
    port: u16,
}

impl Gateway {
    /// Starts it on `port` (0: any) and waits for the line that names the port.
    fn start(program: &Path, folder: &Path, port: u16) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("serve")
            .arg("--settings")
            .arg(folder.join("gateway.toml"))
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--cache")
            .arg(folder.join("cache"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(folder.join("gateway.log"))?)
            .spawn()?;
        let output = BufReader::new(process.stdout.take().context("its output")?);
        let (send, receive) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let line = receive
            .recv_timeout(Duration::from_secs(120))
            .context("the gateway says nothing; see gateway.log")?;
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        let port = port.with_context(|| format!("no port in {line:?}"))?;
        Ok(Self { process, port })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn laptop() -> Result<()> {
    let workspace = Workspace::find();
    host::ensure_packages(&[host::QEMU, &host::for_image()].concat())?;
    let folder = new_folder(&workspace, "laptop")?;
    let image = ClientImage::build(&workspace, &mut PrintProgress::new())?;
    let accelerator = choose_accelerator(&workspace, &image.kernel)?;
    let mut client = ClientVm::start(&image, &folder, accelerator, Guest::Client)?;
    let program = artifacts::gateway(&workspace)?;
    let store = start_store(0, None)?;
    let bucket = Bucket::new(&store);
    fs::write(folder.join("gateway.toml"), seed::gateway_settings(&store.endpoint())?)?;
    let gateway = Gateway::start(&program, &folder, 0)?;
    let port = gateway.port;
    client.sh(
        &format!(
            "mkdir -p /mnt/sales && mount -t nfs \
             -o vers=3,nolock,hard,proto=tcp,port={port},mountproto=tcp,mountport={port} \
             {}:/sales /mnt/sales",
            seed::HOST_FROM_GUEST
        ),
        SCRIPT_LIMIT,
    )?;
    touch_and_echo(&mut client, bucket)?;
    copy_and_read_back(&mut client, bucket)?;
    change_everything(&mut client, bucket)?;
    an_object_by_another_client_appears(&mut client, bucket)?;

    let content = numbers(5_000_000);
    store.faults().add(FaultRule::slow_down().operation("PutObject").times(u64::MAX));
    client.sh(
        "seq 1 20000000 | head -c 5000000 > /tmp/precious && \
         dd if=/tmp/precious of=/mnt/sales/precious.bin bs=64k conv=fsync status=none",
        SCRIPT_LIMIT,
    )?;
    drop(gateway);
    ensure!(bucket.object("precious.bin").is_none(), "it was uploaded already");
    store.faults().clear();
    let cleared = SystemTime::now();
    let _gateway = Gateway::start(&program, &folder, port)?;
    let read = client.sh_until(
        "the file after the kill",
        "echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/sales/precious.bin",
        UPLOAD_LIMIT,
    )?;
    ensure!(read.starts_with(&sha256(&content)), "{read}");
    bucket.wait_for("precious.bin", &content)?;
    settle(&mut client, bucket, "after the kill", cleared)
}

mod in_a_vm {
    #[test]
    fn a_stock_linux_client_on_a_gateway_that_is_killed_after_fsync() {
        if let Err(error) = super::laptop() {
            panic!("{error:?}");
        }
    }
}
