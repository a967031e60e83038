//! The way to S3 where it is not the plain one: authorities of one's own, an HTTP proxy.
use std::sync::Arc;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use gateway_api::{SettingsError, settings::S3Settings};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The HTTP client of `settings`; `None` where the SDK's own will do.
///
/// # Errors
/// [`SettingsError::Field`] where the CA bundle or the proxy cannot be used.
pub(super) fn client(settings: &S3Settings) -> Result<Option<SharedHttpClient>, SettingsError> {
    if settings.ca_bundle.is_empty() && settings.http_proxy.is_empty() {
        return Ok(None);
    }
    let tls = tls(&settings.ca_bundle)?;
    let proxy = proxy(settings)?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector
            .set_connector_settings(settings.cloned())
            .set_sleep_impl(components.and_then(|components| components.sleep_impl()))
            .set_proxy_config(proxy.clone());
        connector.tls_provider(Provider::rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    });
    Ok(Some(client))
}

/// Trust in the built-in authorities and those of `bundle`.
pub(super) fn tls(bundle: &str) -> Result<TlsContext, SettingsError> {
    let mut trust = TrustStore::default();
    if !bundle.is_empty() {
        check_bundle(bundle).map_err(|why| SettingsError::field("s3.ca_bundle", why))?;
        trust = trust.with_pem_certificate(bundle);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    context.map_err(|error| SettingsError::field("s3.ca_bundle", error.to_string()))
}

/// Every certificate of the bundle must be one that rustls can trust: the HTTP client takes them for
/// checked.
fn check_bundle(bundle: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(bundle.as_bytes())) {
        let wrong = |why: String| format!("certificate {number} cannot be used: {why}");
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(()) }
}

/// TLS as the requests speak it: with trust in the machine's authorities and those of `bundle`.
///
/// # Errors
/// The TLS library knows no protocol version.
pub fn tls_config(bundle: &str) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(crypto());
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(trusted(bundle)).with_no_client_auth())
}

/// The cryptography of every TLS connection.
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The machine's authorities and those of `bundle`, as far as they can be read.
pub fn trusted(bundle: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // What cannot be read of them is missing, and so it is for the requests.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let own = CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok);
    roots.add_parsable_certificates(own);
    roots
}

/// The proxy for http and https endpoints; to the latter by CONNECT, so that it sees no content.
pub(super) fn proxy(settings: &S3Settings) -> Result<Option<ProxyConfig>, SettingsError> {
    if settings.http_proxy.is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| SettingsError::field("s3.http_proxy", why);
    let mut proxy =
        ProxyConfig::all(settings.http_proxy.as_str()).map_err(|e| wrong(e.to_string()))?;
    if !settings.proxy_user.is_empty() {
        // They become part of a URL on the way, and are decoded again.
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        proxy = proxy.with_basic_auth(
            encoded(&settings.proxy_user),
            encoded(settings.proxy_password.expose()),
        );
    }
    if !settings.no_proxy.is_empty() {
        proxy = proxy.no_proxy(settings.no_proxy.join(","));
    }
    Ok(Some(proxy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_trusted_is_refused_with_the_reason() {
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        for (bundle, says) in [
            ("no PEM at all".to_owned(), "no certificate"),
            (pem("AAAA"), "certificate 1"),
            (pem("not base64!"), "certificate 1"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "certificate 1"),
        ] {
            let settings = S3Settings { ca_bundle: bundle.clone(), ..S3Settings::default() };
            let refused = client(&settings).unwrap_err().to_string();
            assert!(refused.contains("s3.ca_bundle") && refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn the_sdk_s_client_is_left_alone_where_nothing_is_asked_for() {
        assert!(client(&S3Settings::default()).unwrap().is_none());
    }
}
