//! The test of an S3 target, one step after another, as the console and the command line show it.
use serde::{Deserialize, Serialize};

use crate::{
    names::{BucketName, KeyPrefix},
    settings::{S3Settings, ShareSettings},
};

/// What is tested: a bucket and prefix by way of these settings, before they are in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionTest {
    /// Endpoint, way and credentials. A running gateway fills in the secrets that are empty and that
    /// it has, as with a change of the settings.
    pub s3: S3Settings,
    /// The share as it would be: bucket, prefix, encryption, storage class, who pays, read-only.
    pub share: ShareSettings,
}

impl ConnectionTest {
    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &BucketName {
        &self.share.bucket
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &KeyPrefix {
        &self.share.prefix
    }
}

/// One step. Each needs those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The endpoint's name has addresses.
    Name,
    /// One of them takes a TCP connection.
    Connect,
    /// It proves to be who it should be (TLS).
    Tls,
    /// Its clock and ours agree: S3 refuses requests that are a quarter of an hour off.
    Clock,
    /// It knows the access key and its signature.
    Credentials,
    /// The bucket exists, in this region.
    Bucket,
    /// Objects below the prefix can be listed (s3:ListBucket).
    List,
    /// An object can be written (s3:PutObject).
    Put,
    /// It can be read, and is what was written (s3:GetObject).
    Get,
    /// A write under a condition that does not hold is refused.
    ConditionalWrite,
    /// An object can be written in parts (s3:PutObject, s3:AbortMultipartUpload).
    Multipart,
    /// The object can be deleted (s3:DeleteObject).
    Delete,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 12] = [
        Self::Name,
        Self::Connect,
        Self::Tls,
        Self::Clock,
        Self::Credentials,
        Self::Bucket,
        Self::List,
        Self::Put,
        Self::Get,
        Self::ConditionalWrite,
        Self::Multipart,
        Self::Delete,
    ];

    /// What it is called on a screen, in at most 20 characters.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "Name (DNS)",
            Self::Connect => "Connection (TCP)",
            Self::Tls => "Certificate (TLS)",
            Self::Clock => "Clock",
            Self::Credentials => "Credentials",
            Self::Bucket => "Bucket",
            Self::List => "List objects",
            Self::Put => "Write an object",
            Self::Get => "Read it back",
            Self::ConditionalWrite => "Conditional write",
            Self::Multipart => "Write in parts",
            Self::Delete => "Delete the object",
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should.
    Passed {
        /// What was seen.
        note: String,
    },
    /// The gateway would work, with less than it should have.
    Warning {
        /// What was seen.
        why: String,
        /// The one thing to do.
        advice: String,
    },
    /// It cannot work like this.
    Failed {
        /// What was seen.
        why: String,
        /// The one thing to do.
        advice: String,
    },
    /// Not tried.
    Skipped {
        /// Why not.
        because: String,
    },
}

/// One step's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

impl StepReport {
    /// Whether the gateway could work as far as this step tells.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_one_line_of_json() {
        let report = StepReport {
            step: Step::ConditionalWrite,
            outcome: Outcome::Failed { why: "a\nb".to_owned(), advice: "c".to_owned() },
            millis: 12,
        };
        let line = serde_json::to_string(&report).unwrap();
        assert!(
            line.starts_with(r#"{"step":"conditional-write","outcome":"failed","why":"#),
            "{line}"
        );
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<StepReport>(&line).unwrap(), report);
        assert!(!report.is_usable());
    }

    #[test]
    fn titles_fit_their_column() {
        for step in Step::ALL {
            assert!(step.title().len() <= 20, "{}", step.title());
        }
    }
}
