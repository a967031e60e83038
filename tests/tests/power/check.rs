//! What a cut has left, compared with what was acknowledged and, when it has all gone to S3, with the bucket.
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::{host, seed};
use s3_store::{S3Store, StoreConfig};

use crate::{
    client::Manifest,
    gateway::Gateway,
    mount::Mount,
    tape::{CLIENTS, Tape, refuse, settings},
};

/// A point: what is there, and when it was cut.
#[derive(Debug)]
pub(crate) struct Point {
    /// The length of the log.
    pub(crate) offset: u64,
    /// Everything else that tells it from others.
    pub(crate) what: String,
    /// Has `cache`, which Linux found on the disk.
    pub(crate) home: PathBuf,
    /// Whether everything is sent to S3, too.
    pub(crate) upload: bool,
}

/// What was seen at a good point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) dirty_files: u64,
    pub(crate) objects: u64,
}

fn words(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref().copied()).unwrap_or_default().to_owned()
}

/// Starts the gateway on what was found and compares. The home goes when all is well.
///
/// # Errors
/// What was lost.
pub(crate) fn check(program: &Path, tape: &Tape, point: &Point) -> Result<Found, String> {
    // A call that is not answered as it must be panics in the client.
    let checked = panic::catch_unwind(AssertUnwindSafe(|| compare(program, tape, point)));
    let outcome = match checked {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(words(&*panic)),
    };
    if outcome.is_ok() {
        fs::remove_dir_all(&point.home).map_err(|error| error.to_string())?;
    }
    outcome.map_err(|why| format!("{} at {}: {why}", point.what, point.offset))
}

fn compare(program: &Path, tape: &Tape, point: &Point) -> Result<Found> {
    host::run(Command::new("cp").arg("-r").arg(&tape.state).arg(point.home.join("state")))?;
    let config = StoreConfig {
        access_key_id: seed::ACCESS_KEY.to_owned(),
        secret_access_key: seed::SECRET_KEY.to_owned(),
        region: seed::REGION.to_owned(),
        ..StoreConfig::default()
    };
    let store = tape.bucket.start_blocking(point.offset, config)?;
    refuse(&store);
    let gateway = Gateway::start(program, &point.home, &settings(&store.endpoint())?)?;
    let mut manifests: Vec<_> =
        (0..CLIENTS).map(|client| tape.manifest(client, point.offset)).collect();
    let tree = Mount::new(gateway.port, seed::SHARE).tree();
    settle(&mut manifests, &tree)?;
    let dirty_files = gateway.status()?.upload.dirty_files;
    let objects = match point.upload {
        true => compare_bucket(&gateway, &store, &mut manifests)?,
        false => 0,
    };
    Ok(Found { dirty_files, objects })
}

/// What a share has: files with their content, and directories.
type Tree = (BTreeMap<String, Vec<u8>>, BTreeSet<String>);

/// Takes what was found for what is.
fn settle(manifests: &mut [Manifest], (files, dirs): &Tree) -> Result<()> {
    for (client, manifest) in manifests.iter_mut().enumerate() {
        let settled = manifest.settle(&Manifest::part_of(client, files, dirs));
        settled.map_err(|why| anyhow!("client {client}: {why}"))?;
    }
    Ok(())
}

/// Lets everything go to S3, and compares. Nothing on the share changes by that.
fn compare_bucket(gateway: &Gateway, store: &S3Store, manifests: &mut [Manifest]) -> Result<u64> {
    store.faults().clear();
    gateway.flush()?;
    let tree = Mount::new(gateway.port, seed::SHARE).tree();
    settle(manifests, &tree).context("after everything went to S3")?;
    let (files, dirs) = tree;
    let key = |path: &String| format!("{}{path}", seed::PREFIX);
    let markers = dirs.iter().map(|dir| format!("{}/", key(dir)));
    let mut expected: Vec<_> = files.keys().map(key).chain(markers).collect();
    expected.sort();
    let mut keys = store.keys(seed::BUCKET);
    keys.retain(|key| !key.contains(".tidegate-probe-"));
    ensure!(keys == expected, "the bucket has {keys:?}, the tree {expected:?}");
    for (path, content) in &files {
        let object = store.object(seed::BUCKET, &key(path));
        let is_same = object.is_some_and(|object| object.body == *content);
        ensure!(is_same, "{path} is another one in the bucket");
    }
    Ok(files.len() as u64)
}
