//! `null`: the floor. Datagrams go on untouched but padded, by one of several engines; no SIP.
//!
//! ```text
//!  --listen ─► engine ─► pad to the length that Viaduct's output has ─► --from ─► --to
//! ```

#[cfg(feature = "glommio")]
mod glommio;
mod mmsg;
mod uring;

use std::io;
use std::net::SocketAddr;

use viaduct::engine::socket::Socket;
use viaduct::net::{ListenerId, SectionId, Transport};
use viaduct::plan::{Advertise, Listener, Standing, Waiting};

use crate::range::one_family;
use crate::subject::pin;

/// Forwards datagrams untouched, padded to a length: the floor that `compare` divides by
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Receives on --listen, sends from --from to --to, until it is ended. Sockets, their buffers, and how many
datagrams are taken at once are the same with each engine, and the same as Viaduct's; so is, with engine uring, how it waits.

Examples:
  bench-harness null --listen 10.1.0.1:5070 --from 10.2.0.1:5070 --to 10.2.0.2:5060 --pad-to 950 --core 0
  bench-harness null --engine mmsg --listen [::1]:5070 --from [::1]:5071 --to [::1]:5072 --core 0")]
pub struct Args {
    /// What receives and sends
    #[arg(long, value_enum, default_value_t = Engine::Uring)]
    engine: Engine,
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
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=65_507))]
    pad_to: u32,
    /// Core to run on
    #[arg(long)]
    core: usize,
    /// Look for so long before sleeping, in microseconds, as Viaduct does with `[engine] spin`; engine uring
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    spin_us: u64,
    /// Collect for so long where datagrams come fast, in microseconds, as Viaduct does with `[engine] coalesce`; engine uring
    #[arg(long, default_value_t = Waiting::default().coalesce.as_micros() as u64,
        value_parser = clap::value_parser!(u64).range(..=5_000))]
    coalesce_us: u64,
    /// Wanted socket buffers in bytes, as in Viaduct's `[engine] socket_buffer`
    #[arg(long, default_value_t = 8 << 20)]
    socket_buffer: usize,
}

/// A way to receive and send datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Viaduct's own, on io_uring
    Uring,
    /// `recvmmsg` and `sendmmsg`
    Mmsg,
    /// The runtime glommio
    #[cfg(feature = "glommio")]
    Glommio,
}

impl Engine {
    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
            #[cfg(feature = "glommio")]
            Self::Glommio => "glommio",
        }
    }

    /// As results call the floor by this engine.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Uring => "null-uring",
            Self::Mmsg => "null-mmsg",
            #[cfg(feature = "glommio")]
            Self::Glommio => "null-glommio",
        }
    }
}

/// Where datagrams come in and go out, the latter padded.
struct Path {
    listen: Socket,
    from: Socket,
    to: SocketAddr,
    pad_to: usize,
    spin_us: u64,
    coalesce_us: u64,
}

/// Runs until the process is ended.
pub fn execute(args: &Args) -> io::Result<bool> {
    one_family(&[("--listen", args.listen), ("--from", args.from), ("--to", args.to)])?;
    pin(args.core)?;
    let open = |bind| {
        let socket = Socket::open(&listener(bind), args.socket_buffer).map_err(io::Error::other)?;
        // As Viaduct has it unless it is told otherwise.
        socket.tell_when_received(true).map_err(io::Error::other)?;
        Ok::<_, io::Error>(socket)
    };
    let path = Path {
        listen: open(args.listen)?,
        from: open(args.from)?,
        to: args.to,
        pad_to: args.pad_to as usize,
        spin_us: args.spin_us,
        coalesce_us: args.coalesce_us,
    };
    match args.engine {
        Engine::Uring => uring::run(path)?,
        Engine::Mmsg => mmsg::run(&path)?,
        #[cfg(feature = "glommio")]
        Engine::Glommio => glommio::run(&path)?,
    }
    Ok(true)
}

fn listener(bind: SocketAddr) -> Listener {
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
        advertise: vec![Advertise::new(None, &bind.ip().to_string(), bind.port())],
        dialog_to: Vec::new(),
        standing: Standing::Served,
    }
}
