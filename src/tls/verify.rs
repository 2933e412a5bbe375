//! How a server's certificate is verified: its path by webpki, its names by the rules of SIP domains.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Certificate;
use super::sessions::Sessions;

/// Verifies servers that we connect to (RFC 5922 §7.3).
#[derive(Debug)]
pub(super) struct SipServerVerifier {
    authorities: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    /// Where it is noted how long that holds.
    sessions: Arc<Sessions>,
}

impl SipServerVerifier {
    pub fn new(
        authorities: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self { authorities, provider, sessions }
    }

    /// RFC 5922 §7.3: "the client MUST compare the original domain portion of the SIP AUS used as input to the RFC 3263
    /// server location procedures to the SIP domain identities obtained from the certificate".
    fn verify_name(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        wanted: &ServerName<'_>,
    ) -> Result<(), Error> {
        let certificate = Certificate::read(own).ok_or(CertificateError::BadEncoding)?;
        // Constraints of an authority bound subjectAltNames; a common name would be a way around them.
        let counts = !certificate.names_by_common_name || !self.has_constraints(intermediates);
        if counts && certificate.identities.hold(&wanted.to_str()) {
            return Ok(());
        }
        let presented =
            if counts { certificate.identities.iter().map(str::to_owned).collect() } else { Vec::new() };
        Err(CertificateError::NotValidForNameContext { expected: wanted.to_owned(), presented }.into())
    }

    fn has_constraints(&self, intermediates: &[CertificateDer<'_>]) -> bool {
        let constrains = |der| Certificate::read(der).is_none_or(|certificate| certificate.constrains_names);
        intermediates.iter().any(constrains)
            || self.authorities.roots.iter().any(|root| root.name_constraints.is_some())
    }
}

impl ServerCertVerifier for SipServerVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        wanted: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.authorities,
            intermediates,
            now,
            algorithms,
        )?;
        self.verify_name(own, intermediates, wanted)?;
        self.sessions.verified(wanted, until(own, intermediates));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Seconds since 1970 until which all of these are valid; one that cannot be read is not.
fn until(own: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> u64 {
    let all = std::iter::once(own).chain(intermediates);
    all.map(|der| Certificate::read(der).map_or(0, |read| read.not_after)).min().unwrap_or(0)
}
