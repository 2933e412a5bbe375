//! Where requests come in, on the host as it is and as it would be. Nothing stands in for a listener that is
//! gone or not up: what was sent there arrives nowhere.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::egress::ListenerState;
use crate::net::ListenerId;
use crate::plan::Listener;
use crate::rules::When;
use crate::snapshot::Snapshot;

/// The listener that requests come in on, or why none does.
pub type Ingress = Result<ListenerId, NotReceived>;

/// Why requests do not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReceived {
    /// There is no listener of that name: one that follows the host goes with its address.
    NoSuchListener,
    /// It is in this state.
    NotUp(ListenerState),
    /// None was named, and none is up.
    NoneUp,
}

impl NotReceived {
    /// One clause, without a full stop.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::NoSuchListener => "there is no such listener",
            Self::NotUp(state) => state.in_words(),
            Self::NoneUp => "no listener that could receive it is up",
        }
    }

    /// The same as a note about a listener as it is now.
    pub fn note(self, listener: &str) -> String {
        format!("listener {listener} is not up ({}): it receives nothing now", self.in_words())
    }
}

impl fmt::Display for NotReceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not received: {}", self.in_words())
    }
}

impl Serialize for NotReceived {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.in_words())
    }
}

/// The listener of this name, if it is up.
pub fn named(snapshot: &Snapshot, name: &str) -> Ingress {
    let listener = snapshot.plan.listener_named(name).ok_or(NotReceived::NoSuchListener)?;
    up(snapshot, listener.id)
}

/// This listener, if it is up.
pub fn up(snapshot: &Snapshot, listener: ListenerId) -> Ingress {
    match snapshot.view.state(listener) {
        ListenerState::Up => Ok(listener),
        state => Err(NotReceived::NotUp(state)),
    }
}

/// Where nobody said which: the first listener that is up both now and then; where there is none, the first that is
/// up on either. `when`: of those alone that the conditions allow.
pub fn any(now: &Snapshot, then: &Snapshot, when: Option<&When>) -> (Ingress, Ingress) {
    let both = |own: &Listener| {
        let stays = then.view.by_identity(own.identity).and_then(|on| up(then, on).ok());
        stays.map(|there| (Ok(own.id), Ok(there)))
    };
    all_up(now, when).find_map(both).unwrap_or_else(|| {
        let first = |snapshot| all_up(snapshot, when).next().map(|own| own.id).ok_or(NotReceived::NoneUp);
        (first(now), first(then))
    })
}

fn all_up<'a>(snapshot: &'a Snapshot, when: Option<&When>) -> impl Iterator<Item = &'a Listener> {
    let meant = move |own: &&Listener| {
        when.is_none_or(|when| {
            (when.listener.is_empty() || when.listener.contains(&own.section))
                && (when.transport.is_empty() || when.transport.contains(&own.transport))
        })
    };
    snapshot.plan.listeners.iter().filter(meant).filter(|own| snapshot.view.is_up(own.id))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::fib::Builder;
    use crate::fib::spec::Link;
    use crate::net::{SectionId, Transport};
    use crate::token::Keys;

    const WAN: (u32, &str) = (2, "203.0.113.10/24");
    const LAN: (u32, &str) = (3, "10.0.0.4/24");
    const DOWN: u32 = 4;

    /// Listeners by what they are bound to, on a host with these addresses.
    fn host(listeners: &[&str], addresses: &[(u32, &str)]) -> Snapshot {
        let links = [Link::up(2, "wan"), Link::up(3, "lan"), Link { up: false, ..Link::up(DOWN, "down") }];
        let host = links.into_iter().fold(Builder::host(), Builder::link);
        let assign = |host: Builder, (dev, own): &(u32, &str)| host.assign(*dev, own.parse().unwrap());
        let fib = addresses.iter().fold(host, assign).build();
        let section = |bind: &&str| {
            format!("[[listener]]\nname = \"{bind}\"\nbind = \"udp:{bind}:5060\"\ntcp = false\n")
        };
        let text: String = listeners.iter().map(section).collect();
        let plan = config::from_str("test.toml", &text, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
        let keys = Arc::new(Keys::from_secret(b"sixteen bytes..."));
        Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default())
    }

    #[test]
    fn a_listener_receives_while_it_is_there_and_up() {
        let snapshot = host(&["203.0.113.10", "10.0.0.4", "192.0.2.1"], &[WAN, (DOWN, LAN.1)]);
        let words = |name| named(&snapshot, name).map_err(|why| why.to_string());
        assert_eq!(words("203.0.113.10"), Ok(ListenerId(0)));
        let down = "not received: the interface that carries its address is down or has no carrier";
        assert_eq!(words("10.0.0.4"), Err(down.into()));
        let absent = "not received: its address is on no interface of this host";
        assert_eq!(words("192.0.2.1"), Err(absent.into()));
        assert_eq!(words("other"), Err("not received: there is no such listener".into()));
    }

    #[test]
    fn where_nobody_said_it_is_a_listener_that_stays() {
        let (first, second, none) = (Ok(ListenerId(0)), Ok(ListenerId(1)), Err(NotReceived::NoneUp));
        let literal = |addresses: &[_]| host(&["10.0.0.4", "203.0.113.10"], addresses);
        let any = |now: &Snapshot, then: &Snapshot| any(now, then, None);
        let both = literal(&[WAN, LAN]);
        assert_eq!(any(&both, &both), (first, first));
        assert_eq!(any(&both, &literal(&[WAN])), (second, second));
        assert_eq!(any(&literal(&[WAN]), &literal(&[LAN])), (second, first));
        assert_eq!(any(&both, &literal(&[])), (first, none));
        let follows = |addresses: &[_]| host(&["lan"], addresses);
        assert_eq!(any(&follows(&[LAN]), &follows(&[])), (first, none));
        assert_eq!(any(&follows(&[]), &follows(&[LAN])), (none, first));
        assert_eq!(any(&follows(&[LAN]), &follows(&[(3, "10.0.0.5/24")])), (first, first));
        assert_eq!(any(&follows(&[]), &follows(&[])), (none, none));
    }
    #[test]
    fn requests_of_a_rule_come_in_on_listeners_that_it_asks_for() {
        let host = |addresses: &[_]| host(&["10.0.0.4", "203.0.113.10"], addresses);
        let (both, wan) = (host(&[WAN, LAN]), host(&[WAN]));
        let asks = |section| When { listener: vec![SectionId(section)], ..When::default() };
        let (first, second) = (Ok(ListenerId(0)), Ok(ListenerId(1)));
        assert_eq!(any(&both, &wan, Some(&asks(0))), (first, Err(NotReceived::NoneUp)));
        assert_eq!(any(&both, &wan, Some(&asks(1))), (second, second));
        assert_eq!(any(&both, &wan, Some(&When::default())), (second, second));
        let tcp = When { transport: vec![Transport::Tcp], ..When::default() };
        assert_eq!(any(&both, &wan, Some(&tcp)), (Err(NotReceived::NoneUp), Err(NotReceived::NoneUp)));
    }
}
