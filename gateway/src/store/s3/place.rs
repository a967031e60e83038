//! Where a bucket's requests go: host and port, as the SDK resolves them.
use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_types::date_time::{DateTime, Format};
use gateway_api::{
    BucketName,
    settings::{Addressing, S3Settings},
};

use super::client::endpoint_url;
use crate::clock::Timestamp;

/// Host and port of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, the bucket's part included.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it is reached by https.
    pub tls: bool,
}

impl Place {
    /// Where requests for `bucket` go, by S3's own rules: region, FIPS, dual-stack, access points.
    ///
    /// # Errors
    /// Words: the settings lead nowhere.
    pub async fn of(settings: &S3Settings, bucket: &BucketName) -> Result<Self, String> {
        let mut params = Params::builder()
            .bucket(bucket.as_str())
            .region(settings.region.as_str())
            .use_fips(settings.fips)
            .use_dual_stack(settings.dual_stack)
            .use_arn_region(true)
            .force_path_style(settings.addressing == Addressing::Path);
        if !settings.endpoint.is_empty() {
            params = params.endpoint(endpoint_url(&settings.endpoint));
        }
        let params = params.build().map_err(|error| error.to_string())?;
        let resolver = DefaultResolver::new();
        let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params).await;
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        Self::of_url(endpoint.url())
            .ok_or_else(|| format!("{} is no URL of a host", endpoint.url()))
    }

    fn of_url(url: &str) -> Option<Self> {
        let (tls, rest) = match url.split_once("://")? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        Self::parse(authority, if tls { 443 } else { 80 }, tls)
    }

    /// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
    pub fn parse(authority: &str, port: u16, tls: bool) -> Option<Self> {
        let (host, given) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = if given.is_empty() { port } else { given.parse().ok()? };
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port, tls })
    }
}

/// A `Date` header (RFC 9110 §5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(text, Format::HttpDate).ok()?;
    Some(Timestamp::new(date.secs(), date.subsec_nanos()))
}

/// `Authorization` and `Proxy-Authorization` of `USER:PASSWORD` (RFC 7617 §2).
pub fn basic_authorization(user: &str) -> String {
    format!("Basic {}", aws_smithy_types::base64::encode(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn place(settings: S3Settings, bucket: &str) -> Place {
        let settings = S3Settings { region: "ap-northeast-2".to_owned(), ..settings };
        Place::of(&settings, &bucket.parse().unwrap()).await.unwrap()
    }

    fn at(host: &str, port: u16, tls: bool) -> Place {
        Place { host: host.to_owned(), port, tls }
    }

    #[tokio::test]
    async fn places_are_those_that_requests_go_to() {
        let plain = S3Settings::default;
        let endpoint = |endpoint: &str| S3Settings { endpoint: endpoint.to_owned(), ..plain() };
        let aws = "sales.s3.ap-northeast-2.amazonaws.com";
        assert_eq!(place(plain(), "sales").await, at(aws, 443, true));
        let fips = S3Settings { fips: true, region: "us-east-1".to_owned(), ..plain() };
        let fips = Place::of(&fips, &"sales".parse().unwrap()).await.unwrap();
        assert_eq!(fips, at("sales.s3-fips.us-east-1.amazonaws.com", 443, true));
        let vpce = "https://bucket.vpce-1a-2b.s3.ap-northeast-2.vpce.amazonaws.com";
        let host = "sales.bucket.vpce-1a-2b.s3.ap-northeast-2.vpce.amazonaws.com";
        assert_eq!(place(endpoint(vpce), "sales").await, at(host, 443, true));
        let path = S3Settings { addressing: Addressing::Path, ..endpoint("http://10.0.2.2:9000") };
        assert_eq!(place(path, "sales").await, at("10.0.2.2", 9000, false));
    }

    #[test]
    fn authorities_are_taken_apart() {
        let parse = |text: &str| Place::parse(text, 80, false);
        assert_eq!(parse("proxy.example"), Some(at("proxy.example", 80, false)));
        assert_eq!(parse("proxy.example:3128"), Some(at("proxy.example", 3128, false)));
        assert_eq!(parse("[::1]:3128"), Some(at("::1", 3128, false)));
        assert_eq!(parse("[::1]"), Some(at("::1", 80, false)));
        for wrong in ["", ":80", "host:port", "[::1", "[::1]x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        let date = http_date("Thu, 26 Nov 2026 22:30:00 GMT").unwrap();
        assert_eq!(date.seconds(), 1_795_732_200);
        assert_eq!(http_date("yesterday"), None);
        assert_eq!(
            basic_authorization("Aladdin:open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }
}
