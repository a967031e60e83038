//! The plain S3 client: requests of the AWS SDK as they come, as many at once as they are told, and nothing
//! around them. It is what the gateway's way to S3 is measured by, it makes what is read and listed, and
//! it looks what is in the bucket.
use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, retry::RetryConfig,
    },
    error::DisplayErrorContext,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier},
};
use tokio::{runtime::Runtime, task::JoinSet};

use super::moment;
use crate::{bench::content, seed};

/// Parts of a large object that are sent, or fetched, at once.
pub const PARTS: u64 = 8;
/// Objects that one DeleteObjects takes.
const DELETED_AT_ONCE: usize = 1000;
/// Requests at once when what was made is cleared away.
const CLEARING: u64 = 8;
/// Rests between two looks at the bucket: a look costs the server time that it is to have for the work.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(400);

/// It.
#[derive(Debug)]
pub struct PlainClient {
    runtime: Runtime,
    client: Client,
}

/// What lies below a prefix: objects other than directory markers, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// How many.
    pub objects: u64,
    /// Of all of them.
    pub bytes: u64,
}

/// A listing.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// What it found.
    pub below: Below,
    /// Of all its requests, one after the other.
    pub seconds: f64,
    /// Of the first of them.
    pub first_seconds: f64,
}

/// The name of a directory's file number `number`, as the load names it.
pub fn file_name(number: u64) -> String {
    format!("f{number:08}")
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> anyhow::Error {
    anyhow!("S3: {}", DisplayErrorContext(error))
}

impl PlainClient {
    /// For the store at `endpoint`. Its threads are in the network of the calling thread.
    ///
    /// # Errors
    /// When there are no threads.
    pub fn new(endpoint: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let credentials = Credentials::new(seed::ACCESS_KEY, seed::SECRET_KEY, None, None, "seed");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new(seed::REGION))
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            // As the gateway has it with stores that are not AWS's: neither computes what the other does not.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .build();
        Ok(Self { runtime, client: Client::from_conf(config) })
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn make_bucket(&self, bucket: &str) -> Result<()> {
        let request = self.client.create_bucket().bucket(bucket);
        self.runtime.block_on(request.send()).map_err(failed).map(drop)
    }

    /// Puts an object of the benchmark's content in [`PARTS`] parts, all at once; answers the seconds.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn put_large(&self, bucket: &str, key: &str, bytes: u64) -> Result<f64> {
        let part = bytes / PARTS;
        ensure!(part * PARTS == bytes, "{bytes} bytes in {PARTS} parts");
        let body = bytes::Bytes::from(content::whole(usize::try_from(bytes)?));
        let begun = moment::now();
        self.runtime.block_on(async {
            let upload = self.client.create_multipart_upload().bucket(bucket).key(key);
            let upload = upload.send().await.map_err(failed)?;
            let id = upload.upload_id().context("an upload without an id")?.to_owned();
            let mut sending = JoinSet::new();
            for number in 0..PARTS {
                let from = usize::try_from(number * part)?;
                let piece = body.slice(from..from + usize::try_from(part)?);
                let number = i32::try_from(number + 1)?;
                let request = self.client.upload_part().bucket(bucket).key(key).upload_id(&id);
                let request = request.part_number(number).body(ByteStream::from(piece));
                sending.spawn(async move {
                    let sent = request.send().await.map_err(failed)?;
                    let part = CompletedPart::builder().part_number(number);
                    Ok::<_, anyhow::Error>(part.set_e_tag(sent.e_tag).build())
                });
            }
            let mut parts = Vec::new();
            while let Some(part) = sending.join_next().await {
                parts.push(part??);
            }
            parts.sort_by_key(CompletedPart::part_number);
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let request = self.client.complete_multipart_upload().bucket(bucket).key(key);
            request.upload_id(&id).multipart_upload(parts).send().await.map_err(failed)?;
            anyhow::Ok(())
        })?;
        Ok(moment::now() - begun)
    }

    /// Fetches an object in [`PARTS`] ranges, all at once; answers the seconds.
    ///
    /// # Errors
    /// What S3 answers, or another length.
    pub fn get_large(&self, bucket: &str, key: &str, bytes: u64) -> Result<f64> {
        let part = bytes / PARTS;
        let begun = moment::now();
        self.runtime
            .block_on(async {
                let mut fetching = JoinSet::new();
                for number in 0..PARTS {
                    let (from, to) = (number * part, (number + 1) * part - 1);
                    let request = self.client.get_object().bucket(bucket).key(key);
                    let request = request.range(format!("bytes={from}-{to}"));
                    fetching.spawn(async move {
                        let mut body = request.send().await.map_err(failed)?.body;
                        let mut length = 0;
                        while let Some(chunk) = body.try_next().await? {
                            length += chunk.len() as u64;
                        }
                        ensure!(length == part, "{length} bytes of {part} came");
                        Ok(())
                    });
                }
                while let Some(fetched) = fetching.join_next().await {
                    fetched??;
                }
                Ok(())
            })
            .map(|()| moment::now() - begun)
    }

    /// Puts `count` objects of `bytes` bytes below `directory`, `connections` at once; answers the seconds.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn put_small(
        &self,
        bucket: &str,
        directory: &str,
        count: u64,
        bytes: u64,
        connections: u64,
    ) -> Result<f64> {
        let body = content::content(0, usize::try_from(bytes)?);
        self.each(count, connections, |number| {
            let request = self.client.put_object().bucket(bucket);
            let request = request.key(format!("{directory}/{}", file_name(number)));
            let request = request.body(ByteStream::from_static(body));
            async move { request.send().await.map_err(failed).map(drop) }
        })
    }

    /// Asks for the attributes of `count` objects below `directory`, `connections` at once; answers the seconds.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn head_small(
        &self,
        bucket: &str,
        directory: &str,
        count: u64,
        connections: u64,
    ) -> Result<f64> {
        self.each(count, connections, |number| {
            let request = self.client.head_object().bucket(bucket);
            let request = request.key(format!("{directory}/{}", file_name(number)));
            async move { request.send().await.map_err(failed).map(drop) }
        })
    }

    /// Copies `count` objects from one directory to another and deletes each when it is copied, `connections`
    /// at once; answers the seconds.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn move_small(
        &self,
        bucket: &str,
        (from, to): (&str, &str),
        count: u64,
        connections: u64,
    ) -> Result<f64> {
        self.each(count, connections, |number| {
            let name = file_name(number);
            let copy = self.client.copy_object().bucket(bucket).key(format!("{to}/{name}"));
            let copy = copy.copy_source(format!("{bucket}/{from}/{name}"));
            let delete = self.client.delete_object().bucket(bucket).key(format!("{from}/{name}"));
            async move {
                copy.send().await.map_err(failed)?;
                delete.send().await.map_err(failed).map(drop)
            }
        })
    }

    /// Lists what is directly in `directory`.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn list(&self, bucket: &str, directory: &str) -> Result<Listed> {
        self.pages(bucket, &format!("{directory}/"), |_| ())
    }

    /// Deletes everything below `prefix`.
    ///
    /// # Errors
    /// What S3 answers.
    pub fn clear(&self, bucket: &str, prefix: &str) -> Result<()> {
        let mut keys = Vec::new();
        self.pages(bucket, prefix, |key| keys.push(key.to_owned()))?;
        let batches: Vec<Vec<String>> = keys.chunks(DELETED_AT_ONCE).map(<[_]>::to_vec).collect();
        let batches = Arc::new(batches);
        self.each(batches.len() as u64, CLEARING, |number| {
            let batches = Arc::clone(&batches);
            let request = self.client.delete_objects().bucket(bucket);
            async move {
                let batch = &batches[usize::try_from(number)?];
                let objects = batch
                    .iter()
                    .map(|key| ObjectIdentifier::builder().key(key).build().map_err(failed))
                    .collect::<Result<Vec<_>>>()?;
                let delete = Delete::builder().set_objects(Some(objects)).quiet(true);
                let delete = delete.build().map_err(failed)?;
                request.delete(delete).send().await.map_err(failed).map(drop)
            }
        })?;
        Ok(())
    }

    /// Waits until exactly `wanted` lies below `prefix`; answers the moment.
    ///
    /// # Errors
    /// What S3 answers, or when it is not so within `limit`.
    pub fn wait_for(
        &self,
        bucket: &str,
        prefix: &str,
        wanted: Below,
        limit: Duration,
    ) -> Result<f64> {
        let begun = moment::now();
        let mut before = None;
        loop {
            let looked = moment::now();
            let found = self.pages(bucket, prefix, |_| ())?.below;
            let now = moment::now();
            if found == wanted {
                return Ok(now);
            }
            let waited = now - begun;
            ensure!(
                waited < limit.as_secs_f64(),
                "after {waited:.0} s S3 has {found:?} below {prefix}, not {wanted:?}"
            );
            thread::sleep(rest(before, (looked, found.objects), wanted.objects, now - looked));
            before = Some((looked, found.objects));
        }
    }

    /// Calls `work` with each number below `count`, `connections` at once; answers the seconds.
    fn each<F>(&self, count: u64, connections: u64, work: impl Fn(u64) -> F) -> Result<f64>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let begun = moment::now();
        self.runtime.block_on(async {
            let mut working = JoinSet::new();
            for number in 0..count {
                if working.len() as u64 == connections
                    && let Some(done) = working.join_next().await
                {
                    done??;
                }
                working.spawn(work(number));
            }
            while let Some(done) = working.join_next().await {
                done??;
            }
            anyhow::Ok(())
        })?;
        Ok(moment::now() - begun)
    }

    /// Lists page by page what lies directly below `prefix`, and tells of each key.
    fn pages(&self, bucket: &str, prefix: &str, mut each: impl FnMut(&str)) -> Result<Listed> {
        let begun = moment::now();
        let mut listed = Listed { below: Below::default(), seconds: 0.0, first_seconds: 0.0 };
        self.runtime.block_on(async {
            let mut next = None;
            loop {
                let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
                let request = request.delimiter("/").set_continuation_token(next);
                let page = request.send().await.map_err(failed)?;
                for object in page.contents() {
                    let key = object.key().unwrap_or_default();
                    each(key);
                    if !key.ends_with('/') {
                        listed.below.objects += 1;
                        listed.below.bytes += u64::try_from(object.size().unwrap_or(0))?;
                    }
                }
                listed.seconds = moment::now() - begun;
                if listed.first_seconds == 0.0 {
                    listed.first_seconds = listed.seconds;
                }
                next = page.next_continuation_token;
                if next.is_none() {
                    return anyhow::Ok(());
                }
            }
        })?;
        Ok(listed)
    }
}

/// How long to leave the bucket alone: a quarter of what the rest of the work seems to take, at least as long
/// as the look itself took four times over, so that looking takes no more than a fifth of the time.
fn rest(before: Option<(f64, u64)>, now: (f64, u64), wanted: u64, look_seconds: f64) -> Duration {
    let left = wanted.saturating_sub(now.1) as f64;
    let expected = match before {
        Some((then, found)) if now.1 > found && now.0 > then => {
            left / ((now.1 - found) as f64 / (now.0 - then)) / 4.0
        }
        _ => 0.0,
    };
    // A single object comes whole, and its look is short.
    let courtesy = if wanted > 1 { look_seconds * 4.0 } else { 0.0 };
    let rest = Duration::from_secs_f64(expected.min(3600.0).max(courtesy));
    rest.clamp(LOOK_MIN, LOOK_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_closer_as_the_work_ends() {
        let at = |found| rest(Some((0.0, 0)), (1.0, found), 2000, 0.001);
        assert_eq!(at(0), LOOK_MIN, "nothing is known yet");
        assert_eq!(at(100), LOOK_MAX);
        assert!(at(1800) < at(1200) && at(1999) == LOOK_MIN);
        assert_eq!(rest(None, (1.0, 1999), 2000, 0.05), Duration::from_millis(200));
        assert_eq!(rest(None, (1.0, 0), 1, 0.05), LOOK_MIN);
    }
}
