//! The NFS client of the tests: a virtual machine with Debian's stock kernel and Debian's own
//! `mount`, in which shell scripts are run from outside.
//!
//! Owns the wire to the guest (`guest/init.sh` speaks the other end) and the virtual LAN with its way
//! out, which outlive an appliance whose power is cut.
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
    host,
    qemu::{Arguments, Machine},
    seed::HOST_FROM_GUEST,
    switch::Switch,
    uplink::{Guest, MTU_BYTES, Uplink},
    wait::poll_until,
};

/// Address of the client on the virtual LAN; outside the range that DHCP gives away.
pub const CLIENT_ADDRESS: &str = "10.0.2.200";
const MEMORY_MIB: u32 = 768;
/// From power on to the first request, emulated on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Name of the serial port; `guest/init.sh` looks for it.
const PORT_NAME: &str = "tidegate.client";

/// An NTP server that gives the client's own clock away, which is this machine's.
const NTP_SERVER: &str = "cat > /tmp/chrony.conf <<'END'
user root
local stratum 8
allow all
cmdport 0
pidfile /run/chronyd.pid
driftfile /run/chrony.drift
END
chronyd -x -f /tmp/chrony.conf";

/// What a script did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it printed, standard output and error together.
    pub output: String,
    /// Its exit code.
    pub code: i32,
}

/// A running client.
#[derive(Debug)]
pub struct ClientVm {
    machine: Machine,
    wire: BufReader<UnixStream>,
    lan: Switch,
    _uplink: Uplink,
    next_id: u64,
}

impl ClientVm {
    /// Boots the client and waits until it takes requests. `outward` is the one machine on the LAN that
    /// reaches the host.
    ///
    /// # Errors
    /// When it does not come up; with its console's last words.
    pub fn start(
        image: &ClientImage,
        folder: &Path,
        accelerator: Accelerator,
        outward: Guest,
    ) -> Result<Self> {
        host::ensure_packages(host::VIRTUAL_LAN)?;
        std::fs::create_dir_all(folder)?;
        let lan = folder.join("lan");
        let wire = folder.join("client.wire");
        for stale in [&lan, &wire] {
            if stale.exists() {
                std::fs::remove_file(stale)?;
            }
        }
        let switch = Switch::start(&lan).context("the virtual LAN")?;
        let uplink = Uplink::start(&switch, outward, &folder.join("uplink.log"))?;
        let machine = Machine::start("client", folder, arguments(image, &lan, &wire, accelerator))?;
        let stream = UnixStream::connect(&wire).context("the wire to the client")?;
        let wire = BufReader::new(stream);
        let mut client = Self { machine, wire, lan: switch, _uplink: uplink, next_id: 0 };
        let greeting = client
            .line(Instant::now() + BOOT_LIMIT)
            .map_err(|error| error.context(client.last_words()))?;
        if !greeting.starts_with("ready ") {
            bail!("the client VM greets with {greeting:?}; {}", client.last_words());
        }
        Ok(client)
    }

    /// The Unix socket of the virtual LAN, for a second machine's `stream` network device.
    pub fn lan(&self) -> &Path {
        self.lan.socket()
    }

    /// Runs a shell script (bash) in the client and waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`. A script that fails is no error here: see
    /// [`ClientVm::sh`].
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

    /// Makes the client an NTP server, at [`CLIENT_ADDRESS`].
    ///
    /// # Errors
    /// When chronyd does not start.
    pub fn serve_time(&mut self, limit: Duration) -> Result<()> {
        self.sh(NTP_SERVER, limit).map(drop)
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

fn arguments(image: &ClientImage, lan: &Path, wire: &Path, accelerator: Accelerator) -> Arguments {
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
                "console=ttyS0 panic=-1 quiet client.address={CLIENT_ADDRESS}/24 \
                 client.gateway={HOST_FROM_GUEST} client.mtu={MTU_BYTES}"
            ),
        )
        .options(&[("-device", "virtio-rng-pci"), ("-device", "virtio-serial-pci")])
        .path("-chardev", "socket,id=wire,path=", wire, ",server=on,wait=off")
        .option("-device", format!("virtserialport,chardev=wire,name={PORT_NAME}"))
        .path("-netdev", "stream,id=card,server=off,addr.type=unix,addr.path=", lan, "")
        .option("-device", format!("virtio-net-pci,netdev=card,mac={}", Guest::Client.mac()))
}
