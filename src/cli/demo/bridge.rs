//! Calls from a neighbour that speaks TCP to one that speaks UDP, by the listener that both know.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::calls::at;
use super::ua::message::{Message, response};
use super::world::{FORWARDER, PRIVATE, PUBLIC, World};
use super::{Failure, Forwarder, interrupt};

/// The callee's port, which no other agent has.
const PORT: u16 = 5066;
const CALLS: usize = 20;
/// How long any message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the calls went: all of them did, or the demo has failed.
pub struct Bridged {
    /// How many.
    pub calls: usize,
    /// INVITE sent to 200 received, in the middle.
    pub setup: Duration,
}

/// Calls one after the other by one connection.
pub fn bridge(world: &World, forwarder: &mut Forwarder) -> Result<Bridged, Failure> {
    let there = SocketAddr::new(PRIVATE, PORT);
    let callee = world.private.socket(there, "eth0")?;
    callee.set_nonblocking(false)?;
    callee.set_read_timeout(Some(PATIENCE))?;
    let stream = world.public.inside(|| TcpStream::connect_timeout(&at(FORWARDER[0]), PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut caller = Caller { stream: BufReader::new(stream) };
    let mut setups = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        interrupt::check()?;
        forwarder.check_alive()?;
        setups.push(call(&mut caller, &callee, there, number)?);
    }
    setups.sort_unstable();
    Ok(Bridged { calls: CALLS, setup: setups[CALLS / 2] })
}

struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    fn send(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stream.get_mut().write_all(text.as_bytes())?)
    }

    /// The next final answer to this method.
    fn answer(&mut self, method: &str) -> Result<String, Failure> {
        loop {
            let text = self.read()?;
            let message = Message::read(text.as_bytes());
            let status = message.as_ref().and_then(Message::status).unwrap_or(0);
            if status >= 200 && message.and_then(|m| Some(m.cseq()?.1 == method)) == Some(true) {
                return if status == 200 { Ok(text) } else { Err(unexpected(&text)) };
            }
        }
    }

    /// A message without body.
    fn read(&mut self) -> Result<String, Failure> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut text);
            if read.map_err(|error| Failure::new(format!("nothing came over TCP: {error}")))? == 0 {
                return Err(Failure::new("the forwarder has closed the connection"));
            }
        }
        Ok(text)
    }
}

fn unexpected(text: &str) -> Failure {
    Failure::new(format!("from TCP to UDP: {}", text.lines().next().unwrap_or_default()))
}

/// INVITE 200 ACK BYE 200; how long the first took.
fn call(
    caller: &mut Caller,
    callee: &UdpSocket,
    there: SocketAddr,
    number: usize,
) -> Result<Duration, Failure> {
    let own = at(PUBLIC);
    let request = |method: &str, sequence: u32, to: &str, routes: &[String]| {
        let routes: String = routes.iter().rev().map(|uri| format!("Route: <{uri}>\r\n")).collect();
        format!(
            "{method} sip:ua@{there} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch=z9hG4bKbridge{number}{method}\r\n\
             Max-Forwards: 70\r\n{routes}From: <sip:ua@{own}>;tag=bridge{number}\r\nTo: {to}\r\n\
             Call-ID: bridge{number}\r\nCSeq: {sequence} {method}\r\nContact: <sip:ua@{own};transport=tcp>\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let begin = Instant::now();
    caller.send(&request("INVITE", 1, &format!("<sip:ua@{there}>"), &[]))?;
    answer(callee, there, "INVITE", number)?;
    let ok = caller.answer("INVITE")?;
    let setup = begin.elapsed();
    let ok = Message::read(ok.as_bytes()).ok_or_else(|| unexpected(&ok))?;
    let routes = ok.uris("Record-Route");
    caller.send(&request("ACK", 1, ok.get("To"), &routes))?;
    receive(callee, "ACK", number)?;
    caller.send(&request("BYE", 2, ok.get("To"), &routes))?;
    answer(callee, there, "BYE", number)?;
    caller.answer("BYE")?;
    Ok(setup)
}

/// Answers 200 to the next request of this method.
fn answer(callee: &UdpSocket, there: SocketAddr, method: &str, number: usize) -> Result<(), Failure> {
    let (text, from) = receive(callee, method, number)?;
    let request = Message::read(text.as_bytes()).ok_or_else(|| unexpected(&text))?;
    let neighbour = at(FORWARDER[1]);
    if from != neighbour || !request.get("Via").starts_with("SIP/2.0/UDP ") {
        return Err(Failure::new(format!("{method} came from {from} with Via {}", request.get("Via"))));
    }
    let text = response(&request, "200 OK", "callee", &format!("sip:ua@{there}"), "");
    callee.send_to(text.as_bytes(), from)?;
    Ok(())
}

/// The next request of this method and call; what comes again is passed over.
fn receive(callee: &UdpSocket, method: &str, number: usize) -> Result<(String, SocketAddr), Failure> {
    let mut buffer = [0; 65_536];
    loop {
        let (length, from) = callee
            .recv_from(&mut buffer)
            .map_err(|error| Failure::new(format!("no {method} came over UDP: {error}")))?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let is_it = Message::read(text.as_bytes())
            .is_some_and(|m| m.method() == Some(method) && m.get("Call-ID") == format!("bridge{number}"));
        if is_it {
            return Ok((text, from));
        }
    }
}
