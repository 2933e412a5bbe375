//! One socket for each listener and shard: opened before a Plan takes effect, closed after.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use super::error::Error;
use super::monitor::SocketFacts;
use super::ports;
use crate::engine::SocketId;
use crate::engine::socket::Socket;
use crate::limits;
use crate::metrics::{Drops, SeriesId};
use crate::net::{ListenerId, Transport};
use crate::plan::{Listener, Plan};
use crate::shard::{Bindings, Bound, SocketTable};

/// Every socket of the process. `T` is what an engine opens, held by this table, by the publications
/// that name it and by the engine until it is closed.
pub struct Sockets<T> {
    entries: Vec<Entry<T>>,
    closing: Vec<Closing<T>>,
    /// By shard number: whether it still forwards.
    alive: Vec<bool>,
}

/// The number of sockets that are not there: no engine has it.
const NOWHERE: SocketId = SocketId(limits::ENGINE_SOCKETS);

/// The sockets of one listener.
struct Entry<T> {
    /// [`NOWHERE`], if they cannot be bound now.
    id: SocketId,
    identity: u32,
    key: Key,
    /// By shard number.
    sockets: Vec<Option<Arc<T>>>,
    /// Kernel drops by shard number that have been added to the listener's sum.
    counted: Vec<Drops>,
}

/// Sockets that no listener needs any more, as long as an engine has them.
struct Closing<T> {
    id: SocketId,
    identity: u32,
    transport: Transport,
    bind: SocketAddr,
    sockets: Vec<Weak<T>>,
}

/// What makes two sockets the same: a listener that only changes its name or what it advertises
/// keeps its sockets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    transport: Transport,
    bind: SocketAddr,
    device: Option<Box<str>>,
    /// An interface that is made anew under its old name is another.
    device_index: u32,
    mark: Option<u32>,
    buffer_bytes: usize,
}

/// The sockets of a Plan that is about to take effect.
pub struct Change<T>(Vec<Entry<T>>);

/// Binds one socket of a listener.
///
/// # Errors
/// The system's reason, with a hint.
pub fn open(listener: &Listener, plan: &Plan) -> Result<Socket, Error> {
    let opened = Socket::open(listener, plan.engine.socket_buffer_bytes).and_then(|socket| {
        socket.tell_when_received(plan.overload.longest_wait_ns.is_some())?;
        Ok(socket)
    });
    opened.map_err(|why| Error::Socket { listener: listener.name.clone(), why })
}

/// Listeners whose UDP ports another process has. To be asked before any is opened here.
pub fn shared(listeners: &[Listener]) -> Vec<ListenerId> {
    let taken: HashSet<SocketAddr> = ports::datagrams().into_iter().map(|open| open.at).collect();
    let has_port = |l: &&Listener| {
        let at = SocketAddr::new(l.bind.ip(), l.bind.port());
        l.transport == Transport::Udp && l.can_be_bound() && taken.contains(&at)
    };
    listeners.iter().filter(has_port).map(|listener| listener.id).collect()
}

/// Says what follows.
pub fn tell_shared(listener: &Listener) {
    let Listener { name, bind, .. } = listener;
    tracing::warn!(
        "listener {name}: {bind} is open in another process, too, and each of them gets a part of what comes. That is \
         meant for the moment in which one takes over from the other; see: ss -lunp 'sport = :{}'",
        bind.port()
    );
}

impl Sockets<Socket> {
    /// Has all sockets say when their datagrams came, or no longer; what cannot be set stays as it is.
    pub fn tell_when_received(&self, wanted: bool) {
        for socket in self.entries.iter().flat_map(|entry| &entry.sockets).flatten() {
            if let Err(error) = socket.tell_when_received(wanted) {
                tracing::warn!("{error}");
            }
        }
    }
}

/// More sockets than can be numbered: many reloads with many changes in a short time.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfNumbers;

impl<T> Sockets<T> {
    /// None yet, for so many shards.
    pub fn new(shards: usize) -> Self {
        Self { entries: Vec::new(), closing: Vec::new(), alive: vec![true; shards] }
    }

    /// Opens what these listeners need and do not have; changes nothing yet. Dropping the change closes what
    /// was opened. Listeners whose sockets cannot be opened are left without, and told.
    pub fn prepare<E: From<OutOfNumbers>>(
        &self,
        listeners: &[Listener],
        buffer_bytes: usize,
        mut open: impl FnMut(&Listener) -> Result<T, E>,
    ) -> (Change<T>, Vec<(ListenerId, E)>) {
        let known: HashMap<&Key, &Entry<T>> =
            self.entries.iter().filter(|e| e.id != NOWHERE).map(|e| (&e.key, e)).collect();
        let mut numbers = self.free_numbers();
        let (mut entries, mut refused) = (Vec::with_capacity(listeners.len()), Vec::new());
        for listener in listeners {
            let (key, identity) = (Key::of(listener, buffer_bytes), listener.identity);
            let nothing =
                |key| Entry { id: NOWHERE, identity, key, sockets: Vec::new(), counted: Vec::new() };
            if !listener.can_be_bound() {
                entries.push(nothing(key));
                continue;
            }
            if let Some(known) = known.get(&key) {
                let (sockets, counted) = (known.sockets.clone(), known.counted.clone());
                entries.push(Entry { id: known.id, identity, key, sockets, counted });
                continue;
            }
            let opened = match numbers.next() {
                Some(id) => self.open_all(listener, &mut open).map(|sockets| (id, sockets)),
                None => Err(OutOfNumbers.into()),
            };
            entries.push(match opened {
                Ok((id, sockets)) => {
                    Entry { id, identity, key, sockets, counted: vec![Drops::default(); self.alive.len()] }
                }
                Err(why) => {
                    refused.push((listener.id, why));
                    nothing(key)
                }
            });
        }
        (Change(entries), refused)
    }

    /// One for each shard that lives, or none.
    fn open_all<E>(
        &self,
        listener: &Listener,
        open: &mut impl FnMut(&Listener) -> Result<T, E>,
    ) -> Result<Vec<Option<Arc<T>>>, E> {
        self.alive.iter().map(|up| up.then(|| open(listener).map(Arc::new)).transpose()).collect()
    }

    /// Some engine still reads what sockets of this listener have received.
    pub fn is_closing(&self, identity: u32) -> bool {
        self.closing.iter().any(|c| c.identity == identity && c.open())
    }

    /// Makes the change the state of affairs.
    pub fn apply(&mut self, change: Change<T>) {
        let old = std::mem::replace(&mut self.entries, change.0);
        let mut kept: HashMap<SocketId, &mut Entry<T>> = self.entries.iter_mut().map(|e| (e.id, e)).collect();
        for entry in old.into_iter().filter(|e| e.id != NOWHERE) {
            if let Some(kept) = kept.get_mut(&entry.id) {
                // They may have been counted since the change was prepared.
                kept.counted = entry.counted;
            } else {
                self.closing.push(Closing {
                    id: entry.id,
                    identity: entry.identity,
                    transport: entry.key.transport,
                    bind: entry.key.bind,
                    sockets: entry.sockets.iter().flatten().map(Arc::downgrade).collect(),
                });
            }
        }
        self.reap();
    }

    /// Gives up a shard's sockets, so that the kernel hands its share of the traffic to the others.
    pub fn lose_shard(&mut self, number: usize) {
        if let Some(alive) = self.alive.get_mut(number) {
            *alive = false;
        }
        for entry in &mut self.entries {
            if let Some(socket) = entry.sockets.get_mut(number) {
                *socket = None;
            }
        }
    }

    /// Gives up every socket.
    pub fn lose_all(&mut self) {
        for number in 0..self.alive.len() {
            self.lose_shard(number);
        }
    }

    /// What the shards shall have open.
    pub fn table(&self) -> Arc<SocketTable<Arc<T>>> {
        let of = |shard: usize| {
            let each = self.entries.iter().filter_map(|e| Some((e.id, e.sockets.get(shard)?.clone()?)));
            each.collect::<Box<[_]>>()
        };
        (0..self.alive.len()).map(of).collect()
    }

    /// Which socket belongs to which listener; `series[i]` is where `listeners[i]` is counted. The
    /// listeners are those of the last change that was applied.
    pub fn bindings(&mut self, listeners: &[Listener], series: &[SeriesId]) -> Bindings {
        self.reap();
        let bound =
            self.entries.iter().zip(series).map(|(e, series)| Bound { socket: e.id, series: *series });
        let heir = |c: &Closing<T>| {
            let itself = listeners.iter().find(|l| l.identity == c.identity);
            let same = |l: &&Listener| l.transport == c.transport && l.bind == c.bind;
            (c.id, itself.or_else(|| listeners.iter().find(same)).map(|l| l.id))
        };
        Bindings::new(
            bound.collect(),
            &self.closing.iter().map(heir).collect::<Vec<(SocketId, Option<ListenerId>)>>(),
        )
    }

    /// Forgets sockets that every engine has closed; their numbers are free again.
    fn reap(&mut self) {
        self.closing.retain(Closing::open);
    }

    /// Numbers of no socket, from the lowest on.
    fn free_numbers(&self) -> impl Iterator<Item = SocketId> + use<T> {
        let closing = self.closing.iter().filter(|c| c.open()).map(|c| c.id);
        let taken: HashSet<SocketId> = self.entries.iter().map(|e| e.id).chain(closing).collect();
        (0..limits::ENGINE_SOCKETS).map(SocketId).filter(move |id| !taken.contains(id))
    }
}

impl From<OutOfNumbers> for Error {
    fn from(_: OutOfNumbers) -> Self {
        Self::OutOfNumbers
    }
}

impl Sockets<Socket> {
    /// A socket for datagrams of the listener with this identity; `None`: it has none.
    pub fn of(&self, identity: u32) -> Option<&Socket> {
        let entry = self.entries.iter().find(|entry| entry.identity == identity)?;
        entry.sockets.iter().flatten().next().map(|socket| &**socket).filter(|socket| !socket.is_stream())
    }

    /// The smallest receive and send buffer of all sockets, in bytes, as the kernel granted them; what is
    /// `wanted`, where there is no socket yet.
    pub fn smallest_buffers(&self, wanted: usize) -> (usize, usize) {
        let all = self.entries.iter().flat_map(|e| e.sockets.iter().flatten()).filter_map(|s| s.buffers());
        all.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap_or((wanted, wanted))
    }

    /// Adds up what the kernel says of each listener's sockets; the listeners are those of the last
    /// change that was applied. Listeners that are gone keep their drops, unless there are very many of them.
    pub fn read_facts(&mut self, listeners: &[Listener], facts: &mut HashMap<Box<str>, SocketFacts>) {
        facts.values_mut().for_each(|f| f.sockets = 0);
        for (listener, entry) in listeners.iter().zip(&mut self.entries) {
            let facts = facts.entry(listener.name.clone()).or_default();
            for (socket, counted) in entry.sockets.iter().zip(&mut entry.counted) {
                let Some(socket) = socket else { continue };
                let drops = socket.drops();
                facts.drops.full += drops.full.saturating_sub(counted.full);
                facts.drops.filtered += drops.filtered.saturating_sub(counted.filtered);
                facts.sockets += 1;
                *counted = drops;
            }
        }
        if facts.len() > limits::LISTENERS {
            facts.retain(|_, facts| facts.sockets > 0);
        }
    }
}

impl<T> Closing<T> {
    fn open(&self) -> bool {
        self.sockets.iter().any(|s| s.strong_count() > 0)
    }
}

impl Key {
    fn of(listener: &Listener, buffer_bytes: usize) -> Self {
        Self {
            transport: listener.transport,
            bind: listener.bind,
            device: listener.device.clone(),
            device_index: listener.device_index,
            mark: listener.mark,
            buffer_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples::listener;

    fn change(sockets: &mut Sockets<String>, listeners: &[Listener]) -> Bindings {
        let open = |l: &Listener| Ok::<_, OutOfNumbers>(l.bind.to_string());
        let (change, refused) = sockets.prepare(listeners, 1, open);
        assert_eq!(refused, []);
        sockets.apply(change);
        let series: Vec<_> = listeners.iter().map(|l| SeriesId(l.id.0)).collect();
        sockets.bindings(listeners, &series)
    }

    fn socket(bindings: &Bindings, listener: u16) -> SocketId {
        bindings.bound(ListenerId(listener)).unwrap().socket
    }

    #[test]
    fn a_listener_that_moves_in_the_file_keeps_its_sockets() {
        let mut sockets = Sockets::new(2);
        let before =
            change(&mut sockets, &[listener(0, "a", "10.0.0.1:5060"), listener(1, "b", "10.0.0.2:5060")]);
        let table = sockets.table();
        let after =
            change(&mut sockets, &[listener(0, "new", "10.0.0.3:5060"), listener(1, "A", "10.0.0.1:5060")]);
        assert_eq!(socket(&before, 0), socket(&after, 1));
        assert_eq!(after.listener(socket(&before, 0)), Some(ListenerId(1)));
        let kept = |t: &SocketTable<Arc<String>>, shard: usize| {
            t[shard].iter().find(|(id, _)| *id == socket(&before, 0)).map(|(_, s)| Arc::as_ptr(s))
        };
        assert_eq!(kept(&table, 1), kept(&sockets.table(), 1));
    }

    #[test]
    fn a_socket_that_closes_serves_the_listener_that_took_over_its_address() {
        let mut sockets = Sockets::new(1);
        let before =
            change(&mut sockets, &[listener(0, "a", "10.0.0.1:5060"), listener(1, "b", "10.0.0.2:5060")]);
        let engine = sockets.table();
        let marked = Listener { mark: Some(7), ..listener(0, "a", "10.0.0.1:5060") };
        let after = change(&mut sockets, std::slice::from_ref(&marked));
        assert_ne!(socket(&before, 0), socket(&after, 0));
        assert_eq!(after.listener(socket(&before, 0)), Some(ListenerId(0)));
        assert_eq!(after.listener(socket(&before, 1)), None);
        drop(engine);
        let later = change(&mut sockets, &[marked, listener(1, "c", "10.0.0.3:5060")]);
        assert_eq!(socket(&later, 1), socket(&before, 0), "a number is free once its sockets are closed");
    }

    #[test]
    fn a_failed_open_changes_nothing_and_closes_what_it_opened() {
        let mut sockets = Sockets::new(2);
        change(&mut sockets, &[listener(0, "a", "10.0.0.1:5060")]);
        let before = sockets.table();
        let mut opened = Vec::new();
        let (change, refused) = sockets.prepare(&[listener(0, "b", "10.0.0.2:5060")], 1, |l| {
            if opened.len() == 1 {
                return Err(OutOfNumbers);
            }
            opened.push(l.id);
            Ok(l.bind.to_string())
        });
        assert_eq!(refused, [(ListenerId(0), OutOfNumbers)]);
        drop(change);
        assert_eq!(sockets.table(), before);
    }

    /// Between the preparation of a change and the change itself drops are counted.
    #[test]
    fn drops_are_counted_once() {
        const SEVEN: Drops = Drops { full: 7, filtered: 0 };
        let mut sockets = Sockets::new(1);
        let a = listener(0, "a", "10.0.0.1:5060");
        change(&mut sockets, std::slice::from_ref(&a));
        let (next, _) = sockets.prepare(&[a, listener(1, "b", "10.0.0.2:5060")], 1, |l| {
            Ok::<_, OutOfNumbers>(l.bind.to_string())
        });
        sockets.entries[0].counted[0] = SEVEN;
        sockets.apply(next);
        assert_eq!((sockets.entries[0].counted[0], sockets.entries[1].counted[0]), (SEVEN, Drops::default()));
    }

    #[test]
    fn a_lost_shard_keeps_no_socket_and_gets_none() {
        let mut sockets = Sockets::new(2);
        change(&mut sockets, &[listener(0, "a", "10.0.0.1:5060")]);
        sockets.lose_shard(0);
        change(&mut sockets, &[listener(0, "a", "10.0.0.1:5060"), listener(1, "b", "10.0.0.2:5060")]);
        let table = sockets.table();
        assert_eq!((table[0].len(), table[1].len()), (0, 2));
    }
}
