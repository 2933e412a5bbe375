//! A small host and a Plan for it, for this folder's tests.

use std::sync::Arc;

use crate::fib::{Builder, Fib};
use crate::group::Roster;
use crate::net::{ListenerId, SectionId, Transport};
use crate::plan::{Advertise, EgressPolicy, Engine, Listener, Plan};
use crate::rules::Matcher;
use crate::shard::Bindings;
use crate::token::Keys;

use super::publisher::Parts;

/// A listener that says where it is bound.
pub fn listener(id: u16, name: &str, bind: &str) -> Listener {
    let bind: std::net::SocketAddr = bind.parse().unwrap();
    Listener {
        id: ListenerId(id),
        section: SectionId(id),
        name: name.into(),
        identity: u32::from(id),
        formerly: Vec::new(),
        transport: Transport::Udp,
        bind,
        link: None,
        device: None,
        device_index: 0,
        mark: None,
        advertise: vec![Advertise {
            to: None,
            text: bind.to_string().into(),
            host: bind.ip().to_string().into(),
            ip: Some(bind.ip()),
            port: bind.port(),
        }],
        dialog_to: Vec::new(),
        standing: Default::default(),
    }
}

/// A Plan without rules.
pub fn plan(listeners: Vec<Listener>) -> Plan {
    Plan {
        origin: "/etc/viaduct.toml".into(),
        engine: Engine { socket_buffer_bytes: 4 << 20, ..Engine::default() },
        domains: Vec::new(),
        keys_file: None,
        sections: Default::default(),
        left_out: Default::default(),
        streams: Default::default(),
        listeners,
        egress: EgressPolicy::default(),
        hosts: Default::default(),
        tls_names: Default::default(),
        groups: Default::default(),
        dns: Default::default(),
        rules: Default::default(),
        overload: Default::default(),
        matcher: Matcher::compile(&[]).unwrap().into(),
        admin: None,
    }
}

/// A host with nothing but its loopback.
pub fn fib() -> Fib {
    Builder::host().build()
}

/// What is published before anything is open.
pub fn parts() -> Parts<()> {
    Parts {
        plan: Arc::new(plan(Vec::new())),
        fib: Arc::new(fib()),
        keys: Arc::new(Keys::from_secret(&[7; 16])),
        names: Arc::default(),
        roster: Arc::new(Roster::unwatched(std::iter::empty())),
        bindings: Arc::new(Bindings::default()),
        sockets: Arc::new([]),
        sockets_since: std::time::Instant::now(),
        stopping: false,
    }
}
