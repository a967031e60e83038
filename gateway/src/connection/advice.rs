//! For each failure the one thing to do.
use gateway_api::connection::Step;

use crate::store::{StoreError, StoreErrorKind};

/// What to do about S3's refusal of a step.
pub(super) fn of(step: Step, error: &StoreError) -> String {
    use StoreErrorKind as Kind;
    let says = |code: &str| error.message.contains(code);
    if let Some(advice) = error.setting_to_change() {
        return advice.to_owned();
    }
    match error.kind {
        Kind::Credentials if says("RequestTimeTooSkewed") => {
            "set the clock right (System Time Management): S3 and this machine disagree".to_owned()
        }
        Kind::Credentials if says("SignatureDoesNotMatch") => {
            "enter the secret access key again: it does not belong to this access key id".to_owned()
        }
        Kind::Credentials if says("InvalidAccessKeyId") || says("NotSignedUp") => {
            "check the access key id: this endpoint does not know it".to_owned()
        }
        Kind::Credentials if says("ExpiredToken") => {
            "enter new temporary credentials: these have expired".to_owned()
        }
        Kind::Credentials if says("there are no credentials") => {
            "enter an access key id and a secret access key".to_owned()
        }
        Kind::Credentials => "enter the credentials again".to_owned(),
        Kind::NoBucket if says("301") || says("Redirect") || says("AuthorizationHeader") => {
            "set the region to the bucket's: it is another one".to_owned()
        }
        Kind::NoBucket => "check the bucket's name and region: there is none like it".to_owned(),
        Kind::Denied => format!(
            "allow {} in the policies of the user, the bucket and the VPC endpoint",
            right(step)
        ),
        Kind::Throttled => "try again in a minute: S3 asks for fewer requests".to_owned(),
        Kind::Unavailable | Kind::Timeout => {
            "try again; if it stays, look at the way to the endpoint (firewall, proxy)".to_owned()
        }
        Kind::Integrity => "look what stands between here and S3 and changes bytes".to_owned(),
        Kind::Invalid if step == Step::Credentials => {
            "check endpoint and addressing style: this does not answer as S3 does".to_owned()
        }
        Kind::Invalid | Kind::NotFound | Kind::Changed | Kind::Archived | Kind::TooLarge => {
            format!("ask whoever runs the store why it refuses {}", right(step))
        }
    }
}

/// What a policy must allow for a step.
fn right(step: Step) -> &'static str {
    match step {
        Step::List | Step::Bucket | Step::Credentials => {
            "s3:ListBucket on the bucket (with this prefix)"
        }
        Step::Put | Step::ConditionalWrite => {
            "s3:PutObject under the prefix (and the KMS key, if one is set)"
        }
        Step::Get => "s3:GetObject under the prefix (and kms:Decrypt, if a key is set)",
        Step::Multipart => "s3:PutObject and s3:AbortMultipartUpload under the prefix",
        Step::Delete => "s3:DeleteObject under the prefix",
        Step::Name | Step::Connect | Step::Tls | Step::Clock => "the connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOp;

    #[test]
    fn each_refusal_has_its_own_advice() {
        use StoreErrorKind as Kind;
        for (step, kind, message, advice) in [
            (
                Step::Credentials,
                Kind::Credentials,
                "HTTP 403 RequestTimeTooSkewed",
                "set the clock",
            ),
            (Step::Credentials, Kind::Credentials, "HTTP 403 SignatureDoesNotMatch", "the secret"),
            (Step::Credentials, Kind::Credentials, "HTTP 403 InvalidAccessKeyId", "access key id"),
            (Step::Credentials, Kind::Credentials, "HTTP 400 ExpiredToken", "have expired"),
            (
                Step::Credentials,
                Kind::Credentials,
                "there are no credentials: x",
                "enter an access",
            ),
            (Step::Bucket, Kind::NoBucket, "HTTP 301 PermanentRedirect", "the region"),
            (Step::Bucket, Kind::NoBucket, "HTTP 404 NoSuchBucket", "name and region"),
            (Step::List, Kind::Denied, "HTTP 403 AccessDenied", "s3:ListBucket"),
            (Step::Put, Kind::Denied, "HTTP 403 AccessDenied", "s3:PutObject"),
            (Step::Get, Kind::Denied, "HTTP 403 AccessDenied", "s3:GetObject"),
            (Step::Multipart, Kind::Denied, "HTTP 403", "s3:AbortMultipartUpload"),
            (Step::Delete, Kind::Denied, "HTTP 403 AccessDenied", "s3:DeleteObject"),
            (Step::Credentials, Kind::Unavailable, "HTTP 503", "firewall"),
            (Step::Credentials, Kind::Invalid, "HTTP 405", "addressing style"),
            (Step::Put, Kind::Invalid, "HTTP 400 AccessControlListNotSupported", "object_acl"),
            (Step::Put, Kind::Invalid, "HTTP 400 KMS.DisabledException", "kms_key"),
            (
                Step::Put,
                Kind::Denied,
                "HTTP 403 AccessDenied no kms:Decrypt",
                "kms:GenerateDataKey",
            ),
        ] {
            let error = StoreError {
                op: StoreOp::ListObjects,
                key: None,
                kind,
                request_id: None,
                message: message.to_owned(),
            };
            let said = of(step, &error);
            assert!(said.contains(advice), "{step:?} {message}: {said}");
        }
    }
}
