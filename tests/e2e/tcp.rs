//! TCP as neighbours see it: calls between all transports and families, and peers that do not behave.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::sipp::{self, End};
use crate::viaduct::{Home, KEEPING_RELAY, LISTENERS, Viaduct};
use crate::world::{EDGE, Far, PATIENCE, World, eventually};

/// TCP on the addresses of the world.
const TCP: &str = r#"
[[listener]]
name = "public-tcp"
bind = "tcp:1.2.3.4:5060"

[[listener]]
name = "private-tcp"
bind = "tcp:10.0.0.4:5060"

[[listener]]
name = "six-tcp"
bind = "tcp:[fd00:6::4]:5060"
"#;

fn home() -> Home {
    Home::new(&format!("{LISTENERS}{TCP}{KEEPING_RELAY}"))
}

/// A connection from this host.
pub fn connect(host: &Far, to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().expect("an address");
    let stream = host.inside(|| TcpStream::connect(to)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// An OPTIONS to this URI.
pub fn options(uri: &str, branch: &str) -> String {
    format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 1.2.3.100:5080;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:anna@1.2.3.100>;tag=a\r\nTo: <{uri}>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Reads one message without body.
pub fn read_message(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&bytes)));
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("text")
}

/// Connections that ended so.
pub fn ended(metrics: &Metrics, how: &str) -> u64 {
    metrics.sum("viaduct_connections_ended_total", &[("how", how)])
}

/// Waits until so many are open.
pub fn until_open(viaduct: &Viaduct<'_>, count: u64) {
    eventually(&format!("{count} connections"), || {
        (viaduct.metrics().sum("viaduct_connections", &[]) == count).then_some(())
    });
}

#[test]
fn calls_by_sipp_between_all_transports_and_families() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let six = End { host: &world.six, address: "[fd00:6::100]" };
    let tcp = ";transport=tcp";
    for scenario in ["call", "reinvite"] {
        for one_or_many in ["t1", "tn"] {
            sipp::calls_over(scenario, 10, (&public, one_or_many), "1.2.3.4", (&private, "u1"), "");
            sipp::calls_over(scenario, 10, (&public, one_or_many), "1.2.3.4", (&private, "t1"), tcp);
        }
        sipp::calls_over(scenario, 10, (&public, "u1"), "1.2.3.4", (&private, "t1"), tcp);
        sipp::calls_over(scenario, 10, (&public, "t1"), "1.2.3.4", (&six, "t1"), tcp);
        sipp::calls_over(scenario, 10, (&public, "t1"), "1.2.3.4", (&six, "u1"), "");
        sipp::calls_over(scenario, 10, (&six, "t1"), "[fd00:6::4]", (&private, "t1"), tcp);
        sipp::calls_over(scenario, 10, (&six, "t1"), "[fd00:6::4]", (&private, "u1"), "");
        sipp::calls_over(scenario, 10, (&six, "u1"), "[fd00:6::4]", (&private, "t1"), tcp);
    }
    let metrics = viaduct.accounted(1_000);
    for lost in ["stray_response", "not_handed_over", "connection_failed", "foreign_response"] {
        assert_eq!(metrics.dropped(lost), 0, "{lost}");
    }
    viaduct.stop();
}

#[test]
fn a_request_is_answered_on_its_connection_in_pieces_and_pipelined() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let mut stream = connect(&world.public, EDGE);
    let text = options("sip:1.2.3.4", "one");
    for byte in text.as_bytes() {
        stream.write_all(std::slice::from_ref(byte)).expect("a byte");
    }
    assert!(read_message(&mut stream).starts_with("SIP/2.0 200 "));
    let many: String = (0..50).map(|n| options("sip:1.2.3.4", &format!("many{n}"))).collect();
    stream.write_all(many.as_bytes()).expect("many");
    // Of different calls, which may be different shards', the answers keep no order.
    let answers: Vec<String> = (0..50).map(|_| read_message(&mut stream)).collect();
    for n in 0..50 {
        let branch = format!("branch=z9hG4bKmany{n}\r\n");
        let of_it = |answer: &&String| answer.starts_with("SIP/2.0 200 ") && answer.contains(&branch);
        assert_eq!(answers.iter().filter(of_it).count(), 1, "{answers:?}");
    }
    stream.write_all(b"\r\n\r\n").expect("a ping");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("a pong");
    assert_eq!(&pong, b"\r\n");
    // The other way may be closed before the answer comes.
    stream.write_all(options("sip:1.2.3.4", "last").as_bytes()).expect("a request");
    stream.shutdown(Shutdown::Write).expect("half of it");
    assert!(read_message(&mut stream).starts_with("SIP/2.0 200 "));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
    until_open(&viaduct, 0);
    viaduct.stop();
}

/// Writes so many requests at once, and reads meanwhile; gives how often each was answered 200.
fn burst(stream: &TcpStream, number: usize, many: usize) -> Vec<u32> {
    let (mut reader, mut writer) = (stream.try_clone().expect("another handle"), stream);
    let text: String = (0..many).map(|n| one_of_burst(number, n)).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(text.as_bytes()).expect("a burst");
            writer.shutdown(Shutdown::Write).expect("its end");
        });
        let mut answers = Vec::new();
        reader.read_to_end(&mut answers).expect("answers to all, and the end");
        answered(&answers, number, many)
    })
}

/// A request of a burst.
pub fn one_of_burst(number: usize, n: usize) -> String {
    options("sip:1.2.3.4", &format!("burst{number}x{n:06}"))
}

/// How often each was answered 200; there are no other answers.
pub fn answered(answers: &[u8], number: usize, many: usize) -> Vec<u32> {
    let answers = String::from_utf8_lossy(answers);
    let mut answered = vec![0; many];
    for answer in answers.split("SIP/2.0 ").skip(1) {
        assert!(answer.starts_with("200 "), "{answer}");
        let of_it = answer.split_once(&format!("branch=z9hG4bKburst{number}x")).expect("a branch").1;
        answered[of_it[..6].parse::<usize>().expect("a number")] += 1;
    }
    answered
}

/// Half of it is the other shard's, which has no room for so much; and so are half of the connections.
#[test]
fn each_request_of_a_burst_is_answered_whosever_it_is() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let alone = burst(&connect(&world.public, EDGE), 9, 40_000);
    assert_eq!(alone.iter().filter(|answers| **answers != 1).count(), 0);
    let streams: Vec<TcpStream> = (0..8).map(|_| connect(&world.public, EDGE)).collect();
    std::thread::scope(|scope| {
        let bursts =
            streams.iter().enumerate().map(|(n, stream)| scope.spawn(move || burst(stream, n, 2_000)));
        for burst in bursts.collect::<Vec<_>>() {
            assert!(burst.join().expect("a burst").iter().all(|answers| *answers == 1));
        }
    });
    let metrics = viaduct.accounted(40_000 + 8 * 2_000);
    assert_eq!(metrics.dropped("not_handed_over"), 0);
    if metrics.sum("viaduct_shards", &[]) > 1 {
        assert!(metrics.sum("viaduct_connections_paused_total", &[]) > 0);
    }
    until_open(&viaduct, 0);
    viaduct.stop();
}

#[test]
fn what_cannot_be_framed_is_answered_and_closed() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let sound = options("sip:1.2.3.4", "x");
    for (text, status) in [
        (sound.replace("Content-Length: 0\r\n", ""), "400"),
        (sound.replace("Content-Length: 0", "Content-Length: 0\r\nl: 4"), "400"),
        (sound.replace("Content-Length: 0", "Content-Length: 70000"), "513"),
        (sound.replace("Max-Forwards: 70", "X-Long: 1234567890\r\n".repeat(140).trim_end()), "200"),
        (sound.replace("Max-Forwards: 70", &format!("X: {}", "y".repeat(40_000))), "513"),
    ] {
        let mut stream = connect(&world.public, EDGE);
        let text = format!("{text}{sound}");
        stream.write_all(text.as_bytes()).expect("a request");
        let answer = read_message(&mut stream);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        if status != "200" {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the end");
            assert_eq!(rest, b"", "nothing that follows is read");
        }
    }
    assert_eq!(ended(&viaduct.metrics(), "not_framed"), 4);
    viaduct.stop();
}

/// Nobody knows whether it would open another connection for its answer.
#[test]
fn a_next_hop_that_closes_in_good_order_before_it_answers_is_not_waited_for() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let there = world.private.inside(|| TcpListener::bind("10.0.0.100:5060")).expect("a socket");
    let mut caller = connect(&world.public, EDGE);
    for how in [Shutdown::Write, Shutdown::Both] {
        let request = options("sip:10.0.0.100;transport=tcp", &format!("{how:?}"));
        caller.write_all(request.as_bytes()).expect("a request");
        let (mut callee, _) = there.accept().expect("a connection");
        callee.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert!(read_message(&mut callee).starts_with("OPTIONS "));
        callee.shutdown(how).expect("its end");
        // Timer F would give no answer at all.
        assert!(read_message(&mut caller).starts_with("SIP/2.0 500 "), "{how:?}");
    }
    viaduct.stop();
}

#[test]
fn a_connection_that_was_lost_is_opened_anew_both_ways() {
    let world = World::new();
    let home = home();
    let viaduct = home.start(&world);
    let bob: SocketAddr = "10.0.0.100:5060".parse().expect("an address");
    let bob = world.private.inside(|| TcpListener::bind(bob)).expect("a listener");
    let back: SocketAddr = "1.2.3.100:5080".parse().expect("an address");
    let back = world.public.inside(|| TcpListener::bind(back)).expect("a listener");
    let uri = "sip:bob@10.0.0.100:5060;transport=tcp";

    let mut anna = connect(&world.public, EDGE);
    anna.write_all(options(uri, "first").as_bytes()).expect("a request");
    let (mut there, _) = bob.accept().expect("Viaduct connects");
    there.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = read_message(&mut there);
    assert!(request.contains("\r\nVia: SIP/2.0/TCP 10.0.0.4:5060;"), "{request}");
    // Anna's connection goes: the answer comes to the port of her Via.
    reset(anna);
    until_open(&viaduct, 1);
    there.write_all(answer(&request).as_bytes()).expect("an answer");
    let (mut anew, _) = back.accept().expect("Viaduct connects");
    anew.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(read_message(&mut anew).starts_with("SIP/2.0 200 "));

    // Bob's goes, too: the next request opens another.
    drop(there);
    until_open(&viaduct, 1);
    let mut anna = connect(&world.public, EDGE);
    anna.write_all(options(uri, "second").as_bytes()).expect("a request");
    let (mut there, _) = bob.accept().expect("Viaduct connects");
    there.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = read_message(&mut there);
    there.write_all(answer(&request).as_bytes()).expect("an answer");
    assert!(read_message(&mut anna).starts_with("SIP/2.0 200 "));

    // And where nobody listens, that is told at once.
    drop((bob, there));
    until_open(&viaduct, 2);
    anna.write_all(options(uri, "third").as_bytes()).expect("a request");
    let begin = Instant::now();
    assert!(read_message(&mut anna).starts_with("SIP/2.0 500 "));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(viaduct.metrics().sum("viaduct_connections_failed_total", &[("why", "connect_refused")]), 1);
    viaduct.stop();
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a reset");
}

/// A 200 to a request without body.
pub fn answer(request: &str) -> String {
    let lines = request.split("\r\n").skip(1).filter(|line| {
        ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")
}
