//! The engine over the loopback device of a network namespace of its own.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::cli::netns::{Host, netlink, up};
use crate::net::{ListenerId, Transport};
use crate::plan::{Advertise, Listener};

const OWN: &str = "127.0.0.1:5060";

fn listener(bind: &str) -> Listener {
    let bind: SocketAddr = bind.parse().unwrap();
    Listener {
        id: ListenerId(0),
        name: "test".into(),
        identity: 1,
        formerly: Vec::new(),
        transport: Transport::Udp,
        bind,
        device: None,
        mark: None,
        advertise: vec![Advertise::new(None, &bind.ip().to_string(), bind.port())],
        dialog_to: Vec::new(),
    }
}

/// Runs a test in a namespace of its own, with its loopback device up.
fn inside(test: impl FnOnce() + std::marker::Send) {
    let host = Host::new().expect("a network namespace (run as root, or in a user namespace)");
    let result = host.inside(|| {
        netlink(async |handle| up(handle, "lo").await)?;
        test();
        Ok(())
    });
    result.unwrap();
}

/// Sends every datagram back to where it came from; stops on one that says so.
#[derive(Default)]
struct Echo {
    sockets: Vec<(SocketId, Arc<Socket>)>,
    received: usize,
    truncated: usize,
    sent: usize,
    failed: Vec<i32>,
    closed: Vec<SocketId>,
    to: Option<SocketAddr>,
    stop: bool,
}

impl<'m> Shard<Engine<'m>> for Echo {
    fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
        for (id, socket) in self.sockets.drain(..) {
            io.open(id, &socket);
        }
    }

    fn on_event(&mut self, io: &mut Engine<'m>, event: Event<'_>) {
        match event {
            Event::Datagram { on, from, bytes, truncated } => {
                self.received += 1;
                self.truncated += usize::from(truncated);
                self.stop |= bytes == b"stop";
                if bytes == b"close" {
                    io.close(on);
                    return;
                }
                let Some(mut tx) = io.tx() else { return };
                tx.as_mut()[..bytes.len()].copy_from_slice(bytes);
                io.send(tx, bytes.len(), on, self.to.unwrap_or(from), 7);
            }
            Event::Sent { cookie } => {
                assert_eq!(cookie, 7);
                self.sent += 1;
            }
            Event::SendFailed { errno, .. } => self.failed.push(errno),
            Event::Closed { on } => self.closed.push(on),
        }
    }

    fn end(&mut self, _: &mut Engine<'m>) -> Next {
        if self.stop { Next::Stop } else { Next::Wait(None) }
    }
}

fn open(bind: &str) -> Arc<Socket> {
    Arc::new(Socket::open(&listener(bind), 1 << 20).unwrap())
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(OWN).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Runs the shard while `talk` talks to it; `talk` has to make it stop. Returns shard and metrics.
fn run(mut echo: Echo, talk: impl FnOnce(Waker) + std::marker::Send) -> (Echo, EngineMetrics) {
    let metrics = EngineMetrics::default();
    std::thread::scope(|scope| {
        let mut engine = Engine::new(&metrics).unwrap();
        let waker = engine.waker();
        // A thread is in the namespace of the one that starts it.
        let talker = scope.spawn(move || talk(waker));
        engine.run(&mut echo).unwrap();
        assert_eq!(engine.sends.used(), 0, "a send buffer was lost");
        talker.join().unwrap();
    });
    (echo, metrics)
}

#[test]
fn every_datagram_comes_back() {
    inside(|| {
        let echo = Echo { sockets: vec![(SocketId(3), open(OWN))], ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let client = client();
            let mut buffer = [0; 64];
            for round in 0u32..300 {
                for number in 0..32 {
                    client.send(&(round * 32 + number).to_be_bytes()).unwrap();
                }
                for _ in 0..32 {
                    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
                }
            }
            client.send(b"stop").unwrap();
        });
        assert_eq!((echo.received, echo.sent, echo.failed.len()), (9_601, 9_601, 0));
    });
}

#[test]
fn a_full_pool_of_receive_buffers_is_survived() {
    inside(|| {
        let echo = Echo { sockets: vec![(SocketId(0), open(OWN))], ..Echo::default() };
        let burst = usize::from(RECEIVE_BUFFERS) + 88;
        let (echo, metrics) = run(echo, move |_| {
            let client = client();
            // More than there are buffers, before the shard runs: the first goes into a deep sleep.
            for _ in 0..burst {
                client.send(b"x").unwrap();
            }
            let mut buffer = [0; 64];
            for _ in 0..burst {
                client.recv(&mut buffer).unwrap();
            }
            client.send(b"stop").unwrap();
        });
        assert_eq!(echo.received, burst + 1);
        assert!(metrics.receive_restarts.get() <= burst as u64);
    });
}

#[test]
fn the_largest_datagram_passes_whole() {
    inside(|| {
        let echo = Echo { sockets: vec![(SocketId(0), open(OWN))], ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let client = client();
            let large: Vec<u8> = (0..65_507u32).map(|n| n as u8).collect();
            client.send(&large).unwrap();
            let mut buffer = vec![0; 70_000];
            let len = client.recv(&mut buffer).unwrap();
            assert!(buffer[..len] == large[..]);
            client.send(b"").unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 0);
            client.send(b"stop").unwrap();
        });
        assert_eq!((echo.received, echo.truncated), (3, 0));
    });
}

#[test]
fn a_send_that_the_kernel_refuses_is_told_and_nothing_else_suffers() {
    inside(|| {
        let to = Some("192.0.2.1:5060".parse().unwrap());
        let echo = Echo { sockets: vec![(SocketId(0), open(OWN))], to, ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let client = client();
            client.send(b"x").unwrap();
            client.send(b"stop").unwrap();
        });
        // The namespace has no route to it.
        assert_eq!(echo.failed, [libc::ENETUNREACH, libc::ENETUNREACH]);
        assert_eq!(echo.sent, 0);
    });
}

#[test]
fn a_port_that_nobody_has_does_not_end_the_receive() {
    inside(|| {
        let to = Some("127.0.0.1:9".parse().unwrap());
        let echo = Echo { sockets: vec![(SocketId(0), open(OWN))], to, ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let client = client();
            for _ in 0..100 {
                client.send(b"x").unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
            client.send(b"stop").unwrap();
        });
        assert_eq!((echo.received, echo.sent), (101, 101));
    });
}

#[test]
fn a_socket_is_drained_before_it_is_closed() {
    inside(|| {
        let sockets = vec![(SocketId(0), open(OWN)), (SocketId(1), open("127.0.0.1:5070"))];
        let echo = Echo { sockets, ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let client = client();
            let mut buffer = [0; 64];
            for _ in 0..50 {
                client.send(b"x").unwrap();
            }
            client.send(b"close").unwrap();
            for _ in 0..50 {
                client.recv(&mut buffer).unwrap();
            }
            // The port is free again once the socket is closed; the other one still answers.
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            while UdpSocket::bind(OWN).is_err() {
                assert!(Instant::now() < deadline, "the socket was not closed");
                std::thread::sleep(Duration::from_millis(5));
            }
            other.send_to(b"y", "127.0.0.1:5070").unwrap();
            other.recv(&mut buffer).unwrap();
            other.send_to(b"stop", "127.0.0.1:5070").unwrap();
        });
        assert_eq!(echo.closed, [SocketId(0)]);
        assert_eq!(echo.received, 53);
    });
}

#[test]
fn a_closing_socket_leaves_its_group_to_the_others() {
    inside(|| {
        let sockets = vec![(SocketId(0), open(OWN)), (SocketId(1), open(OWN))];
        let echo = Echo { sockets, ..Echo::default() };
        let (echo, _) = run(echo, |_| {
            let mut buffer = [0; 64];
            client().send(b"close").unwrap();
            for _ in 0..200 {
                // A new port each time, so that the kernel would choose either socket.
                let client = client();
                client.send(b"x").unwrap();
                client.recv(&mut buffer).unwrap();
            }
            client().send(b"stop").unwrap();
        });
        assert_eq!((echo.received, echo.closed.len()), (202, 1));
    });
}

#[test]
fn a_waker_ends_a_sleep() {
    inside(|| {
        struct Sleeper(Instant, u32);
        impl<'m> Shard<Engine<'m>> for Sleeper {
            fn begin(&mut self, _: &mut Engine<'m>, _: Now) {
                self.1 += 1;
            }
            fn on_event(&mut self, _: &mut Engine<'m>, _: Event<'_>) {}
            fn end(&mut self, _: &mut Engine<'m>) -> Next {
                if self.1 > 3 { Next::Stop } else { Next::Wait(None) }
            }
        }
        let metrics = EngineMetrics::default();
        let mut engine = Engine::new(&metrics).unwrap();
        let waker = engine.waker();
        let thread = std::thread::spawn(move || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(50));
                waker.wake();
            }
        });
        let mut sleeper = Sleeper(Instant::now(), 0);
        engine.run(&mut sleeper).unwrap();
        assert!(sleeper.0.elapsed() < Duration::from_millis(900), "{:?}", sleeper.0.elapsed());
        thread.join().unwrap();
    });
}

#[test]
fn errors_of_bind_say_what_to_do() {
    inside(|| {
        let _taken = UdpSocket::bind(OWN).unwrap();
        let error = Socket::open(&listener(OWN), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("in use by another program; see: ss -lunp"), "{error}");
        let mut on_device = listener("127.0.0.1:5099");
        on_device.device = Some("nosuch0".into());
        let error = Socket::open(&on_device, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("SO_BINDTODEVICE nosuch0"), "{error}");
        let absent = Socket::open(&listener("192.0.2.77:5060"), 1 << 20).unwrap();
        assert!(absent.buffers().0 >= 1 << 16);
    });
}
