//! The story of a new user, from an appliance without settings and with blank disks to the files in the
//! bucket: VMware's virtual hardware, a stock Linux client on the same LAN, an S3 store on the host. All that
//! is set is set by keys over the serial line, and what goes wrong on the way is mended by what the console
//! says.
use std::{
    fs::{self, File},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    bucket::{Bucket, UPLOAD_LIMIT},
    lab::{BOOT_LIMIT, Lab},
    numbers::{numbers, sha256},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
    set_up::{self, Operator},
};
use s3_store::FaultRule;
use steps::{
    SCRIPT_LIMIT, an_object_by_another_client_appears, change_everything, copy_and_read_back,
    settle, touch_and_echo,
};

mod steps;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The second blank disk, which nobody asks for.
const OTHER_DISK_BYTES: u64 = 2 << 30;

/// No seed, two blank disks, a clock that is a day ahead.
fn nothing_is_set(lab: &mut Lab) -> Result<()> {
    fs::write(&lab.hardware.seed, "")?;
    let other = lab.folder().join("other.img");
    File::create(&other)?.set_len(OTHER_DISK_BYTES)?;
    lab.hardware.more_disks = vec![other];
    let tomorrow = (SystemTime::now() + DAY).duration_since(UNIX_EPOCH)?.as_secs();
    lab.hardware.clock = Some(utc(tomorrow)?);
    lab.client.serve_time(SCRIPT_LIMIT)
}

/// `2020-02-03T04:05:06`, by `date`.
fn utc(seconds: u64) -> Result<String> {
    let mut date = std::process::Command::new("date");
    let output = date.args(["-u", "+%Y-%m-%dT%H:%M:%S", "-d", &format!("@{seconds}")]).output()?;
    ensure!(output.status.success(), "date: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An operator at the serial line; what was typed and seen is kept in `out`.
fn set_up_by_hand(lab: &mut Lab) -> Result<()> {
    let port = lab.store.address().port();
    let out = lab.parts().workspace.out();
    let serial = &mut lab.appliance()?.serial;
    status_on_serial(serial, "", BOOT_LIMIT)?;
    let mut operator = Operator::at(serial);
    let done = set_up::by_hand(&mut operator, port);
    let transcript = operator.transcript();
    transcript.keep(&out, "set-up")?;
    done?;
    println!("{}\n", transcript.normalised());
    Ok(())
}

/// The store refuses every change, so what is written stays on the cache disk alone; then the power
/// goes in the moment that fsync has returned, while the console saves a setting.
fn power_is_cut_right_after_fsync(lab: &mut Lab) -> Result<()> {
    let content = numbers(5_000_000);
    for operation in ["PutObject", "CreateMultipartUpload", "CopyObject"] {
        lab.store.faults().add(FaultRule::slow_down().operation(operation).times(u64::MAX));
    }
    let renamed = type_another_name(lab)?;
    lab.client.sh(
        "seq 1 20000000 | head -c 5000000 > /tmp/precious && \
         dd if=/tmp/precious of=/mnt/sales/precious.bin bs=64k conv=fsync status=none",
        SCRIPT_LIMIT,
    )?;
    lab.appliance()?.serial.send("\r")?;
    lab.cut_power()?;
    ensure!(Bucket::new(&lab.store).object("precious.bin").is_none(), "it was uploaded already");
    // A hard mount waits for the server to come back.
    lab.client.sh(
        "(echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/sales/precious.bin; echo over) \
         > /tmp/waited 2>&1 &",
        SCRIPT_LIMIT,
    )?;
    // What was cut off: a clock that was right, as a hypervisor has it.
    lab.hardware.clock = None;
    lab.power_on()?;
    lab.mount_command()?;
    settings_are_whole(lab, &renamed)?;
    let waited = lab.client.sh_until(
        "the client's read over the power cut",
        "grep -q over /tmp/waited && cat /tmp/waited",
        UPLOAD_LIMIT,
    )?;
    ensure!(waited.starts_with(&sha256(&content)), "after the power cut: {waited}");
    ensure!(Bucket::new(&lab.store).object("precious.bin").is_none(), "the store let it pass");
    lab.store.faults().clear();
    let cleared = SystemTime::now();
    Bucket::new(&lab.store).wait_for("precious.bin", &content)?;
    settle(&mut lab.client, Bucket::new(&lab.store), "after the power cut", cleared)
}

/// Fills the form for another host name; the next Enter saves it.
fn type_another_name(lab: &mut Lab) -> Result<String> {
    let name = "renamed".to_owned();
    let serial = &mut lab.appliance()?.serial;
    log_in_on_serial(serial, SCRIPT_LIMIT)?;
    choose_on_serial(serial, "Network Configuration", SCRIPT_LIMIT)?;
    choose_on_serial(serial, "Configure Hostname", SCRIPT_LIMIT)?;
    page_on_serial(serial, "[ Apply ]", SCRIPT_LIMIT)?;
    serial.send(&format!("\x15{name}\r\r"))?;
    Ok(name)
}

/// A power cut while they were saved leaves those before or those after, and nothing to be said of it.
fn settings_are_whole(lab: &mut Lab, renamed: &str) -> Result<()> {
    let page = status_on_serial(&lab.appliance()?.serial, "", SCRIPT_LIMIT)?;
    let name = field(&page, "Name")?;
    println!("power was cut while the name was saved; it is {name}");
    ensure!(name == renamed || name == seed::HOSTNAME, "{page}");
    ensure!(field(&page, "Problem").is_err(), "{page}");
    ensure!(field(&page, "Time zone")?.starts_with(seed::TIME_ZONE), "{page}");
    Ok(())
}

/// What a client finds out by itself: the shares, and transfers as large as there are.
fn shares_are_shown_and_transfers_are_large(lab: &mut Lab, mount: &str) -> Result<()> {
    let share = mount.split_whitespace().find(|word| word.contains(":/"));
    let (address, path) = share.and_then(|share| share.split_once(':')).context("the share")?;
    let shown = lab.client.sh(&format!("showmount --no-headers -e {address}"), SCRIPT_LIMIT)?;
    ensure!(shown.split_whitespace().next() == Some(path), "showmount: {shown}");
    let mounted = lab.client.sh("grep ' /mnt/sales nfs ' /proc/mounts", SCRIPT_LIMIT)?;
    for option in ["vers=3", "rsize=1048576", "wsize=1048576", "proto=tcp"] {
        ensure!(mounted.split([' ', ',']).any(|word| word == option), "{option} in {mounted}");
    }
    Ok(())
}

/// What the console says of the memory in use.
fn memory(lab: &mut Lab) -> Result<String> {
    let serial = &mut lab.appliance()?.serial;
    log_in_on_serial(serial, SCRIPT_LIMIT)?;
    choose_on_serial(serial, "View System Resource Check", SCRIPT_LIMIT)?;
    let check = page_on_serial(serial, "Memory", SCRIPT_LIMIT)?;
    serial.send("xx")?;
    field(&check, "Memory")
}

fn tell(lab: &Lab) -> Result<()> {
    let bucket = Bucket::new(&lab.store);
    println!("\nthe bucket at the end:");
    for path in bucket.paths() {
        let object = bucket.object(&path).context("a listed object")?;
        println!(
            "  {}{path}  {} bytes  {}  {:?}",
            seed::PREFIX,
            object.body.len(),
            object.storage_class,
            object.user_meta
        );
    }
    println!("requests: {:?}", lab.store.request_counts());
    Ok(())
}

fn story() -> Result<()> {
    let mut lab = Lab::new("story")?;
    nothing_is_set(&mut lab)?;
    let power = Instant::now();
    lab.power_on()?;
    set_up_by_hand(&mut lab)?;
    let mount = lab.mount_command()?;
    println!("the console shows after {:.1} s: {mount}", power.elapsed().as_secs_f64());
    lab.client.sh("mkdir -p /mnt/sales", SCRIPT_LIMIT)?;
    lab.client.sh(&mount, SCRIPT_LIMIT)?;
    println!("mounted {:.1} s after power on", power.elapsed().as_secs_f64());
    shares_are_shown_and_transfers_are_large(&mut lab, &mount)?;
    touch_and_echo(&mut lab.client, Bucket::new(&lab.store))?;
    copy_and_read_back(&mut lab.client, Bucket::new(&lab.store))?;
    change_everything(&mut lab.client, Bucket::new(&lab.store))?;
    an_object_by_another_client_appears(&mut lab.client, Bucket::new(&lab.store))?;
    println!("memory: {}", memory(&mut lab)?);
    power_is_cut_right_after_fsync(&mut lab)?;
    println!("memory after the second boot: {}", memory(&mut lab)?);
    tell(&lab)
}

mod in_a_vm {
    #[test]
    fn a_new_users_story_from_no_settings_to_bucket_over_a_power_cut() {
        if let Err(error) = super::story() {
            panic!("{error:?}");
        }
    }
}
