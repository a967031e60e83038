//! The routes, on axum over a Unix socket.
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gateway_api::{
    FileStatus, GatewayStatus, Settings,
    admin::{
        self, ErrorBody, FileRequest, KeysPage, KeysRequest, RefreshReport, RefreshRequest,
        ReplaceQuery, SettingsReport,
    },
    connection::{ConnectionTest, StepReport},
    disks::{DiskRequest, DisksStatus, ForgetReport, ForgetRequest},
    failing::{FailingPage, FailingRequest},
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{Control, ControlError};

/// Largest request body: a settings document with every share at its longest is far below.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the admin socket {path}: {source}")]
pub struct ServerError {
    path: PathBuf,
    source: io::Error,
}

/// The admin API's listener.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
}

impl Server {
    /// Listens on `path`, replacing a socket that an earlier process left behind.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let at = |source| ServerError { path: path.to_owned(), source };
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(at(e)),
        }
        let listener = UnixListener::bind(path).map_err(at)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(at)?;
        Ok(Self { listener })
    }

    /// Answers until `stop` is cancelled.
    pub async fn serve(self, control: Arc<dyn Control>, stop: CancellationToken) {
        let served = axum::serve(self.listener, router(control))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!("the admin socket failed: {error}");
        }
    }
}

fn router(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route(admin::STATUS, get(status))
        .route(admin::SETTINGS, get(settings).put(replace_settings))
        .route(admin::FLUSH, post(flush))
        .route(admin::REFRESH, post(refresh))
        .route(admin::FILE, post(file))
        .route(admin::KEYS, post(keys))
        .route(admin::FAILING, post(failing))
        .route(admin::DISKS, get(disks))
        .route(admin::DISKS_RELEASE, post(release_disk))
        .route(admin::DISKS_KEEP, post(keep_disk))
        .route(admin::DISKS_FORGET, post(forget_disk))
        .route(admin::TEST_CONNECTION, post(test_connection))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

async fn status(State(control): State<Arc<dyn Control>>) -> Json<GatewayStatus> {
    Json(control.status().await)
}

async fn settings(State(control): State<Arc<dyn Control>>) -> Result<Response, ControlError> {
    let (revision, settings) = control.settings().await;
    let text = settings.to_toml().map_err(|e| ControlError::Failed(e.to_string()))?;
    let head = [
        (header::CONTENT_TYPE, "application/toml".to_owned()),
        (header::ETAG, format!("\"{revision}\"")),
    ];
    Ok((head, text).into_response())
}

async fn replace_settings(
    State(control): State<Arc<dyn Control>>,
    Query(how): Query<ReplaceQuery>,
    text: String,
) -> Result<Json<SettingsReport>, ControlError> {
    let settings = Settings::from_toml(&text).map_err(|e| ControlError::Invalid(e.to_string()))?;
    Ok(Json(control.replace_settings(settings, how).await?))
}

async fn flush(State(control): State<Arc<dyn Control>>) -> Result<StatusCode, ControlError> {
    control.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn refresh(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<RefreshRequest>, JsonRejection>,
) -> Result<Json<RefreshReport>, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    Ok(Json(control.refresh(request).await?))
}

async fn keys(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<KeysRequest>, JsonRejection>,
) -> Result<Json<KeysPage>, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    Ok(Json(control.keys(request).await?))
}

async fn failing(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<FailingRequest>, JsonRejection>,
) -> Result<Json<FailingPage>, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    Ok(Json(control.failing(request).await?))
}

async fn disks(State(control): State<Arc<dyn Control>>) -> Result<Json<DisksStatus>, ControlError> {
    Ok(Json(control.disks().await?))
}

async fn release_disk(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<DiskRequest>, JsonRejection>,
) -> Result<StatusCode, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    control.release_disk(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keep_disk(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<DiskRequest>, JsonRejection>,
) -> Result<StatusCode, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    control.keep_disk(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn forget_disk(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<ForgetRequest>, JsonRejection>,
) -> Result<Json<ForgetReport>, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    Ok(Json(control.forget_disk(request).await?))
}

async fn test_connection(
    State(control): State<Arc<dyn Control>>,
    target: Result<Json<ConnectionTest>, JsonRejection>,
) -> Result<Response, ControlError> {
    let Json(target) = target.map_err(|e| ControlError::Invalid(e.body_text()))?;
    let reports = control.test_connection(target).await?;
    let lines = futures_util::stream::unfold(reports, async |mut reports| {
        let report = reports.recv().await?;
        Some((line(&report), reports))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn line(report: &StepReport) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    Ok(line)
}

async fn file(
    State(control): State<Arc<dyn Control>>,
    request: Result<Json<FileRequest>, JsonRejection>,
) -> Result<Json<FileStatus>, ControlError> {
    let Json(request) = request.map_err(|e| ControlError::Invalid(e.body_text()))?;
    Ok(Json(control.file(request).await?))
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(ErrorBody { error: self.to_string() })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_api::{
        ShareSettings,
        client::{AdminClient, ClientError},
        connection::Step,
        settings::S3Settings,
    };

    use super::*;
    use crate::admin::tests::{Fake, passed};

    async fn with_server(test: impl FnOnce(AdminClient) + Send + 'static) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let server = Server::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(Arc::new(Fake::default()), stop.clone()));
        tokio::task::spawn_blocking(move || test(AdminClient::new(&path, Duration::from_secs(30))))
            .await
            .unwrap();
        stop.cancel();
        serving.await.unwrap();
    }

    fn refusal(answer: Result<Vec<u8>, ClientError>) -> (u16, String) {
        match answer {
            Err(ClientError::Refused { status, message }) => (status, message),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_blocking_client_and_the_server_understand_each_other() {
        with_server(|client| {
            assert_eq!(client.status().unwrap().version, "1.2.3");
            let good = b"version = 1\n[s3]\nregion = \"eu-west-1\"";
            client.request("PUT", "/v1/settings?revision=7", good).unwrap();
            let (revision, settings) = client.settings().unwrap();
            assert_eq!((revision, settings.s3.region.as_str()), (7, "eu-west-1"));
            client.replace_settings(&Settings::default(), revision).unwrap();
            assert_eq!(client.settings().unwrap().1.s3.region, "");
            let outdated = client.replace_settings(&settings, 6).unwrap_err();
            assert!(matches!(outdated, ClientError::Refused { status: 409, .. }), "{outdated}");
            let forced = client.delete_shares(&settings, 7).unwrap_err();
            assert_eq!(forced.to_string(), "force is known here");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reports_of_a_connection_come_one_by_one() {
        with_server(|client| {
            let share = ShareSettings::new(
                "sales".parse().unwrap(),
                "bucket".parse().unwrap(),
                "onprem/".parse().unwrap(),
            );
            let mut target = ConnectionTest { s3: S3Settings::default(), share };
            let mut reports = Vec::new();
            client.test_connection(&target, |report| reports.push(report)).unwrap();
            assert_eq!(reports, Step::ALL.map(passed));
            target.share.read_only = true;
            let refused = client.test_connection(&target, |report| panic!("{report:?}"));
            assert_eq!(refusal(refused.map(|()| Vec::new())).0, 409);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refusals_carry_their_words_and_status() {
        with_server(|client| {
            let (status, message) = refusal(client.request("PUT", admin::SETTINGS, b"version = 9"));
            assert_eq!(status, 400);
            assert!(message.contains("version 9"), "{message}");
            let outdated = client.request("PUT", "/v1/settings?revision=6", b"version = 1");
            assert_eq!(refusal(outdated).0, 409);
            let flush = refusal(client.request("POST", admin::FLUSH, b""));
            assert_eq!(flush, (500, "the bucket does not answer".to_owned()));
            let refresh = client.request("POST", admin::REFRESH, b"{\"share\":\"sales\"}");
            assert_eq!(refusal(refresh).0, 404);
            assert_eq!(refusal(client.request("POST", admin::REFRESH, b"{}")).0, 400);
            let keys = client.request("POST", admin::KEYS, b"{\"share\":\"sales\",\"after\":6}");
            let page: KeysPage = serde_json::from_slice(&keys.unwrap()).unwrap();
            assert_eq!(page.next, Some(7));
            let asked = b"{\"after\":{\"share\":1,\"operation\":6}}";
            let failing = client.request("POST", admin::FAILING, asked).unwrap();
            let page: FailingPage = serde_json::from_slice(&failing).unwrap();
            assert_eq!(page.next.map(|next| (next.share, next.operation)), Some((1, 6)));
            let file = client.request("POST", admin::FILE, b"{\"share\":\"sales\",\"path\":\"a\"}");
            assert_eq!(refusal(file), (404, "no a here".to_owned()));
            let release = client.request("POST", admin::DISKS_RELEASE, b"{\"name\":\"d\"}");
            assert_eq!(refusal(release), (404, "no disk d".to_owned()));
            let name = client.request("POST", admin::DISKS_KEEP, b"{\"name\":\"../d\"}");
            assert_eq!(refusal(name).0, 400);
            client.request("POST", admin::DISKS_KEEP, b"{\"name\":\"d\"}").unwrap();
            let forget = |body: &[u8]| client.request("POST", admin::DISKS_FORGET, body);
            assert_eq!(refusal(forget(b"{\"name\":\"d\"}")).0, 409);
            let lost = forget(b"{\"name\":\"d\",\"lose_dirty\":true}").unwrap();
            assert_eq!(serde_json::from_slice::<ForgetReport>(&lost).unwrap().lost_files, 1);
            let disks = client.request("GET", admin::DISKS, b"").unwrap();
            assert_eq!(serde_json::from_slice::<DisksStatus>(&disks).unwrap().disks, []);
        })
        .await;
    }
}
