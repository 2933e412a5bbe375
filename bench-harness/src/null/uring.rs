//! The floor on Viaduct's engine: its rings, buffers and batches.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use viaduct::engine::socket::Socket;
use viaduct::engine::uring::Engine;
use viaduct::engine::{Event, Io, Next, Shard, SocketId};
use viaduct::metrics::EngineMetrics;
use viaduct::net::Now;

use super::Path;

const IN: SocketId = SocketId(0);
const OUT: SocketId = SocketId(1);

/// Forwards until the process is ended.
pub fn run(path: Path) -> io::Result<()> {
    let sockets = vec![(IN, Arc::new(path.listen)), (OUT, Arc::new(path.from))];
    let mut null = Null { sockets, to: path.to, pad_to: path.pad_to };
    let metrics = EngineMetrics::default();
    let mut engine = Engine::new(&metrics)?;
    engine.spin(path.spin_us * 1_000);
    engine.coalesce(path.coalesce_us * 1_000);
    engine.run(&mut null)
}

struct Null {
    sockets: Vec<(SocketId, Arc<Socket>)>,
    to: SocketAddr,
    pad_to: usize,
}

impl<'m> Shard<Engine<'m>> for Null {
    fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
        for (id, socket) in self.sockets.drain(..) {
            io.open(id, &socket);
        }
    }

    fn on_event(&mut self, io: &mut Engine<'m>, event: Event<'_>) {
        if let Event::Datagram { on: IN, bytes, .. } = event {
            let Some(mut tx) = io.tx() else { return };
            tx.as_mut()[..bytes.len()].copy_from_slice(bytes);
            io.send(tx, bytes.len().max(self.pad_to), OUT, self.to, 0);
        }
    }

    fn end(&mut self, _: &mut Engine<'m>) -> Next {
        Next::Wait(None)
    }
}
