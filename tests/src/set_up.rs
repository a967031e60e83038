//! An operator who sets an appliance up by keys over the serial line, as somebody would who has only that:
//! from no settings and blank disks to a share that can be mounted. On the way some things are typed wrong,
//! and mended by what the console says.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::{
    client_vm::CLIENT_ADDRESS,
    console::Console,
    pages::{PASSWORD, TITLE, field, number_of, seconds_of},
    seed,
    transcript::Transcript,
    uplink::MTU_BYTES,
    wait::poll_until,
};

/// From keys to the page they lead to, emulated: a password takes seconds, a gateway's start more.
const PAGE_LIMIT: Duration = Duration::from_secs(300);
const SEOUL_SECONDS: i64 = 9 * 3600;
/// A page is read some seconds after it was drawn; the wrong clock is off by a day.
const CLOCK_TOLERANCE_SECONDS: i64 = 120;
const PAGE_UP: &str = "\x1b[5~";
const PAGE_DOWN: &str = "\x1b[6~";
const CTRL_U: &str = "\x15";
/// Nobody answers there.
const WRONG_PORT: u16 = 9;
/// What is to be done about it.
const UNANSWERED: &str = "let this machine out to port 9";
const WRONG_SECRET: &str = "not-the-secret";

/// Somebody at the serial line, and what was typed and seen.
#[derive(Debug)]
pub struct Operator<'a> {
    serial: &'a mut Console,
    transcript: Transcript,
}

impl<'a> Operator<'a> {
    /// Before the front page.
    pub fn at(serial: &'a mut Console) -> Self {
        Self { serial, transcript: Transcript::default() }
    }

    /// What was typed and seen.
    pub fn transcript(self) -> Transcript {
        self.transcript
    }

    /// Waits for a page with these words, as it is when it has been drawn to its end.
    ///
    /// # Errors
    /// When none comes in time; with what the screen shows.
    pub fn sees(&mut self, words: &str) -> Result<String> {
        let mut last = String::new();
        let page = poll_until("the page on the serial console", PAGE_LIMIT, || {
            let screen = self.serial.screen();
            let is_drawn = screen == last;
            last = screen;
            let is_it = last.contains(TITLE) && last.contains(words);
            Ok((is_it && is_drawn).then(|| last.clone()))
        });
        let page =
            page.with_context(|| format!("it lacks {words:?}; the screen shows:\n{last}"))?;
        self.transcript.screen(&page);
        Ok(page)
    }

    /// Types keys.
    ///
    /// # Errors
    /// When the line is gone.
    pub fn types(&mut self, keys: &str) -> Result<()> {
        self.transcript.keys(keys);
        self.serial.send(keys)
    }

    /// Chooses the entry of a menu whose label begins so, by its number.
    ///
    /// # Errors
    /// When no menu with such an entry comes.
    pub fn chooses(&mut self, label: &str) -> Result<()> {
        let page = self.sees(&format!(": {label}"))?;
        let number = number_of(&page, label)?;
        self.types(&format!("{number}\r"))
    }

    fn begins(&mut self, words: &str) {
        println!("set-up: {words}");
        self.transcript.words(words);
    }
}

/// Sets an appliance with two blank disks up; the store listens on `store_port` of the host, an NTP server is
/// at [`CLIENT_ADDRESS`], and the clock is a day wrong. Ends before the front page.
///
/// # Errors
/// When a page does not come, or does not say what it should.
pub fn by_hand(operator: &mut Operator<'_>, store_port: u16) -> Result<()> {
    first_visit(operator)?;
    network(operator)?;
    time_zone(operator)?;
    cache_disk(operator)?;
    wrong_ways_to_s3(operator, store_port)?;
    clock(operator)?;
    s3(operator, store_port)?;
    share(operator)?;
    operator.types("x")?;
    operator.sees("Enter: log in").map(drop)
}

fn first_visit(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("the first visit: nothing is set, two blank disks are attached");
    let page = operator.sees("2 blank disks are attached")?;
    let disks = field(&page, "Cache disk")?;
    ensure!(disks.contains("): allocate one under Cache Disks, or leave only the one"), "{page}");
    ensure!(field(&page, "Clock")?.contains("name NTP servers under System Time"), "{page}");
    operator.types("\r")?;
    operator.sees("Set the console's password")?;
    operator.transcript.words("a password, twice");
    operator.serial.send(&format!("{PASSWORD}\r{PASSWORD}\r\r"))?;
    operator.sees("x: exit session").map(drop)
}

/// DHCP's jumbo frames must have come into use.
fn network(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("the network is as DHCP has it");
    operator.chooses("Network Configuration")?;
    operator.chooses("Describe Adapter")?;
    let adapter = operator.sees("MAC address")?;
    ensure!(field(&adapter, "IP address")?.contains("10.0.2.15/24"), "{adapter}");
    ensure!(field(&adapter, "MTU")? == format!("{MTU_BYTES} bytes"), "{adapter}");
    operator.types("xx")
}

fn time_zone(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("the time zone, by region and city");
    operator.chooses("System Time Management")?;
    operator.chooses("Time Zone")?;
    operator.sees("choose a region")?;
    operator.types("asia\r")?;
    operator.sees("choose a city in Asia")?;
    operator.types("seoul\r")?;
    operator.sees("The settings are in use")?;
    operator.types("\r")?;
    operator.sees("KST (+0900)")?;
    operator.types("x")
}

fn cache_disk(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("the larger one of the blank disks becomes the cache disk");
    operator.chooses("Cache Disks")?;
    let page = operator.sees("blank")?;
    let line = page.lines().find(|line| line.contains("150 GiB")).context("the larger disk")?;
    let (_, entry) = line.split_once(": ").context("an entry")?;
    let name = entry.split(' ').next().unwrap_or_default().to_owned();
    operator.chooses(&name)?;
    operator.chooses("Allocate")?;
    operator.sees(&format!("Allocate {name}, 150 GiB? [y/N]"))?;
    operator.types("y")?;
    operator.sees("is a cache disk of this appliance from now on")?;
    operator.types("\rx")?;
    operator.sees("primary  in use")?;
    operator.types("x")
}

/// Fills the S3 form and has it tested.
fn fill_s3(operator: &mut Operator<'_>, port: u16, secret: &str) -> Result<()> {
    operator.chooses("S3 Target and Credentials")?;
    operator.chooses("Configure S3 Target")?;
    operator.sees("[ Test, then save ]")?;
    // Endpoint, region, path addressing, AWS's variant, plain http, key, secret, token, bucket, prefix.
    operator.types(&format!("{CTRL_U}http://{}:{port}\r", seed::HOST_FROM_GUEST))?;
    operator.types(&format!("{CTRL_U}{}\rp\r\ra\r", seed::REGION))?;
    operator.types(&format!("{CTRL_U}{}\r{secret}\r\r", seed::ACCESS_KEY))?;
    operator.types(&format!("{CTRL_U}{}\r{CTRL_U}{}\r", seed::BUCKET, seed::PREFIX))?;
    operator.sees(&format!("Prefix for the test      {}", seed::PREFIX))?;
    operator.types("\r")
}

/// Waits for the test that cannot succeed, checks what it says in the step's line and below it, and goes
/// back to the form.
fn fails(operator: &mut Operator<'_>, step: &str, advice: &str) -> Result<()> {
    let page = operator.sees("Save these settings all the same? [y/N]")?;
    let mut lines = page.lines().skip_while(|line| !line.contains("[FAILED]"));
    let failed = lines.next().context("a step that failed")?;
    // What is seen may go on for a line; what to do stands further in.
    let below = lines.find(|line| line.starts_with("     ")).context("what to do")?;
    ensure!(failed.trim_start().starts_with(step), "{step} fails:\n{page}");
    ensure!(below.contains(advice), "{advice}:\n{page}");
    ensure!(page.matches("[FAILED]").count() == 1, "one thing at a time:\n{page}");
    operator.types("n")?;
    operator.sees("[ Test, then save ]").map(drop)
}

fn wrong_ways_to_s3(operator: &mut Operator<'_>, port: u16) -> Result<()> {
    operator.begins("an S3 endpoint where nobody answers");
    fill_s3(operator, WRONG_PORT, WRONG_SECRET)?;
    fails(operator, "Connection (TCP)", UNANSWERED)?;
    operator.begins("the right one, with a clock that is a day wrong");
    let endpoint = format!("http://{}:{port}", seed::HOST_FROM_GUEST);
    operator.types(&format!("{PAGE_UP}{CTRL_U}{endpoint}{PAGE_DOWN}\r"))?;
    fails(operator, "Clock", "set the clock right (System Time Management)")?;
    operator.types("\x1b")?;
    operator.sees(": View S3 Target")?;
    operator.types("x")
}

fn clock(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("an NTP server sets the clock right");
    operator.chooses("System Time Management")?;
    operator.chooses("Edit NTP Configuration")?;
    operator.sees("Preferred NTP server")?;
    operator.types(&format!("{CLIENT_ADDRESS}{PAGE_DOWN}\r"))?;
    operator.sees("The settings are in use")?;
    operator.types("\r")?;
    operator.sees(&format!("follows NTP: {CLIENT_ADDRESS}"))?;
    // chrony sets it by itself as soon as it has heard the server a few times; who does not want to wait ...
    operator.chooses("Synchronize System Time")?;
    operator.sees("Synchronize? [y/N]")?;
    operator.types("y")?;
    operator.sees("Reference ID")?;
    operator.types("\r")?;
    the_clock_is_right(operator)?;
    operator.sees(": View System Time")?;
    operator.types("x")
}

/// The menu shows the time; chrony sets the clock once it has heard its server often enough.
fn the_clock_is_right(operator: &Operator<'_>) -> Result<()> {
    poll_until("the right time on the console", PAGE_LIMIT, || {
        let screen = operator.serial.screen();
        // What chrony says has a line of that name, too.
        if !screen.contains(": View System Time") {
            return Ok(None);
        }
        let Ok(time) = field(&screen, "System time") else { return Ok(None) };
        let shown = seconds_of(time.split(" KST").next().unwrap_or_default())?;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let off = shown - (now + SEOUL_SECONDS);
        Ok((off.abs() < CLOCK_TOLERANCE_SECONDS).then_some(()))
    })
}

fn s3(operator: &mut Operator<'_>, port: u16) -> Result<()> {
    operator.begins("a wrong secret access key");
    fill_s3(operator, port, WRONG_SECRET)?;
    fails(operator, "Credentials", "enter the secret access key again")?;
    operator.begins("the right one");
    operator.types(&format!("{PAGE_UP}\t\t\t\t\t\t{CTRL_U}{}{PAGE_DOWN}\r", seed::SECRET_KEY))?;
    let page = operator.sees("Save these settings? [y/N]")?;
    ensure!(page.contains("S3 can be used.") && !page.contains("[FAILED]"), "{page}");
    operator.types("y")?;
    operator.sees("The settings are saved and in force.")?;
    operator.types("\r")?;
    operator.sees(": View S3 Target")?;
    operator.types("x")
}

fn share(operator: &mut Operator<'_>) -> Result<()> {
    operator.begins("a file share, with the storage class Standard");
    operator.chooses("File Shares")?;
    operator.chooses("Create a file share")?;
    operator.sees("Storage class            < S3 Standard >")?;
    operator.types(&format!("{}\r{}\r{}", seed::SHARE, seed::BUCKET, seed::PREFIX))?;
    operator.types(&format!("{PAGE_DOWN}\r"))?;
    operator.sees("The settings are saved and in force.")?;
    operator.types("\r")?;
    operator.chooses(&format!("/{}", seed::SHARE))?;
    operator.chooses("Mount commands")?;
    operator.sees(&format!(":/{0} /mnt/{0}", seed::SHARE))?;
    operator.types("xxx")?;
    operator.sees("x: exit session").map(drop)
}
