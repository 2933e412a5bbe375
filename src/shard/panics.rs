//! A panic costs one message: how it is caught, described and counted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::handler::Handler;
use super::record::{RecordKind, Text};
use super::worker::{End, Worker};
use crate::engine::Io;
use crate::limits;
use crate::net::Now;
use crate::proxy::Incoming;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Text<64>> = RefCell::new(Text::new(""));
}

/// Replaces the standard report of a panic where a shard is going to report it itself.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let standard = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let place = info.location().map(|l| format!("{}:{}", l.file(), l.line()));
                PLACE.set(Text::new(place.as_deref().unwrap_or("")));
            } else {
                standard(info);
            }
        }));
    });
}

/// What a caught panic says, and where it happened.
#[derive(Debug)]
pub(super) struct Caught {
    pub message: Text<96>,
    pub place: Text<64>,
}

/// Runs `work` for one message; allocates only where it panics.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, Box<Caught>> {
    GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(false);
    result.map_err(|payload| {
        Box::new(Caught { message: describe(&*payload), place: PLACE.replace(Text::new("")) })
    })
}

impl<S, H: Handler> Worker<S, H> {
    /// `incoming`: the message that was handled; none: a timer, or bytes of a connection.
    pub(super) fn on_panic<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        incoming: Option<&Incoming<'_>>,
        caught: Caught,
    ) {
        let Caught { message, place } = caught;
        let cause = incoming.map(|incoming| (incoming.on, incoming.from));
        self.record(RecordKind::Panic { cause, message, place });
        self.handler.adopt(&self.current.snapshot, self.now);
        self.unfilter(io);
        if self.panic_rate.exceeded(self.now) && self.end.is_none() {
            self.end = Some(End::Panics);
            self.record(RecordKind::TooManyPanics);
        }
    }
}

fn describe(payload: &(dyn Any + Send)) -> Text<96> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    Text::new(text)
}

/// Counts panics by the second.
#[derive(Default)]
pub(super) struct Rate {
    second: u64,
    count: u32,
}

impl Rate {
    /// Notes one more; true: more than [`limits::PANICS_PER_SECOND`] within this second.
    pub fn exceeded(&mut self, now: Now) -> bool {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > limits::PANICS_PER_SECOND
    }
}
