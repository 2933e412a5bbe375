//! The entry for whoever wants a forwarder in this process: the command, and tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::error::Error;
use super::load::Source;
use super::monitor::{Health, Monitor};
use super::panic_text;
use super::start::assemble;
use crate::metrics::exposition;

/// Threads beside: routing tables and a configuration may be read at a time, and compared.
const READINGS: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// Listen to signals: SIGHUP reloads, SIGTERM and SIGINT stop, a second one ends the process at
    /// once. Also tells the service manager. For the command; not for a forwarder inside a test.
    pub owns_process: bool,
}

/// What a [`Handle`] asks of the control thread.
pub(super) enum Command {
    Reload(oneshot::Sender<Result<(), Error>>),
    Stop,
}

/// A running forwarder. Dropping it stops the forwarder without waiting for its end.
pub struct Handle {
    monitor: Arc<Monitor>,
    admin: Option<SocketAddr>,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// Started: what the control thread tells whoever waits for it.
pub(super) struct Started {
    pub monitor: Arc<Monitor>,
    pub admin: Option<SocketAddr>,
}

/// Starts the control thread and the shards in the caller's network namespace; returns when all
/// listeners are bound and every shard is ready.
///
/// # Errors
/// Whatever keeps the forwarder from running as configured.
pub fn start(options: Options) -> Result<Handle, Error> {
    let (commands, receiver) = mpsc::channel(16);
    let (ready, is_ready) = oneshot::channel();
    let thread = thread::Builder::new().name("viaduct-control".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READINGS)
            .build()?;
        let result = runtime.block_on(async {
            let (control, started) = match assemble(options).await {
                Ok(assembled) => assembled,
                Err(error) => {
                    // The caller gets it from the thread's result: the channel only closes.
                    drop(ready);
                    return Err(error);
                }
            };
            let _ = ready.send(started);
            control.run(receiver).await
        });
        // A reading that takes long must not hold up the end.
        runtime.shutdown_background();
        result
    })?;
    match is_ready.blocking_recv() {
        Ok(Started { monitor, admin }) => Ok(Handle { monitor, admin, commands, thread: Some(thread) }),
        Err(_) => Err(end_of(thread).err().unwrap_or(Error::ControlFailed)),
    }
}

/// Starts, and waits for the end.
///
/// # Errors
/// As [`start`]; or every shard has failed.
pub fn run(options: Options) -> Result<(), Error> {
    start(options)?.wait()
}

impl Handle {
    /// Asks for the end: what was received is still sent, for at most 5 s.
    pub fn stop(&self) {
        // A full queue holds another command to stop, or reloads before it; a closed one has stopped.
        let _ = self.commands.try_send(Command::Stop);
    }

    /// Reads the configuration again and waits until it is in force or refused.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn reload(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.blocking_send(Command::Reload(reply)).map_err(|_| Error::ControlFailed)?;
        answer.blocking_recv().map_err(|_| Error::ControlFailed)?
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Every shard has failed, or the control thread has.
    pub fn wait(mut self) -> Result<(), Error> {
        self.thread.take().map_or(Ok(()), end_of)
    }

    /// The counters as OpenMetrics text.
    pub fn metrics(&self) -> String {
        exposition::render(self.monitor.readings()).unwrap_or_default()
    }

    /// What is known about the process.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Whether all is well.
    pub fn health(&self) -> Health {
        self.monitor.health()
    }

    /// Where the admin address really is, where port 0 was asked for.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end_of(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|payload| {
        tracing::error!("the control thread panicked: {}", panic_text(&*payload));
        Err(Error::ControlFailed)
    })
}
