//! `null`: the floor. The same engine, sockets, buffers and batches as Viaduct; no SIP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use viaduct::engine::socket::Socket;
use viaduct::engine::uring::Engine;
use viaduct::engine::{Event, Io, Next, Shard, SocketId};
use viaduct::metrics::EngineMetrics;
use viaduct::net::{ListenerId, Now, SectionId, Transport};
use viaduct::plan::{Advertise, Listener, Standing};

use crate::subject::pin;

/// Forwards datagrams untouched on Viaduct's engine, padded to a length: the denominator of `ratio`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Receives on --listen, sends from --from to --to, until it is ended.

Example:
  bench-harness null --listen 10.1.0.1:5070 --from 10.2.0.1:5070 --to 10.2.0.2:5060 --pad-to 950 --core 0")]
pub struct Args {
    /// Address and port to receive on
    #[arg(long)]
    listen: SocketAddr,
    /// Address and port to send from
    #[arg(long)]
    from: SocketAddr,
    /// Where everything goes
    #[arg(long)]
    to: SocketAddr,
    /// Length of what is sent, in bytes; longer datagrams keep theirs
    #[arg(long, default_value_t = 0)]
    pad_to: usize,
    /// Core to run on
    #[arg(long)]
    core: usize,
    /// Wanted socket buffers in bytes, as in Viaduct's `[engine] socket_buffer`
    #[arg(long, default_value_t = 8 << 20)]
    socket_buffer: usize,
}

const IN: SocketId = SocketId(0);
const OUT: SocketId = SocketId(1);

/// Runs until the process is ended.
pub fn execute(args: &Args) -> io::Result<bool> {
    pin(args.core)?;
    let open =
        |bind| Socket::open(&listener(bind), args.socket_buffer).map(Arc::new).map_err(io::Error::other);
    let mut null = Null { sockets: vec![(IN, open(args.listen)?), (OUT, open(args.from)?)], args, failed: 0 };
    let metrics = EngineMetrics::default();
    Engine::new(&metrics)?.run(&mut null)?;
    Ok(true)
}

fn listener(bind: SocketAddr) -> Listener {
    let ip: IpAddr = bind.ip();
    Listener {
        id: ListenerId(0),
        section: SectionId(0),
        name: "null".into(),
        identity: 0,
        formerly: Vec::new(),
        transport: Transport::Udp,
        bind,
        link: None,
        device: None,
        device_index: 0,
        mark: None,
        advertise: vec![Advertise::new(None, &ip.to_string(), bind.port())],
        dialog_to: Vec::new(),
        standing: Standing::Served,
    }
}

struct Null<'a> {
    sockets: Vec<(SocketId, Arc<Socket>)>,
    args: &'a Args,
    failed: u64,
}

impl<'m> Shard<Engine<'m>> for Null<'_> {
    fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
        for (id, socket) in self.sockets.drain(..) {
            io.open(id, &socket);
        }
    }

    fn on_event(&mut self, io: &mut Engine<'m>, event: Event<'_>) {
        match event {
            Event::Datagram { on: IN, bytes, .. } => {
                let Some(mut tx) = io.tx() else { return };
                tx.as_mut()[..bytes.len()].copy_from_slice(bytes);
                io.send(tx, bytes.len().max(self.args.pad_to), OUT, self.args.to, 0);
            }
            Event::SendFailed { .. } => self.failed += 1,
            Event::Datagram { .. } | Event::Sent { .. } | Event::Closed { .. } => {}
        }
    }

    fn end(&mut self, _: &mut Engine<'m>) -> Next {
        Next::Wait(None)
    }
}
