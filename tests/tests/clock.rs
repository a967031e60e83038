//! An appliance is set up by its seed alone, without a key, up to the file in the bucket. And its clock is kept
//! right: the hypervisor set it wrong by years; it follows the NTP server that the seed names, and then S3
//! takes its requests.
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    bucket::Bucket,
    client_vm::CLIENT_ADDRESS,
    lab::{BOOT_LIMIT, Lab},
    pages::{
        choose_on_serial, field, log_in_on_serial, page_on_serial, seconds_of, status_on_serial,
    },
    seed,
    wait::poll_until,
};

const SCRIPT_LIMIT: Duration = Duration::from_secs(300);
const CLOCK_LIMIT: Duration = Duration::from_secs(300);
const WRONG: &str = "2020-02-03T04:05:06";
const SEOUL: i64 = 9 * 3600;
/// A page is read some seconds after it was drawn; a clock that nobody sets right is off by years.
const TOLERANCE_SECONDS: i64 = 60;

fn clock() -> Result<()> {
    let mut lab = Lab::new("clock")?;
    lab.client.serve_time(SCRIPT_LIMIT)?;
    let mut document: toml::Table = fs::read_to_string(&lab.hardware.seed)?.parse()?;
    let machine = document.get_mut("machine").and_then(|table| table.as_table_mut());
    machine
        .context("the seed's [machine]")?
        .insert("ntp_servers".to_owned(), vec![CLIENT_ADDRESS].into());
    fs::write(&lab.hardware.seed, toml::to_string(&document)?)?;
    lab.hardware.clock = Some(WRONG.to_owned());
    lab.power_on()?;

    let serial = &lab.appliance()?.serial;
    let mut page = String::new();
    let off = poll_until("the right time on the console", CLOCK_LIMIT, || {
        page = status_on_serial(serial, "Asia/Seoul, ", BOOT_LIMIT)?;
        let zone = field(&page, "Time zone")?;
        let shown = zone.trim_start_matches("Asia/Seoul, ").split(" KST").next();
        let shown = seconds_of(shown.unwrap_or_default())?;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let off = shown - (now + SEOUL);
        Ok((off.abs() < TOLERANCE_SECONDS).then_some(off))
    });
    let off = off.with_context(|| format!("the page was:\n{page}"))?;
    println!("set up by the seed alone; the console says:\n{page}\n");
    println!("the clock, wrong by years at power on, is off by {off} s at most");
    let page = status_on_serial(serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    ensure!(field(&page, "Clock")? == format!("follows NTP: {CLIENT_ADDRESS}"), "{page}");

    let serial = &mut lab.appliance()?.serial;
    log_in_on_serial(serial, BOOT_LIMIT)?;
    choose_on_serial(serial, "System Time Management", BOOT_LIMIT)?;
    choose_on_serial(serial, "View System Time", BOOT_LIMIT)?;
    let tracking = page_on_serial(serial, "Reference ID", BOOT_LIMIT)?;
    ensure!(tracking.contains(CLIENT_ADDRESS), "{tracking}");
    serial.send("\rxx")?;

    let mount = format!("mkdir -p /mnt/sales && {}", lab.mount_command()?);
    lab.client.sh(&mount, SCRIPT_LIMIT)?;
    lab.client.sh("echo in time > /mnt/sales/clock.txt", SCRIPT_LIMIT)?;
    let object = Bucket::new(&lab.store).wait_for("clock.txt", b"in time\n")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mtime = object.user_meta.get("file-mtime").context("file-mtime")?;
    let written: u64 = mtime.trim_end_matches("ns").parse::<u64>()? / 1_000_000_000;
    ensure!(written.abs_diff(now) < 300, "written at {written}, now it is {now}");
    ensure!(seed::TIME_ZONE == "Asia/Seoul", "the zone that this test reads");
    Ok(())
}

mod in_a_vm {
    #[test]
    fn by_seed_alone_and_with_a_clock_wrong_by_years() {
        if let Err(error) = super::clock() {
            panic!("{error:?}");
        }
    }
}
