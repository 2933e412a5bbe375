//! The side that connects.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::sessions::Sessions;
use super::verify::SipServerVerifier;
use super::{Authorities, Clock, Credentials, provider};

/// Who has to answer: the domain that was asked for, before DNS made addresses of it (RFC 5922 §7.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(ServerName<'static>);

impl PeerName {
    /// A host name, or an address where a URI names one. `None`: it is neither.
    pub fn new(host: &str) -> Option<Self> {
        let host = host.strip_suffix('.').unwrap_or(host);
        ServerName::try_from(host.to_ascii_lowercase()).ok().map(Self)
    }

    /// The address itself, where nothing else is known of a server.
    pub fn of_address(address: IpAddr) -> Self {
        Self(ServerName::IpAddress(address.into()))
    }

    pub(super) fn get(&self) -> &ServerName<'static> {
        &self.0
    }
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

/// What sessions with servers are made of.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    authorities: Arc<RootCertStore>,
}

impl Client {
    /// Trusts servers by these authorities, and shows `own` to those that ask.
    ///
    /// It keeps [`TLS_SESSIONS`](crate::limits::TLS_SESSIONS) sessions to resume, as long as the certificates are valid that they
    /// began with, behind a lock: each shard has a `Client` [of its own](Self::apart).
    ///
    /// # Errors
    /// The provider and the protocol versions do not fit.
    pub fn new(
        authorities: &Authorities,
        own: Option<&Credentials>,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let authorities = Arc::clone(authorities.store());
        let (verifier, resumption) = beginning(&authorities, &clock);
        let builder = ClientConfig::builder_with_details(provider(), clock)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match own {
            Some(own) => {
                let own = SingleCertAndKey::from(rustls::sign::CertifiedKey::clone(own.key()));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = resumption;
        Ok(Self { config: Arc::new(config), authorities })
    }

    /// The same with sessions of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        let (verifier, resumption) = beginning(&self.authorities, &config.time_provider);
        config.dangerous().set_certificate_verifier(verifier);
        config.resumption = resumption;
        Self { config: Arc::new(config), authorities: Arc::clone(&self.authorities) }
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

/// What verifies servers, and the sessions that hold as long as that does.
fn beginning(authorities: &Arc<RootCertStore>, clock: &Clock) -> (Arc<SipServerVerifier>, Resumption) {
    let sessions = Arc::new(Sessions::new(Arc::clone(clock)));
    let verifier = SipServerVerifier::new(Arc::clone(authorities), provider(), Arc::clone(&sessions));
    (Arc::new(verifier), Resumption::store(sessions))
}

#[cfg(test)]
impl Client {
    pub(super) fn of_config(config: ClientConfig) -> Self {
        Self { config: Arc::new(config), authorities: Arc::new(RootCertStore::empty()) }
    }
}
