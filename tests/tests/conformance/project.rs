//! A project tree larger than the cache disk, through a stock Linux client: what people do with one, twice.
//!
//! Most of what the client reads has left the cache meanwhile, and comes back from the bucket.
use anyhow::{Context, Result, ensure};
use e2e::{
    bucket::{Bucket, LIST_TREE, parse_tree},
    client_vm::ClientVm,
    laptop::Laptop,
};
use gateway_api::settings::Squash;

use crate::SCRIPT_LIMIT;

/// The whole cache disk, with the catalog and what is kept free for it.
const CACHE_BYTES: u64 = 48 << 20;

/// Prints how many bytes the tree has.
const MAKE: &str = include_str!("project/make.sh");
const WORK: &str = include_str!("project/work.sh");
const REMOVE: &str = r#"set -e
cd /mnt/sales
rm -r project archives build
[ -z "$(ls -A)" ]"#;

pub(crate) fn project() -> Result<()> {
    // The tree's owners are kept, as in anybody's copy of a project.
    let mut laptop = Laptop::new("project", |settings| {
        settings.shares[0].squash = Squash::NoSquash;
    })?;
    laptop.limit_cache(CACHE_BYTES);
    laptop.start_gateway()?;
    let mut client = laptop.client("client")?;
    client.sh(&laptop.mount_command("")?, SCRIPT_LIMIT)?;
    let made = client.sh(MAKE, SCRIPT_LIMIT)?;
    let tree_bytes: u64 = made.trim().parse().with_context(|| format!("no size: {made:?}"))?;
    let cache_bytes = laptop.status()?.cache.total.0;
    ensure!(cache_bytes == CACHE_BYTES, "the cache disk has {cache_bytes} bytes");
    ensure!(tree_bytes > cache_bytes, "{tree_bytes} bytes of files fit the cache");
    println!("a tree of {tree_bytes} bytes, a cache disk of {cache_bytes}");

    work(&laptop, &mut client, "the first time", tree_bytes)?;
    client.sh(REMOVE, SCRIPT_LIMIT)?;
    work(&laptop, &mut client, "the second time", tree_bytes)?;

    let listing = client.sh(&format!("cd /mnt/sales\n{LIST_TREE}"), SCRIPT_LIMIT)?;
    let tree = parse_tree(&listing)?;
    ensure!(tree.contains_key("project/src/main.c"), "the tree is not listed: {listing}");
    // The script has synced what it wrote.
    laptop.flush()?;
    Bucket::new(&laptop.store).ensure_equal(&tree)
}

/// Does the work once. The tree is read three times after the client has forgotten it: by tar, by tar's
/// comparison and by diff. What the cache cannot hold of it comes from the bucket each time.
fn work(laptop: &Laptop, client: &mut ClientVm, when: &str, tree_bytes: u64) -> Result<()> {
    let before = laptop.status()?.figures;
    let done = client.sh(WORK, SCRIPT_LIMIT);
    let after = laptop.status()?.figures;
    let downloaded = after.downloaded_bytes.0 - before.downloaded_bytes.0;
    println!(
        "{when}: {downloaded} bytes from the bucket, of {} READs {} from the cache",
        after.reads - before.reads,
        after.read_hits - before.read_hits
    );
    println!(
        "{}",
        done.context(format!("{when}; the gateway's events: {:?}", laptop.status()?.events))?
    );
    let least = 3 * (tree_bytes - CACHE_BYTES);
    ensure!(downloaded >= least, "{when}: {downloaded} bytes from the bucket, expected {least}");
    Ok(())
}
