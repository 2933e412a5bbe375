//! The configuration and the host as they are, and as they would be.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::what_if::OfThisHost;
use super::super::{CONFIGURATION, FAILED};
use super::{Args, Failure, gateways};
use crate::config;
use crate::control::{self, netlink};
use crate::dns::Directory;
use crate::egress::NoEgress;
use crate::fib::Fib;
use crate::limits;
use crate::net::Now;
use crate::plan::{Plan, expand};
use crate::proxy::{self, Incoming, State};
use crate::snapshot::Snapshot;
use crate::token::Keys;

/// How long names in rules may take.
const NAMES_WITHIN: Duration = Duration::from_secs(5);

/// What is asked.
pub struct Hosts {
    /// As it is.
    pub now: Snapshot,
    /// After the changes of `--what-if`, if there are any.
    pub then: Option<Snapshot>,
    /// What one should know of both.
    pub notes: Vec<String>,
}

impl Hosts {
    /// Reads the kernel's routing, the configuration and its keys, and makes the changes.
    pub fn new(args: &Args) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let host = netlink::read(1).map_err(|error| Failure(FAILED, error.to_string()))?;
        let mut host = host.rib();
        let fib = args.user.of(host.fib(1));
        notes.extend(args.user.note(&fib));
        let plan = plan(args, &fib).map_err(|findings| {
            Failure(CONFIGURATION, format!("the configuration has errors\n{findings}"))
        })?;
        let plan = Arc::new(plan);
        let keys = Arc::new(keys(plan.keys_file.as_deref(), &mut notes)?);
        // What one request leads to is asked for where it is explained, and told there.
        let names = match args.what_if.is_empty() && args.pcap.is_none() {
            true => Directory::default(),
            false => control::names_now(&plan, NAMES_WITHIN)
                .map_err(|error| Failure(FAILED, format!("cannot resolve names: {error}")))?,
        };
        let names = Arc::new(names);
        let snapshot = |generation, plan: &Arc<Plan>, fib| {
            let (keys, names) = (Arc::clone(&keys), Arc::clone(&names));
            Snapshot::new(generation, Arc::clone(plan), Arc::new(fib), keys, names)
        };
        let now = snapshot(1, &plan, fib);
        notes.extend(gateways::ask(&now));
        if args.what_if.is_empty() {
            return Ok(Self { now, then: None, notes });
        }
        for change in &args.what_if {
            change.apply(&mut host, &OfThisHost).map_err(|why| Failure(FAILED, why))?;
        }
        let fib = args.user.of(host.fib(2));
        // Interface names and wildcards stand for other addresses then.
        let plan = Arc::new(plan.with_listeners(expand(&plan.sections, &fib)));
        let then = snapshot(2, &plan, fib);
        // The same numbers, because it is the same configuration.
        Ok(Self { then: Some(Snapshot { roster: Arc::clone(&now.roster), ..then }), now, notes })
    }
}

/// The snapshot with the kernel's own answers to what it cannot say about this message, as a running process would
/// have them; `None`: there is nothing to ask.
pub fn told(snapshot: &Snapshot, incoming: &Incoming<'_>) -> Option<Snapshot> {
    let mut told: Option<Snapshot> = None;
    let mut out = vec![0; limits::MESSAGE_BYTES];
    for _ in 0..limits::PARKED_TRIES {
        let known = told.as_ref().unwrap_or(snapshot);
        let mut state = State::with_pins(1, known, 1);
        proxy::handle(&mut state, known, incoming, Now(0), &mut out);
        let Some((_, NoEgress::AskKernel(query))) = state.take_no_egress() else { break };
        let Some(fib) = netlink::ask(&query, known.fib.uid())
            .ok()
            .and_then(|answer| known.fib.with_answer(&query, answer))
        else {
            break;
        };
        let Snapshot { generation, plan, keys, names, roster, .. } = known;
        let (plan, keys, names) = (Arc::clone(plan), Arc::clone(keys), Arc::clone(names));
        told = Some(Snapshot::watched(*generation, plan, Arc::new(fib), keys, names, Arc::clone(roster)));
    }
    told
}

fn plan(args: &Args, fib: &Fib) -> Result<Plan, config::Findings> {
    let loaded = match &args.config {
        Some(path) => config::load(path, fib),
        None => config::default(fib),
    };
    Ok(loaded?.plan)
}

/// The running process's keys if we may read them; else the answer is the same but for the tokens, and for what is left to
/// chance: a weighted choice of gateways, and the path of a multipath route.
fn keys(path: Option<&Path>, notes: &mut Vec<String>) -> Result<Keys, Failure> {
    let why: Cow<'_, str> = match path.map(|path| Keys::load(path, SystemTime::now())) {
        Some(Ok(loaded)) => {
            notes.extend(loaded.warnings);
            return Ok(loaded.keys);
        }
        Some(Err(error)) => error.to_string().into(),
        None => "the configuration has no key file".into(),
    };
    notes.push(format!(
        "{why}. A throw-away key stands in: tokens in Via and Record-Route will differ from those of the \
         running process, and its dialogs' Routes are not recognised here; weighted gateways and multipath routes may \
         choose otherwise"
    ));
    Keys::ephemeral().map_err(|e| Failure(FAILED, format!("no random numbers for a key: {e}")))
}
