//! TLS of both sides of the load.
//!
//! Both offer and take one version, one cipher suite and one key exchange, and no session is resumed: whoever is between
//! them has the same to do, whatever it would prefer.

use std::fs;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group::X25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::certificates::{AUTHORITY, CERTIFICATE, KEY};

/// What sessions are made of.
#[derive(Clone)]
pub struct Secure {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Secure {
    /// With the files of [`crate::certificates::make`].
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            let hint = "bench-harness certificates writes it";
            let failed = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("{}: {error}\n  hint: {hint}", path.display()))
            };
            fs::read(&path).map_err(|error| failed(&error))
        };
        let pem =
            |name: &str| CertificateDer::from_pem_slice(&file(name)?).map_err(|error| said(name, &error));
        let key = PrivateKeyDer::from_pem_slice(&file(KEY)?).map_err(|error| said(KEY, &error))?;
        let mut roots = RootCertStore::empty();
        roots.add(pem(AUTHORITY)?).map_err(|error| said(AUTHORITY, &error))?;
        Self::new(roots, pem(CERTIFICATE)?, key).map_err(|error| said(CERTIFICATE, &error))
    }

    fn new(
        roots: RootCertStore,
        own: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![X25519],
            ..aws_lc_rs::default_provider()
        });
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![own], key)?;
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// With a server at this address, which its certificate has to have.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn client(&self, to: IpAddr) -> io::Result<Session> {
        let session = ClientConnection::new(Arc::clone(&self.client), to.into());
        session.map(|session| Session::of(session.into())).map_err(io::Error::other)
    }

    /// With a client that has connected.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn server(&self) -> io::Result<Session> {
        let session = ServerConnection::new(Arc::clone(&self.server));
        session.map(|session| Session::of(session.into())).map_err(io::Error::other)
    }
}

fn said(name: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{name}: {error}"))
}

/// TLS of one connection.
pub struct Session(Connection);

impl Session {
    fn of(mut connection: Connection) -> Self {
        // What is said before the handshake is over waits, however much it is.
        connection.set_buffer_limit(None);
        Self(connection)
    }

    /// Has something to say, as soon as that can be.
    pub fn say(&mut self, text: &[u8]) {
        let _ = self.0.writer().write_all(text);
    }

    /// Appends what has to be sent.
    pub fn seal(&mut self, out: &mut Vec<u8>) {
        while self.0.wants_write() && matches!(self.0.write_tls(out), Ok(1..)) {}
    }

    /// Takes what has come; text is appended.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn hear(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() && self.0.read_tls(&mut bytes)? > 0 {
            let processed = self.0.process_new_packets();
            // Ends with an error where more may follow; what was read is there.
            let _ = self.0.reader().read_to_end(text);
            processed.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Tells the peer that nothing more is said.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// Version, cipher suite and whether the handshake was a full one, once it is over.
    #[cfg(test)]
    pub fn agreed(&self) -> Option<(rustls::ProtocolVersion, rustls::CipherSuite, rustls::HandshakeKind)> {
        let suite = self.0.negotiated_cipher_suite()?.suite();
        Some((self.0.protocol_version()?, suite, self.0.handshake_kind()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes on what each has to send until neither has anything.
    fn talk(client: &mut Session, server: &mut Session) -> (Vec<u8>, Vec<u8>) {
        let (mut heard, mut answered) = (Vec::new(), Vec::new());
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.seal(&mut there);
            server.hear(&there, &mut heard).unwrap();
            server.seal(&mut back);
            client.hear(&back, &mut answered).unwrap();
            if there.is_empty() && back.is_empty() {
                return (heard, answered);
            }
        }
    }

    #[test]
    fn what_is_said_early_waits_and_each_handshake_is_the_same_full_one() {
        let folder = tempfile::tempdir().unwrap();
        let address: IpAddr = "10.2.0.2".parse().unwrap();
        assert!(Secure::read(folder.path()).is_err_and(|error| error.to_string().contains("certificates")));
        crate::certificates::make(folder.path(), &[address]).unwrap();
        let secure = Secure::read(folder.path()).unwrap();
        for _ in 0..2 {
            let (mut client, mut server) = (secure.client(address).unwrap(), secure.server().unwrap());
            let long = vec![b'x'; 200_000];
            client.say(&long);
            server.say(b"welcome");
            assert_eq!(talk(&mut client, &mut server), (long, b"welcome".to_vec()));
            let (version, suite, kind) = client.agreed().unwrap();
            assert_eq!(version, rustls::ProtocolVersion::TLSv1_3);
            assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
            assert_eq!(kind, rustls::HandshakeKind::Full);
            client.close();
            talk(&mut client, &mut server);
        }
        let (mut client, mut server) =
            (secure.client("10.2.0.3".parse().unwrap()).unwrap(), secure.server().unwrap());
        let (mut there, mut back) = (Vec::new(), Vec::new());
        client.seal(&mut there);
        server.hear(&there, &mut Vec::new()).unwrap();
        server.seal(&mut back);
        assert!(client.hear(&back, &mut Vec::new()).is_err(), "the certificate is for another address");
    }
}
