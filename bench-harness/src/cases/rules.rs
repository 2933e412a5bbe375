//! Rules by the thousand, and requests that are held against them.

use std::hint::black_box;
use std::net::IpAddr;

use viaduct::config;
use viaduct::fib::spec::Link;
use viaduct::fib::{Builder, Fib};
use viaduct::net::{SectionId, Transport};
use viaduct::plan::Plan;
use viaduct::rules::{Facts, Header, Matcher, Scratch};

use super::Case;
use super::mixed_rules::{self, Request};

/// A request that only the last of so many mixed rules takes, as most requests are.
pub struct Match {
    plan: Plan,
    scratch: Scratch,
    request: Prepared,
    calls: usize,
}

impl Match {
    /// Over so many rules.
    pub fn new(rules: usize) -> Self {
        let text = mixed_rules::configuration(rules);
        let plan = load(&text).unwrap_or_else(|findings| panic!("{findings}"));
        let request = Prepared::new(mixed_rules::plain(), &plan);
        Self { scratch: plan.matcher.scratch(), request, plan, calls: 0 }
    }
}

impl Case for Match {
    fn prepare(&mut self, calls: usize) {
        self.calls = calls;
    }

    fn run(&mut self) {
        for _ in 0..self.calls {
            let found = self.request.matched(&self.plan.matcher, &mut self.scratch);
            assert!(black_box(found), "the last rule takes everything");
        }
    }
}

/// Compiles a configuration on a host that has what the mixed rules need.
///
/// # Errors
/// What is wrong with it, in words.
pub fn load(text: &str) -> Result<Plan, String> {
    let loaded = config::from_str("rules.toml", text, &host());
    loaded.map(|loaded| loaded.plan).map_err(|findings| findings.to_string())
}

fn host() -> Fib {
    let host = Builder::host().link(Link::up(2, "eth0"));
    let assign = |host: Builder, address: &&str| host.assign(2, address.parse().expect("address/length"));
    mixed_rules::ADDRESSES.iter().fold(host, assign).build()
}

/// A request, read.
pub struct Prepared {
    request: Request,
    source: IpAddr,
    listener: SectionId,
}

impl Prepared {
    /// On the listeners of this Plan.
    pub fn new(request: Request, plan: &Plan) -> Self {
        let listener = plan.listener_named(request.listener).expect("the rules' listeners").section;
        Self { source: request.source.parse().expect("an address"), listener, request }
    }

    /// Whether a rule takes it.
    pub fn matched(&self, matcher: &Matcher, scratch: &mut Scratch) -> bool {
        let Self { request, source, listener } = self;
        let header = |header: &Header, take: &mut dyn FnMut(&[u8]) -> bool| {
            let tenant = request.tenant.as_ref().filter(|_| *header.name == *"x-tenant");
            tenant.is_some_and(|value| take(value.as_bytes()))
        };
        let facts = Facts {
            method: request.method.as_bytes(),
            transport: Transport::Udp,
            listener: *listener,
            source: *source,
            ruri_user: request.ruri.0.as_bytes(),
            ruri_host: request.ruri.1.as_bytes(),
            from_user: request.from.0.as_bytes(),
            from_host: request.from.1.as_bytes(),
            to_user: request.to.0.as_bytes(),
            to_host: request.to.1.as_bytes(),
            header: if request.tenant.is_some() { Some(&header) } else { None },
        };
        matcher.first_match(black_box(&facts), || facts, scratch).is_some()
    }
}
