//! A name server on UDP and TCP that says what it is told to say, and notes what it was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// How it behaves for a name, instead of answering from its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It says SERVFAIL.
    Fails,
    /// It says nothing.
    Silent,
    /// It cuts its answers over UDP short.
    Truncates,
}

/// A name server with one zone that holds the whole world.
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    moods: HashMap<String, Mood>,
    asked: Vec<String>,
    negative_ttl_s: u32,
}

/// How often threads look whether they are to end.
const LOOK: Duration = Duration::from_millis(20);

impl NameServer {
    /// At an address, port 0 for any; in the network namespace of the calling thread.
    pub fn at(address: &str, zone: &str) -> Self {
        let (udp, tcp) = sockets(address);
        let address = udp.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { negative_ttl_s: 60, ..State::default() }));
        let ends = Arc::new(AtomicBool::new(false));
        let threads = vec![
            thread::spawn({
                let (state, ends) = (Arc::clone(&state), Arc::clone(&ends));
                move || serve_udp(&udp, &state, &ends)
            }),
            thread::spawn({
                let (state, ends) = (Arc::clone(&state), Arc::clone(&ends));
                move || serve_tcp(&tcp, &state, &ends)
            }),
        ];
        let server = Self { address, state, ends, threads };
        server.says(zone);
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of it panics")
    }

    /// Replaces the zone: `NAME [TTL] TYPE DATA`, a record a line; a name without a record does not exist.
    pub fn says(&self, zone: &str) {
        let lines = zone.lines().map(str::trim).filter(|line| !line.is_empty());
        self.state().records = lines.map(record).collect();
    }

    /// Behaves like that for a name from now on; none: as usual.
    pub fn mood(&self, name: &str, mood: Option<Mood>) {
        let mut state = self.state();
        match mood {
            Some(mood) => state.moods.insert(name.to_owned(), mood),
            None => state.moods.remove(name),
        };
    }

    /// What was asked since this was called last: `NAME TYPE`, with ` tcp` behind it where it came so.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the name server panicked");
        }
    }
}

/// The same port for both: another program may have one of them.
fn sockets(address: &str) -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind(address).unwrap_or_else(|e| panic!("bind {address}: {e}"));
        let bound = udp.local_addr().expect("an address");
        if let Ok(tcp) = TcpListener::bind(bound) {
            udp.set_read_timeout(Some(LOOK)).expect("a timeout");
            tcp.set_nonblocking(true).expect("a socket that does not wait");
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP");
}

fn serve_udp(socket: &UdpSocket, state: &Mutex<State>, ends: &AtomicBool) {
    let mut bytes = [0; 4096];
    while !ends.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
        if let Some(answer) = answer(&bytes[..len], state, false) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, state: &Mutex<State>, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => serve_stream(stream, state, ends),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Length and message, until the other side has closed (RFC 1035 §4.2.2).
fn serve_stream(mut stream: TcpStream, state: &Mutex<State>, ends: &AtomicBool) {
    stream.set_nonblocking(false).expect("a socket that waits");
    stream.set_read_timeout(Some(LOOK * 10)).expect("a timeout");
    let mut length = [0; 2];
    while !ends.load(Ordering::Relaxed) && stream.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut bytes).is_err() {
            return;
        }
        let Some(answer) = answer(&bytes, state, true) else { return };
        let length = u16::try_from(answer.len()).expect("an answer below 64 KiB").to_be_bytes();
        if stream.write_all(&[&length[..], &answer].concat()).is_err() {
            return;
        }
    }
}

fn answer(bytes: &[u8], state: &Mutex<State>, tcp: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(bytes).ok()?;
    let query = asked.queries.first()?.clone();
    let name = query.name().to_lowercase();
    let plain = name.to_ascii().trim_end_matches('.').to_owned();
    let mut state = state.lock().expect("no thread of it panics");
    state.asked.push(format!("{plain} {}{}", query.query_type(), if tcp { " tcp" } else { "" }));
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    match state.moods.get(&plain) {
        Some(Mood::Silent) => return None,
        Some(Mood::Fails) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(Mood::Truncates) if !tcp => answer.metadata.truncation = true,
        Some(Mood::Truncates) | None => from_zone(&mut answer, &query, &name, &state),
    }
    Some(answer.to_vec().expect("an answer that can be written"))
}

fn from_zone(answer: &mut Message, query: &Query, name: &Name, state: &State) {
    let mut name = name.clone();
    // RFC 1034 §3.6.2: an alias stands for all types.
    while let Some(alias) = of(state, &name, RecordType::CNAME).first() {
        answer.add_answer((*alias).clone());
        let RData::CNAME(CNAME(target)) = &alias.data else { break };
        name = target.clone();
    }
    let found = of(state, &name, query.query_type());
    if found.is_empty() {
        let exists = state.records.iter().any(|record| name.zone_of(&record.name));
        answer.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        answer.add_authority(soa(state.negative_ttl_s));
    }
    answer.add_answers(found.into_iter().cloned());
}

fn of<'s>(state: &'s State, name: &Name, kind: RecordType) -> Vec<&'s Record> {
    state.records.iter().filter(|record| record.name == *name && record.record_type() == kind).collect()
}

fn soa(minimum: u32) -> Record {
    let host = |text: &str| text.parse().expect("a name");
    let soa = SOA::new(host("ns.example."), host("admin.example."), 1, 60, 60, 60, minimum);
    Record::from_rdata(host("example."), minimum, RData::SOA(soa))
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (ttl, words, owner) = match words[1].parse::<u32>() {
        Ok(ttl) => (ttl, &words[2..], words[0]),
        Err(_) => (300, &words[1..], words[0]),
    };
    let name = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).expect("a name");
    let number = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    let text = |at: usize| words[at].trim_matches('"').as_bytes().into();
    let data = match words[0] {
        "A" => RData::A(A(words[1].parse().expect("an address"))),
        "AAAA" => RData::AAAA(AAAA(words[1].parse().expect("an address"))),
        "CNAME" => RData::CNAME(CNAME(name(words[1]))),
        "SRV" => RData::SRV(SRV::new(number(1), number(2), number(3), name(words[4]))),
        "NAPTR" => {
            let [flags, service, regexp] = [text(3), text(4), text(5)];
            RData::NAPTR(NAPTR::new(number(1), number(2), flags, service, regexp, name(words[6])))
        }
        other => panic!("no such type here: {other}"),
    };
    Record::from_rdata(name(owner), ttl, data)
}
