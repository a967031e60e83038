//! The admin API: HTTP/1.1 with JSON on a Unix socket, for the console, the command line and tests.
//!
//! Owns the routes of `gateway_api::admin` and the socket. Must not know what answers: that is a
//! [`Control`], which `run.rs` implements. Whoever can open the socket may do everything: it is
//! mode 0660 in a directory of the gateway's user. Metrics alone are also served over TCP, if the
//! settings ask for it.
pub mod metrics;
mod server;

use async_trait::async_trait;
use gateway_api::{
    FileStatus, GatewayStatus, Settings,
    admin::{
        FileRequest, KeysPage, KeysRequest, RefreshReport, RefreshRequest, ReplaceQuery,
        SettingsReport,
    },
    connection::{ConnectionTest, StepReport},
    disks::{DiskRequest, DisksStatus, ForgetReport, ForgetRequest},
    failing::{FailingPage, FailingRequest},
};
use tokio::sync::mpsc;

pub use server::{Server, ServerError};

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request is wrong; it says how.
    #[error("{0}")]
    Invalid(String),
    /// No such share or directory.
    #[error("{0}")]
    NotFound(String),
    /// It does not go together with what there is: based on settings that are not in force any more, or something
    /// would be left behind.
    #[error("{0}")]
    Conflict(String),
    /// The gateway could not do it.
    #[error("{0}")]
    Failed(String),
}

/// A running gateway, as its admin API sees it.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// The status document.
    async fn status(&self) -> GatewayStatus;
    /// The settings in force with their revision, secrets left out.
    async fn settings(&self) -> (u64, Settings);
    /// Replaces and applies the settings; durable when it returns. An empty secret keeps the
    /// present one when the access key id is the same.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::Conflict`] also while a share that goes has what S3 does not have, unless
    /// that is forced.
    async fn replace_settings(
        &self,
        settings: Settings,
        how: ReplaceQuery,
    ) -> Result<SettingsReport, ControlError>;
    /// Returns when everything acknowledged before the call is in S3.
    ///
    /// # Errors
    /// [`ControlError::Failed`] when something is failing to upload; it says what.
    async fn flush(&self) -> Result<(), ControlError>;
    /// Where one file stands, of those that are known here.
    ///
    /// # Errors
    /// [`ControlError`].
    async fn file(&self, request: FileRequest) -> Result<FileStatus, ControlError>;
    /// Lists a directory again, or a tree. Dropping the future ends it.
    ///
    /// # Errors
    /// [`ControlError`].
    async fn refresh(&self, request: RefreshRequest) -> Result<RefreshReport, ControlError>;
    /// Some of the keys that are shown under an alias.
    ///
    /// # Errors
    /// [`ControlError`].
    async fn keys(&self, request: KeysRequest) -> Result<KeysPage, ControlError>;
    /// Some of what fails to get to S3.
    ///
    /// # Errors
    /// [`ControlError`].
    async fn failing(&self, request: FailingRequest) -> Result<FailingPage, ControlError>;
    /// The cache disks.
    ///
    /// # Errors
    /// [`ControlError::Failed`].
    async fn disks(&self) -> Result<DisksStatus, ControlError>;
    /// Lets a cache disk take no new files and be emptied; durable when it returns.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::Conflict`] for the primary and for one that is missing.
    async fn release_disk(&self, request: DiskRequest) -> Result<(), ControlError>;
    /// Takes that back; durable when it returns.
    ///
    /// # Errors
    /// As [`Control::release_disk`].
    async fn keep_disk(&self, request: DiskRequest) -> Result<(), ControlError>;
    /// Forgets a missing cache disk.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] while it is there, and while files would be lost that the request does not
    /// give up; it names them.
    async fn forget_disk(&self, request: ForgetRequest) -> Result<ForgetReport, ControlError>;
    /// Tests a connection to S3, which need not be the one in force. The reports come as the steps
    /// end; the channel closes after the last.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] while another test runs.
    async fn test_connection(
        &self,
        target: ConnectionTest,
    ) -> Result<mpsc::Receiver<StepReport>, ControlError>;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gateway_api::connection::{Outcome, Step};

    use super::*;

    /// A gateway of fixed answers.
    #[derive(Default)]
    pub(super) struct Fake {
        settings: Mutex<Settings>,
    }

    #[async_trait]
    impl Control for Fake {
        async fn status(&self) -> GatewayStatus {
            GatewayStatus { version: "1.2.3".to_owned(), ..GatewayStatus::default() }
        }
        async fn settings(&self) -> (u64, Settings) {
            (7, self.settings.lock().unwrap().clone())
        }
        async fn replace_settings(
            &self,
            settings: Settings,
            how: ReplaceQuery,
        ) -> Result<SettingsReport, ControlError> {
            if how.force_delete {
                return Err(ControlError::Conflict("force is known here".to_owned()));
            }
            if how.revision.is_some_and(|r| r != 7) {
                return Err(ControlError::Conflict("read them again".to_owned()));
            }
            *self.settings.lock().unwrap() = settings;
            Ok(SettingsReport { revision: 8, refused: Vec::new() })
        }
        async fn flush(&self) -> Result<(), ControlError> {
            Err(ControlError::Failed("the bucket does not answer".to_owned()))
        }
        async fn file(&self, request: FileRequest) -> Result<FileStatus, ControlError> {
            Err(ControlError::NotFound(format!("no {} here", request.path)))
        }
        async fn refresh(&self, request: RefreshRequest) -> Result<RefreshReport, ControlError> {
            Err(ControlError::NotFound(format!("no share {}", request.share)))
        }
        async fn keys(&self, request: KeysRequest) -> Result<KeysPage, ControlError> {
            Ok(KeysPage { keys: Vec::new(), next: Some(request.after + 1) })
        }
        async fn failing(&self, request: FailingRequest) -> Result<FailingPage, ControlError> {
            Ok(FailingPage { failing: Vec::new(), next: request.after })
        }
        async fn disks(&self) -> Result<DisksStatus, ControlError> {
            Ok(DisksStatus::default())
        }
        async fn release_disk(&self, request: DiskRequest) -> Result<(), ControlError> {
            Err(ControlError::NotFound(format!("no disk {}", request.name)))
        }
        async fn keep_disk(&self, _request: DiskRequest) -> Result<(), ControlError> {
            Ok(())
        }
        async fn forget_disk(&self, request: ForgetRequest) -> Result<ForgetReport, ControlError> {
            if request.lose_dirty {
                Ok(ForgetReport { lost_files: 1, ..ForgetReport::default() })
            } else {
                Err(ControlError::Conflict("a file would be lost".to_owned()))
            }
        }
        async fn test_connection(
            &self,
            target: ConnectionTest,
        ) -> Result<mpsc::Receiver<StepReport>, ControlError> {
            if target.share.read_only {
                return Err(ControlError::Conflict("another test is under way".to_owned()));
            }
            let (sender, reports) = mpsc::channel(Step::ALL.len());
            for step in Step::ALL {
                sender.send(passed(step)).await.unwrap();
            }
            Ok(reports)
        }
    }

    /// A report whose text would break a frame that trusts it.
    pub(super) fn passed(step: Step) -> StepReport {
        let outcome = Outcome::Passed { note: "a\nb\r\n0\r\n".to_owned() };
        StepReport { step, outcome, millis: 1 }
    }
}
