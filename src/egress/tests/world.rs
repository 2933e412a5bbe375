//! Hosts and listeners to ask.

use std::net::{IpAddr, SocketAddr};

use crate::egress::{
    Candidate, Egress, NoEgress, Note, Question, Recorder, Unfit, View, auto, auto_observed,
};
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::net::{NextHop, Transport};
use crate::plan::{Advertise, EgressPolicy, Engine, Listener, ListenerId, Plan, SectionId};
use crate::rules::Matcher;

pub const PUBLIC: u32 = 2;
pub const PRIVATE: u32 = 3;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// 203.0.113.10/24 with the default route, 10.0.0.4/24, and an IPv6 network beside the latter.
pub fn two_sided() -> Builder {
    Builder::host()
        .link(Link::up(PUBLIC, "public"))
        .link(Link::up(PRIVATE, "private"))
        .assign(PUBLIC, "203.0.113.10/24".parse().unwrap())
        .assign(PRIVATE, "10.0.0.4/24".parse().unwrap())
        .assign(PRIVATE, "2001:db8::4/64".parse().unwrap())
        .route(default_by(PUBLIC, "203.0.113.1"))
}

pub fn default_by(dev: u32, gateway: &str) -> Route {
    Route::new("0.0.0.0/0".parse().unwrap(), dev, Some(ip(gateway)))
}

/// `"udp:10.0.0.4:5060"`, optionally with ` device=NAME` and ` mark=N`.
fn listener(place: usize, text: &str) -> Listener {
    let mut words = text.split(' ');
    let (transport, bind) = words.next().unwrap().split_once(':').unwrap();
    let bind: SocketAddr = bind.parse().unwrap();
    let mut listener = Listener {
        id: ListenerId(place as u16),
        section: SectionId(place as u16),
        name: text.into(),
        identity: 1_000 + place as u32,
        formerly: vec![2_000 + place as u32],
        transport: Transport::from_token(transport.as_bytes()).unwrap(),
        bind,
        link: None,
        device: None,
        device_index: 0,
        mark: None,
        advertise: vec![Advertise::new(None, &bind.ip().to_string(), bind.port())],
        dialog_to: Vec::new(),
        standing: Default::default(),
    };
    for word in words {
        match word.split_once('=').unwrap() {
            ("device", name) => listener.device = Some(name.into()),
            ("mark", number) => listener.mark = number.parse().ok(),
            _ => panic!("{word}"),
        }
    }
    listener
}

/// A host with listeners; questions come in on the first listener unless said otherwise.
pub struct World {
    pub plan: Plan,
    pub fib: Fib,
    pub view: View,
    pub ingress: ListenerId,
    pub flow: u64,
}

impl World {
    pub fn new(builder: Builder, listeners: &[&str]) -> Self {
        let plan = Plan {
            origin: "<test>".into(),
            engine: Engine::default(),
            domains: Vec::new(),
            keys_file: None,
            sections: Default::default(),
            left_out: Default::default(),
            streams: Default::default(),
            listeners: listeners.iter().enumerate().map(|(place, text)| listener(place, text)).collect(),
            egress: EgressPolicy::default(),
            hosts: Default::default(),
            tls_names: Default::default(),
            groups: Default::default(),
            dns: Default::default(),
            rules: Default::default(),
            overload: Default::default(),
            matcher: Matcher::compile(&[]).unwrap().into(),
            admin: None,
        };
        let fib = builder.build();
        let view = View::new(&plan, &fib);
        Self { plan, fib, view, ingress: ListenerId(0), flow: 0 }
    }

    pub fn policy(mut self, change: impl FnOnce(&mut EgressPolicy)) -> Self {
        change(&mut self.plan.egress);
        self
    }

    pub fn from(mut self, ingress: u16) -> Self {
        self.ingress = ListenerId(ingress);
        self
    }

    pub fn question(&self, next_hop: &str) -> Question {
        let (transport, address) = next_hop.split_once(':').unwrap();
        Question {
            next_hop: NextHop {
                transport: Transport::from_token(transport.as_bytes()).unwrap(),
                address: address.parse().unwrap(),
            },
            ingress: self.ingress,
            flow: self.flow,
        }
    }

    pub fn auto(&self, next_hop: &str) -> Result<Egress, NoEgress> {
        auto(&self.plan, &self.fib, &self.view, &self.question(next_hop))
    }

    /// The chosen listener's place and the step; the same with an observer.
    pub fn chosen(&self, next_hop: &str) -> (u16, &'static str) {
        let egress = self.auto(next_hop).unwrap();
        let mut recorder = Recorder::default();
        let question = self.question(next_hop);
        let observed = auto_observed(&self.plan, &self.fib, &self.view, &question, &mut recorder);
        assert_eq!(observed, Ok(egress), "watching changes nothing");
        assert!(!recorder.0.is_empty() || egress.reason.label() == "fallback");
        assert_eq!(egress.route.source, self.plan.listener(egress.listener).bind.ip(), "bound lookup");
        (egress.listener.0, egress.reason.step())
    }

    /// Who lost, and why.
    pub fn losers(&self, next_hop: &str) -> Vec<(u16, Unfit)> {
        let mut recorder = Recorder::default();
        let question = self.question(next_hop);
        let _ = auto_observed(&self.plan, &self.fib, &self.view, &question, &mut recorder);
        let lost = |note: Note| match note {
            Note::Candidate(Candidate { listener, lost: Some(why), .. }) => Some((listener.0, why)),
            _ => None,
        };
        recorder.0.into_iter().filter_map(lost).collect()
    }
}
