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
    admin::{FileRequest, KeysPage, KeysRequest, RefreshReport, RefreshRequest},
    connection::{ConnectionTest, StepReport},
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
    /// Based on settings that are not in force any more.
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
    /// [`ControlError`].
    async fn replace_settings(
        &self,
        settings: Settings,
        based_on: Option<u64>,
    ) -> Result<u64, ControlError>;
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
