//! What a certificate says of itself: for names, for `check`, for metrics.

use rustls::pki_types::CertificateDer;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::identities::{Identities, normal};

/// What a certificate says of itself. That it is true is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// Its issuer, likewise.
    pub issuer: String,
    /// Seconds since 1970 from which on it is valid.
    pub not_before: u64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: u64,
    /// The SIP domains that it speaks for.
    pub identities: Identities,
    /// All host names in it, in lower case, wildcards as written: what a client may ask for by SNI.
    pub(super) hosts: Vec<Box<str>>,
    /// It has no subjectAltName: its identities, if any, are its common name.
    pub(super) names_by_common_name: bool,
    /// It bounds the names of what it has issued.
    pub(super) constrains_names: bool,
}

impl Certificate {
    /// Reads it. `None`: it is no X.509 certificate.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let extensions = tbs.extensions().map_or(&[][..], Vec::as_slice);
        let has = |oid| extensions.iter().any(|extension| extension.extn_id == oid);
        // One that cannot be read is there all the same: the common name does not stand in for it.
        let alternatives: Option<Vec<GeneralName>> = has(SubjectAltName::OID).then(|| {
            let read = tbs.get_extension::<SubjectAltName>();
            read.ok().flatten().map(|(_, names)| names.0).unwrap_or_default()
        });
        let common_name = tbs.subject().common_name().ok().flatten();
        let common_name = common_name.as_ref().map(DirectoryString::value);
        let identities = Identities::find(alternatives.as_deref(), common_name.as_deref());
        let dns = alternatives.iter().flatten().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(normal(name.as_str())),
            _ => None,
        });
        Some(Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            hosts: dns.chain(identities.iter().map(normal)).collect(),
            identities,
            names_by_common_name: alternatives.is_none(),
            constrains_names: has(NameConstraints::OID),
        })
    }
}
