//! Why S3 refuses a HEAD. Its answer has no body (RFC 9110 §9.3.2), so no code: 403 is a policy, a wrong
//! secret and a wrong clock alike, and 400 an expired token, or an object under a key of its owner's (SSE-C).
use super::S3Bucket;
use crate::{
    object::ObjectKey,
    store::{
        StoreError, StoreErrorKind as Kind, StoreOp,
        s3_error::{self, At},
    },
};

impl S3Bucket {
    /// The reason of a refused HEAD, by a GET of one byte: it takes the same permission, s3:GetObject, and its
    /// answer has words. The error as it is where that says nothing more.
    pub(super) async fn reason_of_head(&self, key: &ObjectKey, refused: StoreError) -> StoreError {
        if !matches!(refused.kind, Kind::Denied | Kind::Credentials) {
            return refused;
        }
        let at = At::key(StoreOp::GetObject, key);
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        let asked = async {
            let got = request.range("bytes=0-0").send().await;
            got.map(|_| ()).map_err(|e| s3_error::from_sdk(at, e))
        };
        judge(refused, self.meter.counted(StoreOp::GetObject, asked).await)
    }
}

fn judge(refused: StoreError, asked: Result<(), StoreError>) -> StoreError {
    // There is no first byte of an empty object: it was permitted.
    let error = match asked {
        Err(error) if !error.message.contains("InvalidRange") => error,
        Ok(()) | Err(_) => return permitted(refused),
    };
    match error.kind {
        Kind::NotFound | Kind::Changed | Kind::Archived | Kind::TooLarge => permitted(refused),
        Kind::Denied | Kind::Credentials | Kind::NoBucket if error.message.contains("no code") => {
            refused
        }
        // S3 says which 400 it is: this is somebody's on the way, of this one key.
        Kind::Invalid if error.message.contains("no code") => permitted(refused),
        Kind::Denied
        | Kind::Credentials
        | Kind::NoBucket
        | Kind::Invalid
        | Kind::Throttled
        | Kind::Unavailable
        | Kind::Timeout
        | Kind::Integrity => StoreError { op: refused.op, ..error },
    }
}

/// The credentials are good: what was refused is this request alone.
fn permitted(refused: StoreError) -> StoreError {
    match refused.kind {
        Kind::Credentials => StoreError { kind: Kind::Invalid, ..refused },
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_words_is_what_the_same_question_with_words_is() {
        let error = |op, kind, message: &str| StoreError {
            op,
            key: None,
            kind,
            request_id: None,
            message: message.to_owned(),
        };
        let head = |kind| error(StoreOp::HeadObject, kind, "HTTP 4xx no code");
        let get = |kind, message: &str| Err(error(StoreOp::GetObject, kind, message));
        for (was, asked, is) in [
            (Kind::Credentials, get(Kind::Credentials, "HTTP 400 ExpiredToken"), Kind::Credentials),
            (
                Kind::Denied,
                get(Kind::Credentials, "HTTP 403 SignatureDoesNotMatch"),
                Kind::Credentials,
            ),
            (
                Kind::Denied,
                get(Kind::Credentials, "HTTP 403 RequestTimeTooSkewed"),
                Kind::Credentials,
            ),
            (Kind::Denied, get(Kind::Denied, "HTTP 403 AccessDenied"), Kind::Denied),
            (Kind::Credentials, get(Kind::Invalid, "HTTP 400 InvalidRequest SSE-C"), Kind::Invalid),
            (
                Kind::Credentials,
                get(Kind::NoBucket, "HTTP 400 AuthorizationHeaderMalformed"),
                Kind::NoBucket,
            ),
            (Kind::Credentials, get(Kind::Throttled, "HTTP 503 SlowDown"), Kind::Throttled),
            (Kind::Credentials, get(Kind::Invalid, "HTTP 400 no code"), Kind::Invalid),
            (Kind::Denied, get(Kind::Invalid, "HTTP 400 no code"), Kind::Denied),
            (Kind::Credentials, get(Kind::Invalid, "HTTP 416 InvalidRange"), Kind::Invalid),
            (Kind::Credentials, get(Kind::NotFound, "HTTP 404 NoSuchKey"), Kind::Invalid),
            (Kind::Credentials, Ok(()), Kind::Invalid),
            (Kind::Denied, Ok(()), Kind::Denied),
        ] {
            let words = format!("{was:?}, then {asked:?}");
            let judged = judge(head(was), asked);
            assert_eq!((judged.kind, judged.op), (is, StoreOp::HeadObject), "{words}");
        }
    }
}
