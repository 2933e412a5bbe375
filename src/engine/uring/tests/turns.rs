//! More streams that can be read than there are receive buffers.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use super::super::*;
use crate::engine::tests::harness::{OWN, STEP, inside, open_stream};

const BUFFERS: u16 = 8;
const FULL: usize = 20;
/// What waits on each stream before any is read: one and a half times what all buffers hold.
const BYTES: usize = 12 * 4_096;
const IDLE: &[u8] = b"idle until now";

/// Reads streams once all have come.
struct Reader {
    socket: Option<Arc<Socket>>,
    accepted: Vec<Accepted>,
    /// Who was read, how many bytes, and how long it had waited.
    read: Vec<(StreamId, usize, Option<u64>)>,
    bytes: usize,
    all_read: mpsc::Sender<()>,
    is_done: bool,
    by: Instant,
}

impl<'m> Shard<Engine<'m>> for Reader {
    fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
        if let Some(socket) = self.socket.take() {
            io.open(SocketId(0), &socket);
        }
    }

    fn on_event(&mut self, io: &mut Engine<'m>, event: Event<'_>) {
        match event {
            Event::Accepted { accepted, .. } => {
                self.accepted.push(accepted);
                if self.accepted.len() == FULL + 1 {
                    self.accepted.drain(..).for_each(|accepted| assert!(io.adopt(accepted).is_some()));
                }
            }
            Event::Received { stream, bytes } => {
                self.read.push((stream, bytes.len(), io.unread_ns(stream)));
                self.bytes += bytes.len();
                self.is_done |= bytes == IDLE;
                if self.bytes == FULL * BYTES {
                    self.all_read.send(()).unwrap();
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Engine<'m>) -> Next {
        assert!(Instant::now() < self.by, "{} bytes were read in {STEP:?}", self.bytes);
        if self.is_done { Next::Stop } else { Next::Wait(None) }
    }
}

/// Connections of which all but one have sent a lot; that one says something when all is read.
fn talk(written: &mpsc::Sender<()>, all_read: &mpsc::Receiver<()>) {
    let connect = || TcpStream::connect(OWN).unwrap();
    let mut idle = connect();
    let mut full: Vec<_> = (0..FULL).map(|_| connect()).collect();
    full.iter_mut().for_each(|stream| stream.write_all(&[b'x'; BYTES]).unwrap());
    written.send(()).unwrap();
    all_read.recv_timeout(STEP).unwrap();
    // The engine has nothing to do meanwhile but to arm this one, too.
    std::thread::sleep(Duration::from_millis(50));
    idle.write_all(IDLE).unwrap();
}

#[test]
fn each_stream_is_read_before_any_is_read_again() {
    inside(|| {
        let socket = open_stream(OWN);
        let (all_read, has_read) = mpsc::channel();
        let (written, has_written) = mpsc::channel();
        let talker = std::thread::spawn(move || talk(&written, &has_read));
        // Else the first could be read twice before the last one has sent anything.
        has_written.recv_timeout(STEP).unwrap();
        let metrics = EngineMetrics::default();
        let sizes = Sizes { stream_buffers: BUFFERS, ..Sizes::DEFAULT };
        let mut engine = Engine::with(sizes, &metrics).unwrap();
        let mut reader = Reader {
            socket: Some(socket),
            accepted: Vec::new(),
            read: Vec::new(),
            bytes: 0,
            all_read,
            is_done: false,
            by: Instant::now() + STEP,
        };
        engine.run(&mut reader).unwrap();
        talker.join().unwrap();
        assert_in_turn(&reader.read);
        assert!(metrics.receive_starved.get() > 0, "there were buffers for all");
    });
}

fn assert_in_turn(read: &[(StreamId, usize, Option<u64>)]) {
    let all_at_once = usize::from(BUFFERS) * 4_096;
    let mut streams: Vec<StreamId> = Vec::new();
    for (at, (stream, ..)) in read.iter().enumerate() {
        if streams.contains(stream) || streams.len() == FULL {
            continue;
        }
        streams.push(*stream);
        for other in &streams {
            let taken: usize = read[..at].iter().filter(|(id, ..)| id == other).map(|(_, len, _)| len).sum();
            assert!(taken <= all_at_once, "{other:?} was read twice before {stream:?} was");
        }
    }
    let waited = |stream: &StreamId| read.iter().find(|(id, ..)| id == stream).and_then(|(.., ns)| *ns);
    assert_eq!(waited(&streams[0]), Some(0), "it was the first");
    assert!(streams.iter().map(waited).is_sorted(), "all came at once");
    assert!(waited(&streams[FULL - 1]) > Some(0), "it had to wait for the others");
    assert_eq!(read.last().map(|(.., ns)| *ns), Some(None), "nothing of it has waited");
}
