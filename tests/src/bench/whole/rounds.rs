//! Runs the experiments: the plain client or the disk, the gateway, each peer, in turn, round after round.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gateway_api::{admin, client::AdminClient};

use super::{
    lines::{CONNECTIONS, Experiment, HEADS, Line, SMALL_BYTES, Scale},
    local, moment,
    plain::{Below, PlainClient},
};
use crate::bench::{
    disk, gateway,
    measurement::Measurement,
    server::{Process, Server},
};

/// Callers that make small files.
const CALLERS: u64 = 32;
/// A piece of work that takes longer has failed.
const WORK_LIMIT: Duration = Duration::from_secs(240);
/// What `timeout` (coreutils) ends with when it was too long.
const TIMED_OUT: i32 = 124;
/// Where the plain client's own objects are.
pub const PLAIN_BUCKET: &str = "plain";

/// An NFS server in front of a bucket.
#[derive(Debug)]
pub struct Contender {
    /// It.
    pub server: Server,
    /// Its bucket, which is all of its export.
    pub bucket: String,
    /// Processes that the server lives on.
    pub besides: Vec<Process>,
    /// What is mounted for it, the last first.
    pub mounts: Vec<PathBuf>,
}

impl Contender {
    /// Ends its processes and unmounts what was mounted for it.
    ///
    /// # Errors
    /// When something still uses a mount.
    pub fn end(self) -> Result<()> {
        let Self { server, besides, mounts, bucket: _ } = self;
        drop(server);
        drop(besides);
        mounts.iter().try_for_each(|mount| disk::unmount(mount))
    }
}

/// Who is timed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// What the line is measured by.
    By,
    /// The gateway.
    Gateway,
    /// One of the others, by its place.
    Peer(usize),
}

/// Seconds, by line and side, round by round.
#[derive(Debug, Default)]
pub struct Times {
    seconds: HashMap<(&'static str, Side), Vec<f64>>,
    failures: HashMap<(Experiment, usize), String>,
}

impl Times {
    /// Of all rounds.
    pub fn of(&self, line: &Line, side: Side) -> &[f64] {
        self.seconds.get(&(line.id, side)).map_or(&[], Vec::as_slice)
    }

    /// Why a peer has no times of an experiment, or not of all rounds.
    pub fn failure(&self, line: &Line, peer: usize) -> Option<&str> {
        self.failures.get(&(line.experiment, peer)).map(String::as_str)
    }

    pub(super) fn note(&mut self, line: &'static str, side: Side, seconds: f64) {
        self.seconds.entry((line, side)).or_default().push(seconds);
    }
}

/// Everything that takes part, with S3 at one distance.
#[derive(Debug)]
pub struct Bench {
    /// The plain client.
    pub plain: PlainClient,
    /// The gateway's program.
    pub program: PathBuf,
    /// Where the gateway has everything: a file system of its own.
    pub folder: PathBuf,
    /// The gateway.
    pub gateway: Contender,
    /// Another one, that uploads when it is told to, and its admin socket.
    pub held: (Contender, PathBuf),
    /// The others.
    pub peers: Vec<Contender>,
    /// The program `nfs-load`.
    pub load: PathBuf,
    /// How much.
    pub scale: Scale,
    /// What was found.
    pub times: Times,
}

/// Puts into `bucket` what is read and listed there in `rounds` rounds, before a server knows the bucket.
///
/// # Errors
/// What S3 answers.
pub fn seed(plain: &PlainClient, bucket: &str, scale: &Scale, rounds: u32) -> Result<()> {
    for round in 1..=rounds {
        plain.put_large(bucket, &format!("read{round}/large"), scale.large_bytes)?;
        let many = |directory: String, files| {
            plain.put_small(bucket, &directory, files, 1, CONNECTIONS).map(drop)
        };
        many(format!("ls{round}"), scale.listed_files)?;
        many(format!("attributes{round}"), scale.attributed_files)?;
    }
    Ok(())
}

impl Bench {
    /// Does an experiment once on every side.
    ///
    /// # Errors
    /// When it fails on any side but a peer's.
    pub fn run(&mut self, experiment: Experiment, round: u32) -> Result<()> {
        self.measure_by(experiment, round).with_context(|| format!("{experiment:?}, plain"))?;
        self.contend(experiment, round, Side::Gateway)
            .with_context(|| format!("{experiment:?}, gateway"))?;
        for peer in 0..self.peers.len() {
            let is_for_all = !matches!(experiment, Experiment::Upload | Experiment::Start);
            if is_for_all
                && !self.times.failures.contains_key(&(experiment, peer))
                && let Err(error) = self.contend(experiment, round, Side::Peer(peer))
            {
                self.times.failures.insert((experiment, peer), format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// Times what the lines are measured by.
    fn measure_by(&mut self, experiment: Experiment, round: u32) -> Result<()> {
        let Scale { large_bytes, small_files, .. } = self.scale;
        let (plain, own) = (&self.plain, format!("by{round}"));
        let mut notes = Vec::new();
        match experiment {
            Experiment::Write => {
                notes.push(("write", local::write(&self.folder, large_bytes)?));
                let seconds = plain.put_large(PLAIN_BUCKET, &own, large_bytes)?;
                notes.extend([("put", seconds), ("put-last", seconds)]);
            }
            Experiment::Read => {
                let key = format!("read{round}/large");
                notes.push(("read", plain.get_large(PLAIN_BUCKET, &key, large_bytes)?));
            }
            Experiment::Small => {
                let local = local::create(&self.folder, small_files, SMALL_BYTES, CALLERS)?;
                let put = self.put_small(&own)?;
                let to = format!("{own}-moved");
                let moved =
                    plain.move_small(PLAIN_BUCKET, (&own, &to), small_files, CONNECTIONS)?;
                notes.extend([("create", local), ("small", put), ("moved", moved)]);
            }
            Experiment::Upload => notes.push(("upload", self.put_small(&own)?)),
            Experiment::List => {
                let listed = plain.list(PLAIN_BUCKET, &format!("ls{round}"))?;
                let lists = [("ls", listed.seconds), ("ls-again", listed.seconds)];
                notes.extend(lists);
                notes.push(("ls-page", listed.first_seconds));
            }
            Experiment::Attributes => {
                let directory = format!("attributes{round}");
                let listed = plain.list(PLAIN_BUCKET, &directory)?.seconds;
                let files = self.scale.attributed_files;
                let heads = plain.head_small(PLAIN_BUCKET, &directory, files, HEADS)?;
                notes.extend([("ls-l", listed), ("ls-l-head", listed + heads)]);
            }
            Experiment::Start => {}
        }
        self.plain.clear(PLAIN_BUCKET, &own)?;
        for (line, seconds) in notes {
            self.times.note(line, Side::By, seconds);
        }
        Ok(())
    }

    fn put_small(&self, directory: &str) -> Result<f64> {
        let files = self.scale.small_files;
        self.plain.put_small(PLAIN_BUCKET, directory, files, SMALL_BYTES, CONNECTIONS)
    }

    fn contend(&mut self, experiment: Experiment, round: u32, side: Side) -> Result<()> {
        let notes = match experiment {
            Experiment::Write => self.write(round, side)?,
            Experiment::Read => self.read(round, side)?,
            Experiment::Small => self.small(round, side)?,
            Experiment::Upload => self.upload(round)?,
            Experiment::List => self.list(round, side)?,
            Experiment::Attributes => self.attributes(round, side)?,
            Experiment::Start => self.start()?,
        };
        for (line, seconds) in notes {
            self.times.note(line, side, seconds);
        }
        Ok(())
    }

    fn contender(&self, side: Side) -> &Contender {
        match side {
            Side::Peer(number) => &self.peers[number],
            Side::By | Side::Gateway => &self.gateway,
        }
    }

    /// A file of the large size is written over NFS; when S3 has all of it.
    fn write(&self, round: u32, side: Side) -> Result<Vec<(&'static str, f64)>> {
        let Contender { server, bucket, .. } = self.contender(side);
        let (directory, bytes) = (format!("write{round}"), self.scale.large_bytes);
        let words = format!("--depth 8 write {directory} large --bytes {bytes} --block 1048576");
        let written = self.load(server, &words)?;
        let wanted = Below { objects: 1, bytes };
        let there = self.plain.wait_for(bucket, &format!("{directory}/"), wanted, WORK_LIMIT)?;
        let last = written.begun + written.seconds;
        self.plain.clear(bucket, &format!("{directory}/large"))?;
        Ok(vec![
            ("write", written.seconds),
            ("put", there - written.begun),
            ("put-last", there - last),
        ])
    }

    /// An object of the large size is read over NFS, which nobody has read.
    fn read(&self, round: u32, side: Side) -> Result<Vec<(&'static str, f64)>> {
        let Contender { server, bucket, .. } = self.contender(side);
        let (directory, bytes) = (format!("read{round}"), self.scale.large_bytes);
        let words = format!("--depth 8 read {directory} large --bytes {bytes}");
        let read = self.load(server, &format!("{words} --block 1048576 --cold"))?;
        self.plain.clear(bucket, &format!("{directory}/large"))?;
        Ok(vec![("read", read.seconds)])
    }

    /// Small files are made over NFS; when S3 has them all; their directory is renamed; when S3 has them there,
    /// and only there.
    fn small(&self, round: u32, side: Side) -> Result<Vec<(&'static str, f64)>> {
        let Contender { server, bucket, .. } = self.contender(side);
        let (from, to) = (format!("small{round}"), format!("moved{round}"));
        let wanted = self.small_files();
        let made = self.make_small(server, &from)?;
        let there = self.plain.wait_for(bucket, &format!("{from}/"), wanted, WORK_LIMIT)?;
        let renamed = self.load(server, &format!("rename {from} {to}"))?;
        let wait = |directory: &str, below| {
            self.plain.wait_for(bucket, &format!("{directory}/"), below, WORK_LIMIT)
        };
        wait(&to, wanted)?;
        let moved = wait(&from, Below::default())?;
        self.plain.clear(bucket, &format!("{to}/f"))?;
        Ok(vec![
            ("create", made.seconds),
            ("small", there - made.begun),
            ("rename", renamed.seconds),
            ("moved", moved - renamed.begun),
        ])
    }

    /// Small files that have been made some time ago are uploaded by the gateway that waits until it is told.
    fn upload(&self, round: u32) -> Result<Vec<(&'static str, f64)>> {
        let (Contender { server, bucket, .. }, socket) = &self.held;
        let directory = format!("upload{round}");
        self.make_small(server, &directory)?;
        let begun = moment::now();
        AdminClient::new(socket, WORK_LIMIT).request("POST", admin::FLUSH, b"")?;
        let there = self.plain.wait_for(
            bucket,
            &format!("{directory}/"),
            self.small_files(),
            WORK_LIMIT,
        )?;
        self.plain.clear(bucket, &format!("{directory}/f"))?;
        Ok(vec![("upload", there - begun)])
    }

    fn small_files(&self) -> Below {
        let objects = self.scale.small_files;
        Below { objects, bytes: objects * SMALL_BYTES }
    }

    fn make_small(&self, server: &Server, directory: &str) -> Result<Measurement> {
        let files = self.scale.small_files;
        let words = format!("--depth {CALLERS} create {directory} file-sync --files {files}");
        self.load(server, &words)
    }

    /// A directory of objects of others is listed over NFS, which nobody has listed; and again.
    fn list(&self, round: u32, side: Side) -> Result<Vec<(&'static str, f64)>> {
        let server = &self.contender(side).server;
        let files = self.scale.listed_files;
        let words = format!("list ls{round} --files {files} --cold");
        let first = self.load(server, &words)?;
        let again = self.load(server, &words)?;
        Ok(vec![
            ("ls", first.seconds),
            ("ls-page", first.first_seconds),
            ("ls-again", again.seconds),
        ])
    }

    /// The same, with a LOOKUP of each entry that comes without attributes.
    fn attributes(&self, round: u32, side: Side) -> Result<Vec<(&'static str, f64)>> {
        let server = &self.contender(side).server;
        let files = self.scale.attributed_files;
        let words = format!("list attributes{round} --files {files} --cold --attributes");
        let seconds = self.load(server, &words)?.seconds;
        Ok(vec![("ls-l", seconds), ("ls-l-head", seconds)])
    }

    /// The gateway ends and is started again, with the catalog that it has by then.
    fn start(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.gateway.server.process.stop()?;
        let begun = moment::now();
        self.gateway.server = gateway::launch(&self.program, &self.folder)?;
        self.load(&self.gateway.server, "up")?;
        Ok(vec![("start", moment::now() - begun)])
    }

    /// Puts load on a server.
    fn load(&self, server: &Server, words: &str) -> Result<Measurement> {
        let output = load_command(&self.load, server, words)
            .output()
            .context("cannot run nfs-load (by timeout, of coreutils)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let limit = WORK_LIMIT.as_secs();
        ensure!(output.status.code() != Some(TIMED_OUT), "not within {limit} s");
        ensure!(output.status.success(), "{}", said.trim());
        Measurement::from_json(String::from_utf8(output.stdout)?.trim())
    }
}

fn load_command(program: &Path, server: &Server, words: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .arg(WORK_LIMIT.as_secs().to_string())
        .arg(program)
        .args(["--nfs-port", &server.nfs_port.to_string()])
        .args(["--mount-port", &server.mount_port.to_string()])
        .args(["--export", &server.export])
        .args(words.split(' '))
        .stdin(Stdio::null());
    command
}
