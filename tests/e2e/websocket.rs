//! Browsers in front, a switch that speaks UDP behind (RFC 7118).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{Frame as Piece, FrameHeader};
use tungstenite::{Bytes, Message as Frame};

use crate::browser::{Browser, connect};
use crate::endpoint::Party;
use crate::pki::Authority;
use crate::sip::{Dialog, Message, Speaker, parameter};
use crate::tcp::{answered, one_of_burst};
use crate::viaduct::{Home, LISTENERS, Viaduct};
use crate::world::{PATIENCE, World, eventually};

const EDGE: &str = "1.2.3.4:8080";

/// Browsers call by the switch, which may answer and call.
const BROWSERS: &str = r#"
[[listener]]
name = "browsers"
bind = "ws:1.2.3.4:8080"

[[route]]
name = "browsers"
when = { transport = ["ws", "wss"] }
to = "sip:10.0.0.100:5060"

[[route]]
name = "switch"
when = { source = ["10.0.0.100"] }
to = "request-uri"
"#;

fn home() -> Home {
    Home::new(&format!("{LISTENERS}{BROWSERS}"))
}

fn switch(world: &World) -> Party {
    world.private.party("switch", "10.0.0.100:5060")
}

fn until_open(viaduct: &Viaduct<'_>, count: u64) {
    eventually(&format!("{count} connections"), || {
        (viaduct.metrics().sum("viaduct_connections", &[]) == count).then_some(())
    });
}

/// A call of the browser that the switch has taken: both views of it.
fn call(browser: &mut Browser, switch: &Party) -> (Dialog, Dialog) {
    let invite = browser.request("INVITE", "sip:bob@example.net");
    browser.send(&invite);
    let received = switch.receive_request("INVITE");
    assert_eq!(received.message.value("Contact"), invite.value("Contact"));
    let answer = switch.answer(&received, "200 OK");
    let of_switch = Dialog::of_callee(&received.message, &answer);
    let mut own = Dialog::of_caller(&browser.receive("SIP/2.0 200 "));
    browser.send_in(&mut own, "ACK");
    switch.receive_request("ACK");
    (own, of_switch)
}

/// The switch asks within the dialog, and the browser answers.
fn ask_browser(switch: &Party, dialog: &mut Dialog, browser: &mut Browser, method: &str) {
    dialog.send(switch, method);
    let request = browser.receive(&format!("{method} {}", browser.uri()));
    browser.answer(&request, "200 OK");
    switch.receive_response_but_100(200);
    if method == "INVITE" {
        dialog.send(switch, "ACK");
        browser.receive("ACK ");
    }
}

/// The browser asks within the dialog, and the switch answers.
fn ask_switch(browser: &mut Browser, dialog: &mut Dialog, switch: &Party, method: &str) {
    browser.send_in(dialog, method);
    let request = switch.receive_request(method);
    switch.answer(&request, "200 OK");
    browser.receive("SIP/2.0 200 ");
    if method == "INVITE" {
        browser.send_in(dialog, "ACK");
        switch.receive_request("ACK");
    }
}

#[test]
fn either_side_asks_within_a_call_of_a_browser_and_ends_it() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let switch = switch(&world);
    let mut browsers = [(); 3].map(|()| Browser::new("wendy", &world.public, EDGE));
    // Of many calls by many connections some are of one shard and some of another.
    for n in 0..12 {
        let browser = &mut browsers[n % 3];
        let (mut own, mut of_switch) = call(browser, &switch);
        ask_browser(&switch, &mut of_switch, browser, "INVITE");
        ask_switch(browser, &mut own, &switch, "INVITE");
        ask_browser(&switch, &mut of_switch, browser, "INFO");
        match n % 2 {
            0 => ask_browser(&switch, &mut of_switch, browser, "BYE"),
            _ => ask_switch(browser, &mut own, &switch, "BYE"),
        }
    }
    let metrics = viaduct.accounted(12 * 10);
    for lost in ["connection_failed", "stray_response", "bad_branch", "not_handed_over"] {
        assert_eq!(metrics.dropped(lost), 0, "{lost}");
    }
    assert_eq!(metrics.sum("viaduct_connections_accepted_total", &[]), 3);
    assert_eq!(metrics.sum("viaduct_listener_connections", &[("listener", "browsers")]), 3);
    assert_eq!(metrics.sum("viaduct_dns_queries_total", &[]), 0, "nobody looks for names of browsers");
    viaduct.stop();
}

/// Registers the browser; gives the Path that the registrar keeps.
fn register(browser: &mut Browser, switch: &Party) -> String {
    let mut register = browser.request("REGISTER", "sip:example.net");
    register.add("Supported", "path, outbound");
    browser.send(&register);
    let received = switch.receive_request("REGISTER");
    let path = received.message.value("Path").to_owned();
    switch.answer(&received, "200 OK");
    browser.receive("SIP/2.0 200 ");
    path
}

#[test]
fn a_registered_browser_is_called_by_its_path() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let switch = switch(&world);
    let mut browsers = [(); 4].map(|()| Browser::new("wendy", &world.public, EDGE));
    for (n, browser) in browsers.iter_mut().enumerate() {
        let path = register(browser, &switch);
        assert!(path.contains("@10.0.0.4:5060;transport=udp;lr;ob>"), "where the switch can send to: {path}");
        let mut invite = switch.request("INVITE", &browser.uri());
        invite.insert_first("Route", &path);
        switch.send(&invite, "10.0.0.4:5060".parse().expect("an address"));
        let received = browser.receive("INVITE ");
        let answer = browser.answer(&received, "200 OK");
        let mut own = Dialog::of_callee(&received, &answer);
        let mut of_switch = Dialog::of_caller(&switch.receive_response_but_100(200).message);
        of_switch.send(&switch, "ACK");
        browser.receive("ACK ");
        ask_browser(&switch, &mut of_switch, browser, "INVITE");
        match n % 2 {
            0 => ask_browser(&switch, &mut of_switch, browser, "BYE"),
            _ => ask_switch(browser, &mut own, &switch, "BYE"),
        }
    }
    viaduct.stop();
}

#[test]
fn a_browser_that_is_gone_is_answered_for_at_once_and_nobody_takes_its_place() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let switch = switch(&world);
    const PORT: u16 = 43_210;
    let mut browser = Browser::from_port("wendy", &world.public, PORT, EDGE);
    let path = register(&mut browser, &switch);
    let (_, mut of_switch) = call(&mut browser, &switch);
    // Who has its address from elsewhere reaches it by that.
    let options = switch.request("OPTIONS", &format!("sip:wendy@1.2.3.100:{PORT};transport=ws"));
    switch.send(&options, of_switch.next_hop());
    let received = browser.receive("OPTIONS ");
    browser.answer(&received, "200 OK");
    switch.receive_response_but_100(200);
    browser.vanish();
    until_open(&viaduct, 0);
    let gone = |method: &str, of_switch: &mut Dialog| {
        let request = of_switch.request(&switch, method);
        switch.send(&request, of_switch.next_hop());
        let answer = switch.receive_response_but_100(430).message;
        assert_eq!(answer.start, "SIP/2.0 430 Flow Failed");
        assert!(parameter(answer.value("To"), "tag").is_some());
        if method == "INVITE" {
            let ack = crate::sip::same_transaction(&request, "ACK", answer.value("To"));
            switch.send(&ack, of_switch.next_hop());
        }
    };
    gone("INVITE", &mut of_switch);
    gone("BYE", &mut of_switch);
    // Another one from the very same address and port is another one.
    let mut next = Browser::from_port("other", &world.public, PORT, EDGE);
    until_open(&viaduct, 1);
    gone("INFO", &mut of_switch);
    let mut invite = switch.request("INVITE", "sip:wendy@gone.invalid;transport=ws");
    invite.insert_first("Route", &path);
    switch.send(&invite, of_switch.next_hop());
    switch.receive_response_but_100(430);
    let (mut own, mut of_switch) = call(&mut next, &switch);
    ask_browser(&switch, &mut of_switch, &mut next, "INFO");
    ask_switch(&mut next, &mut own, &switch, "BYE");
    viaduct.stop();
}

/// RFC 7118 §5.3: "SIP responses can only be sent over the existing WebSocket connection".
#[test]
fn a_browser_that_goes_while_it_is_asked_is_answered_for_at_once() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let switch = switch(&world);
    for (method, rings) in [("INVITE", true), ("INVITE", false), ("MESSAGE", false)] {
        let mut browser = Browser::new("wendy", &world.public, EDGE);
        let path = register(&mut browser, &switch);
        let mut request = switch.request(method, &browser.uri());
        request.insert_first("Route", &path);
        switch.send(&request, "10.0.0.4:5060".parse().expect("an address"));
        let received = browser.receive(&format!("{method} "));
        if rings {
            browser.answer(&received, "180 Ringing");
            switch.receive_response_but_100(180);
        }
        browser.vanish();
        let answer = switch.receive_response_but_100(430).message;
        assert_eq!(answer.start, "SIP/2.0 430 Flow Failed");
        if method == "INVITE" {
            let ack = crate::sip::same_transaction(&request, "ACK", answer.value("To"));
            switch.send(&ack, "10.0.0.4:5060".parse().expect("an address"));
        }
    }
    viaduct.stop();
}

#[test]
fn calls_over_tls_with_an_authority_of_ones_own() {
    let world = World::new();
    let (authority, folder) = (Authority::new("A"), tempfile::tempdir().expect("a folder"));
    let pair = authority.issue(&["edge.example"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        path.display().to_string()
    };
    let (certificate, key) = (file("a.crt", &pair.certificate), file("a.key", &pair.key));
    let home = Home::new(&format!(
        "{LISTENERS}{BROWSERS}\n[[listener]]\nname = \"secure\"\nbind = \"wss:1.2.3.4:8443\"\n\
         certificate = \"{certificate}\"\nkey = \"{key}\"\nadvertise = \"edge.example:8443\"\n"
    ));
    let viaduct = home.start(&world);
    let switch = switch(&world);
    let ca = authority.pem();
    let mut browser = Browser::secure("wendy", &world.public, "1.2.3.4:8443", (&ca, "edge.example"));
    let path = register(&mut browser, &switch);
    assert!(path.contains("@10.0.0.4:5060;transport=udp;lr;ob>"), "{path}");
    for by_switch in [true, false] {
        let (mut own, mut of_switch) = call(&mut browser, &switch);
        assert!(
            of_switch.routes[1].contains("@edge.example:8443;transport=ws;lr>"),
            "{:?}",
            of_switch.routes
        );
        ask_browser(&switch, &mut of_switch, &mut browser, "INVITE");
        match by_switch {
            true => ask_browser(&switch, &mut of_switch, &mut browser, "BYE"),
            false => ask_switch(&mut browser, &mut own, &switch, "BYE"),
        }
    }
    drop(browser);
    until_open(&viaduct, 0);
    viaduct.stop();
}

/// What a client gets that sends this.
fn said(world: &World, request: &str) -> String {
    let mut stream = connect(&world.public, 0, EDGE);
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    answer
}

#[test]
fn who_does_not_speak_sip_over_websocket_is_told_so() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let plain = said(&world, "GET / HTTP/1.1\r\nHost: 1.2.3.4\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    assert!(plain.ends_with("this is for SIP over WebSocket (RFC 7118)"), "{plain}");
    let handshake = "GET / HTTP/1.1\r\nHost: 1.2.3.4\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for line in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let answer = said(&world, &format!("{handshake}{line}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("the subprotocol has to be sip (RFC 7118)"), "{answer}");
    }
    let failed = |why: &str| {
        let labels = [("cause", why)];
        viaduct.metrics().sum("viaduct_websocket_failures_total", &labels)
    };
    assert_eq!((failed("handshake"), failed("no_subprotocol")), (1, 2));
    viaduct.stop();
}

#[test]
fn pages_of_other_origins_do_not_connect_where_some_are_named() {
    let world = World::new();
    let named = "bind = \"ws:1.2.3.4:8080\"\norigins = [\"https://phone.example.net\"]";
    let home = Home::new(&format!("{LISTENERS}{}", BROWSERS.replace("bind = \"ws:1.2.3.4:8080\"", named)));
    let viaduct = home.start(&world);
    let handshake = "GET / HTTP/1.1\r\nHost: 1.2.3.4\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n";
    let answer = said(&world, &format!("{handshake}Origin: https://evil.example\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let failed = viaduct.metrics().sum("viaduct_websocket_failures_total", &[("cause", "origin")]);
    assert_eq!(failed, 1);
    let mut stream = connect(&world.public, 0, EDGE);
    stream
        .write_all(format!("{handshake}Origin: https://phone.example.net\r\n\r\n").as_bytes())
        .expect("a request");
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 101");
    viaduct.stop();
}

/// A part of a message, masked as clients do.
fn piece(opcode: Data, payload: &[u8], is_final: bool) -> Frame {
    let header = FrameHeader { is_final, opcode: OpCode::Data(opcode), ..FrameHeader::default() };
    Frame::Frame(Piece::from_payload(header, Bytes::copy_from_slice(payload)))
}

#[test]
fn frames_may_come_in_pieces_and_keep_alives_between_them_but_not_endlessly() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let mut browser = Browser::new("wendy", &world.public, EDGE);
    let options = |browser: &Browser| browser.request("OPTIONS", "sip:1.2.3.4:8080").bytes();
    let bytes = options(&browser);
    let (first, rest) = bytes.split_at(30);
    let (second, third) = rest.split_at(50);
    browser.socket.send(piece(Data::Text, first, false)).expect("sent");
    browser.socket.send(Frame::Ping(Bytes::from_static(b"alive?"))).expect("sent");
    browser.socket.send(piece(Data::Continue, second, false)).expect("sent");
    browser.socket.send(piece(Data::Continue, third, true)).expect("sent");
    assert_eq!(browser.next_frame(), Some(Frame::Pong(Bytes::from_static(b"alive?"))));
    browser.receive("SIP/2.0 200 ");
    let mut with_binary = Message::parse(&options(&browser)).bytes();
    with_binary.extend(b"\xff\0");
    browser.socket.send(Frame::binary(with_binary)).expect("sent");
    browser.receive("SIP/2.0 200 ");
    // RFC 7118 §6: "the CRLF NAT keep-alive mechanism defined for SIP connection-oriented transports in [RFC5626], Section
    // 3.5.1 or [RFC6223] are, of course, usable over the transport".
    browser.socket.send(Frame::text("\r\n\r\n")).expect("sent");
    assert_eq!(browser.next_frame(), Some(Frame::text("\r\n")));
    assert_eq!(viaduct.metrics().sum("viaduct_connections_pings_total", &[]), 1);
    for part in [false, true] {
        let opcode = if part { Data::Continue } else { Data::Text };
        browser.socket.send(piece(opcode, &[b'x'; 40_000], part)).expect("sent");
    }
    let Some(Frame::Close(Some(close))) = browser.next_frame() else { panic!("it should have been closed") };
    assert_eq!(close.code, CloseCode::Size);
    until_open(&viaduct, 0);
    viaduct.stop();
}

/// Writes as much as goes, and reads meanwhile, until so many answers have come.
fn exchange(stream: &mut (impl Read + Write), mut text: &[u8], answers: usize) -> Vec<u8> {
    let (mut came, mut buffer, mut counted, mut last) = (Vec::new(), vec![0; 65_536], 0, Instant::now());
    while counted < answers {
        assert!(last.elapsed() < PATIENCE, "{counted} answers, {} bytes are to be written", text.len());
        let written = stream.write(text).unwrap_or(0);
        text = &text[written..];
        let read = stream.read(&mut buffer).unwrap_or(0);
        let from = came.len().saturating_sub(3);
        came.extend_from_slice(&buffer[..read]);
        counted += came[from..].windows(4).filter(|end| end == b"\r\n\r\n").count();
        if written + read > 0 {
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    came
}

/// What finds no room waits below TLS and WebSocket.
#[test]
fn each_request_of_a_burst_over_tls_is_answered() {
    const MANY: usize = 15_000;
    let world = World::new();
    let authority = Authority::new("A");
    let pair = authority.issue(&["edge.example"]);
    let home = Home::new(&format!(
        "{LISTENERS}{BROWSERS}\n[[listener]]\nname = \"secure\"\nbind = \"wss:1.2.3.4:8443\"\n\
         certificate = \"edge.crt\"\nkey = \"edge.key\"\nadvertise = \"edge.example:8443\"\n"
    ));
    home.put("edge.crt", &pair.certificate);
    home.put("edge.key", &pair.key);
    let viaduct = home.start(&world);
    let ca = authority.pem();
    let mut browser = Browser::secure("wendy", &world.public, "1.2.3.4:8443", (&ca, "edge.example"));
    browser.wire.set_nonblocking(true).expect("a mode");
    let frame = |n| {
        let text = one_of_burst(0, n);
        let len = u16::try_from(text.len()).expect("a length").to_be_bytes();
        // The mask is zero.
        [&[0x81, 0xfe], &len[..], &[0; 4], text.as_bytes()].concat()
    };
    let frames: Vec<u8> = (0..MANY).flat_map(frame).collect();
    let answers = exchange(browser.socket.get_mut(), &frames, MANY);
    assert!(answered(&answers, 0, MANY).iter().all(|answers| *answers == 1));
    viaduct.accounted(MANY as u64);
    viaduct.stop();
}
