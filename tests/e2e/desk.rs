//! A phone with many calls at a time, and a browser as one.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::phone::{Phone, Taken, Way};
use crate::sip::{Message, Speaker};

/// How long it takes at most until a desk sees that it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A phone whose messages go to the calls that they are of.
pub struct Desk<'p> {
    phone: &'p (dyn Phone + Sync),
    calls: Mutex<HashMap<String, Sender<Taken>>>,
}

impl<'p> Desk<'p> {
    pub fn new(phone: &'p (dyn Phone + Sync)) -> Self {
        Self { phone, calls: Mutex::default() }
    }

    /// Hands out what comes in; what is of no call that there is now (it came again, late) is nobody's.
    pub fn run(&self, ends: &AtomicBool) {
        while !ends.load(Ordering::Relaxed) {
            let Some(taken) = self.phone.try_take(LOOK) else { continue };
            let calls = self.calls.lock().expect("no panic");
            if let Some(call) = calls.get(taken.message.value("Call-ID")) {
                // A call that has failed takes nothing more.
                let _ = call.send(taken);
            }
        }
    }

    /// What the call with this Call-ID has of the phone.
    pub fn leg(&self, call_id: &str) -> Leg<'_> {
        let (sender, inbox) = channel();
        self.calls.lock().expect("no panic").insert(call_id.to_owned(), sender);
        let inbox = Mutex::new((inbox, HashSet::new()));
        Leg { desk: self, call_id: call_id.to_owned(), inbox }
    }
}

/// One call's part of a phone.
pub struct Leg<'d> {
    desk: &'d Desk<'d>,
    call_id: String,
    /// With what has come in.
    inbox: Mutex<(Receiver<Taken>, HashSet<String>)>,
}

impl Speaker for Leg<'_> {
    fn via(&self) -> String {
        self.desk.phone.via()
    }

    fn uri(&self) -> String {
        self.desk.phone.uri()
    }
}

impl Phone for Leg<'_> {
    fn put(&self, message: &Message) {
        self.desk.phone.put(message);
    }

    /// What comes again, because an answer over UDP took long, is none.
    fn try_take(&self, patience: Duration) -> Option<Taken> {
        let deadline = Instant::now() + patience;
        let mut inbox = self.inbox.lock().expect("no panic");
        let (inbox, seen) = &mut *inbox;
        loop {
            let taken = inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            let message = &taken.message;
            if seen.insert(format!("{} {} {}", message.start, message.value("CSeq"), message.branch())) {
                return Some(taken);
            }
        }
    }

    fn give(&self, message: &Message, way: &Way) {
        self.desk.phone.give(message, way);
    }
}

impl Drop for Leg<'_> {
    fn drop(&mut self) {
        self.desk.calls.lock().expect("no panic").remove(&self.call_id);
    }
}

/// A browser, which has one call at a time.
pub struct ByWebSocket(Mutex<Browser>);

impl ByWebSocket {
    pub fn new(browser: Browser) -> Self {
        Self(Mutex::new(browser))
    }
}

impl Speaker for ByWebSocket {
    fn via(&self) -> String {
        self.0.lock().expect("no panic").via()
    }

    fn uri(&self) -> String {
        self.0.lock().expect("no panic").uri()
    }
}

impl Phone for ByWebSocket {
    fn put(&self, message: &Message) {
        self.0.lock().expect("no panic").send(message);
    }

    fn try_take(&self, patience: Duration) -> Option<Taken> {
        let message = self.0.lock().expect("no panic").next_within(patience)?;
        Some(Taken { message, way: Way::Same })
    }

    fn give(&self, message: &Message, _: &Way) {
        self.put(message);
    }
}
