//! The story of a new user, from the blank cache disk to the files in the bucket: an appliance with
//! VMware's virtual hardware, a stock Linux client on the same LAN, an S3 store on the host.
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::{
    bucket::{Bucket, UPLOAD_LIMIT},
    lab::Lab,
    numbers::{numbers, sha256},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial},
    seed,
    uplink::MTU_BYTES,
};
use s3_store::FaultRule;
use steps::{
    SCRIPT_LIMIT, an_object_by_another_client_appears, change_everything, copy_and_read_back,
    settle, touch_and_echo,
};

mod steps;

/// The store refuses every change, so what is written stays on the cache disk alone; then the power
/// goes in the moment that fsync has returned.
fn power_is_cut_right_after_fsync(lab: &mut Lab) -> Result<()> {
    let content = numbers(5_000_000);
    for operation in ["PutObject", "CreateMultipartUpload", "CopyObject"] {
        lab.store.faults().add(FaultRule::slow_down().operation(operation).times(u64::MAX));
    }
    lab.client.sh(
        "seq 1 20000000 | head -c 5000000 > /tmp/precious && \
         dd if=/tmp/precious of=/mnt/sales/precious.bin bs=64k conv=fsync status=none",
        SCRIPT_LIMIT,
    )?;
    lab.cut_power()?;
    ensure!(Bucket::new(&lab.store).object("precious.bin").is_none(), "it was uploaded already");
    // A hard mount waits for the server to come back.
    lab.client.sh(
        "(echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/sales/precious.bin; echo over) \
         > /tmp/waited 2>&1 &",
        SCRIPT_LIMIT,
    )?;
    lab.power_on()?;
    lab.mount_command()?;
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

/// What the console says of the memory in use. DHCP's jumbo frames must have come into use.
fn memory(lab: &mut Lab) -> Result<String> {
    let serial = &mut lab.appliance()?.serial;
    log_in_on_serial(serial, SCRIPT_LIMIT)?;
    choose_on_serial(serial, "Network Configuration", SCRIPT_LIMIT)?;
    choose_on_serial(serial, "Describe Adapter", SCRIPT_LIMIT)?;
    let adapter = page_on_serial(serial, "MAC address", SCRIPT_LIMIT)?;
    ensure!(field(&adapter, "IP address")?.contains("10.0.2.15/24"), "{adapter}");
    ensure!(field(&adapter, "MTU")? == format!("{MTU_BYTES} bytes"), "{adapter}");
    serial.send("xx")?;
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
    let power = Instant::now();
    lab.power_on()?;
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
    fn a_new_users_story_from_blank_disk_to_bucket_over_a_power_cut() {
        if let Err(error) = super::story() {
            panic!("{error:?}");
        }
    }
}
