//! The shards' threads: started, woken and seen off.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{cores, panic_text};
#[cfg(feature = "glommio")]
use crate::engine::glommio;
use crate::engine::socket::Socket;
use crate::engine::{Neighbours, Waker, uring};
use crate::plan::{Engine, EngineKind, Waiting};
use crate::shard::{End, Setup, Worker};

/// What a shard opens.
type Source = Arc<Socket>;

/// A running shard.
pub struct ShardThread {
    /// The core it is pinned to.
    pub core: usize,
    waker: Waker,
    thread: JoinHandle<()>,
}

/// Tells the control thread that a shard has ended; one message for each shard.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub number: usize,
    /// How: as asked, or why not.
    pub how: Result<End, String>,
}

/// What a shard says when it is ready to forward, or cannot.
type Ready = Result<Waker, String>;

impl ShardThread {
    /// Starts a thread, pins it, makes its engine and its memory there, and waits until it is ready.
    ///
    /// # Errors
    /// In words: not pinned, no engine, no thread.
    pub fn start(
        setup: Setup<Source>,
        core: usize,
        engine: Engine,
        neighbours: Neighbours,
        ended: UnboundedSender<Ended>,
    ) -> Result<Self, String> {
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let number = setup.number;
        let thread = thread::Builder::new()
            .name(format!("viaduct-{number}"))
            .spawn(move || {
                let number = usize::from(setup.number);
                let run =
                    panic::catch_unwind(AssertUnwindSafe(|| run(setup, core, &engine, neighbours, &ready)));
                let how = run.unwrap_or_else(|payload| Err(format!("panicked: {}", panic_text(&*payload))));
                // Without a receiver the process is ending.
                let _ = ended.send(Ended { number, how });
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let waker = is_ready.recv().unwrap_or_else(|_| Err("its thread ended before it was ready".into()))?;
        Ok(Self { core, waker, thread })
    }

    /// A shard with this thread, for tests.
    #[cfg(test)]
    pub fn for_test(waker: Waker, thread: JoinHandle<()>) -> Self {
        Self { core: 0, waker, thread }
    }

    /// Has the shard look at the newest publication at once.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        // The thread catches its panics and reports them by `Ended`.
        let _ = self.thread.join();
    }
}

fn run(
    setup: Setup<Source>,
    core: usize,
    engine: &Engine,
    neighbours: Neighbours,
    ready: &SyncSender<Ready>,
) -> Result<End, String> {
    cores::pin(core)
        .map_err(|error| error.to_string())
        .and_then(|()| match engine.kind {
            EngineKind::Uring => on_uring(setup, engine.waiting, neighbours, ready),
            EngineKind::Glommio => on_glommio(setup, neighbours, ready),
        })
        .inspect_err(|why| {
            // One that was ready has said so, and nobody listens any more.
            let _ = ready.try_send(Err(why.clone()));
        })
}

fn on_uring(
    setup: Setup<Source>,
    waiting: Waiting,
    neighbours: Neighbours,
    ready: &SyncSender<Ready>,
) -> Result<End, String> {
    let metrics = setup.metrics.clone();
    let mut engine =
        uring::Engine::new(&metrics.engine).map_err(|error| no_engine(EngineKind::Uring, &error))?;
    engine.meet(setup.number, neighbours);
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(0);
    engine.spin(ns(waiting.spin));
    if !engine.coalesce(ns(waiting.coalesce)) && setup.number == 0 {
        tracing::info!(
            "[engine] coalesce needs Linux 6.12: here, the first message that comes wakes its shard"
        );
    }
    let worker = Worker::new(setup);
    let mut worker = if waiting.spin.is_zero() { worker } else { worker.spinning() };
    let _ = ready.send(Ok(engine.waker()));
    engine.run(&mut worker).map_err(|error: io::Error| error.to_string())?;
    ended(&worker)
}

#[cfg(feature = "glommio")]
fn on_glommio(
    setup: Setup<Source>,
    neighbours: Neighbours,
    ready: &SyncSender<Ready>,
) -> Result<End, String> {
    let metrics = setup.metrics.clone();
    let mut engine =
        glommio::Engine::new(&metrics.engine).map_err(|error| no_engine(EngineKind::Glommio, &error))?;
    engine.meet(setup.number, neighbours);
    let mut worker = Worker::new(setup);
    let _ = ready.send(Ok(engine.waker()));
    engine.run(&mut worker);
    ended(&worker)
}

#[cfg(not(feature = "glommio"))]
fn on_glommio(_: Setup<Source>, _: Neighbours, _: &SyncSender<Ready>) -> Result<End, String> {
    Err(format!("the engine `{}` is not in this build", EngineKind::Glommio))
}

fn ended(worker: &Worker<Source>) -> Result<End, String> {
    worker.ended().ok_or_else(|| "its loop ended unasked".to_owned())
}

/// Why there is no engine, with what to do where that is known.
fn no_engine(kind: EngineKind, error: &io::Error) -> String {
    match error.raw_os_error() {
        // The kernel counts a ring's memory as locked, unless the process may lock what it likes.
        Some(libc::ENOMEM) => format!(
            "{error}; a shard locks up to {} KiB, see `ulimit -l` or LimitMEMLOCK= in the unit (`viaduct doctor --only locked-memory`)",
            kind.locked_bytes() >> 10
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_locked_memory_has_a_remedy() {
        let told = no_engine(EngineKind::Uring, &io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(told.contains("256 KiB") && told.contains("ulimit -l"), "{told}");
        assert!(
            !no_engine(EngineKind::Uring, &io::Error::from_raw_os_error(libc::EMFILE)).contains("ulimit")
        );
    }
}
