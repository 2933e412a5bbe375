//! TLS of a `[[listener]]`: the files that it names, and what was made of what stands in them.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

use crate::tls::{Authorities, Client, ClientCertificates, Clock, Credentials, Server};

/// The files that a `[[listener]]` names, and what it asks of its clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// `certificate` and `key`; then those of `sni`. Never empty.
    pub pairs: Vec<PairFiles>,
    /// `ca`
    pub ca: Option<PathBuf>,
    /// `client_certificates`
    pub clients: AskClients,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PairFiles {
    /// PEM, the own certificate first.
    pub certificate: PathBuf,
    /// PEM
    pub key: PathBuf,
}

/// `client_certificates`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AskClients {
    /// `"off"`
    #[default]
    Off,
    /// `"optional"`
    Optional,
    /// `"required"`
    Required,
}

/// Which file of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificate of the pair with this number.
    Certificate(usize),
    /// The key of the pair with this number.
    Key(usize),
    /// The authorities.
    Ca,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {text}", path.display())]
pub struct TlsFault {
    /// Which one.
    pub part: TlsPart,
    /// Its path.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// TLS of a `[[listener]]`. Equal where files and their contents are.
pub struct Tls {
    /// The files.
    pub files: TlsFiles,
    /// What was read, pair by pair.
    pub credentials: Vec<Credentials>,
    /// What connections of clients are made of.
    pub server: Server,
    /// What connections to servers are made of; `None`: there is no `ca`, so nobody is trusted.
    pub client: Option<Client>,
    content: u64,
}

/// `[tls] names`: whose certificate is asked for where a URI has an address and no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsNames(Arc<[(IpNet, Box<str>)]>);

impl TlsNames {
    /// Of networks and their names, in lower case; a smaller network goes before a larger one that holds it.
    pub fn new(mut names: Vec<(IpNet, Box<str>)>) -> Self {
        names.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self(names.into())
    }

    /// The name for an address.
    pub fn of(&self, address: IpAddr) -> Option<&str> {
        self.0.iter().find(|(network, _)| network.contains(&address)).map(|(_, name)| &**name)
    }
}

impl TlsFiles {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (TlsPart, &Path)> {
        let pairs = self.pairs.iter().enumerate().flat_map(|(number, pair)| {
            [(TlsPart::Certificate(number), &*pair.certificate), (TlsPart::Key(number), &*pair.key)]
        });
        pairs.chain(self.ca.iter().map(|ca| (TlsPart::Ca, &**ca)))
    }
}

impl Tls {
    /// Reads what stands in the files, which `read` gets.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(
        files: &TlsFiles,
        clock: &Clock,
        mut read: impl FnMut(&Path) -> Result<Vec<u8>, String>,
    ) -> Result<Self, TlsFault> {
        let fault = |part, path: &Path, text: String| TlsFault { part, path: path.into(), text };
        let mut hasher = DefaultHasher::new();
        let mut get = |part, path: &Path| {
            let bytes = read(path).map_err(|text| fault(part, path, text))?;
            bytes.hash(&mut hasher);
            Ok(bytes)
        };
        let mut credentials = Vec::new();
        for (number, pair) in files.pairs.iter().enumerate() {
            let chain = get(TlsPart::Certificate(number), &pair.certificate)?;
            let key = get(TlsPart::Key(number), &pair.key)?;
            let read = Credentials::from_pem(&chain, &key).map_err(|error| match error.is_about_the_key() {
                true => fault(TlsPart::Key(number), &pair.key, error.to_string()),
                false => fault(TlsPart::Certificate(number), &pair.certificate, error.to_string()),
            });
            credentials.push(read?);
        }
        let authorities = match &files.ca {
            Some(path) => {
                let pem = get(TlsPart::Ca, path)?;
                let authorities = Authorities::from_pem(&pem);
                Some(authorities.map_err(|error| fault(TlsPart::Ca, path, error.to_string()))?)
            }
            None => None,
        };
        let content = hasher.finish();
        Self::build(files, credentials, authorities, clock, content)
    }

    fn build(
        files: &TlsFiles,
        credentials: Vec<Credentials>,
        authorities: Option<Authorities>,
        clock: &Clock,
        content: u64,
    ) -> Result<Self, TlsFault> {
        let path = files.pairs.first().map(|pair| pair.certificate.clone()).unwrap_or_default();
        let fault = |text: String| TlsFault { part: TlsPart::Certificate(0), path: path.clone(), text };
        let Some((first, further)) = credentials.split_first() else {
            return Err(fault("there is no certificate".to_owned()));
        };
        let clients = match (files.clients, &authorities) {
            (AskClients::Off, _) | (_, None) => ClientCertificates::Off,
            (AskClients::Optional, Some(trusted)) => ClientCertificates::Optional(trusted.clone()),
            (AskClients::Required, Some(trusted)) => ClientCertificates::Required(trusted.clone()),
        };
        let server = Server::new(first, further, &clients, clock.clone());
        let client = authorities.map(|trusted| Client::new(&trusted, Some(first), clock.clone())).transpose();
        Ok(Self {
            files: files.clone(),
            server: server.map_err(|error| fault(error.to_string()))?,
            client: client.map_err(|error| fault(error.to_string()))?,
            credentials,
            content,
        })
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, self.content) == (&other.files, other.content)
    }
}

impl Eq for Tls {}

/// Files, certificates and nothing of keys.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, credentials, .. } = self;
        f.debug_struct("Tls").field("files", files).field("credentials", credentials).finish_non_exhaustive()
    }
}
