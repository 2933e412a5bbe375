//! From a configuration to running shards: each step may fail, and nothing is left behind if one does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::admin;
use super::banner::Banner;
use super::certificates::Certificates;
use super::cores;
use super::error::Error;
use super::gateways::Gateways;
use super::handle::{Options, Started};
use super::journal::Journal;
use super::listeners::{self, Refusals};
use super::load::{Loaded, load};
use super::monitor::Monitor;
use super::names::Names;
use super::netlink::Follower;
use super::notify::ServiceManager;
use super::publisher::{self, Parts, Publisher};
use super::reload::{AsStarted, Reloads};
use super::shards::{Ended, ShardThread};
use super::signals::Signals;
use super::sockets::{self, Sockets};
use super::states::States;
use super::supervisor::{Control, Timers};
use super::unreachable::Unreachables;
use super::watch::Watch;
use crate::dns::Question;
use crate::engine::socket::Socket;
use crate::engine::{Neighbours, uring};
use crate::fib::Query;
use crate::group::Roster;
use crate::limits;
use crate::overload::Throttles;
use crate::plan::{FILES_BESIDES, Plan};
use crate::shard::{self, Post, Questions, Records, Setup};
use crate::token::KeyFileError;

/// How long the start waits for names; those without an answer by then are asked again soon.
const NAMES_PATIENCE: Duration = Duration::from_secs(3);

/// Does everything up to the banner.
///
/// # Errors
/// Whatever keeps the forwarder from running as configured.
pub(super) async fn assemble(options: Options) -> Result<(Control, Started), Error> {
    let signals = Signals::listen(options.owns_process)?;
    raise_file_limit(options.owns_process);
    let kernel = uring::probe()?;
    let (follower, fib) = Follower::start()?;
    let Loaded { mut plan, keys, key_state } = load(&options.source, &fib, None)?;
    let cores = choose_cores(&plan)?;
    let names = Names::settled(&plan, NAMES_PATIENCE).await;
    let admin = bind_admin(&plan).await?;
    let monitor = first_facts(cores.len(), &names);
    let (mut sockets, refusals) = open_sockets(&mut plan, cores.len())?;
    let started = AsStarted::of(&plan);
    let plan = Arc::new(plan);
    let (gateways, roster) = first_gateways(&plan)?;
    let parts = Parts {
        roster,
        bindings: Arc::new(sockets.bindings(&plan.listeners, &monitor.series_of(&plan))),
        sockets: sockets.table(),
        sockets_since: Instant::now(),
        names: names.directory(),
        plan,
        fib,
        keys,
        stopping: false,
    };
    let mut publisher = Publisher::new(&parts);
    let asked = Asked::new(&names);
    let post = Post::new(cores.len());
    let (shards, ends) = start_shards(&cores, &parts, &mut publisher, &monitor, &asked, &post)?;

    let address = serve_admin(admin, &monitor);
    let banner = Banner {
        plan: &parts.plan,
        view: &publisher.published().load().snapshot.view,
        cores: &cores,
        keys: &key_state,
        unresolved: names.unresolved(),
        buffers: sockets.smallest_buffers(parts.plan.engine.socket_buffer_bytes),
        kernel: &kernel.to_string(),
        admin: address,
    };
    banner.tell(options.owns_process);
    let control = Control {
        source: options.source,
        manager: ready(options.owns_process, &parts.plan, cores.len()),
        parts,
        publisher,
        sockets,
        shards,
        ends,
        follower,
        monitor: Arc::clone(&monitor),
        journal: Journal::default(),
        records: asked.records,
        questions: asked.questions,
        names,
        signals,
        states: States::default(),
        refusals,
        started,
        timers: Timers::new(),
        reloads: Reloads::default(),
        watch: Watch::default(),
        gateways,
        certificates: Certificates::default(),
        unreachables: Unreachables::listen(post.clone()),
        post,
    };
    Ok((control, Started { monitor, admin: address }))
}

/// Opens the sockets of all listeners; says of which that was not possible, and which another process has, too.
fn open_sockets(plan: &mut Plan, shards: usize) -> Result<(Sockets<Socket>, Refusals), Error> {
    let mut sockets = Sockets::new(shards);
    let shared = sockets::shared(&plan.listeners);
    let (change, refused) = listeners::prepare(&sockets, plan)?;
    shared.iter().for_each(|id| sockets::tell_shared(plan.listener(*id)));
    sockets.apply(change);
    refused.iter().for_each(|(id, why)| listeners::tell_refusal(plan, *id, why));
    Ok((sockets, listeners::refusals(plan, &refused)))
}

/// Tells the service manager, if this is its process, that all is up.
fn ready(owns_process: bool, plan: &Plan, cores: usize) -> ServiceManager {
    let manager = ServiceManager::new(owns_process);
    manager.ready(&format!("{} on {}", counted(plan.listeners.len(), "listener"), counted(cores, "core")));
    manager
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Answers at the admin address, if there is one; says which it is.
fn serve_admin(listener: Option<TcpListener>, monitor: &Arc<Monitor>) -> Option<SocketAddr> {
    let listener = listener?;
    let address = listener.local_addr().ok();
    tokio::spawn(admin::serve(listener, Arc::clone(monitor)));
    address
}

fn first_gateways(plan: &Plan) -> Result<(Gateways, Arc<Roster>), Error> {
    let mut gateways = Gateways::new(getrandom::u64().map_err(KeyFileError::Random)?);
    let now = gateways.now();
    let numbers = gateways.number(plan, now)?;
    let roster = gateways.put_in_force(plan, numbers, now);
    Ok((gateways, roster))
}

/// What is told before the first publication is replaced.
fn first_facts(shards: usize, names: &Names) -> Arc<Monitor> {
    let monitor = Arc::new(Monitor::new(shards));
    let mut facts = monitor.facts();
    facts.process.names_unresolved = names.unresolved();
    facts.process.dns = names.readings();
    facts.process.generation = publisher::FIRST;
    facts.process.publications = 1;
    drop(facts);
    monitor
}

/// Each listener has a descriptor for each core; the soft limit of many systems, 1024, is for programs
/// that use select(2).
fn raise_file_limit(wanted: bool) {
    if !wanted {
        return;
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::debug!("the limit of open files stays as it is: {errno}");
    }
}

/// Says, too, where the process may have fewer files than all of them may have connections.
fn choose_cores(plan: &Plan) -> Result<Vec<usize>, Error> {
    let cores = cores::choose(&plan.engine.cores)?;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    if let Some(warning) = too_few_files(plan, cores.len() as u64, limit) {
        tracing::warn!("{warning}");
    }
    Ok(cores)
}

fn too_few_files(plan: &Plan, shards: u64, limit: u64) -> Option<String> {
    if !plan.has_streams() {
        return None;
    }
    let sockets = shards * plan.listeners.len() as u64 + FILES_BESIDES;
    let connections = shards * plan.streams.connections as u64;
    let left = limit.saturating_sub(sockets);
    (left < connections).then(|| {
        format!(
            "the limit of open files ({limit}) is reached before [tcp] connections ({connections} on {}) is: \
             {left} are left for them, and what more comes is not taken; LimitNOFILE={} in the unit (ulimit -Hn), or \
             fewer connections",
            counted(shards as usize, "core"),
            (sockets + connections).next_power_of_two()
        )
    })
}

async fn bind_admin(plan: &Plan) -> Result<Option<TcpListener>, Error> {
    match plan.admin {
        Some(address) => admin::bind(address).await.map(Some).map_err(Error::Admin),
        None => Ok(None),
    }
}

type Shards = (Vec<Option<ShardThread>>, mpsc::UnboundedReceiver<Ended>);

/// What all shards tell and ask through.
struct Asked {
    records: Records,
    questions: Questions<Query>,
    names: Questions<Question>,
}

impl Asked {
    fn new(names: &Names) -> Self {
        let questions = Questions::new(limits::KERNEL_QUESTIONS);
        Self { records: Records::default(), questions, names: names.questions() }
    }
}

/// Starts one shard on each core. If one cannot start, those before it are stopped.
fn start_shards(
    cores: &[usize],
    parts: &Parts<Arc<Socket>>,
    publisher: &mut Publisher<Arc<Socket>>,
    monitor: &Monitor,
    asked: &Asked,
    post: &Post,
) -> Result<Shards, Error> {
    shard::install_hook();
    let nonce = getrandom::u64().map_err(KeyFileError::Random)?;
    let (ended, ends) = mpsc::unbounded_channel();
    let neighbours = Neighbours::new(cores.len());
    let throttles = Arc::new(Throttles::default());
    let engine = &parts.plan.engine;
    let mut shards: Vec<Option<ShardThread>> = Vec::with_capacity(cores.len());
    for ((number, core), metrics) in cores.iter().enumerate().zip(monitor.shards()) {
        let setup = Setup {
            number: number as u16,
            published: publisher.published(),
            metrics: Arc::clone(metrics),
            records: asked.records.clone(),
            questions: asked.questions.clone(),
            names: asked.names.clone(),
            post: post.clone(),
            nonce,
            throttles: Arc::clone(&throttles),
        };
        match ShardThread::start(setup, *core, engine.clone(), neighbours.clone(), ended.clone()) {
            Ok(shard) => shards.push(Some(shard)),
            Err(why) => {
                publisher.publish(&Parts { stopping: true, ..parts.clone() });
                shards.iter().flatten().for_each(ShardThread::wake);
                shards.into_iter().flatten().for_each(ShardThread::join);
                return Err(Error::Shard { number, why });
            }
        }
    }
    Ok((shards, ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples::{listener, plan};
    use crate::net::Transport;

    #[test]
    fn files_that_do_not_suffice_are_told() {
        let mut both = plan(vec![listener(0, "a", "10.0.0.1:5060")]);
        assert_eq!(too_few_files(&both, 2, 0), None, "nobody takes connections");
        both.sections = crate::config::from_str(
            "test",
            "[[listener]]\nname = \"a\"\nbind = \"udp:127.0.0.1:5060\"",
            &crate::control::samples::fib(),
        )
        .unwrap_or_else(|findings| panic!("{findings}"))
        .plan
        .sections;
        assert!(both.section(crate::net::SectionId(0)).serves(Transport::Tcp));
        both.streams.connections = 1_000;
        let needed = 2 + FILES_BESIDES + 2_000;
        assert_eq!(too_few_files(&both, 2, needed), None);
        let text = too_few_files(&both, 2, needed - 1).unwrap();
        assert!(text.contains("1999 are left for them") && text.contains("LimitNOFILE=4096"), "{text}");
        assert!(text.contains("(2000 on 2 cores)"), "{text}");
        let text = too_few_files(&both, 1, 0).unwrap();
        assert!(text.contains("(1000 on 1 core)"), "{text}");
    }
}
