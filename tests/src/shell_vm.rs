//! A virtual machine in which shell scripts are run from outside: the client's image, with whatever disks and
//! network cards its user gives it.
//!
//! Owns the wire to the guest; `guest/init.sh` speaks the other end.
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{
    accel::Accelerator,
    client_image::ClientImage,
    qemu::{Arguments, Machine},
    seed::HOST_FROM_GUEST,
    uplink::MTU_BYTES,
    wait::poll_until,
};

const MEMORY_MIB: u32 = 768;
/// From power on to the first request, emulated on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Name of the serial port; `guest/init.sh` looks for it.
const PORT_NAME: &str = "tidegate.client";

/// What a script did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it printed, standard output and error together.
    pub output: String,
    /// Its exit code.
    pub code: i32,
}

/// A running guest.
#[derive(Debug)]
pub struct ShellVm {
    machine: Machine,
    wire: BufReader<UnixStream>,
    next_id: u64,
}

impl ShellVm {
    /// Boots `image` with the address `address` and waits until it takes requests. `devices` are its network
    /// card and disks.
    ///
    /// # Errors
    /// When it does not come up; with its console's last words.
    pub fn start(
        image: &ClientImage,
        folder: &Path,
        accelerator: Accelerator,
        address: &str,
        devices: Arguments,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let wire = folder.join("client.wire");
        if wire.exists() {
            std::fs::remove_file(&wire)?;
        }
        let arguments = arguments(image, &wire, accelerator, address).and(devices);
        let machine = Machine::start("client", folder, arguments)?;
        let stream = UnixStream::connect(&wire).context("the wire to the client")?;
        let mut vm = Self { machine, wire: BufReader::new(stream), next_id: 0 };
        let greeting =
            vm.line(Instant::now() + BOOT_LIMIT).map_err(|error| error.context(vm.last_words()))?;
        if !greeting.starts_with("ready ") {
            bail!("the client VM greets with {greeting:?}; {}", vm.last_words());
        }
        Ok(vm)
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Runs a shell script (bash) in the guest and waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`. A script that fails is no error here: see
    /// [`ShellVm::sh`].
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Answer> {
        let end = Instant::now() + limit;
        self.next_id += 1;
        let id = self.next_id;
        let request = format!("{id} {}\n", BASE64.encode(script));
        self.wire.get_mut().write_all(request.as_bytes()).context("the wire to the client")?;
        self.answer(id, end).map_err(|error| {
            error.context(format!("in the client: {script}\n{}", self.last_words()))
        })
    }

    /// Runs a script that must succeed and returns what it printed.
    ///
    /// # Errors
    /// When it exits with anything but 0, with what it printed; or is too slow.
    pub fn sh(&mut self, script: &str, limit: Duration) -> Result<String> {
        let answer = self.run(script, limit)?;
        if answer.code != 0 {
            bail!("in the client: {script}\nexit code {}:\n{}", answer.code, answer.output);
        }
        Ok(answer.output)
    }

    /// Runs a script again and again until it succeeds.
    ///
    /// # Errors
    /// When it has not succeeded within `limit`.
    pub fn sh_until(&mut self, what: &str, script: &str, limit: Duration) -> Result<String> {
        let mut last = String::new();
        let found = poll_until(what, limit, || {
            let answer = self.run(script, limit)?;
            last = answer.output.clone();
            Ok((answer.code == 0).then_some(answer.output))
        });
        found.with_context(|| format!("in the client: {script}\nprinted last:\n{last}"))
    }

    /// Reads `begin ID`, base64 lines and `end ID CODE`; what an earlier request that was given up
    /// still sends is passed over.
    fn answer(&mut self, id: u64, end: Instant) -> Result<Answer> {
        let begin = format!("begin {id}");
        while self.line(end)? != begin {}
        let mut encoded = String::new();
        loop {
            let line = self.line(end)?;
            if let Some(rest) = line.strip_prefix("end ") {
                let (ended, code) = rest.split_once(' ').context("malformed end of an answer")?;
                if ended != id.to_string() {
                    bail!("the client answers request {ended} instead of {id}");
                }
                let output = BASE64.decode(&encoded).context("the client's answer")?;
                return Ok(Answer {
                    output: String::from_utf8_lossy(&output).into_owned(),
                    code: code.parse().context("the client's exit code")?,
                });
            }
            encoded.push_str(&line);
        }
    }

    fn line(&mut self, end: Instant) -> Result<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer in time");
            }
            self.wire.get_ref().set_read_timeout(Some(left))?;
            match self.wire.read_until(b'\n', &mut line) {
                Ok(0) => bail!("the client VM ended"),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
        line.pop();
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn last_words(&self) -> String {
        let log = self.machine.serial_log();
        let from = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
        format!("the client's console ends with:\n{}", &log[from..])
    }
}

fn arguments(
    image: &ClientImage,
    wire: &Path,
    accelerator: Accelerator,
    address: &str,
) -> Arguments {
    Arguments::new()
        .options(&[("-accel", accelerator.option()), ("-cpu", accelerator.cpu()), ("-M", "q35")])
        .options(&[("-smp", "1")])
        .option("-m", MEMORY_MIB.to_string())
        .flag("-no-reboot")
        .path("-kernel", "", &image.kernel, "")
        .path("-initrd", "", &image.initramfs, "")
        .option(
            "-append",
            format!(
                "console=ttyS0 panic=-1 quiet client.address={address}/24 \
                 client.gateway={HOST_FROM_GUEST} client.mtu={MTU_BYTES}"
            ),
        )
        .options(&[("-device", "virtio-rng-pci"), ("-device", "virtio-serial-pci")])
        .path("-chardev", "socket,id=wire,path=", wire, ",server=on,wait=off")
        .option("-device", format!("virtserialport,chardev=wire,name={PORT_NAME}"))
}
