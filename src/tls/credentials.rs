//! Our own certificates with their keys.

use std::fmt;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::certificate::Certificate;
use super::pem::fault;
use super::provider;

/// A certificate chain and the key of its first certificate. Shows everything but the key.
#[derive(Clone)]
pub struct Credentials {
    key: Arc<CertifiedKey>,
    chain: Vec<Certificate>,
}

/// Why a certificate and a key cannot be used. None of these shows a byte of the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The certificate's file is no PEM.
    #[error("the certificate is not PEM: {0}")]
    CertificatePem(String),
    /// There is no certificate.
    #[error("there is no certificate in it (no «BEGIN CERTIFICATE»)")]
    NoCertificate,
    /// The certificate with this number, from 1, is none.
    #[error("certificate {0} in it cannot be read")]
    Unreadable(usize),
    /// The key's file is no PEM.
    #[error("the key is not PEM: {0}")]
    KeyPem(String),
    /// There is no key that could be read.
    #[error(
        "there is no private key in it (no «BEGIN PRIVATE KEY»); an encrypted one has to be decrypted first"
    )]
    NoKey,
    /// The key is of a kind that cannot be used.
    #[error(
        "the key is none that can be used: RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    Key,
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

impl CredentialsError {
    /// It is the key's file that has to be looked at.
    pub const fn is_about_the_key(&self) -> bool {
        matches!(self, Self::KeyPem(_) | Self::NoKey | Self::Key | Self::Mismatch)
    }
}

/// What is odd about a chain, though it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainFault {
    /// The certificate with this number, from 1, was not issued by the one that follows it.
    #[error(
        "certificate {number} is issued by «{issuer}», but the next one is «{next}»: the server's certificate comes first, then the one that issued it, and so on"
    )]
    Order {
        /// From 1.
        number: usize,
        /// Who issued it.
        issuer: String,
        /// Whose certificate follows.
        next: String,
    },
}

impl Credentials {
    /// Reads the PEM texts of a certificate chain, the own certificate first, and of its private key (PKCS #8, PKCS #1
    /// or SEC1).
    ///
    /// # Errors
    /// One of them cannot be read, or the key is not the certificate's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let ders: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| CredentialsError::CertificatePem(fault(&error)))?;
        if ders.is_empty() {
            return Err(CredentialsError::NoCertificate);
        }
        let read = |(index, der)| Certificate::read(der).ok_or(CredentialsError::Unreadable(index + 1));
        let certificates = ders.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => CredentialsError::NoKey,
            other => CredentialsError::KeyPem(fault(&other)),
        })?;
        let key = CertifiedKey::from_der(ders, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CredentialsError::Mismatch,
            _ => CredentialsError::Key,
        })?;
        Ok(Self { key: Arc::new(key), chain: certificates })
    }

    /// Our own certificate.
    pub fn certificate(&self) -> &Certificate {
        // There is one: `from_pem` asks for it.
        &self.chain[0]
    }

    /// Seconds since 1970 until which all of the chain is valid.
    pub fn not_after(&self) -> u64 {
        self.chain.iter().map(|certificate| certificate.not_after).min().unwrap_or(0)
    }

    /// What is odd about the chain.
    pub fn fault(&self) -> Option<ChainFault> {
        let wrong = |pair: &[Certificate]| pair[0].issuer != pair[1].subject;
        let at = self.chain.windows(2).position(wrong)?;
        let (issuer, next) = (self.chain[at].issuer.clone(), self.chain[at + 1].subject.clone());
        Some(ChainFault::Order { number: at + 1, issuer, next })
    }

    /// A client that asks for this host by SNI, in lower case, may get it: a host in it is that one, or has a wildcard
    /// in the place of its first label.
    pub(super) fn serves(&self, host: &str) -> bool {
        let wild = host.split_once('.').map(|(_, rest)| rest);
        self.certificate()
            .hosts
            .iter()
            .any(|own| **own == *host || own.strip_prefix("*.").is_some_and(|own| Some(own) == wild))
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("chain", &self.chain).finish_non_exhaustive()
    }
}
