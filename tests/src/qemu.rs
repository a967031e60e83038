//! One QEMU process: started in its own process group, watched through QMP, never left behind.
//!
//! Owns the process and its sockets and logs in one folder; knows nothing of what the guest is.
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::{prctl, signal::Signal};
use serde_json::json;

use crate::{bench::process_clock::ProcessClock, qmp::Qmp, screen, wait::poll_until};

/// How long QEMU itself (not the guest) may take to start or to answer.
const QEMU_LIMIT: Duration = Duration::from_secs(60);

/// A running machine. Dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    name: String,
    folder: PathBuf,
    process: Child,
    qmp: Qmp,
}

impl Machine {
    /// Starts QEMU with `arguments`; control socket, serial socket and logs go to `folder` as
    /// `NAME.qmp`, `NAME.serial`, `NAME.serial.log` and `NAME.qemu.log`.
    ///
    /// # Errors
    /// When QEMU does not start; the message carries what it printed.
    pub fn start(name: &str, folder: &Path, arguments: Arguments) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        for stale in [file("qmp"), file("serial")] {
            if stale.exists() {
                fs::remove_file(&stale)?;
            }
        }
        let log = File::create(file("qemu.log"))?;
        let arguments = Arguments::new()
            .options(&[("-name", name), ("-display", "none")])
            .flag("-nodefaults")
            .flag("-no-user-config")
            .path("-qmp", "unix:", &file("qmp"), ",server=on,wait=off")
            .path(
                "-chardev",
                "socket,id=serial,path=",
                &file("serial"),
                &format!(
                    ",server=on,wait=off,logfile={}",
                    file("serial.log").display().to_string().replace(',', ",,")
                ),
            )
            .option("-serial", "chardev:serial")
            .and(arguments);
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(arguments.words())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for us, not for QEMU, which would drop the guest at once.
            .process_group(0);
        // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system
        // call; it touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let mut process = command
            .spawn()
            .context("cannot run qemu-system-x86_64; `cargo appliance` installs it")?;
        match Qmp::connect(&file("qmp"), QEMU_LIMIT) {
            Ok(qmp) => Ok(Self { name: name.to_owned(), folder: folder.to_owned(), process, qmp }),
            Err(error) => {
                // It may have ended by itself; that is what the log will say.
                process.kill().ok();
                process.wait()?;
                let printed = fs::read_to_string(file("qemu.log")).unwrap_or_default();
                Err(error.context(format!("QEMU did not start; it printed:\n{printed}")))
            }
        }
    }

    /// The folder of its sockets and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its QMP connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// The Unix socket of its serial line.
    pub fn serial_socket(&self) -> PathBuf {
        self.folder.join(format!("{}.serial", self.name))
    }

    /// Everything that it has printed on its serial line.
    pub fn serial_log(&self) -> String {
        let log = self.folder.join(format!("{}.serial.log", self.name));
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// How many writes and flushes the disk with the id `boot` has done since power on.
    ///
    /// # Errors
    /// When QEMU has no such disk or is gone.
    pub fn boot_disk_steps(&mut self) -> Result<u64> {
        let all = self.qmp.execute("query-blockstats", json!({}))?;
        let disks = all.as_array().context("QEMU's figures of its disks")?;
        let boot = disks.iter().find(|disk| disk["device"] == "boot").context("no boot disk")?;
        let figure = |name: &str| boot["stats"][name].as_u64().with_context(|| name.to_owned());
        Ok(figure("wr_operations")? + figure("flush_operations")?)
    }

    /// What it has taken of the host's processors.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        ProcessClock::of(i32::try_from(self.process.id())?)?.now()
    }

    /// Presses keys one after another; `ctrl-alt-delete` is a chord. Names are QEMU's `QKeyCode`s.
    ///
    /// # Errors
    /// When QEMU knows no such key or is gone.
    pub fn press(&mut self, keys: &[&str]) -> Result<()> {
        for chord in keys {
            let chord: Vec<_> =
                chord.split('-').map(|key| json!({ "type": "qcode", "data": key })).collect();
            self.qmp.execute("send-key", json!({ "keys": chord }))?;
        }
        Ok(())
    }

    /// Saves a picture of the screen as PNG.
    ///
    /// # Errors
    /// When QEMU cannot write it.
    pub fn picture(&mut self, file: &Path) -> Result<()> {
        let file = std::path::absolute(file)?;
        self.qmp.execute("screendump", json!({ "filename": file, "format": "png" }))?;
        Ok(())
    }

    /// The text on a VGA text screen (BIOS boot), found by `title`, which its first line contains.
    /// `None` while no such line is there.
    ///
    /// # Errors
    /// When QEMU cannot read the guest's memory.
    pub fn screen_text(&mut self, title: &str) -> Result<Option<String>> {
        let dump = std::path::absolute(self.folder.join(format!("{}.vga", self.name)))?;
        let arguments = json!({ "val": screen::VGA_TEXT_BASE, "size": screen::VGA_TEXT_BYTES, "filename": dump });
        self.qmp.execute("pmemsave", arguments)?;
        let memory = fs::read(&dump)?;
        Ok(screen::page_with_title(&memory, title))
    }

    /// Presses the power button: the guest shuts itself down.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({}))?;
        Ok(())
    }

    /// Presses the power button and waits until the guest has switched itself off.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn shut_down(&mut self, limit: Duration) -> Result<()> {
        self.press_power_button()?;
        self.wait_for_exit(limit)
    }

    /// Waits until QEMU has ended.
    ///
    /// # Errors
    /// When it still runs after `limit`, or when it ended by a signal.
    pub fn wait_for_exit(&mut self, limit: Duration) -> Result<()> {
        let status =
            poll_until("the end of the virtual machine", limit, || Ok(self.process.try_wait()?))?;
        if let Some(signal) = status.signal() {
            bail!("QEMU ended by signal {signal}; its log is in {}", self.folder.display());
        }
        Ok(())
    }

    /// Cuts the power: kills QEMU at once. What the guest had not written to its disks is gone.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn cut_power(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// QEMU's command line, option by option.
#[derive(Clone, Debug, Default)]
pub struct Arguments(Vec<OsString>);

impl Arguments {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an option without a value.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.0.push(name.into());
        self
    }

    /// Adds an option with its value.
    #[must_use]
    pub fn option(self, name: &str, value: impl Into<OsString>) -> Self {
        let mut arguments = self.flag(name);
        arguments.0.push(value.into());
        arguments
    }

    /// Adds several options with their values.
    #[must_use]
    pub fn options(self, options: &[(&str, &str)]) -> Self {
        options.iter().fold(self, |arguments, (name, value)| arguments.option(name, value))
    }

    /// Adds an option whose value is `before`, a path and `after`. Commas in the path are doubled,
    /// as QEMU's option lists want; with nothing before it the path is taken as it is.
    #[must_use]
    pub fn path(self, name: &str, before: &str, path: &Path, after: &str) -> Self {
        if before.is_empty() {
            return self.option(name, path);
        }
        let path = path.display().to_string().replace(',', ",,");
        self.option(name, format!("{before}{path}{after}"))
    }

    /// Adds all of `more`.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The words as passed to QEMU.
    pub fn words(&self) -> &[OsString] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        let words = Arguments::new()
            .path("-drive", "file=", Path::new("/a,b/c"), ",format=raw")
            .path("-kernel", "", Path::new("/a,b/c"), "");
        assert_eq!(words.words(), ["-drive", "file=/a,,b/c,format=raw", "-kernel", "/a,b/c"]);
    }
}
