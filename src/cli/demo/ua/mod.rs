//! A small user agent without sockets: datagrams and `now` go in, datagrams and finished calls come out.
//!
//! Every call is the same script: INVITE 180 200 ACK, a re-INVITE from the caller, a re-INVITE from the
//! callee, BYE from either. Each agent checks on its own side that a dialog's messages keep coming from
//! the very neighbour that its first one came from.

mod call;
pub mod message;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call::Call;
pub use call::{Role, Script};
use message::Message;

/// RFC 3261 §17.1.1.1: T1, the first retransmission.
const T1: Duration = Duration::from_millis(500);
/// After this long a transaction counts as failed; far below 64*T1, so that a demo ends.
const GIVE_UP: Duration = Duration::from_secs(6);

/// Which of the driver's sockets a datagram came in on or leaves by.
pub type Port = usize;

/// A datagram to send.
#[derive(Debug)]
pub struct Send {
    /// By which socket.
    pub port: Port,
    /// Where to.
    pub to: SocketAddr,
    /// The bytes.
    pub text: String,
}

/// A call that ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its Call-ID.
    pub call_id: String,
    /// INVITE sent to 200 received; callers only.
    pub setup: Option<Duration>,
    /// BYE sent to 200 received; whoever sent it.
    pub release: Option<Duration>,
    /// Datagrams that had to be sent again.
    pub retransmissions: u32,
    /// Why it failed; `None`: it went as the script says.
    pub failure: Option<String>,
}

/// The first INVITE of a call as the callee saw it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The call's Call-ID.
    pub call_id: String,
    /// The socket it arrived on.
    pub port: Port,
    /// From where.
    pub from: SocketAddr,
    /// When.
    pub at: Instant,
}

/// One user agent: all its calls, in both roles.
pub struct Agent {
    contact: SocketAddr,
    calls: HashMap<String, Call>,
    sends: Vec<Send>,
    finished: Vec<Finished>,
    arrivals: Vec<Arrival>,
}

impl Agent {
    /// An agent that is reached at this address.
    pub fn new(contact: SocketAddr) -> Self {
        Self { contact, calls: HashMap::new(), sends: Vec::new(), finished: Vec::new(), arrivals: Vec::new() }
    }

    /// Starts a call to `uri` by the proxy at `proxy`.
    pub fn place(&mut self, script: Script, uri: &str, port: Port, proxy: SocketAddr, now: Instant) {
        let mut call = Call::caller(script, uri, self.contact, port, proxy);
        call.start(&mut self.sends, now);
        self.calls.insert(call.id().to_owned(), call);
    }

    /// Takes a datagram.
    pub fn receive(&mut self, bytes: &[u8], port: Port, from: SocketAddr, now: Instant) {
        let Some(message) = Message::read(bytes) else { return };
        let id = message.get("Call-ID");
        if !self.calls.contains_key(id) && message.method() == Some("INVITE") {
            let arrival = Arrival { call_id: id.to_owned(), port, from, at: now };
            self.arrivals.push(arrival);
            self.calls.insert(id.to_owned(), Call::callee(id, self.contact, port, from));
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.receive(&message, port, from, &mut self.sends, now);
            self.finished.extend(call.take_finished());
        }
    }

    /// Sends again what is due, and gives up on what is long overdue.
    pub fn tick(&mut self, now: Instant) {
        for call in self.calls.values_mut() {
            call.tick(&mut self.sends, now);
            self.finished.extend(call.take_finished());
        }
    }

    /// Takes the datagrams to send.
    pub fn take_sends(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.sends)
    }

    /// Takes the calls that ended since the last time.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Takes the calls that arrived since the last time.
    pub fn take_arrivals(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    /// Forgets all calls.
    pub fn clear(&mut self) {
        self.calls.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:5060";
    const B: &str = "192.0.2.2:5060";

    /// Lets two agents talk until nothing is left to say; `lose` names datagrams that get lost.
    fn talk(bye_by: Role, lose: impl Fn(usize) -> bool) -> (Vec<Finished>, Vec<Finished>) {
        let (a, b): (SocketAddr, SocketAddr) = (A.parse().unwrap(), B.parse().unwrap());
        let (mut caller, mut callee) = (Agent::new(a), Agent::new(b));
        let call_id = if bye_by == Role::Caller { "xa" } else { "xb" };
        let mut now = Instant::now();
        let script = Script { call_id: call_id.into(), bye_by };
        caller.place(script, &format!("sip:bob@{B}"), 0, b, now);
        let mut count = 0;
        for _ in 0..200 {
            now += Duration::from_millis(50);
            count = pass(&mut caller, &mut callee, a, now, count, &lose);
            count = pass(&mut callee, &mut caller, b, now, count, &lose);
        }
        (caller.take_finished(), callee.take_finished())
    }

    fn pass(
        sender: &mut Agent,
        receiver: &mut Agent,
        from: SocketAddr,
        now: Instant,
        mut count: usize,
        lose: &impl Fn(usize) -> bool,
    ) -> usize {
        sender.tick(now);
        for send in sender.take_sends() {
            count += 1;
            if !lose(count) {
                receiver.receive(send.text.as_bytes(), send.port, from, now);
            }
        }
        count
    }

    #[test]
    fn a_call_runs_its_script_whoever_ends_it() {
        for bye_by in [Role::Caller, Role::Callee] {
            let (caller, callee) = talk(bye_by, |_| false);
            assert_eq!((caller.len(), callee.len()), (1, 1), "{bye_by:?}");
            for side in [&caller[0], &callee[0]] {
                assert_eq!((side.failure.as_deref(), side.retransmissions), (None, 0));
            }
            assert_eq!(caller[0].release.is_some(), bye_by == Role::Caller);
        }
    }

    #[test]
    fn a_lost_datagram_is_sent_again() {
        for lost in 1..=9 {
            let (caller, callee) = talk(Role::Caller, |number| number == lost);
            assert_eq!((caller.len(), callee.len()), (1, 1), "datagram {lost}");
            assert_eq!(caller[0].failure, None, "datagram {lost}");
        }
    }

    #[test]
    fn silence_is_a_failure() {
        let (caller, _) = talk(Role::Caller, |_| true);
        assert!(caller[0].failure.as_deref().unwrap().starts_with("no final answer to INVITE 1"));
    }
}
