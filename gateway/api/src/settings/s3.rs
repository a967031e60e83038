//! `[s3]`: where objects are stored, by which way it is reached, and as whom.
use serde::{Deserialize, Serialize};

use super::SettingsError;
use crate::{secret::Secret, time::Moment};

/// Most bytes of `ca_bundle`: some hundred certificates.
const CA_BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Most entries of `no_proxy`.
const NO_PROXY_MAX: usize = 100;

/// How a bucket is addressed in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// `https://BUCKET.ENDPOINT/KEY`: AWS, and what an S3 interface endpoint expects.
    #[default]
    VirtualHost,
    /// `https://ENDPOINT/BUCKET/KEY`: most S3-compatible servers.
    Path,
}

/// The S3 endpoint, the way to it and the credentials for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    /// Endpoint URL (`https://bucket.vpce-….s3.ap-northeast-2.vpce.amazonaws.com`, or any
    /// S3-compatible server); empty for AWS's endpoint of the region.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// AWS's FIPS 140 endpoint of the region.
    pub fips: bool,
    /// AWS's endpoint of the region that has IPv6 addresses as well.
    pub dual_stack: bool,
    /// Virtual-host or path style.
    pub addressing: Addressing,
    /// Plain http is refused unless this says so.
    pub allow_http: bool,
    /// Certificates (PEM) of authorities that are trusted beside the built-in ones.
    pub ca_bundle: String,
    /// HTTP proxy on the way to S3, such as `http://proxy.example:3128`; empty for none.
    pub http_proxy: String,
    /// User name for the proxy; empty for none.
    pub proxy_user: String,
    /// Password for the proxy.
    pub proxy_password: Secret,
    /// Hosts and networks that are reached without the proxy.
    pub no_proxy: Vec<String>,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Session token of temporary credentials; empty for static ones.
    pub session_token: Secret,
    /// When the credentials end, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
    /// File that holds the credentials instead, and is renewed by somebody else.
    pub credentials_file: String,
}

impl S3Settings {
    /// Everything but the credentials: what a connection depends on.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        Self {
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
            session_token: Secret::default(),
            expires_at: None,
            credentials_file: String::new(),
            ..self.clone()
        }
    }

    /// Takes out what nobody is to read.
    pub fn forget_secrets(&mut self) {
        self.secret_access_key = Secret::default();
        self.session_token = Secret::default();
        self.proxy_password = Secret::default();
    }

    /// Puts back the secrets of `old` that a document without them leaves as they were: those of the
    /// same access key, and of the same user of the same proxy.
    pub fn keep_secrets_of(&mut self, old: &Self) {
        if self.secret_access_key.is_empty() && self.access_key_id == old.access_key_id {
            self.secret_access_key = old.secret_access_key.clone();
            self.session_token = old.session_token.clone();
        }
        let same_proxy = (&self.http_proxy, &self.proxy_user) == (&old.http_proxy, &old.proxy_user);
        if self.proxy_password.is_empty() && same_proxy {
            self.proxy_password = old.proxy_password.clone();
        }
    }

    /// Checks what the field types alone cannot.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        self.check_endpoint()?;
        self.check_proxy()?;
        let refuse = |field: &str, problem: &str| Err(SettingsError::field(field, problem));
        if self.ca_bundle.len() > CA_BUNDLE_BYTES_MAX {
            return refuse("s3.ca_bundle", "must be at most 1 MiB");
        }
        if !self.ca_bundle.is_empty() && !self.ca_bundle.contains("-----BEGIN CERTIFICATE-----") {
            return refuse(
                "s3.ca_bundle",
                "must be the text of a PEM file with -----BEGIN CERTIFICATE----- in it",
            );
        }
        let keys = !(self.access_key_id.is_empty() && self.secret_access_key.is_empty());
        if !self.credentials_file.is_empty() && keys {
            return refuse(
                "s3.credentials_file",
                "give either a file or access_key_id and secret_access_key",
            );
        }
        if !(self.credentials_file.is_empty() || self.credentials_file.starts_with('/')) {
            return refuse("s3.credentials_file", "must be a path that begins with /");
        }
        Ok(())
    }

    fn check_endpoint(&self) -> Result<(), SettingsError> {
        let refuse = |field: &str, problem: String| Err(SettingsError::field(field, problem));
        let endpoint = self.endpoint.as_str();
        if endpoint.is_empty() {
            return Ok(());
        }
        if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
            return refuse("s3.endpoint", format!("{endpoint:?} must begin with https://"));
        }
        if endpoint.starts_with("http://") && !self.allow_http {
            return refuse(
                "s3.endpoint",
                "plain http sends file content in the clear; use https, or set s3.allow_http = true"
                    .to_owned(),
            );
        }
        if self.fips {
            return refuse(
                "s3.fips",
                "leave s3.endpoint empty, or name the FIPS endpoint there".to_owned(),
            );
        }
        if self.dual_stack {
            return refuse(
                "s3.dual_stack",
                "leave s3.endpoint empty, or name the dual-stack endpoint there".to_owned(),
            );
        }
        Ok(())
    }

    fn check_proxy(&self) -> Result<(), SettingsError> {
        let refuse = |field: &str, problem: &str| Err(SettingsError::field(field, problem));
        let proxy = self.http_proxy.as_str();
        if !proxy.is_empty() {
            let address = proxy.strip_prefix("http://").unwrap_or_default();
            let address = address.strip_suffix('/').unwrap_or(address);
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '?' | '#');
            if address.is_empty() || !address.chars().all(plain) {
                return refuse(
                    "s3.http_proxy",
                    "must be http://HOST:PORT; user and password go to proxy_user and proxy_password",
                );
            }
        }
        let of_the_proxy = !self.proxy_user.is_empty()
            || !self.proxy_password.is_empty()
            || !self.no_proxy.is_empty();
        if proxy.is_empty() && of_the_proxy {
            return refuse("s3.http_proxy", "is not set, but what belongs to it is");
        }
        if self.proxy_user.is_empty() && !self.proxy_password.is_empty() {
            return refuse("s3.proxy_user", "must be set with proxy_password");
        }
        let plain = |host: &String| {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != ',')
        };
        if self.no_proxy.len() > NO_PROXY_MAX || !self.no_proxy.iter().all(plain) {
            return refuse(
                "s3.no_proxy",
                "must be at most 100 hosts, domains (.example) or networks (10.0.0.0/8)",
            );
        }
        Ok(())
    }

    /// What must still be filled in before S3 can be used.
    pub(super) fn missing(&self) -> Option<&'static str> {
        if self.region.is_empty() {
            Some("s3.region is not set: name the bucket's region, such as ap-northeast-2")
        } else if self.credentials_file.is_empty()
            && (self.access_key_id.is_empty() || self.secret_access_key.is_empty())
        {
            Some("s3.access_key_id and s3.secret_access_key are not set")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<S3Settings, String> {
        let settings: S3Settings = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string()).map(|()| settings)
    }

    #[test]
    fn what_cannot_work_is_refused_and_the_field_named() {
        for (text, says) in [
            ("endpoint = \"http://s3\"", "s3.allow_http"),
            ("endpoint = \"s3.example\"", "https://"),
            ("endpoint = \"https://s3.example\"\nfips = true", "s3.fips"),
            ("endpoint = \"https://s3.example\"\ndual_stack = true", "s3.dual_stack"),
            ("ca_bundle = \"MIIB\"", "s3.ca_bundle"),
            ("http_proxy = \"https://proxy:3128\"", "http://HOST:PORT"),
            ("http_proxy = \"http://user:word@proxy:3128\"", "proxy_user"),
            ("http_proxy = \"http://proxy:3128/path\"", "http://HOST:PORT"),
            ("http_proxy = \"http://\"", "http://HOST:PORT"),
            ("proxy_user = \"me\"", "s3.http_proxy"),
            ("http_proxy = \"http://p:1\"\nproxy_password = \"x\"", "s3.proxy_user"),
            ("http_proxy = \"http://p:1\"\nno_proxy = [\"a,b\"]", "s3.no_proxy"),
            ("credentials_file = \"keys\"", "begins with /"),
            ("credentials_file = \"/keys\"\naccess_key_id = \"A\"", "either"),
            ("expires_at = \"soon\"", "RFC 3339"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(says), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn what_works_is_accepted_and_survives_a_round_trip() {
        for text in [
            "",
            "fips = true\ndual_stack = true",
            "endpoint = \"http://10.0.2.2:9000\"\nallow_http = true\naddressing = \"path\"",
            "http_proxy = \"http://[2001:db8::1]:3128/\"\nproxy_user = \"me\"\nproxy_password = \"it's\"\n\
             no_proxy = [\"10.0.0.0/8\", \".example\"]",
            "access_key_id = \"A\"\nsecret_access_key = \"s\"\nsession_token = \"t\"\n\
             expires_at = \"2026-11-26T18:00:00Z\"",
            "credentials_file = \"/run/secrets/s3\"",
        ] {
            let settings = checked(text).unwrap();
            let again = checked(&toml::to_string(&settings).unwrap()).unwrap();
            assert_eq!(settings, again, "{text}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secret_and_given_back_changes_none() {
        let settings = checked(
            "http_proxy = \"http://proxy:3128\"\nproxy_user = \"me\"\nproxy_password = \"hush 1\"\n\
             access_key_id = \"A\"\nsecret_access_key = \"hush 2\"\nsession_token = \"hush 3\"",
        )
        .unwrap();
        let mut shown = settings.clone();
        shown.forget_secrets();
        assert!(!toml::to_string(&shown).unwrap().contains("hush"));
        assert!(!format!("{settings:?}").contains("hush"));
        let mut back = shown.clone();
        back.keep_secrets_of(&settings);
        assert_eq!(back, settings);
        let mut other =
            S3Settings { access_key_id: "B".to_owned(), proxy_user: "you".to_owned(), ..shown };
        other.keep_secrets_of(&settings);
        assert!(other.secret_access_key.is_empty() && other.proxy_password.is_empty());
    }
}
