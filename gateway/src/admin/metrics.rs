//! Metrics over TCP, for Prometheus: `GET /metrics`, for listed addresses only, and nothing else.
use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use gateway_api::{ClientSpec, settings::MetricsSettings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Control;
use crate::prometheus;

/// Who is served what.
struct Page {
    control: Arc<dyn Control>,
    clients: Vec<ClientSpec>,
}

/// Serves metrics as `settings` say until `stop`; at once if they say nowhere.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    settings: MetricsSettings,
    control: Arc<dyn Control>,
    stop: CancellationToken,
) -> io::Result<()> {
    let Some(address) = settings.listen else { return Ok(()) };
    let listener = TcpListener::bind(address).await?;
    let page = Arc::new(Page { control, clients: settings.client_list });
    let router = Router::new().route("/metrics", get(metrics)).with_state(page);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn metrics(
    State(page): State<Arc<Page>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    let address = peer.ip().to_canonical();
    if !page.clients.iter().any(|client| client.contains(address)) {
        let says = format!("{address} is not in metrics.client_list\n");
        return (StatusCode::FORBIDDEN, says).into_response();
    }
    let head = [(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)];
    (head, prometheus::render(&page.control.status().await)).into_response()
}
