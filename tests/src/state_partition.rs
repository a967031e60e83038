//! The appliance's partition for settings and journal, changed from outside while it is switched off: damage,
//! and what damage must not look like. By `debugfs`, which needs no root and no mount.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use image::plan::{self, Role};

/// Rounds in which the last blocks are filled: each takes most of what is left.
const FILLS_MAX: usize = 12;

/// The partition on a boot disk.
#[derive(Debug)]
pub struct StatePartition {
    device: String,
    /// For files on their way.
    folder: PathBuf,
}

impl StatePartition {
    /// That of a boot disk; `folder` is for files on their way.
    pub fn of(boot_disk: &Path, folder: &Path) -> Self {
        let start = plan::partition(Role::Config).start;
        let device = format!("{}?offset={start}", boot_disk.display());
        Self { device, folder: folder.to_owned() }
    }

    /// Replaces a file.
    ///
    /// # Errors
    /// When debugfs refuses.
    pub fn replace(&self, path: &str, content: &[u8]) -> Result<()> {
        self.change(&[&format!("rm {path}")])?;
        self.write(path, content)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When debugfs refuses, as where there is none.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.change(&[&format!("rm {path}")])
    }

    /// Puts a folder where a file was; its content is returned.
    ///
    /// # Errors
    /// When debugfs refuses.
    pub fn replace_by_folder(&self, path: &str) -> Result<Vec<u8>> {
        let kept = self.folder.join("kept");
        self.read(&format!("dump {path} {}", kept.display()))?;
        let content = fs::read(&kept).context("what debugfs dumped")?;
        ensure!(!content.is_empty(), "{path} is not there");
        self.change(&[&format!("rm {path}"), &format!("mkdir {path}")])?;
        Ok(content)
    }

    /// Puts a file where a folder was, for a user.
    ///
    /// # Errors
    /// When debugfs refuses.
    pub fn put_back(&self, path: &str, content: &[u8], user: u32) -> Result<()> {
        self.change(&[&format!("rmdir {path}")])?;
        self.write(path, content)?;
        let field = |name: &str, value: String| format!("set_inode_field {path} {name} {value}");
        self.change(&[
            &field("uid", user.to_string()),
            &field("gid", user.to_string()),
            &field("mode", "0100600".to_owned()),
        ])
    }

    /// Fills it as far as anybody can who writes to it while it is mounted, root included, with files
    /// `/ballastN`. The journal goes: it would make room by itself.
    ///
    /// # Errors
    /// When debugfs refuses, or there is room in the end.
    pub fn fill(&self) -> Result<()> {
        // What Linux keeps for itself (ext4's reserved clusters): nobody's file gets it.
        self.fill_to((self.figure("Block count:")? / 50).min(4096))
    }

    /// Fills it to its last block, so that nothing at all can be written.
    ///
    /// # Errors
    /// When debugfs refuses, or there is room in the end.
    pub fn fill_to_the_last_block(&self) -> Result<()> {
        self.fill_to(0)
    }

    fn fill_to(&self, kept: u64) -> Result<()> {
        for folder in self.names("/journal")? {
            for file in self.names(&format!("/journal/{folder}"))? {
                self.change(&[&format!("rm /journal/{folder}/{file}")])?;
            }
        }
        let files = self.names("/")?.iter().filter(|name| name.starts_with("ballast")).count();
        for round in (files..).take(FILLS_MAX) {
            let free = self.free_blocks()?.saturating_sub(kept);
            if free == 0 {
                return Ok(());
            }
            // A file needs some blocks for the list of its blocks.
            let blocks = if free > 64 { free - free / 64 } else { (free / 2).max(1) };
            let content = vec![0x55; usize::try_from(blocks * self.block_bytes()?)?];
            self.write(&format!("/ballast{round}"), &content)?;
        }
        let free = self.free_blocks()?;
        ensure!(free <= kept, "{free} blocks are free still");
        Ok(())
    }

    /// Takes the ballast out.
    ///
    /// # Errors
    /// When debugfs refuses.
    pub fn empty(&self) -> Result<()> {
        for file in self.names("/")?.iter().filter(|name| name.starts_with("ballast")) {
            self.change(&[&format!("rm /{file}")])?;
        }
        Ok(())
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let from = self.folder.join("to-write");
        fs::write(&from, content)?;
        self.change(&[&format!("write {} {path}", from.display())])
    }

    fn free_blocks(&self) -> Result<u64> {
        self.figure("Free blocks:")
    }

    fn block_bytes(&self) -> Result<u64> {
        self.figure("Block size:")
    }

    fn figure(&self, name: &str) -> Result<u64> {
        let stats = self.read("stats -h")?;
        let line = stats.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("{name} in:\n{stats}"))?.trim().parse()?)
    }

    /// Names in a folder; `ls -p` prints `/inode/mode/uid/gid/name/size/`.
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let listing = self.read(&format!("ls -p {folder}"))?;
        let names = listing.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names.filter(|name| !matches!(*name, "" | "." | "..")).map(str::to_owned).collect())
    }

    fn read(&self, request: &str) -> Result<String> {
        self.debugfs(&["-R", request])
    }

    fn change(&self, requests: &[&str]) -> Result<()> {
        for request in requests {
            self.debugfs(&["-w", "-R", request])?;
        }
        Ok(())
    }

    /// debugfs ends with success whatever happens; what is wrong it says after its version.
    fn debugfs(&self, words: &[&str]) -> Result<String> {
        let output = Command::new("/sbin/debugfs")
            .args(words)
            .arg(&self.device)
            .output()
            .context("cannot run debugfs (package e2fsprogs)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("debugfs ") && !line.is_empty()).collect();
        ensure!(
            output.status.success() && complaints.is_empty(),
            "debugfs {words:?}: {complaints:?}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
