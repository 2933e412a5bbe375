//! A lookup allocates nothing: shards ask for every message.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use viaduct::fib::spec::{Action, Family, Link, Nexthop, Nexthops, Route, Rule};
use viaduct::fib::{Answer, Builder, Fib, Query};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
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
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A host with both families, rules before main and a multipath route.
fn host() -> Fib {
    let net = |text: &str| text.parse().expect("a prefix");
    let gateway = |text: &str| Some(text.parse().expect("an address"));
    let two_paths = vec![Nexthop::new(2, gateway("10.0.0.1")), Nexthop::new(3, gateway("10.1.0.1"))];
    Builder::host()
        .link(Link::up(2, "eth0"))
        .link(Link::up(3, "eth1"))
        .assign(2, net("10.0.0.4/24"))
        .assign(3, net("10.1.0.4/24"))
        .assign(3, net("2001:db8::4/64"))
        .rule(Rule { not: true, ..Rule::from_table(50, net("10.0.0.0/8"), 100) })
        .rule(Rule { suppress_prefix_len: Some(0), ..Rule::new(Family::V4, 60, Action::Table(254)) })
        .route(Route { nexthops: Nexthops::Own(two_paths), ..Route::new(net("0.0.0.0/0"), 2, None) })
        .route(Route::new(net("::/0"), 3, gateway("2001:db8::1")))
        .build()
}

#[test]
fn lookups_allocate_nothing() {
    let fib = host();
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let questions = [
        Query::to(ip("192.0.2.7")),
        Query { src: Some(ip("10.1.0.4")), ..Query::to(ip("192.0.2.7")) },
        Query { src: Some(ip("192.0.2.99")), ..Query::to(ip("192.0.2.7")) },
        Query { oif: 3, ..Query::to(ip("10.1.0.77")) },
        Query::to(ip("10.0.0.4")),
        Query::to(ip("2001:db8:9::1")),
        Query { src: Some(ip("2001:db8::4")), ..Query::to(ip("2001:db8:9::1")) },
        Query::to(ip("fe80::1")),
    ];
    let before = ALLOCATIONS.with(Cell::get);
    let routes = questions.iter().filter(|query| matches!(fib.lookup(query), Answer::Route(_))).count();
    let homes = questions.iter().filter(|query| fib.home_of(query.dst).is_some()).count();
    let after = ALLOCATIONS.with(Cell::get);
    assert_eq!((routes, homes), (6, 1));
    assert_eq!(after - before, 0);
    // The count counts.
    drop(Box::new(std::hint::black_box(1)));
    assert_eq!(ALLOCATIONS.with(Cell::get) - after, 1);
}
