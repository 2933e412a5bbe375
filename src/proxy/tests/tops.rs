//! The lines that are kept for pairs of listeners, held against the same lines as they are written anew.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::tls;
use super::world::World;
use crate::net::Transport;
use crate::plan::{Advertise, Listener};
use crate::proxy::lines::Top;
use crate::proxy::tops::{TOP_BYTES, Tops};
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::{Number, StreamId};
use crate::token::{Dialog, LoopMark};

/// Listeners of all kinds: what they show depends on who sees it, and some names leave no room for lines to be kept.
const CONFIGURATION: &str = r#"
[[peer]]
name = "outside"
networks = ["192.0.2.0/24"]
oc = true

[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"
advertise = [{ to = "192.0.2.0/24", as = "192.0.2.200:5062" }, { to = "10.0.0.0/8", as = "inner.example" }, { as = "sip.example.net" }]

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "six"
bind = "udp:[2001:db8:1::4]:5060"

[[listener]]
name = "secure"
bind = "tls:203.0.113.10:5061"
advertise = [{ to = "192.0.2.0/24", as = "edge.example.net:5061" }, { as = "sip.example.net:5061" }]
certificate = "FOLDER/a.crt"
key = "FOLDER/a.key"

[[listener]]
name = "browsers"
bind = "wss:203.0.113.10:8443"
advertise = "sip.example.net:8443"
certificate = "FOLDER/a.crt"
key = "FOLDER/a.key"

[[listener]]
name = "long"
bind = "udp:10.0.1.4:5060"
advertise = "LONG.example"

[[listener]]
name = "longest"
bind = "udp:10.0.1.4:5080"
advertise = "LONGLONGLONG.example"
"#;

/// About as long as all three lines between such a name and itself may be.
const LONG: usize = 92;

const ADDRESSES: [&str; 4] =
    ["192.0.2.9:5060", "10.0.0.50:5060", "198.51.100.7:5070", "[2001:db8:9::9]:5060"];

fn world() -> World {
    let text = CONFIGURATION.replace("LONG", &"n".repeat(LONG));
    tls::with(&text, "", "to = \"request-uri\"")
}

/// The same with other names, published later.
fn later() -> Snapshot {
    let mut world = world();
    let plan = Arc::make_mut(&mut world.snapshot.plan);
    for listener in &mut plan.listeners {
        let shown = listener.advertise.iter().map(|one| Advertise::new(one.to, "later.example", 5060));
        listener.advertise = shown.collect();
    }
    world.snapshot.generation += 1;
    world.snapshot
}

/// What there is of a request, as numbers.
#[derive(Clone, Debug)]
struct Drawn {
    is_later: bool,
    listeners: [usize; 2],
    addresses: [usize; 3],
    record_route: bool,
    sips: bool,
    stateful: bool,
    stateful_dialog: bool,
    /// It leaves over TCP, if the listener has a sibling for that.
    is_large: bool,
    seed: u64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let listeners = any::<[prop::sample::Index; 2]>().prop_map(|all| all.map(|index| index.index(1 << 16)));
    let addresses =
        any::<[prop::sample::Index; 3]>().prop_map(|all| all.map(|index| index.index(ADDRESSES.len())));
    let rare = prop::bool::weighted(0.05);
    (rare, listeners, addresses, any::<[bool; 5]>(), any::<u64>()).prop_map(
        |(is_later, listeners, addresses, flags, seed)| {
            let [record_route, sips, stateful, stateful_dialog, is_large] = flags;
            Drawn {
                is_later,
                listeners,
                addresses,
                record_route,
                sips,
                stateful,
                stateful_dialog,
                is_large,
                seed,
            }
        },
    )
}

impl Drawn {
    /// Does something with the lines of it.
    fn with<R>(&self, snapshot: &Snapshot, work: impl FnOnce(&Top<'_>) -> R) -> R {
        let all = &snapshot.plan.listeners;
        let [ingress, egress] = self.listeners.map(|number| &all[number % all.len()]);
        let [source, next_hop, response_to] =
            self.addresses.map(|number| ADDRESSES[number].parse::<SocketAddr>().expect("an address"));
        let beside = |other: &&Listener| other.transport == Transport::Tcp && other.bind == egress.bind;
        let sibling = all.iter().find(beside).filter(|_| self.is_large && egress.transport == Transport::Udp);
        let (call_id, from_tag) = (format!("{:x}@host", self.seed), format!("{}", self.seed % 7));
        let by_stream = ingress.transport != Transport::Udp;
        work(&Top {
            ingress,
            source: &source,
            egress,
            sender: sibling.unwrap_or(egress),
            next_hop: &next_hop,
            record_route: self.record_route,
            sips: self.sips,
            owner: (self.seed % 5) as u16,
            stateful: self.stateful,
            stateful_dialog: self.stateful_dialog,
            dialog: Dialog {
                signer: snapshot.keys.signer(),
                call_id: call_id.as_bytes(),
                from_tag: from_tag.as_bytes(),
            },
            response_to: &response_to,
            stream: if by_stream { Number::new(1, StreamId::first(3)) } else { Number::NONE },
            peer: if by_stream { (self.seed >> 16) as u16 } else { 0 },
            flows: None,
            transaction: self.seed.rotate_left(17),
            mark: LoopMark(self.seed.rotate_left(31)),
        })
    }
}

fn written(write: impl FnOnce(&mut Output<'_>)) -> String {
    let mut room = [0; 4 * TOP_BYTES];
    let mut out = Output::new(&mut room);
    write(&mut out);
    let len = out.finish().expect("there is room");
    String::from_utf8(room[..len].to_vec()).expect("text")
}

#[test]
fn lines_that_are_kept_are_those_that_would_be_written() {
    let snapshots = [world().snapshot, later()];
    // Lines that just fit, lines that just do not, what next hops are asked, what is too large for UDP.
    let met: [Cell<u32>; 4] = Default::default();
    let note = |place: usize, is_so: bool| met[place].set(met[place].get() + u32::from(is_so));
    proptest!(ProptestConfig::with_cases(48), |(requests in vec(drawn(), 1..200))| {
        let mut tops = Tops::new();
        for drawn in &requests {
            let snapshot = &snapshots[usize::from(drawn.is_later)];
            drawn.with(snapshot, |top| {
                let asks = snapshot.plan.overload.limits.peers.takes_oc(top.next_hop.ip());
                let anew = written(|out| _ = top.put_anew(out, snapshot, asks));
                prop_assert_eq!(written(|out| top.put(out, snapshot, &mut tops)), &*anew);
                let len = written(|out| _ = top.put_anew(out, snapshot, false)).len();
                note(0, (TOP_BYTES - 40..=TOP_BYTES).contains(&len));
                note(1, (TOP_BYTES + 1..=TOP_BYTES + 40).contains(&len));
                note(2, asks && anew.ends_with(";oc;oc-algo=\"loss,rate\"\r\n"));
                note(3, top.sender.id != top.egress.id);
                Ok(())
            })?;
        }
    });
    assert!(met.iter().all(|count| count.get() > 0), "{met:?}");
}
