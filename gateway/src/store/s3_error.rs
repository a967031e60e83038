//! What S3 and the transport answer when something is wrong, as our kinds: the one table.
use std::{error::Error, io};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_checksums::body::validate;

use super::{StoreError, StoreErrorKind, StoreOp};
use crate::object::ObjectKey;

/// Where an error happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'k> {
    op: StoreOp,
    key: Option<&'k ObjectKey>,
}

impl<'k> At<'k> {
    /// An operation on the bucket.
    pub(super) fn bucket(op: StoreOp) -> Self {
        Self { op, key: None }
    }

    /// An operation on a key.
    pub(super) fn key(op: StoreOp, key: &'k ObjectKey) -> Self {
        Self { op, key: Some(key) }
    }

    /// An error found by ourselves.
    pub(super) fn error(self, kind: StoreErrorKind, message: &str) -> StoreError {
        StoreError {
            op: self.op,
            key: self.key.cloned(),
            kind,
            request_id: None,
            message: message.to_owned(),
        }
    }
}

/// Sorts an SDK error.
pub(super) fn from_sdk<E>(at: At<'_>, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    if let Some(why) = no_credentials(&error) {
        return StoreError { request_id, ..at.error(StoreErrorKind::Credentials, &why) };
    }
    let (kind, message) = match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code();
            let kind = kind_of(at.op, status, code);
            let code = code.unwrap_or("no code");
            let words = answer.err().message().unwrap_or_default();
            (kind, format!("HTTP {status} {code} {words}").trim_end().to_owned())
        }
        SdkError::TimeoutError(_) => (StoreErrorKind::Timeout, "no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) => {
            let kind = if failure.is_timeout() {
                StoreErrorKind::Timeout
            } else {
                StoreErrorKind::Unavailable
            };
            (kind, format!("the endpoint cannot be reached: {}", reason(&error)))
        }
        SdkError::ResponseError(_) => {
            (StoreErrorKind::Unavailable, format!("the answer cannot be read: {}", reason(&error)))
        }
        SdkError::ConstructionFailure(_) => {
            (StoreErrorKind::Invalid, format!("the request cannot be made: {}", reason(&error)))
        }
        // `SdkError` is non-exhaustive; what it may gain is something that went wrong on the way.
        _ => (StoreErrorKind::Unavailable, words(&error)),
    };
    StoreError { op: at.op, key: at.key.cloned(), kind, request_id, message }
}

/// What it means that the body of an answer did not come to its end. A connection that breaks is the
/// way's fault and passes. One that is ended in good order before all of the announced bytes have come is
/// the store's: whoever asked does so again, and if it stays so, gives up.
pub(super) fn of_body(at: At<'_>, error: &(dyn Error + 'static)) -> StoreError {
    let ended = |cause: &(dyn Error + 'static)| {
        let of_io = cause.downcast_ref::<io::Error>();
        of_io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    };
    if causes(error).any(ended) {
        let message = "the body ended before all of the announced bytes had come";
        at.error(StoreErrorKind::Integrity, message)
    } else if causes(error).any(|cause| cause.is::<validate::Error>()) {
        at.error(StoreErrorKind::Integrity, &words(error))
    } else {
        let message = format!("the body broke off: {}", words(error));
        at.error(StoreErrorKind::Unavailable, &message)
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What an error says and what its causes say, each once: some errors repeat their cause's words. People read it.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    for said in causes(error).map(ToString::to_string) {
        if !words.contains(&said) {
            let between = if words.is_empty() { "" } else { ": " };
            words.push_str(between);
            words.push_str(&said);
        }
    }
    words
}

/// The same of what an error stems from: the SDK's own says only where it happened.
fn reason(error: &(dyn Error + 'static)) -> String {
    words(error.source().unwrap_or(error))
}

/// Why there is nothing to sign with, if that is what went wrong.
fn no_credentials(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<CredentialsError>())
        .map(|refused| {
            let why = refused.source().map_or_else(|| refused.to_string(), ToString::to_string);
            format!("there are no credentials: {why}")
        })
        .next()
}

/// The table: S3's code first, the HTTP status where there is none (HEAD has no body).
fn kind_of(op: StoreOp, status: u16, code: Option<&str>) -> StoreErrorKind {
    use StoreErrorKind as Kind;
    match code.unwrap_or_default() {
        // S3 has words for it: whoever is on the way does not find S3. The SDK calls an empty answer so.
        "" | "NotFound" if status == 404 && matches!(op, StoreOp::DeleteObject) => {
            Kind::Unavailable
        }
        "NoSuchKey" | "NoSuchUpload" | "NoSuchVersion" => Kind::NotFound,
        "NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed" => Kind::NoBucket,
        "PreconditionFailed" | "ConditionalRequestConflict" => Kind::Changed,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Kind::Denied,
        "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "NotSignedUp"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "TokenRefreshRequired" => Kind::Credentials,
        "InvalidObjectState" => Kind::Archived,
        "EntityTooLarge" => Kind::TooLarge,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests" => Kind::Throttled,
        "InternalError" | "ServiceUnavailable" | "OperationAborted" => Kind::Unavailable,
        "NotImplemented" => Kind::Invalid,
        "RequestTimeout" => Kind::Timeout,
        "BadDigest"
        | "InvalidDigest"
        | "IncompleteBody"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => Kind::Integrity,
        _ => kind_of_status(op, status),
    }
}

fn kind_of_status(op: StoreOp, status: u16) -> StoreErrorKind {
    use StoreErrorKind as Kind;
    match status {
        404 if matches!(op, StoreOp::ListObjects) => Kind::NoBucket,
        404 => Kind::NotFound,
        301 | 307 | 308 => Kind::NoBucket,
        409 | 412 => Kind::Changed,
        401 | 403 => Kind::Denied,
        408 => Kind::Timeout,
        413 => Kind::TooLarge,
        // Without a body there is no code: so S3 answers HEAD with credentials that it does not know or that have
        // expired. `S3Bucket::head` asks for the reason.
        400 if matches!(op, StoreOp::HeadObject) => Kind::Credentials,
        429 | 503 => Kind::Throttled,
        // The server does not know what was asked for, and will not learn it meanwhile.
        501 => Kind::Invalid,
        500..=599 => Kind::Unavailable,
        _ => Kind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_causes_are_told_once_each() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let outer = io::Error::other(refused);
        assert_eq!(words(&outer), "refused", "it repeats its cause");
        let credentials = CredentialsError::not_loaded("no file");
        assert!(words(&credentials).ends_with(": no file"), "{}", words(&credentials));
        assert_eq!(reason(&credentials), "no file");
    }

    #[test]
    fn every_row_of_the_table() {
        use StoreErrorKind as Kind;
        let put = StoreOp::PutObject;
        for (op, status, code, kind) in [
            (StoreOp::HeadObject, 404, None, Kind::NotFound),
            (StoreOp::ListObjects, 404, None, Kind::NoBucket),
            (put, 404, Some("NoSuchBucket"), Kind::NoBucket),
            (StoreOp::ListObjects, 301, None, Kind::NoBucket),
            (put, 412, Some("PreconditionFailed"), Kind::Changed),
            (put, 409, Some("ConditionalRequestConflict"), Kind::Changed),
            (put, 403, Some("AccessDenied"), Kind::Denied),
            (put, 403, Some("SignatureDoesNotMatch"), Kind::Credentials),
            (put, 403, Some("RequestTimeTooSkewed"), Kind::Credentials),
            (put, 400, Some("ExpiredToken"), Kind::Credentials),
            (StoreOp::GetObject, 403, Some("InvalidObjectState"), Kind::Archived),
            (put, 503, Some("SlowDown"), Kind::Throttled),
            (put, 429, None, Kind::Throttled),
            (put, 500, Some("InternalError"), Kind::Unavailable),
            (put, 502, None, Kind::Unavailable),
            (put, 400, Some("BadDigest"), Kind::Integrity),
            (put, 400, Some("XAmzContentSHA256Mismatch"), Kind::Integrity),
            (put, 400, Some("EntityTooLarge"), Kind::TooLarge),
            (put, 501, Some("NotImplemented"), Kind::Invalid),
            (StoreOp::HeadObject, 501, None, Kind::Invalid),
            (StoreOp::HeadObject, 400, None, Kind::Credentials),
            (StoreOp::HeadObject, 403, None, Kind::Denied),
            (put, 400, None, Kind::Invalid),
            (put, 400, Some("KMS.DisabledException"), Kind::Invalid),
            (put, 400, Some("AccessControlListNotSupported"), Kind::Invalid),
            (put, 400, Some("InvalidArgument"), Kind::Invalid),
        ] {
            assert_eq!(kind_of(op, status, code), kind, "{op:?} {status} {code:?}");
        }
    }
}
