//! What both sides of a connection over TLS are made of, for tests.

use crate::pki::Authority;
use crate::tls::{Authorities, Client, ClientCertificates, Credentials, Server, system_clock};

/// A server for `a.example`, and a client that trusts it.
pub(super) fn sides() -> (Server, Client) {
    let authority = Authority::new("A");
    let pair = authority.issue(&["a.example"]);
    let own = Credentials::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap();
    let trusted = Authorities::from_pem(authority.pem().as_bytes()).unwrap();
    let server = Server::new(&own, &[], &ClientCertificates::Off, system_clock()).unwrap();
    (server, Client::new(&trusted, None, system_clock()).unwrap())
}
