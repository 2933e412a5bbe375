//! Authorities and certificates of tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SignatureAlgorithm, date_time_ymd,
};

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Of its key, and of those that it vouches for.
    algorithm: &'static SignatureAlgorithm,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::of(name, &PKCS_ECDSA_P256_SHA256)
    }

    /// All signatures are equally long, and so are certificates that say as much.
    #[allow(dead_code)] // Only where a run has to be repeated.
    pub fn of_even_signatures(name: &str) -> Self {
        Self::of(name, &PKCS_ED25519)
    }

    fn of(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(name), key(algorithm)).expect("an authority");
        Self { issuer, algorithm }
    }

    /// Another authority that this one vouches for.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(name);
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, key(self.algorithm), &self.issuer);
        Self { issuer: issuer.expect("an authority"), algorithm: self.algorithm }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these: `sip:…` is a URI, an address is one, everything else a DNS name.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |_| {})
    }

    /// The same, changed.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "common.example.com");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect();
        change(&mut params);
        let key = key(self.algorithm);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn alternative(name: &str) -> SanType {
    if let Ok(address) = name.parse() {
        return SanType::IpAddress(address);
    }
    let text = name.try_into().expect("ASCII");
    if name.starts_with("sip:") { SanType::URI(text) } else { SanType::DnsName(text) }
}

/// Valid in these years, the last one excluded.
pub fn in_years(from: i32, until: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
    }
}
