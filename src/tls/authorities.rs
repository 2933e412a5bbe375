//! Whom we trust to say who somebody is: the certificates of CA files.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::pem::fault;

/// Certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

/// Why a CA file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthoritiesError {
    /// It is no PEM.
    #[error("it is not PEM: {0}")]
    Pem(String),
    /// There is none in it.
    #[error("there is no certificate in it (no «BEGIN CERTIFICATE»)")]
    Empty,
    /// The certificate with this number, from 1, is none.
    #[error("certificate {0} in it cannot be read")]
    Unreadable(usize),
}

impl Authorities {
    /// Reads the PEM text of a CA file: certificates of authorities, in any order.
    ///
    /// # Errors
    /// It has no certificates, or one that is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let certificate = certificate.map_err(|error| AuthoritiesError::Pem(fault(&error)))?;
            store.add(certificate).map_err(|_| AuthoritiesError::Unreadable(index + 1))?;
        }
        if store.is_empty() {
            return Err(AuthoritiesError::Empty);
        }
        Ok(Self(Arc::new(store)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.0
    }
}
