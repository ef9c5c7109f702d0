//! TLS over the bytes of a connection. Keys come from the system's generator: the one place in the core where
//! randomness is not an argument, since a seed would be a key.

use crate::{Failure, Http};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

/// A client's end. rustls keeps at most 64 KiB of a handshake message, and one record of 16 KiB.
#[derive(Debug)]
pub(crate) struct Tls {
    connection: ClientConnection,
}

impl Tls {
    /// A handshake that asks for the check's host, with `request` to be sent when it is done.
    pub(crate) fn new(check: &Http, vip: IpAddr, request: &[u8]) -> Option<Self> {
        let name = match &check.host {
            Some(host) => {
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                ServerName::try_from(name.to_owned()).unwrap_or(ServerName::from(vip))
            }
            None => ServerName::from(vip),
        };
        let mut connection = ClientConnection::new(CONFIG.clone(), name).ok()?;
        connection.writer().write_all(request).ok()?;
        Some(Self { connection })
    }

    /// What is to be sent.
    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() && self.connection.write_tls(&mut out).is_ok_and(|len| len > 0) {}
        out
    }

    /// Reads what the server has sent; hands on what it means.
    pub(crate) fn take_in(&mut self, mut bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(|_| Failure::TooLong)?;
            self.connection.process_new_packets().map_err(|error| match error {
                rustls::Error::AlertReceived(alert) => Failure::TlsAlert(u8::from(alert)),
                _ => Failure::Tls,
            })?;
            loop {
                match self.connection.reader().read(&mut buffer) {
                    Ok(0) => break,
                    Ok(len) => plain(&buffer[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Err(Failure::Closed),
                }
            }
        }
        Ok(())
    }

    /// Whether the handshake is not done yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }
}

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoTime))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer { schemes }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = true;
    Arc::new(config)
});

/// No certificate is checked and nothing is resumed, so no time is ever looked at.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Takes any certificate: it names the service and not the server, it may have expired without the server
/// being the worse for it, and nothing secret is asked.
#[derive(Debug)]
struct AnyServer {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
