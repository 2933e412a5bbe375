//! A gateway that answers by itself, as it is told to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::endpoint::Party;
use crate::sip::response;
use crate::world::Far;

/// A SIP endpoint with a thread that answers: OPTIONS 200, requests as it is told. Ends when dropped.
pub struct Gateway {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A status line's end, and more headers.
type Answer = (String, Vec<(String, String)>);

struct Shared {
    party: Party,
    requests: AtomicU64,
    options: AtomicU64,
    /// What requests are answered; none: nothing at all, OPTIONS neither.
    answer: Mutex<Option<Answer>>,
    /// From here it takes nothing.
    deaf_to: Mutex<Option<IpAddr>>,
    ends: AtomicBool,
}

impl Gateway {
    /// At this address of a host, which gets it; answers 200.
    pub fn new(far: &Far, address: &str) -> Self {
        far.ip(&format!("addr add {address}/24 dev eth0"));
        let shared = Arc::new(Shared {
            party: far.party("gateway", &format!("{address}:5060")),
            requests: AtomicU64::new(0),
            options: AtomicU64::new(0),
            answer: Mutex::new(Some(("200 OK".into(), Vec::new()))),
            deaf_to: Mutex::new(None),
            ends: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || own.run());
        Self { shared, thread: Some(thread) }
    }

    /// From now on it answers requests so, with these headers.
    pub fn answers(&self, status: &str, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        *self.shared.answer.lock().expect("a lock") = Some((status.into(), headers));
    }

    /// From now on it takes nothing from this address.
    pub fn is_deaf_to(&self, address: &str) {
        *self.shared.deaf_to.lock().expect("a lock") = Some(address.parse().expect("an address"));
    }

    /// From now on it is silent.
    pub fn dies(&self) {
        *self.shared.answer.lock().expect("a lock") = None;
    }

    /// Requests that have come since the last look; OPTIONS, ACKs and what came again apart.
    pub fn requests(&self) -> u64 {
        self.shared.requests.swap(0, Ordering::Relaxed)
    }

    /// OPTIONS that have come.
    pub fn options(&self) -> u64 {
        self.shared.options.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self) {
        let mut seen = std::collections::HashSet::new();
        while !self.ends.load(Ordering::Relaxed) {
            let Some(received) = self.party.try_receive() else { continue };
            if *self.deaf_to.lock().expect("a lock") == Some(received.from.ip()) {
                continue;
            }
            let message = &received.message;
            if message.start.starts_with("ACK ") || message.start.starts_with("SIP/2.0") {
                continue;
            }
            let is_options = message.start.starts_with("OPTIONS ");
            if is_options {
                self.options.fetch_add(1, Ordering::Relaxed);
            } else if seen.insert(message.branch()) {
                self.requests.fetch_add(1, Ordering::Relaxed);
            }
            let Some((status, headers)) = self.answer.lock().expect("a lock").clone() else { continue };
            let status = if is_options { "200 OK" } else { &status };
            let mut answer = response(message, status);
            answer.set("To", &format!("{};tag=gateway", message.value("To")));
            headers.iter().filter(|_| !is_options).for_each(|(name, value)| answer.add(name, value));
            answer.add("Content-Length", "0");
            self.party.send(&answer, received.from);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own fails the test where its answers are missed.
            let _ = thread.join();
        }
    }
}
