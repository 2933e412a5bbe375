use super::*;
use crate::dns::{Directory, Found, HostName, Question, Resolution, Target, Unresolved};

fn question(name: &str) -> Question {
    let name = HostName::new(name.as_bytes()).expect("a host name");
    Question { name, port: None, transport: None, sips: false }
}

fn leads() -> Resolution {
    let NextHop { transport, address } = next_hop();
    let addresses = [address.ip()].into();
    let target = Target { rank: 0, weight: 0, transport, port: address.port(), addresses };
    Ok(Found { targets: [target].into(), stale: false })
}

impl Bench {
    /// Publishes what DNS said, of the same generation.
    fn say(&mut self, names: &[(&str, Resolution)]) {
        let known = self.published.load_full();
        let names = names.iter().map(|(name, resolution)| (question(name), resolution.clone()));
        self.published.store(Arc::new(Publication {
            snapshot: known.snapshot.with_names(Arc::new(Directory::of(names))),
            bindings: Arc::clone(&known.bindings),
            sockets: Arc::clone(&known.sockets),
            sockets_since: known.sockets_since,
            stopping: known.stopping,
        }));
    }

    /// Only so many may wait.
    fn queue(&mut self, queue: usize) {
        let known = self.published.load_full();
        let mut queued = (*plan()).clone();
        queued.dns.queue = queue;
        let mut other = publication(2, Arc::new(queued), &[]);
        (other.bindings, other.sockets) = (Arc::clone(&known.bindings), Arc::clone(&known.sockets));
        other.sockets_since = known.sockets_since;
        self.published.store(Arc::new(other));
    }

    fn asked(&self) -> Vec<Question> {
        std::iter::from_fn(|| self.names.pop()).collect()
    }

    fn waiting(&self) -> (u64, u64) {
        (self.metrics.parked_for_names.get(), self.metrics.parked_for_names_now.get())
    }

    fn unresolved(&self, why: Unresolved) -> u64 {
        self.metrics.unresolved[why as usize].get()
    }
}

#[test]
fn a_message_waits_for_the_name_that_it_leads_to() {
    let mut bench = Bench::new();
    let waits = bench.batch(&[b"name a.example", b"name b.example", b"name a.example 2", b"forward"]);
    assert_eq!(waits, Next::Wait(Some(bench.now.plus_ns(limits::PARKED_FOR_NAME_NS))));
    assert_eq!(bench.asked(), ["a.example", "b.example"].map(question), "each once");
    assert_eq!((bench.io.pending.len(), bench.waiting()), (1, (3, 3)));
    assert_eq!(bench.accounted(), bench.received());
    bench.say(&[("a.example", leads())]);
    bench.batch(&[]);
    assert_eq!((bench.io.pending.len(), bench.waiting()), (3, (3, 1)));
    bench.say(&[("a.example", leads()), ("b.example", Err(Unresolved::NoSuchName))]);
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    bench.complete(None);
    assert_eq!((bench.sent(), bench.answered(), bench.waiting()), (3, 1, (3, 0)));
    assert_eq!(bench.unresolved(Unresolved::NoSuchName), 1);
    assert_eq!(bench.accounted(), bench.received());
    assert_eq!(bench.io.free, POOL);
}

#[test]
fn what_comes_again_meanwhile_is_taken_in() {
    let mut bench = Bench::new();
    bench.batch(&[b"name a.example", b"name a.example"]);
    assert_eq!(bench.metrics.dropped_count(DropReason::Absorbed), 1);
    bench.say(&[("a.example", leads())]);
    bench.batch(&[]);
    assert_eq!((bench.complete(None).len(), bench.accounted()), (1, bench.received()));
}

#[test]
fn a_message_does_not_wait_for_a_name_for_ever() {
    let mut bench = Bench::new();
    bench.batch(&[b"name a.example"]);
    // Routes change meanwhile, over and over: it goes on waiting, and asks again for what may have been lost.
    for _ in 0..2 * limits::PARKED_TRIES {
        bench.tell(&[]);
        bench.batch(&[]);
    }
    assert_eq!(bench.waiting(), (1, 1));
    bench.now = bench.now.plus_ns(limits::PARKED_FOR_NAME_NS);
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    bench.complete(None);
    assert_eq!((bench.answered(), bench.unresolved(Unresolved::Pending), bench.waiting()), (1, 1, (1, 0)));
    assert_eq!(bench.accounted(), bench.received());
}

#[test]
fn the_place_to_wait_and_the_queue_have_an_end() {
    let mut bench = Bench::new();
    let many: Vec<String> = (0..limits::PARKED_FOR_NAMES + 5).map(|n| format!("name x{n}.example")).collect();
    for some in many.chunks(POOL) {
        bench.batch(&some.iter().map(String::as_bytes).collect::<Vec<_>>());
        bench.complete(None);
    }
    let room = NAME_QUESTIONS as u64;
    assert_eq!(bench.waiting(), (room, room));
    assert_eq!(bench.unresolved(Unresolved::Pending), many.len() as u64 - room, "answered at once");
    assert_eq!(bench.asked().len(), NAME_QUESTIONS);
    assert_eq!(bench.accounted(), bench.received());
}

/// One that may go elsewhere does, and the name is asked for, for the next one.
#[test]
fn a_message_that_goes_elsewhere_asks_and_does_not_wait() {
    let mut bench = Bench::new();
    bench.batch(&[b"name, or another"]);
    assert_eq!((bench.complete(None).len(), bench.waiting()), (1, (0, 0)));
    assert_eq!(bench.asked(), [question("a.example")]);
}

#[test]
fn a_shard_that_stops_lets_nobody_wait() {
    let mut bench = Bench::new();
    bench.batch(&[b"name a.example"]);
    let known = bench.published.load_full();
    let mut stopping = publication(2, Arc::clone(&bench.plan), &[]);
    (stopping.stopping, stopping.bindings) = (true, Arc::clone(&known.bindings));
    bench.published.store(Arc::new(stopping));
    bench.batch(&[]);
    bench.complete(None);
    assert_eq!((bench.answered(), bench.waiting()), (1, (1, 0)));
}

#[test]
fn a_name_is_asked_for_also_where_nobody_may_wait() {
    let mut bench = Bench::new();
    bench.queue(0);
    bench.batch(&[b"name a.example"]);
    bench.complete(None);
    assert_eq!((bench.answered(), bench.waiting()), (1, (0, 0)));
    assert_eq!(bench.asked(), [question("a.example")], "for the next one");
}

/// Else its INVITE would ring, and nobody could stop that. There is one for each, so that the queue has an end.
#[test]
fn a_cancel_waits_with_its_invite_though_nobody_else_may() {
    let mut bench = Bench::new();
    bench.queue(1);
    bench.batch(&[b"name b.example 2", b"CANCEL a.example 1"]);
    assert_eq!((bench.waiting(), bench.unresolved(Unresolved::Pending)), ((1, 1), 1), "it has none yet");
    let others: [&[u8]; 3] = [b"name b.example 1", b"CANCEL b.example 3", b"CANCEL b.example 2 again"];
    bench.batch(&[b"CANCEL b.example 2"]);
    bench.batch(&others);
    bench.complete(None);
    assert_eq!((bench.waiting(), bench.unresolved(Unresolved::Pending)), ((2, 2), 4));
    bench.say(&[("b.example", leads())]);
    bench.batch(&[]);
    assert_eq!((bench.complete(None).len(), bench.waiting()), (2, (2, 0)));
    assert_eq!((bench.accounted(), bench.io.free), (bench.received(), POOL));
}

/// RFC 3261 §16.10: "A proxy MUST cancel any pending client transactions associated with a response context when it receives a
/// matching CANCEL request." Its own way may be another one: rules may ask for headers that only one of the two has.
#[test]
fn a_cancel_does_not_overtake_its_invite_that_waits() {
    let mut bench = Bench::new();
    bench.say(&[("a.example", leads())]);
    bench.batch(&[b"ask 7", b"name b.example 8"]);
    let cancels: [&[u8]; 4] =
        [b"CANCEL a.example 7", b"CANCEL a.example 8", b"CANCEL a.example 8", b"CANCEL a.example 9"];
    bench.batch(&cancels);
    assert_eq!((bench.io.pending.len(), bench.metrics.parked_now.get(), bench.waiting().1), (1, 2, 2));
    assert_eq!(bench.metrics.dropped_count(DropReason::Absorbed), 1, "the same one again");
    // What is published has no answer for either: they wait on, in the same order.
    bench.tell(&[]);
    bench.say(&[("a.example", leads())]);
    bench.batch(&[]);
    assert_eq!((bench.io.pending.len(), bench.metrics.parked_now.get(), bench.waiting().1), (1, 2, 2));
    bench.tell(&[Query::to(next_hop().address.ip())]);
    bench.say(&[("a.example", leads()), ("b.example", leads())]);
    bench.batch(&[]);
    assert_eq!((bench.complete(None).len(), bench.metrics.parked_now.get(), bench.waiting().1), (5, 0, 0));
    assert_eq!((bench.accounted(), bench.io.free), (bench.received(), POOL));
}

/// It waits no longer than that one either.
#[test]
fn a_cancel_is_decided_about_when_the_time_of_its_invite_is_over() {
    for (invite, ns) in
        [(&b"ask 7"[..], limits::PARKED_NS), (b"name b.example 7", limits::PARKED_FOR_NAME_NS)]
    {
        let mut bench = Bench::new();
        bench.batch(&[invite]);
        bench.say(&[("a.example", leads())]);
        bench.now = bench.now.plus_ns(ns / 2);
        bench.batch(&[b"CANCEL a.example 7"]);
        assert_eq!(bench.io.pending.len(), 0);
        bench.now = bench.now.plus_ns(ns / 2);
        assert_eq!(bench.batch(&[]), Next::Wait(None));
        assert_eq!(bench.complete(None).len(), 2);
        assert_eq!((bench.accounted(), bench.io.free), (bench.received(), POOL));
    }
}
