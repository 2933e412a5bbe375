//! What an idle connection over TLS or WebSocket holds, besides what TCP does.

#[allow(dead_code)]
#[path = "support/pki.rs"]
mod pki;

use std::fs;

use viaduct::limits::{TLS_IDLE_BYTES, WS_IDLE_BYTES};
use viaduct::tls::{
    Authorities, Client, ClientCertificates, Credentials, PeerName, Server, Session, State, system_clock,
};
use viaduct::websocket::{self, WebSocket};

const CONNECTIONS: usize = 1_000;

/// Most bytes of one record of TLS (RFC 8446 §5.1).
const LARGEST: usize = 16_384;

/// Of this process, in bytes: what AWS-LC takes does not come to Rust's allocator.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("a Linux host");
    let pages: usize = statm.split(' ').nth(1).expect("the second number").parse().expect("a number");
    pages * 4_096
}

/// What each of so many takes.
fn each<T>(mut make: impl FnMut() -> T) -> usize {
    // What is taken once: tables, and room that the allocator keeps.
    let warm: Vec<T> = (0..CONNECTIONS / 5).map(|_| make()).collect();
    let before = resident();
    let all: Vec<T> = (0..CONNECTIONS).map(|_| make()).collect();
    let taken = resident().saturating_sub(before) / CONNECTIONS;
    drop((warm, all));
    taken
}

/// The server's side of a connection on which messages have come, a small one and the largest of one record, and one has gone.
fn tls(server: &Server, client: &Client) -> Session {
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let name = PeerName::new("a.example").expect("a name");
    let mut client = Session::connect(client, &name, &mut to_server).expect("a client");
    let mut server = Session::accept(server).expect("a server");
    let mut is_sent = false;
    while !to_server.is_empty() || !to_client.is_empty() {
        server.receive(&std::mem::take(&mut to_server), &mut plain, &mut to_client).expect("received");
        client.receive(&std::mem::take(&mut to_client), &mut plain, &mut to_server).expect("received");
        if client.state() == State::Open
            && server.state() == State::Open
            && !std::mem::replace(&mut is_sent, true)
        {
            client.send(&[b'a'; 1_000], &mut to_server).expect("sent");
            client.send(&[b'a'; LARGEST], &mut to_server).expect("sent");
            server.send(&[b'a'; 1_000], &mut to_client).expect("sent");
        }
    }
    assert_eq!(plain.len(), 2_000 + LARGEST);
    server
}

#[test]
fn idle_connections_take_what_is_stated() {
    // First what takes less: what is given back would be taken again.
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let taken = each(|| {
        let (mut socket, mut out, mut count) = (WebSocket::default(), Vec::new(), 0);
        let frame = [&[0x81, 0xfe, 0x03, 0xe8, 0, 0, 0, 0][..], &[b'a'; 1_000]].concat();
        for bytes in [&request[..], &frame] {
            let state = socket.receive(bytes, |message| count += message.len(), &mut out);
            assert_eq!(state, Ok(websocket::State::Open));
        }
        assert_eq!(count, 1_000);
        socket
    });
    println!("WebSocket: {taken} bytes");
    assert!(
        taken <= WS_IDLE_BYTES,
        "{taken} bytes for a connection over WebSocket, {WS_IDLE_BYTES} are stated"
    );

    let authority = pki::Authority::new("A");
    let pair = authority.issue(&["a.example"]);
    let own = Credentials::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("credentials");
    let trusted = Authorities::from_pem(authority.pem().as_bytes()).expect("authorities");
    let clients = ClientCertificates::Required(trusted.clone());
    let server = Server::new(&own, &[], &clients, system_clock()).expect("a server");
    let client = Client::new(&trusted, Some(&own), system_clock()).expect("a client");
    let taken = each(|| tls(&server, &client));
    println!("TLS: {taken} bytes");
    assert!(taken <= TLS_IDLE_BYTES, "{taken} bytes for a connection over TLS, {TLS_IDLE_BYTES} are stated");
}
