//! What every signed request passes before its operation: the region check, the counter, and the draw of a fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::StatusCode;
use s3s::access::{S3Access, S3AccessContext};
use s3s::host::{S3Host, VirtualHost};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use crate::faults::{FaultAction, Faults};
use crate::service::s3_error;

/// Where the gate leaves a drawn fault for the HTTP front.
pub(super) type FaultSlot = Arc<OnceLock<FaultAction>>;

/// Requests that passed the signature check, by S3 operation.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestCounts {
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl RequestCounts {
    fn count(&self, operation: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(operation.to_owned()).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The access check that s3s calls between the signature check and the operation.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) faults: Faults,
    pub(super) counts: RequestCounts,
    pub(super) region: String,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied: the request is not signed"));
        }
        self.check_region(context)?;
        let pays = context.headers().get("x-amz-request-payer");
        if self.faults.requester_pays() && pays.is_none_or(|who| who != "requester") {
            return Err(s3_error!(AccessDenied, "Access Denied: the requester pays"));
        }
        let operation = context.s3_op().name().to_owned();
        self.counts.count(&operation);
        self.check_headers(context)?;
        let key = match context.s3_path() {
            S3Path::Object { key, .. } => key.to_string(),
            S3Path::Root | S3Path::Bucket { .. } => String::new(),
        };
        let Some(action) = self.faults.draw(&operation, &key) else {
            return Ok(());
        };
        if let FaultAction::Delay(delay) = &action {
            tokio::time::sleep(*delay).await;
            return Ok(());
        }
        if let FaultAction::Hold(hold) = &action {
            hold.pass().await;
            return Ok(());
        }
        let stops_here = match &action {
            FaultAction::FailBefore { .. } | FaultAction::DropBefore => true,
            FaultAction::FailAfter { .. }
            | FaultAction::DropAfter
            | FaultAction::ShortBody { .. }
            | FaultAction::FlipByte { .. }
            | FaultAction::Delay(_)
            | FaultAction::Hold(_) => false,
        };
        if let Some(slot) = context.extensions_mut().get::<FaultSlot>() {
            slot.get_or_init(|| action);
        }
        // The front replaces this reply by the fault itself.
        if stops_here { Err(s3_error!(InternalError, "injected fault")) } else { Ok(()) }
    }
}

impl Gate {
    /// A store that knows less than S3 refuses what it does not know.
    fn check_headers(&self, context: &S3AccessContext<'_>) -> S3Result<()> {
        let reads = matches!(*context.method(), http::Method::GET | http::Method::HEAD);
        let mut names = context.headers().keys().map(http::HeaderName::as_str);
        match names.find(|name| !reads && !self.faults.knows_header(name)) {
            Some(name) => Err(s3_error(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                format!(
                    "A header you provided implies functionality that is not implemented: {name}"
                ),
            )),
            None => Ok(()),
        }
    }

    /// S3 refuses a signature made for another region and names the right one.
    fn check_region(&self, context: &S3AccessContext<'_>) -> S3Result<()> {
        let header = context
            .headers()
            .get(http::header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let scope = header.and_then(|value| value.split("Credential=").nth(1));
        let Some(asked) = scope.and_then(|scope| scope.split('/').nth(2)) else {
            return Ok(());
        };
        if asked == self.region {
            return Ok(());
        }
        let message = format!(
            "The authorization header is malformed; the region '{asked}' is wrong; expecting '{}'",
            self.region
        );
        Err(s3_error(StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed", message))
    }
}

/// Finds the bucket in the Host header: `BUCKET.BASE[:PORT]`; any other host is path style.
#[derive(Debug)]
pub(super) struct BaseDomain {
    pub(super) base: String,
}

impl S3Host for BaseDomain {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let bucket = name.strip_suffix(self.base.as_str()).and_then(|rest| rest.strip_suffix('.'));
        Ok(match bucket.filter(|bucket| !bucket.is_empty()) {
            Some(bucket) => VirtualHost::new(self.base.as_str()).with_bucket(bucket),
            None => VirtualHost::new(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_found_in_front_of_the_base_domain() {
        let domain = BaseDomain { base: "localhost".to_owned() };
        let bucket =
            |host: &str| domain.parse_host_header(host).unwrap().bucket().map(str::to_owned);
        assert_eq!(bucket("my.bucket.localhost:9000").as_deref(), Some("my.bucket"));
        assert_eq!(bucket("b.localhost").as_deref(), Some("b"));
        for host in ["localhost", "localhost:9000", "example.com", "10.0.2.2:9000", "notlocalhost"]
        {
            assert_eq!(bucket(host), None, "{host}");
        }
    }
}
