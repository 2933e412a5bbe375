//! The side that accepts connections.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::identities::normal;
use super::{Authorities, Clock, Credentials, provider};

/// What a listener asks of its clients. RFC 5922 §7.4: "Whether or not to close a connection if the client does not
/// present a certificate is a matter of local policy".
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// They are not asked.
    Off,
    /// They are asked, and may have none; one that they show has to be by one of these.
    Optional(Authorities),
    /// Without one by one of these there is no connection.
    Required(Authorities),
}

/// What sessions with clients are made of.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// A listener with these certificates. Clients get the first one that has the name which they ask for by SNI, and the
    /// first of all without.
    ///
    /// Resumption is by tickets, under keys of this `Server` alone that change by themselves; nothing is kept of a client. Where
    /// clients are asked for certificates there is none, because nobody would verify them again: a ticket holds what its client has
    /// shown once, and each resumption gives out further ones.
    ///
    /// # Errors
    /// The system has no randomness, or `clients` trusts nobody.
    pub fn new(
        first: &Credentials,
        further: &[Credentials],
        clients: &ClientCertificates,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let provider = provider();
        let by_name = ByName::new(first, further);
        let verifier = match clients {
            ClientCertificates::Off => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional(authorities) | ClientCertificates::Required(authorities) => {
                let builder = WebPkiClientVerifier::builder_with_provider(
                    Arc::clone(authorities.store()),
                    Arc::clone(&provider),
                );
                let builder = match clients {
                    ClientCertificates::Optional(_) => builder.allow_unauthenticated(),
                    _ => builder,
                };
                builder.build().map_err(|error| rustls::Error::General(error.to_string()))?
            }
        };
        let mut config = ServerConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(by_name));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match clients {
            ClientCertificates::Off => config.ticketer = Ticketer::new()?,
            ClientCertificates::Optional(_) | ClientCertificates::Required(_) => {
                config.send_tls13_tickets = 0
            }
        }
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.0
    }
}

/// Which certificate a client gets.
#[derive(Debug)]
struct ByName {
    all: Vec<Credentials>,
    /// Hosts without a wildcard, and which of `all` is for them.
    exact: HashMap<Box<str>, usize>,
}

impl ByName {
    fn new(first: &Credentials, further: &[Credentials]) -> Self {
        let all: Vec<Credentials> = std::iter::once(first).chain(further).cloned().collect();
        let mut exact = HashMap::new();
        for (index, credentials) in all.iter().enumerate() {
            for host in &credentials.certificate().hosts {
                exact.entry(host.clone()).or_insert(index);
            }
        }
        Self { all, exact }
    }

    fn choose(&self, host: Option<&str>) -> Option<&Credentials> {
        let named = host.map(normal).and_then(|host| match self.exact.get(&host) {
            Some(&index) => self.all.get(index),
            None => self.all.iter().find(|credentials| credentials.serves(&host)),
        });
        named.or(self.all.first())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).map(|credentials| Arc::clone(credentials.key()))
    }
}
