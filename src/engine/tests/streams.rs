//! Streams over the loopback device, on the engine of the module that this one stands in.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{run, run_accepting_below};
use crate::engine::tests::harness::{DEADLINE, Echo, OWN, STEP, Seen, Talk, inside, open_stream};

fn connect() -> TcpStream {
    let stream = TcpStream::connect(OWN).unwrap();
    stream.set_read_timeout(Some(STEP)).unwrap();
    stream
}

fn ended(talk: &Talk, count: usize) {
    talk.until("streams that ended", |seen| {
        seen.streams_ended.load(std::sync::atomic::Ordering::Relaxed) >= count
    });
}

#[test]
fn bytes_come_back_in_order_and_the_end_follows_them() {
    inside(|| {
        let (echo, metrics) = run(Echo::on(&open_stream(OWN)), |talk| {
            let mut stream = connect();
            let bytes: Vec<u8> = (0..150_000u32).map(|n| (n >> 3) as u8).collect();
            for _ in 0..20 {
                stream.write_all(&bytes).unwrap();
                let mut back = vec![0; bytes.len()];
                stream.read_exact(&mut back).unwrap();
                assert!(back == bytes);
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            ended(talk, 1);
        });
        assert_eq!((echo.errors, echo.wrote), (vec![0], 20 * 150_000));
        assert_eq!(metrics.accepts_failed.get(), 0);
    });
}

/// Segments with bytes in them that a socket has received: `tcpi_data_segs_in` of `struct tcp_info` (linux/tcp.h).
fn segments(stream: &TcpStream) -> u32 {
    const AT: usize = 152;
    let (mut info, mut len) = ([0u8; 256], 256 as libc::socklen_t);
    let fd = std::os::fd::AsRawFd::as_raw_fd(stream);
    // SAFETY: the kernel writes no more than `len` bytes, which there are.
    let got = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    assert!(got == 0 && len as usize >= AT + 4);
    u32::from_ne_bytes(info[AT..AT + 4].try_into().unwrap())
}

#[test]
fn what_a_batch_writes_leaves_as_one() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |_| {
            let mut stream = connect();
            for round in 1..=3 {
                stream.write_all(b"twice").unwrap();
                let mut back = [0; 6];
                stream.read_exact(&mut back).unwrap();
                assert_eq!((&back, segments(&stream)), (b"onetwo", round));
            }
        });
        assert_eq!(echo.wrote, 18);
    });
}

#[test]
fn a_stream_that_finishes_says_its_last_word_though_more_comes_in() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            let mut stream = connect();
            stream.write_all(b"finish").unwrap();
            let mut last = Vec::new();
            stream.read_to_end(&mut last).unwrap();
            assert_eq!(last, b"the last");
            stream.write_all(b"nobody wants to know").unwrap();
            drop(stream);
            ended(talk, 1);
            // One that does not close itself is closed in the end.
            let mut other = connect();
            other.write_all(b"finish").unwrap();
            ended(talk, 2);
        });
        assert_eq!(echo.errors, [0, 0]);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_and_keeps_no_memory() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            let mut stream = connect();
            stream.set_write_timeout(Some(STEP)).unwrap();
            let piece = [7; 16_384];
            let begin = Instant::now();
            while stream.write_all(&piece).is_ok() {
                assert!(begin.elapsed() < DEADLINE);
            }
            ended(talk, 1);
            // Others are served meanwhile and after.
            let mut other = connect();
            other.write_all(b"x").unwrap();
            other.read_exact(&mut [0]).unwrap();
        });
        assert_eq!(echo.errors[0], 0);
    });
}

#[test]
fn connections_go_out_from_the_sockets_address_and_refusals_are_told() {
    inside(|| {
        let there = TcpListener::bind("127.0.0.9:5070").unwrap();
        let to = there.local_addr().unwrap();
        let bound = open_stream("127.0.0.2:5060");
        let echo = Echo { to: Some(to), ..Echo::on(&bound) };
        let (echo, _) = run(echo, move |talk| {
            let mut stream = TcpStream::connect("127.0.0.2:5060").unwrap();
            stream.write_all(b"connect").unwrap();
            let (mut other, from) = there.accept().unwrap();
            assert_eq!(from.ip().to_string(), "127.0.0.2");
            let mut hello = [0; 5];
            other.read_exact(&mut hello).unwrap();
            assert_eq!(&hello, b"hello");
            other.write_all(b"and back").unwrap();
            let mut back = [0; 8];
            other.read_exact(&mut back).unwrap();
            drop(other);
            ended(talk, 1);
            drop(there);
            stream.write_all(b"connect").unwrap();
            ended(talk, 2);
        });
        assert_eq!(echo.errors[..2], [0, libc::ECONNREFUSED]);
    });
}

/// A peer that is gone without a word is noticed, whoever opened the connection.
#[test]
fn dead_peers_are_noticed_on_all_connections() {
    inside(|| {
        let bound = open_stream(OWN);
        let _stream = connect();
        let accepted = std::iter::repeat_with(|| bound.accept()).find_map(Result::ok).unwrap();
        for socket in [accepted, bound.outward().unwrap()] {
            let socket = socket2::SockRef::from(&socket);
            let stalled = Duration::from_nanos(crate::limits::STREAM_STALLED_NS);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(stalled));
            assert!(socket.keepalive().unwrap());
            let probe = Duration::from_nanos(crate::limits::STREAM_PROBE_NS);
            assert_eq!(socket.tcp_keepalive_time().unwrap(), probe);
        }
    });
}

#[test]
fn accepted_connections_leave_files_to_others() {
    inside(|| {
        let (echo, metrics) = run_accepting_below(0, Echo::on(&open_stream(OWN)), |_| {
            assert_eq!(connect().read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        });
        assert_eq!((echo.errors.len(), metrics.accepts_failed.get()), (0, 1));
    });
}

#[test]
fn what_is_over_before_it_has_begun_does_not_connect() {
    inside(|| {
        let there = TcpListener::bind("127.0.0.9:5070").unwrap();
        let echo = Echo { to: Some(there.local_addr().unwrap()), ..Echo::on(&open_stream(OWN)) };
        run(echo, move |talk| {
            let mut stream = connect();
            stream.write_all(b"connect not").unwrap();
            ended(talk, 1);
            there.set_nonblocking(true).unwrap();
            assert_eq!(there.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        });
    });
}

#[test]
fn resets_come_and_go_and_leave_nothing() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            for round in 1..=500 {
                let mut stream = connect();
                if round % 2 == 0 {
                    stream.write_all(b"something").unwrap();
                }
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                drop(stream);
            }
            let seen = |seen: &Seen| seen.streams.load(std::sync::atomic::Ordering::Relaxed);
            let mut stream = connect();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            drop(stream);
            talk.until("all ended", |all| {
                all.streams_ended.load(std::sync::atomic::Ordering::Relaxed) == seen(all)
            });
        });
        // Whether a send or a receive hears of it first: a reset is no end in good order, which the last one alone had.
        assert_eq!(echo.errors.iter().filter(|errno| **errno == 0).count(), 1, "{:?}", echo.errors);
    });
}

/// A connection that the shard has paused.
fn paused(word: &[u8]) -> TcpStream {
    let mut stream = connect();
    stream.write_all(word).unwrap();
    let mut said = [0; 6];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"paused");
    stream
}

/// Another one that says something, once what has come before it was handled.
fn says(word: &[u8]) {
    let mut other = connect();
    for word in [b"x", word] {
        other.write_all(word).unwrap();
        if word == b"x" {
            other.read_exact(&mut [0]).unwrap();
        }
    }
}

/// Writes as long as there is room, and tells how much that was.
fn fill(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut written, mut last) = (0, Instant::now());
    while written < bytes.len() && last.elapsed() < Duration::from_millis(300) {
        if let Ok(more) = stream.write(&bytes[written..]) {
            (written, last) = (written + more, Instant::now());
        }
    }
    stream.set_nonblocking(false).unwrap();
    written
}

fn swallowed(seen: &Seen) -> usize {
    seen.swallowed.load(std::sync::atomic::Ordering::Relaxed)
}

fn numbered() -> Vec<u8> {
    let mut bytes = vec![0; 32_000_000];
    for (place, number) in bytes.chunks_exact_mut(4).zip(0u32..) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

#[test]
fn the_peer_of_a_paused_stream_waits_and_nothing_is_lost() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            let (bytes, mut stream) = (numbered(), paused(b"pause"));
            let written = fill(&mut stream, &bytes);
            assert!(written < bytes.len(), "there is room for all");
            // What has come before the kernel has ended its receive.
            talk.until("some of it at most", |seen| swallowed(seen) <= 1 << 20);
            says(b"resume");
            stream.write_all(&bytes[written..]).unwrap();
            talk.until("the rest", |seen| swallowed(seen) == bytes.len());
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            ended(talk, 2);
        });
        assert!(echo.swallowed == numbered());
        assert_eq!(echo.errors, [0, 0]);
    });
}

#[test]
fn a_stream_is_paused_and_resumed_many_times() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            let (bytes, mut stream) = (numbered(), paused(b"halt"));
            stream.write_all(&bytes[..4_000_000]).unwrap();
            talk.until("all of it", |seen| swallowed(seen) == 4_000_000);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            ended(talk, 1);
        });
        assert!(echo.swallowed == numbered()[..4_000_000]);
    });
}

#[test]
fn a_paused_stream_is_closed_as_any_other_one() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open_stream(OWN)), |talk| {
            let mut stream = paused(b"pause");
            stream.write_all(&[7; 100_000]).unwrap();
            says(b"finish it");
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            drop(stream);
            ended(talk, 2);
            let mut stream = paused(b"pause");
            stream.write_all(&[7; 100_000]).unwrap();
            says(b"reset it");
            assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
            ended(talk, 4);
            // Its end comes with the engine's.
            let _last = paused(b"pause");
        });
        assert_eq!(echo.errors, [0; 4]);
    });
}
