//! The gateway outside the appliance, as any user on this machine, mounted by a stock Linux client:
//! the same steps as in the appliance, and the process killed right after fsync.
use std::{sync::Arc, time::SystemTime};

use anyhow::{Result, ensure};
use e2e::{
    bucket::{Bucket, UPLOAD_LIMIT},
    laptop::Laptop,
    numbers::{numbers, sha256},
};
use s3_store::FaultRule;
use steps::{
    SCRIPT_LIMIT, an_object_by_another_client_appears, change_everything, copy_and_read_back,
    settle, touch_and_echo,
};

mod steps;

fn laptop() -> Result<()> {
    let mut laptop = Laptop::new("laptop", |_| {})?;
    laptop.start_gateway()?;
    let mut client = laptop.client("client")?;
    client.sh(&laptop.mount_command("")?, SCRIPT_LIMIT)?;
    let store = Arc::clone(&laptop.store);
    let bucket = Bucket::new(&store);
    touch_and_echo(&mut client, bucket)?;
    copy_and_read_back(&mut client, bucket)?;
    change_everything(&mut client, bucket)?;
    an_object_by_another_client_appears(&mut client, bucket)?;

    let content = numbers(5_000_000);
    store.faults().add(FaultRule::slow_down().operation("PutObject").times(u64::MAX));
    client.sh(
        "seq 1 20000000 | head -c 5000000 > /tmp/precious && \
         dd if=/tmp/precious of=/mnt/sales/precious.bin bs=64k conv=fsync status=none",
        SCRIPT_LIMIT,
    )?;
    laptop.kill_gateway()?;
    ensure!(bucket.object("precious.bin").is_none(), "it was uploaded already");
    store.faults().clear();
    let cleared = SystemTime::now();
    laptop.start_gateway()?;
    let read = client.sh_until(
        "the file after the kill",
        "echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/sales/precious.bin",
        UPLOAD_LIMIT,
    )?;
    ensure!(read.starts_with(&sha256(&content)), "{read}");
    bucket.wait_for("precious.bin", &content)?;
    settle(&mut client, bucket, "after the kill", cleared)
}

mod in_a_vm {
    #[test]
    fn a_stock_linux_client_on_a_gateway_that_is_killed_after_fsync() {
        if let Err(error) = super::laptop() {
            panic!("{error:?}");
        }
    }
}
