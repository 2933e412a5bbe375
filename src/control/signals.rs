//! Signals, where the process is ours.

use std::future;
use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Stop,
}

/// The signals that the process listens to; `None`: it is not ours.
pub struct Signals(Option<Streams>);

struct Streams {
    hangup: Stream,
    terminate: Stream,
    interrupt: Stream,
}

impl Signals {
    /// Listens from now on, if the process is ours.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn listen(owns_process: bool) -> io::Result<Self> {
        let streams = || -> io::Result<Streams> {
            Ok(Streams {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        Ok(Self(owns_process.then(streams).transpose()?))
    }

    /// Waits for the next one; for ever, if the process is not ours.
    pub async fn next(&mut self) -> Signal {
        let Some(streams) = &mut self.0 else { return future::pending().await };
        tokio::select! {
            Some(()) = streams.hangup.recv() => Signal::Reload,
            Some(()) = streams.terminate.recv() => Signal::Stop,
            Some(()) = streams.interrupt.recv() => Signal::Stop,
            else => future::pending().await,
        }
    }
}
