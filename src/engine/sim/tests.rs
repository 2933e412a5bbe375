use super::*;
use crate::engine::{Io, SocketId};
use crate::stream::StreamId;

/// Forwards everything from its one socket to a fixed address; opens the socket in its first batch.
struct Relay {
    own: SocketAddr,
    to: SocketAddr,
    opened: bool,
    sent: usize,
    failed: usize,
    received: Vec<u8>,
    ended: Vec<i32>,
    /// A stream that is paused until then.
    paused: Option<(StreamId, Now)>,
    now: Now,
}

impl Relay {
    fn new(own: SocketAddr, to: SocketAddr) -> Self {
        let (received, ended) = (Vec::new(), Vec::new());
        Self { own, to, opened: false, sent: 0, failed: 0, received, ended, paused: None, now: Now(0) }
    }
}

impl Shard<SimIo> for Relay {
    fn begin(&mut self, io: &mut SimIo, now: Now) {
        self.now = now;
        if let Some((stream, _)) = self.paused.take_if(|(_, until)| now >= *until) {
            io.resume(stream);
        }
        if !std::mem::replace(&mut self.opened, true) {
            io.open(SocketId(0), &self.own);
        }
    }

    fn on_event(&mut self, io: &mut SimIo, event: Event<'_>) {
        match event {
            Event::Datagram { on, bytes, .. } => {
                let mut tx = io.tx().unwrap();
                tx[..bytes.len()].copy_from_slice(bytes);
                io.send(tx, bytes.len(), on, self.to, 5);
            }
            Event::Sent { cookie } => self.sent += usize::from(cookie == 5),
            Event::SendFailed { .. } => self.failed += 1,
            Event::Accepted { accepted, .. } => {
                io.adopt(accepted).unwrap();
            }
            Event::Connected { stream } => assert!(io.write(stream, b"hello")),
            Event::Received { .. } if self.paused.is_some() => panic!("it is paused"),
            Event::Received { stream, bytes: b"" } => io.finish(stream),
            Event::Received { stream, bytes } => {
                self.received.extend_from_slice(bytes);
                if self.received.starts_with(b"p") {
                    self.paused = Some((stream, self.now.plus_ns(10_000_000)));
                    io.pause(stream);
                }
                io.write(stream, bytes);
                if self.received.ends_with(b"connect") {
                    io.connect(SocketId(0), self.to).unwrap();
                }
            }
            Event::Ended { errno, .. } => self.ended.push(errno),
            Event::Wrote { .. } | Event::Closed { .. } => {}
        }
    }

    fn end(&mut self, _: &mut SimIo) -> Next {
        Next::Wait(self.paused.map(|(_, until)| until))
    }
}

/// Connects, sends a text, and keeps what comes.
struct Caller {
    own: SocketAddr,
    to: Option<SocketAddr>,
    text: &'static [u8],
    ends_by: fn(&mut Outbox, WireId),
    arrived: Vec<Arrives>,
}

impl Endpoint for Caller {
    fn on_datagram(&mut self, _: &mut Outbox, _: SocketAddr, _: SocketAddr, _: &[u8], _: Now) {}

    fn on_timer(&mut self, out: &mut Outbox, _: Now) {
        self.to.take().into_iter().for_each(|to| out.connect(self.own, to));
    }

    fn on_stream(&mut self, out: &mut Outbox, wire: WireId, arrives: Arrives, _: Now) {
        if matches!(arrives, Arrives::Opened(_)) && !self.text.is_empty() {
            out.write(wire, self.text);
            (self.ends_by)(out, wire);
        }
        self.arrived.push(arrives);
    }
}

/// A shard that echoes, somebody who calls it, and somebody whom it may call.
fn call(seed: u64, text: &'static [u8], ends_by: fn(&mut Outbox, WireId)) -> [(Vec<Arrives>, Vec<i32>); 2] {
    let [caller, relay, other] =
        ["192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.3:5060"].map(|a| a.parse().unwrap());
    let faults = Faults { delay_ns: (1_000, 5_000_000), ..Faults::NONE };
    let mut world = World::new(seed, faults, Box::new(|_, _, _| Some(2)));
    let shard = world.add_shard(Relay::new(relay, other));
    let arrived = Vec::new;
    let first = Caller { own: caller, to: Some(relay), text, ends_by, arrived: arrived() };
    let first = world.add_endpoint(first, vec![caller]);
    let second = Caller { own: other, to: None, text: b"", ends_by: |_, _| {}, arrived: arrived() };
    let second = world.add_endpoint(second, vec![other]);
    world.run_until(Now(1_000_000_000));
    let ended = world.shard(shard).unwrap().0.ended.clone();
    [first, second].map(|host| (std::mem::take(&mut world.endpoint(host).unwrap().arrived), ended.clone()))
}

/// The bytes that arrived, in how many pieces.
fn bytes(arrived: &[Arrives]) -> (Vec<u8>, usize) {
    let pieces: Vec<&[u8]> = (arrived.iter())
        .filter_map(|arrives| if let Arrives::Bytes(bytes) = arrives { Some(&bytes[..]) } else { None })
        .collect();
    (pieces.concat(), pieces.len())
}

#[test]
fn streams_arrive_in_order_in_pieces_that_the_seed_cuts() {
    const TEXT: &[u8] = b"one message after the other, as they were sent";
    let mut counts = Vec::new();
    for seed in 0..50 {
        let [(arrived, ended), _] = call(seed, TEXT, |out, wire| out.finish(wire));
        let (back, pieces) = bytes(&arrived);
        assert_eq!((back.as_slice(), &ended[..]), (TEXT, &[0][..]), "seed {seed}");
        assert_eq!(arrived.last(), Some(&Arrives::End));
        counts.push(pieces);
    }
    counts.dedup();
    assert!(counts.len() > 5, "{counts:?}");
}

#[test]
fn what_comes_by_a_paused_stream_arrives_once_it_is_resumed() {
    const TEXT: &[u8] = b"pause behind each piece, as long as several may come in";
    for seed in 0..50 {
        let [(arrived, ended), _] = call(seed, TEXT, |out, wire| out.finish(wire));
        assert_eq!((&bytes(&arrived).0[..], &ended[..]), (TEXT, &[0][..]), "seed {seed}");
        assert_eq!(arrived.last(), Some(&Arrives::End));
    }
}

#[test]
fn a_reset_ends_a_stream_and_a_connect_goes_out_from_the_socket() {
    let [(_, ended), _] = call(1, b"something", |out, wire| out.reset(wire));
    assert_eq!(ended, [libc::ECONNRESET]);
    let [_, (arrived, _)] = call(2, b"connect", |_, _| {});
    assert!(matches!(arrived[0], Arrives::Opened(from) if from.ip().to_string() == "192.0.2.2"));
    assert_eq!(bytes(&arrived).0, b"hello");
}

/// Sends numbered datagrams every millisecond and keeps what it receives.
struct Talker {
    own: SocketAddr,
    to: SocketAddr,
    left: u8,
    heard: Vec<u8>,
}

impl Endpoint for Talker {
    fn on_datagram(&mut self, _: &mut Outbox, _: SocketAddr, _: SocketAddr, bytes: &[u8], _: Now) {
        self.heard.extend_from_slice(bytes);
    }

    fn on_timer(&mut self, out: &mut Outbox, now: Now) {
        if self.left > 0 {
            self.left -= 1;
            out.send(self.own, self.to, [self.left]);
            out.wake_at(now.plus_ns(1_000_000));
        }
    }
}

fn run(seed: u64, faults: Faults) -> (Vec<Hop>, Vec<u8>, usize) {
    let [talker, relay, sink] =
        ["192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.3:5060"].map(|a| a.parse().unwrap());
    let mut world = World::new(seed, faults, Box::new(|_, _, _| Some(2)));
    let shard = Relay::new(relay, sink);
    let shard = world.add_shard(shard);
    world.add_endpoint(Talker { own: talker, to: relay, left: 200, heard: Vec::new() }, vec![talker]);
    let sink = world.add_endpoint(Talker { own: sink, to: relay, left: 0, heard: Vec::new() }, vec![sink]);
    world.run_until(Now(1_000_000_000));
    let (relay, io) = world.shard(shard).unwrap();
    assert_eq!((io.buffers_held(), relay.failed), (0, 0));
    let sent = relay.sent;
    let heard = std::mem::take(&mut world.endpoint(sink).unwrap().heard);
    (world.trace().to_vec(), heard, sent)
}

#[test]
fn a_network_without_faults_delivers_everything_in_order() {
    let (trace, heard, sent) = run(1, Faults::NONE);
    assert_eq!(heard, (0..200).rev().collect::<Vec<u8>>());
    assert_eq!((trace.len(), sent), (400, 200));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let faults = Faults { delay_ns: (1_000, 5_000_000), lost: 100, doubled: 50 };
    assert_eq!(run(7, faults), run(7, faults));
    assert_ne!(run(7, faults).0, run(8, faults).0);
}

#[test]
fn faults_lose_double_and_reorder() {
    let (trace, heard, _) = run(3, Faults { delay_ns: (1_000, 5_000_000), lost: 100, doubled: 100 });
    let copies = |n| trace.iter().filter(|hop| hop.copies == n).count();
    assert!(copies(0) > 10 && copies(2) > 10, "lost {}, doubled {}", copies(0), copies(2));
    assert!(!heard.is_sorted_by(|a, b| a >= b));
}

#[test]
fn a_send_without_a_route_fails() {
    let [from, to] = ["192.0.2.1:5060", "192.0.2.2:5060"].map(|a| a.parse().unwrap());
    let mut world = World::new(1, Faults::NONE, Box::new(|host, _, _| (host == 1).then_some(2)));
    let relay = Relay::new(to, "198.51.100.1:5060".parse().unwrap());
    let shard = world.add_shard(relay);
    world.add_endpoint(Talker { own: from, to, left: 1, heard: Vec::new() }, vec![from]);
    world.run_until(Now(10_000_000));
    let (relay, _) = world.shard(shard).unwrap();
    assert_eq!((relay.sent, relay.failed), (0, 1));
}
