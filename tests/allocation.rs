//! In steady state nothing is allocated for a message that is forwarded.

mod support;
#[path = "support/traffic.rs"]
mod traffic;
#[allow(dead_code)]
#[path = "support/wire.rs"]
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use support::Shard;
use viaduct::dns::{Directory, Found, Target};
use viaduct::engine::{Event, Next, Shard as _, SocketId};
use viaduct::metrics::{Class, SeriesId, ShardMetrics};
use viaduct::net::{Now, Transport};
use viaduct::proxy::Outcome;
use viaduct::transaction::What;
use wire::Wire;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks of it.
struct Counting;

// SAFETY: every call goes to `System` unchanged; counting touches a thread-local without destructor only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread allocates during the work.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const MESSAGES: u32 = 500;

fn shard() -> (Shard, SocketAddr, SocketAddr) {
    let shard = Shard::new(&traffic::configuration(), traffic::ADDRESSES, &[]);
    (shard, "192.0.2.1:5060".parse().unwrap(), "10.0.0.100:5060".parse().unwrap())
}

/// Handles each message twice over: first to warm up what is made on first use, then counted.
fn forwards_without_allocating(shard: &mut Shard, listener: &str, from: SocketAddr, messages: &[Vec<u8>]) {
    let on = shard.listener(listener);
    let (warm, counted) = messages.split_at(messages.len() / 2);
    let mut forwarded = 0;
    for message in warm {
        shard.handle(message, on, from);
    }
    let allocated = allocations(|| {
        for message in counted {
            let (outcome, _) = shard.handle(message, on, from);
            forwarded += u32::from(matches!(outcome, Outcome::Forward { .. } | Outcome::Relay { .. }));
        }
    });
    assert_eq!(forwarded as usize, counted.len(), "the messages are forwarded");
    assert_eq!(allocated, 0, "allocations for {forwarded} messages");
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
}

#[test]
fn new_transactions() {
    let (mut shard, trunk, _) = shard();
    let messages: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
    forwards_without_allocating(&mut shard, "public", trunk, &messages);
}

#[test]
fn retransmissions() {
    let (mut shard, trunk, _) = shard();
    let messages: Vec<_> = (0..MESSAGES).map(|_| traffic::invite(1)).collect();
    forwards_without_allocating(&mut shard, "public", trunk, &messages);
}

#[test]
fn responses_and_requests_of_a_dialog() {
    let (mut shard, trunk, media) = shard();
    let on = shard.listener("public");
    let (outcome, forwarded) = shard.handle(&traffic::invite(7), on, trunk);
    assert!(matches!(outcome, Outcome::Forward { .. }), "{outcome:?}");
    let invite = forwarded.to_vec();
    let responses = vec![traffic::response(&invite); MESSAGES as usize];
    forwards_without_allocating(&mut shard, "private", media, &responses);
    let byes: Vec<Vec<u8>> = (0..MESSAGES).map(|n| traffic::bye(&invite, n)).collect();
    forwards_without_allocating(&mut shard, "private", media, &byes);
}

/// By weight, by call and by number.
#[test]
fn requests_to_a_group() {
    for select in ["weighted", "call-id", "number"] {
        let rule = format!(
            "[[group]]\nname = \"g\"\nselect = \"{select}\"\ngateways = [{{ to = \"sip:10.0.0.100\", weight = 3 }}, \
             {{ to = \"sip:10.0.0.101\" }}, {{ to = \"sip:10.0.0.102\", priority = 2 }}]\n\
             [[route]]\nname = \"group\"\nwhen = {{ method = \"INVITE\" }}\nto = \"group:g\"\nmode = \"stateless\"\n\
             [[route]]\nname = \"r0\""
        );
        let configuration = traffic::configuration().replacen("[[route]]\nname = \"r0\"", &rule, 1);
        let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
        let messages: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
        forwards_without_allocating(&mut shard, "public", "192.0.2.1:5060".parse().unwrap(), &messages);
    }
}

/// One after the other, and all at a time.
/// By a name that DNS knows, with servers to choose among.
#[test]
fn requests_to_a_name() {
    let rule = "[[route]]\nname = \"name\"\nwhen = { method = \"INVITE\" }\nto = \"sip:gw.example\"\n\
                mode = \"stateless\"\n[[route]]\nname = \"r0\"";
    let configuration = traffic::configuration().replacen("[[route]]\nname = \"r0\"", rule, 1);
    let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
    let target = |last| Target {
        rank: 0,
        weight: 10,
        transport: Transport::Udp,
        port: 5060,
        addresses: [[10, 0, 0, last].into()].into(),
    };
    let found = Found { targets: [target(100), target(101)].into(), stale: false };
    let questions = shard.snapshot.plan.questions();
    let names = Directory::of(questions.into_iter().map(|question| (question, Ok(found.clone()))));
    shard.snapshot = shard.snapshot.with_names(names.into());
    let messages: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
    forwards_without_allocating(&mut shard, "public", "192.0.2.1:5060".parse().unwrap(), &messages);
}

#[test]
fn requests_with_several_next_hops() {
    for keys in ["timeout = \"1s\"", "fork = true"] {
        let to = "to = [\"sip:10.0.0.100\", \"sip:10.0.0.101\", \"request-uri\"]";
        let rule = format!("[[route]]\nname = \"several\"\nwhen = {{ method = \"INVITE\" }}\n{to}\n{keys}\n");
        let rules = format!("{rule}[[route]]\nname = \"r0\"");
        let configuration = traffic::configuration().replacen("[[route]]\nname = \"r0\"", &rules, 1);
        let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
        let trunk = "192.0.2.1:5060".parse().unwrap();
        let on = shard.listener("public");
        let invites: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
        let run = |shard: &mut Shard, invites: &[Vec<u8>]| {
            for invite in invites {
                let (outcome, _) = shard.handle(invite, on, trunk);
                assert!(matches!(outcome, Outcome::Forward { transaction: Some(_), .. }), "{outcome:?}");
                shard.send_due();
                shard.pass(200_000_000);
            }
        };
        let (warm, counted) = invites.split_at(invites.len() / 2);
        run(&mut shard, warm);
        let allocated = allocations(|| run(&mut shard, counted));
        let sent = shard.tally().transactions.sent[What::Branch as usize];
        assert!(sent > 300, "{sent} went to further next hops");
        assert_eq!(allocated, 0, "{keys}");
    }
}

/// By one way through the user, and by a pattern that takes more than one.
#[test]
fn requests_that_a_rule_changes() {
    for pattern in [r"'^\+33([0-9]+)$'", "'(3+)(.*?)9'"] {
        let rule = format!(
            "[[route]]\nname = \"set\"\nwhen = {{ ruri_user = {pattern} }}\nto = \"request-uri\"\nmode = \"stateless\"\n[route.set]\n\
             ruri_user = \"0$1\"\nfrom = {{ display = \"$1\" }}\nadd = {{ X-Shown = \"${{from_user}}\" }}\n\
             remove = \"Allow\"\n[[route]]\nname = \"r0\""
        );
        let configuration = traffic::configuration().replacen("[[route]]\nname = \"r0\"", &rule, 1);
        let mut shard = Shard::new(&configuration, traffic::ADDRESSES, &[]);
        let trunk = "192.0.2.1:5060".parse().unwrap();
        let on = shard.listener("public");
        let (_, sent) = shard.handle(&traffic::invite(0), on, trunk);
        assert!(sent.starts_with(b"INVITE sip:0") && sent.windows(9).any(|text| text == b"\r\nX-Shown"));
        let messages: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
        forwards_without_allocating(&mut shard, "public", trunk, &messages);
        let again: Vec<_> = (0..MESSAGES).map(|_| traffic::invite(1)).collect();
        forwards_without_allocating(&mut shard, "public", trunk, &again);
    }
}

/// Those that pass, and those that do not.
#[test]
fn requests_that_are_counted_against_limits() {
    let limit = |rate| {
        format!(
            "{}limit = {{ rate = {rate}, per = \"source\" }}\n[[peer]]\nname = \"trunk\"\nnetworks = [\"192.0.2.0/24\"]\n\
             limit = {{ rate = 100000 }}\n[overload]\noc = true\n",
            traffic::configuration()
        )
    };
    let trunk = "192.0.2.1:5060".parse().unwrap();
    let messages: Vec<_> = (0..MESSAGES).map(traffic::invite).collect();
    let mut shard = Shard::new(&limit(100_000), traffic::ADDRESSES, &[]);
    forwards_without_allocating(&mut shard, "public", trunk, &messages);
    let mut shard = Shard::new(&limit(1), traffic::ADDRESSES, &[]);
    let on = shard.listener("public");
    let offering = |bytes: &Vec<u8>| -> Vec<u8> {
        let text = String::from_utf8(bytes.clone()).unwrap();
        text.replacen(";rport", ";rport;oc;oc-algo=\"loss\"", 1).into()
    };
    let messages: Vec<_> = messages.iter().map(offering).collect();
    shard.handle(&messages[0], on, trunk);
    let mut refused = 0;
    let allocated = allocations(|| {
        for message in &messages[1..] {
            let (outcome, _) = shard.handle(message, on, trunk);
            refused += u32::from(matches!(outcome, Outcome::Answer { status: 503, .. }));
        }
    });
    assert_eq!((refused, allocated), (MESSAGES - 1, 0));
}

/// A call as a shard gets it that keeps transactions: set up and ended, or refused.
fn call(
    shard: &mut Shard,
    n: u32,
    trunk: SocketAddr,
    media: SocketAddr,
) -> Vec<(&'static str, SocketAddr, Vec<u8>)> {
    let invite = traffic::invite(n);
    let on = shard.listener("public");
    let (outcome, forwarded) = shard.handle(&invite, on, trunk);
    assert!(matches!(outcome, Outcome::Forward { transaction: Some(_), .. }), "{outcome:?}");
    let forwarded = forwarded.to_vec();
    let ok = traffic::response(&forwarded);
    let again = ("public", trunk, invite.clone());
    let mut messages = vec![("public", trunk, invite)];
    if n.is_multiple_of(2) {
        let bye = traffic::bye(&forwarded, n);
        let on = shard.listener("private");
        let bye_ok = traffic::response(shard.handle(&bye, on, media).1);
        let bye_ok = String::from_utf8(bye_ok).unwrap().replace("CSeq: 1 INVITE", &format!("CSeq: {n} BYE"));
        messages.extend([
            ("private", media, ok),
            again,
            ("private", media, bye),
            ("public", trunk, bye_ok.into()),
        ]);
    } else {
        let text = String::from_utf8(ok).unwrap().replace("200 OK", "486 Busy Here");
        messages.extend([again, ("private", media, text.into())]);
    }
    messages
}

#[test]
fn transactions_of_calls() {
    let configuration = traffic::configuration()
        .replace("to = \"request-uri\"\nmode = \"stateless\"", "to = \"request-uri\"");
    let shard = || Shard::new(&configuration, traffic::ADDRESSES, &[]);
    let (trunk, media) = ("192.0.2.1:5060".parse().unwrap(), "10.0.0.100:5060".parse().unwrap());
    // Another shard of the same keys says what is written.
    let mut other = shard();
    let calls: Vec<_> = (0..MESSAGES).map(|n| call(&mut other, n, trunk, media)).collect();
    let mut shard = shard();
    let run = |shard: &mut Shard, calls: &[Vec<(&str, SocketAddr, Vec<u8>)>]| {
        let mut own = 0;
        for (listener, from, bytes) in calls.iter().flatten() {
            let on = shard.listener(listener);
            let (outcome, _) = shard.handle(bytes, on, *from);
            assert!(!matches!(outcome, Outcome::Answer { .. }), "{outcome:?}");
            own += shard.send_due();
            shard.pass(300_000_000);
            own += shard.send_due();
        }
        own
    };
    let (warm, counted) = calls.split_at(calls.len() / 2);
    run(&mut shard, warm);
    let mut own = 0;
    let allocated = allocations(|| own = run(&mut shard, counted));
    let counts = shard.tally().transactions;
    assert!(
        own > counted.len() && counts.ended[0] > 0 && counts.absorbed >= u64::from(MESSAGES),
        "{own}, {counts:?}"
    );
    assert_eq!(counts.refused, [0, 0]);
    assert_eq!(allocated, 0, "allocations for {} calls", counted.len());
    shard.pass(400_000_000_000);
    while shard.send_due() > 0 {
        shard.pass(400_000_000_000);
    }
    assert_eq!((shard.tally().transactions.open, shard.tally().transactions.blocks), ([0; 4], 0));
}

#[test]
fn a_whole_shard_batch_by_batch() {
    const BATCH: usize = 32;
    let (shard, trunk, _) = shard();
    let metrics = Arc::new(ShardMetrics::default());
    let mut worker = wire::worker(shard.snapshot, &metrics);
    let mut wire = Wire::new(BATCH);
    let mut run = |messages: &[Vec<u8>], begin: u64| {
        for (batch, now) in messages.chunks(BATCH).zip(begin..) {
            worker.begin(&mut wire, Now(now * 1_000_000_000));
            for bytes in batch {
                let on = SocketId(0);
                worker.on_event(&mut wire, Event::Datagram { on, from: trunk, bytes, truncated: false });
            }
            while let Some(cookie) = wire.leaves() {
                worker.on_event(&mut wire, Event::Sent { cookie });
            }
            assert!(matches!(worker.end(&mut wire), Next::Wait(_)));
        }
    };
    let messages: Vec<_> = (0..2 * MESSAGES).map(traffic::invite).collect();
    let (warm, counted) = messages.split_at(MESSAGES as usize);
    run(warm, 1);
    let allocated = allocations(|| run(counted, 100));
    assert_eq!(metrics.traffic.received_count(SeriesId(0), Class::Invite), u64::from(2 * MESSAGES));
    let sent: u64 = viaduct::egress::Reason::ALL
        .iter()
        .map(|reason| metrics.traffic.sent_count(SeriesId(1), Class::Invite, *reason))
        .sum();
    assert_eq!(sent, u64::from(2 * MESSAGES), "all of them left by the private listener");
    assert_eq!(allocated, 0);
}
