//! What a TLS server shows of itself: protocol, certificate chain, names, validity, and which authorities
//! vouch for it. For an engineer who sees "unknown issuer" and wants to know whose certificate it is.
use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use crate::store::s3::{Place, crypto, trusted};

/// Longest wait for the connection, and for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Certificates, and names of one, that are shown.
const CERTIFICATES_MAX: usize = 10;
const NAMES_MAX: usize = 30;
/// Longest line: names are the server's own words.
const LINE_CHARS_MAX: usize = 300;

/// Connects to a TLS server, whatever its certificate, and tells what it shows, a line each. `bundle`
/// (PEM) holds authorities that are trusted beside the machine's.
///
/// # Errors
/// Words: nothing answers, or what answers does not speak TLS.
pub async fn inspect(place: &Place, bundle: &str) -> Result<Vec<String>, String> {
    let Place { host, port, .. } = place;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| format!("{host} is no name that a certificate can have"))?;
    let connecting = TcpStream::connect((host.as_str(), *port));
    let stream = within(connecting).await.map_err(|e| format!("{host} port {port}: {e}"))?;
    let provider = crypto();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looks(Arc::clone(&provider))))
        .with_no_client_auth();
    let address = stream.peer_addr().map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
    let stream = within(handshake).await.map_err(|e| format!("{address}: no TLS: {e}"))?;
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version().and_then(|version| version.as_str());
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let mut lines = vec![format!(
        "{address}: {}, {}",
        version.unwrap_or("TLS").replace('_', "."),
        suite.unwrap_or("unknown cipher suite")
    )];
    let chain = connection.peer_certificates().unwrap_or_default();
    for (number, certificate) in (1..).zip(chain.iter().take(CERTIFICATES_MAX)) {
        lines.extend(described(number, certificate));
    }
    lines.extend(judged(chain, &name, host, bundle, &provider));
    Ok(lines.iter().map(|line| plain(line)).collect())
}

async fn within<T>(does: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, does).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// One certificate of the chain.
fn described(number: usize, certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = match parse_x509_certificate(certificate) {
        Ok((_, parsed)) => parsed,
        Err(error) => return vec![format!("certificate {number} cannot be read: {error}")],
    };
    let validity = parsed.validity();
    let mut lines = vec![
        format!("certificate {number}: {}", parsed.subject()),
        format!("  issued by {}", parsed.issuer()),
        format!(
            "  valid from {} to {}",
            moment(validity.not_before.timestamp()),
            moment(validity.not_after.timestamp())
        ),
    ];
    let names = names(&parsed);
    if !names.is_empty() {
        lines.push(format!("  for {}", names.join(", ")));
    }
    lines
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        // Others are no names of TLS servers.
        _ => None,
    });
    names.take(NAMES_MAX).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(ip.to_string())
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "beyond the calendar".to_owned(), |moment| moment.to_string())
}

/// Whether the name is right, and who vouches for the chain.
fn judged(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    host: &str,
    bundle: &str,
    provider: &CryptoProvider,
) -> Vec<String> {
    let Some((first, rest)) = chain.split_first() else {
        return vec!["the server shows no certificate".to_owned()];
    };
    let parsed = match ParsedCertificate::try_from(first) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("certificate 1 cannot be used: {error}")],
    };
    let mut lines = vec![match verify_server_name(&parsed, name) {
        Ok(()) => format!("name: {host} is what certificate 1 is for"),
        Err(_) => format!("name: certificate 1 is NOT for {host}"),
    }];
    let vouches = |roots: &RootCertStore| {
        let algorithms = provider.signature_verification_algorithms.all;
        let judged = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots,
            rest,
            UnixTime::now(),
            algorithms,
        );
        match judged {
            Ok(()) => "trusted".to_owned(),
            Err(Error::InvalidCertificate(why)) => format!("NOT trusted: {why:?}"),
            Err(why) => format!("NOT trusted: {why}"),
        }
    };
    lines.push(format!("authorities of this machine: {}", vouches(&trusted(""))));
    if !bundle.is_empty() {
        let both = trusted(bundle);
        lines.push(format!("with those of the CA bundle: {}", vouches(&both)));
    }
    lines
}

/// A server's words on a terminal: without control characters, and cut.
fn plain(line: &str) -> String {
    let shown = line.chars().map(|c| if c.is_control() { '?' } else { c });
    shown.take(LINE_CHARS_MAX).collect()
}

/// Takes every certificate, to look at it. Nothing is sent over such a connection.
#[derive(Debug)]
struct Looks(Arc<CryptoProvider>);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const AUTHORITY: &str = include_str!("../../tests/tls/authority.pem");
    const CERTIFICATE: &str = include_str!("../../tests/tls/server.pem");
    const KEY: &str = include_str!("../../tests/tls/server-key.pem");

    /// What is said of a server of the tests' authority that is reached under this name.
    async fn said_of(host: &str, bundle: &str) -> String {
        let config = rustls::ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serves = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // Whoever only looks hangs up.
            let _looked_at = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        });
        let place = Place { host: host.to_owned(), port, tls: true };
        let lines = inspect(&place, bundle).await.unwrap();
        serves.await.unwrap();
        lines.join("\n")
    }

    #[tokio::test]
    async fn a_server_s_certificate_is_shown_and_judged() {
        let said = said_of("127.0.0.1", AUTHORITY).await;
        for words in [
            "TLSv1.3, TLS13_",
            "certificate 1: CN=localhost",
            "  issued by CN=Tidegate test authority",
            "to 2126-11-02T19:08:28Z",
            "for localhost, store.test, *.store.test, 127.0.0.1",
            "name: 127.0.0.1 is what certificate 1 is for",
            "authorities of this machine: NOT trusted: UnknownIssuer",
            "with those of the CA bundle: trusted",
        ] {
            assert!(said.contains(words), "{words:?} is not in:\n{said}");
        }
    }

    #[tokio::test]
    async fn a_wrong_name_is_said() {
        let said = said_of("127.0.0.2", "").await;
        assert!(said.contains("certificate 1 is NOT for 127.0.0.2"), "{said}");
        assert!(!said.contains("CA bundle"), "{said}");
    }

    #[tokio::test]
    async fn what_speaks_no_tls_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serves = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, refusal).await.unwrap();
        });
        let place = Place { host: "127.0.0.1".to_owned(), port, tls: true };
        let why = inspect(&place, "").await.unwrap_err();
        assert!(why.contains("no TLS"), "{why}");
        serves.await.unwrap();
        assert!(inspect(&place, "").await.unwrap_err().contains("refused"));
    }

    #[test]
    fn a_server_s_words_cannot_drive_a_terminal() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a?[2Jb?");
        assert_eq!(plain(&"x".repeat(1000)).len(), LINE_CHARS_MAX);
    }
}
