//! What needs no running gateway: it reads the settings that the gateway keeps, and changes nothing
//! of them. So the way to S3 can be tested, and a support bundle sent, while the cache disk is missing.
use std::{
    error::Error,
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use gateway_api::{BucketName, Settings, ShareName};
use serde::Serialize;

use crate::{
    connection,
    object::ObjectKey,
    settings::SettingsStore,
    share::protection,
    store::{
        Expect, ObjectStore, PutOptions, S3Bucket, S3Credentials,
        s3::{Place, download},
    },
};

/// Largest object that is stored, in bytes: it is held in memory as a whole.
const OBJECT_BYTES_MAX: u64 = 64 << 20;
const HTTPS_PORT: u16 = 443;

/// Where the settings are kept.
#[derive(Clone, Debug, Args)]
pub struct StoredArgs {
    /// Use the settings of this state directory; no gateway needs to run.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What `gateway serve` is told with --settings: counts as it does there.
    #[arg(long, value_name = "FILE", requires = "state")]
    pub seed: Option<PathBuf>,
}

impl StoredArgs {
    /// The settings, secrets included; `None` without a state directory.
    pub(super) fn read(&self) -> Result<Option<Settings>, Box<dyn Error>> {
        let Some(state) = &self.state else { return Ok(None) };
        let read = |seed: &Path| {
            std::fs::read_to_string(seed)
                .map_err(|e| format!("cannot read {}: {e}", seed.display()))
        };
        let seed = self.seed.as_deref().map(read).transpose()?;
        Ok(Some(SettingsStore::look(state, seed.as_deref())?))
    }
}

/// An object that was stored.
#[derive(Debug, Serialize)]
pub(super) struct PutReport {
    bucket: BucketName,
    key: String,
    bytes: usize,
}

impl fmt::Display for PutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}: {} bytes", self.bucket, self.key, self.bytes)
    }
}

/// Stores `body` under `key` below the share's prefix (S3 PutObject), and says where.
pub(super) fn put_object(
    stored: &StoredArgs,
    share: &ShareName,
    key: &str,
    body: impl Read,
) -> Result<PutReport, Box<dyn Error>> {
    let settings = stored.read()?.ok_or("name the state directory of the gateway: --state DIR")?;
    if let Some(missing) = settings.missing_for_s3() {
        return Err(missing.into());
    }
    let share = settings.shares.iter().find(|found| found.name == *share);
    let share = share.ok_or("no share has this name")?;
    if share.read_only {
        return Err(format!("share {} is read-only", share.name).into());
    }
    let name = format!("{}{key}", share.prefix);
    let object = ObjectKey::new(name.clone()).filter(|_| !key.is_empty());
    let object = object.ok_or("a key has 1 to 1024 bytes, prefix included")?;
    let mut bytes = Vec::new();
    body.take(OBJECT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let length = bytes.len();
    if length as u64 > OBJECT_BYTES_MAX {
        return Err(format!("more than {OBJECT_BYTES_MAX} bytes").into());
    }
    let options =
        PutOptions { storage_class: share.storage_class.as_str().to_owned(), ..protection(share) };
    let bucket = S3Bucket::open(&settings.s3, &share.bucket, &S3Credentials::new(&settings.s3))?
        .with_requester_pays(share.requester_pays);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bucket.put(&object, Bytes::from(bytes), &options, &Expect::Anything))?;
    Ok(PutReport { bucket: share.bucket.clone(), key: name, bytes: length })
}

/// Writes what is at a URL to standard output, `max` bytes at most.
pub(super) fn fetch(stored: &StoredArgs, url: &str, max: u64) -> Result<(), Box<dyn Error>> {
    let settings = stored.read()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(download(&settings.s3, url, max, &mut std::io::stdout()))?;
    Ok(())
}

/// What a TLS server shows of itself, in lines.
pub(super) fn sslcheck(stored: &StoredArgs, server: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let bundle = stored.read()?.map(|settings| settings.s3.ca_bundle).unwrap_or_default();
    let place = Place::parse(server, HTTPS_PORT, true);
    let place = place.ok_or_else(|| format!("{server:?} is no host and port"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(connection::inspect(&place, &bundle))?)
}
