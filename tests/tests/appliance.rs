//! `cargo appliance` as its user meets it: what it prints is what is done here, twice, and what it holds
//! is kept in between.
use std::{
    io::{BufRead, BufReader, PipeReader, pipe},
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Builder, Credentials, Region},
};
use e2e::{
    bucket::UPLOAD_LIMIT,
    client_image::ClientImage,
    client_vm::ClientVm,
    console::Console,
    lab::{Parts, new_folder},
    pages::status_on_serial,
    seed::HOST_FROM_GUEST,
    uplink::Guest,
    wait::poll_until,
};
use image::PrintProgress;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SCRIPT_LIMIT: Duration = Duration::from_secs(300);
const PAGE_LIMIT: Duration = Duration::from_secs(120);
const FILE: &[u8] = b"written through the printed command\n";

/// The running command.
struct Appliance {
    process: Child,
    output: BufReader<PipeReader>,
    /// What it has printed, its progress included.
    said: String,
}

impl Appliance {
    /// Starts it and waits until it has said how to use it.
    fn start(state: &Path) -> Result<Self> {
        let (output, terminal) = pipe()?;
        let process = Command::new(env!("CARGO_BIN_EXE_appliance"))
            .arg("--state")
            .arg(state)
            .stdout(terminal.try_clone()?)
            .stderr(terminal)
            .spawn()?;
        let mut started = Self { process, output: BufReader::new(output), said: String::new() };
        started.read_until("Stop it:")?;
        Ok(started)
    }

    fn read_until(&mut self, words: &str) -> Result<()> {
        let from = self.said.len();
        while !self.said[from..].contains(words) {
            let read = self.output.read_line(&mut self.said)?;
            ensure!(read > 0, "it ended without {words:?}:\n{}", self.said);
        }
        Ok(())
    }

    /// The one printed line that begins with `words`, after what indents it.
    fn line(&self, words: &str) -> Result<&str> {
        let mut found = self.said.lines().map(str::trim).filter(|line| line.starts_with(words));
        found.next().with_context(|| format!("no line {words:?} in:\n{}", self.said))
    }

    /// Ctrl-C, and its last word.
    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGINT)?;
        self.read_until("the appliance is off")?;
        ensure!(self.process.wait()?.success(), "{}", self.said);
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The printed commands, as the client's user types them: to the client this machine is another one.
fn mount(appliance: &Appliance, client: &mut ClientVm) -> Result<()> {
    for words in ["sudo mkdir", "sudo mount"] {
        let typed =
            appliance.line(words)?.replace("sudo ", "").replace("127.0.0.1", HOST_FROM_GUEST);
        client.sh(&typed, SCRIPT_LIMIT)?;
    }
    Ok(())
}

/// The keys that the printed line for the bucket leads to.
fn keys(appliance: &Appliance) -> Result<Vec<String>> {
    let variables = appliance.line("AWS_ACCESS_KEY_ID=")?;
    let line = appliance.line("aws ")?;
    let variable = |name: &str| {
        let mut words = variables.split(' ').filter_map(|word| word.split_once('='));
        let found = words.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        found.with_context(|| format!("no {name} in {variables:?}"))
    };
    let after = |words: &str| {
        let value = line.split_once(words).and_then(|(_, rest)| rest.split(' ').next());
        value.map(str::to_owned).with_context(|| format!("no {words:?} in {line:?}"))
    };
    let place = after("s3://")?;
    let (bucket, prefix) = place.split_once('/').context("bucket and prefix")?;
    let credentials = Credentials::new(
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "printed",
    );
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(after("--endpoint-url ")?)
        .region(Region::new(variable("AWS_DEFAULT_REGION")?))
        .credentials_provider(credentials)
        .force_path_style(true)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listed = runtime.block_on(
        Client::from_conf(config).list_objects_v2().bucket(bucket).prefix(prefix).send(),
    )?;
    let keys = listed.contents().iter().filter_map(|object| object.key());
    Ok(keys.map(|key| key[prefix.len()..].to_owned()).collect())
}

fn twice() -> Result<()> {
    let parts = Parts::build()?;
    let folder = new_folder(&parts.workspace, "appliance")?;
    let image = ClientImage::build(&parts.workspace, &mut PrintProgress::new())?;
    let mut client = ClientVm::start(&image, &folder, parts.accelerator, Guest::Client)?;
    let state = folder.join("state");

    let first = Appliance::start(&state)?;
    println!("{}", first.said);
    ensure!(first.said.contains("blank 150 GB cache disk"), "{}", first.said);
    let second = Command::new(env!("CARGO_BIN_EXE_appliance"))
        .args(["--no-build", "--fresh", "--state"])
        .arg(&state)
        .output()?;
    let refusal = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(!second.status.success() && refusal.contains("runs already"), "{refusal}");
    mount(&first, &mut client)?;
    let write = format!("printf '{}' > /mnt/sales/kept.txt", FILE.escape_ascii());
    client.sh(&write, SCRIPT_LIMIT)?;
    poll_until("the file in the bucket", UPLOAD_LIMIT, || {
        Ok(keys(&first)?.contains(&"kept.txt".to_owned()).then_some(()))
    })?;
    let mut console = Console::connect(&state.join("run/appliance.serial"), PAGE_LIMIT)?;
    // The page was drawn before anybody was on the line: Ctrl-L draws it again.
    console.send("\x0c")?;
    status_on_serial(&console, ":/sales /mnt/sales", PAGE_LIMIT)?;
    client.sh("umount /mnt/sales", SCRIPT_LIMIT)?;
    first.stop()?;

    let second = Appliance::start(&state)?;
    ensure!(second.said.contains("kept from the last run"), "{}", second.said);
    mount(&second, &mut client)?;
    let read = client.sh("cat /mnt/sales/kept.txt && umount /mnt/sales", SCRIPT_LIMIT)?;
    ensure!(read.as_bytes() == FILE, "{read:?}");
    // The start's scratch object, with which it finds out what the store can do, is there meanwhile.
    poll_until("the bucket as it was, and no more", UPLOAD_LIMIT, || {
        Ok((keys(&second)? == ["kept.txt"]).then_some(()))
    })?;
    second.stop()
}

mod in_a_vm {
    #[test]
    fn what_cargo_appliance_prints_works_and_what_it_holds_is_kept() {
        if let Err(error) = super::twice() {
            panic!("{error:?}");
        }
    }
}
