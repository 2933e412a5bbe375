//! What finds no room and would not be sent again by anybody, because it came by a connection or leaves by one, or tells what
//! has become of one: it is tried again, for each shard and lane in order.

use std::collections::VecDeque;

use super::cookie::Cookie;
use super::handler::Handler;
use super::panics;
use super::post::{Lane, Letter, NotPosted, Received, What};
use super::way::Way;
use super::worker::{Arrival, Worker};
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::limits::{TOLD_AGAIN, TRIED_AGAIN, TRY_AGAIN_NS};
use crate::net::Now;
use crate::proxy::{Incoming, Outcome};
use crate::stream::Waiting;

/// Letters that found no room.
#[derive(Default)]
pub(super) struct Again {
    arrive: Kept,
    leave: Kept,
    /// When they are tried.
    at: Now,
}

/// Those of a lane, of each shard by itself: those for one that does not keep up hold up no others.
#[derive(Default)]
struct Kept {
    /// By the number of the shard that they are for.
    letters: Vec<VecDeque<Letter>>,
    /// How many there are in all.
    len: usize,
}

impl Again {
    pub fn len(&self) -> usize {
        self.arrive.len + self.leave.len
    }

    const fn lane(&self, lane: Lane) -> &Kept {
        match lane {
            Lane::Arrives => &self.arrive,
            Lane::Leaves => &self.leave,
        }
    }

    const fn lane_mut(&mut self, lane: Lane) -> &mut Kept {
        match lane {
            Lane::Arrives => &mut self.arrive,
            Lane::Leaves => &mut self.leave,
        }
    }

    /// One for this shard waits, and what comes now goes behind it.
    pub fn waits_for(&self, shard: u16, lane: Lane) -> bool {
        self.lane(lane).of(shard) > 0
    }

    /// What can wait elsewhere is to: the other half is for what cannot.
    pub const fn is_half_full(&self, lane: Lane) -> bool {
        self.lane(lane).len >= TRIED_AGAIN / 2
    }

    /// They are tried by then.
    pub fn is_due(&mut self, at: Now) {
        self.at = at;
    }

    /// Keeps a letter to this shard, which may be one's own; `false`: there is no room.
    fn keep(&mut self, to: u16, what: What, bytes: &[u8], now: Now) -> bool {
        if self.len() == 0 {
            self.is_due(now.plus_ns(TRY_AGAIN_NS));
        }
        self.lane_mut(what.lane()).keep(to, what, bytes)
    }
}

impl Kept {
    /// How many wait for this shard.
    fn of(&self, shard: u16) -> usize {
        self.letters.get(usize::from(shard)).map_or(0, VecDeque::len)
    }

    fn keep(&mut self, to: u16, what: What, bytes: &[u8]) -> bool {
        let most = if matches!(what, What::NotSent(..) | What::Lost(..)) { TOLD_AGAIN } else { TRIED_AGAIN };
        if self.len >= most {
            return false;
        }
        let place = usize::from(to);
        if self.letters.len() <= place {
            self.letters.resize_with(place + 1, VecDeque::new);
        }
        if let Some(letters) = self.letters.get_mut(place) {
            letters.push_back(Letter { what, bytes: bytes.to_vec() });
            self.len += 1;
        }
        true
    }

    /// Takes the first letter to this shard.
    fn take(&mut self, to: u16) -> Option<Letter> {
        let letters = self.letters.get_mut(usize::from(to))?;
        let letter = letters.pop_front()?;
        self.len -= 1;
        if letters.is_empty() {
            // Else each shard's would keep the memory of its worst time.
            *letters = VecDeque::new();
        }
        Some(letter)
    }

    /// Puts a letter back before the others to this shard.
    fn put_back(&mut self, to: u16, letter: Letter) {
        if let Some(letters) = self.letters.get_mut(usize::from(to)) {
            letters.push_front(letter);
            self.len += 1;
        }
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Keeps a message that came by a stream for this shard; where that finds no room either, a request is refused.
    pub(super) fn keep_arrival<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        arrival: &Arrival<'_>,
        to: u16,
        why: DropReason,
    ) {
        // What is broken is not told in a letter, and is the last of its stream.
        let is_whole = arrival.incoming.broken.is_none();
        let what = What::Received(self.received(arrival));
        if !(is_whole && self.keep_letter(to, what, arrival.incoming.bytes)) {
            return self.refuse(io, &arrival.incoming, why);
        }
        if let Some((shard, stream)) = arrival.incoming.stream.get()
            && shard == self.number
        {
            self.pause(io, stream, Some(to));
        }
    }

    /// Keeps a letter to try it again; `false`: there is no room.
    pub(super) fn keep_letter(&mut self, to: u16, what: What, bytes: &[u8]) -> bool {
        let is_kept = self.again.keep(to, what, bytes, self.now);
        self.metrics.tried_again.set(self.again.len() as u64);
        is_kept
    }

    /// Tells a shard, which may be this one, what has become of its request, and not before what waits already to be told it: that
    /// may be the answer. Where there is no room at all, the transaction waits for its time.
    pub(super) fn tell<I: Io<Source = S>>(&mut self, io: &mut I, to: u16, what: What) {
        let told = if self.again.waits_for(to, Lane::Arrives) {
            Err((NotPosted::NoRoom, what))
        } else if to == self.number {
            return self.take_letter(io, to, what, &[]);
        } else {
            self.post.send(to, &[], what)
        };
        match told {
            Ok(posted) => self.ring(io, to, posted),
            Err((NotPosted::NoRoom, what)) => {
                if !self.keep_letter(to, what, &[]) {
                    self.metrics.not_told.count();
                }
            }
            // With it has ended what was to hear it.
            Err((NotPosted::Gone, _)) => {}
        }
    }

    pub(super) fn received(&self, arrival: &Arrival<'_>) -> Received {
        let Arrival { incoming: Incoming { on, from, stream, .. }, socket, class, waited_ns, .. } = *arrival;
        let listener = self.current.snapshot.plan.listener(on).identity;
        Received { socket, listener, from, stream, class, waited_ns, since: self.now }
    }

    /// Answers a request with 503; what cannot be answered is dropped for this reason.
    fn refuse<I: Io<Source = S>>(&mut self, io: &mut I, incoming: &Incoming<'_>, why: DropReason) {
        let mut out = std::mem::take(&mut self.refusal);
        let outcome =
            panics::guard(|| self.handler.refuse(&self.current.snapshot, incoming, self.now, &mut out));
        match outcome {
            Ok(Outcome::Answer { to, len, status }) => {
                let way = Way { answers: true, ..self.way_of(incoming.on, to, incoming.stream) };
                let waiting = Waiting { shard: self.number, cookie: Cookie::Answer(status).with(None) };
                self.leave_by_stream(io, out.get(..len).unwrap_or_default(), &way, waiting);
            }
            Ok(_) => self.metrics.dropped(why),
            Err(caught) => {
                self.metrics.dropped(DropReason::Panic);
                self.on_panic(io, Some(incoming), *caught);
            }
        }
        self.refusal = out;
    }

    /// When what is kept is tried next.
    pub(super) fn tries_again(&self) -> Option<Now> {
        (self.again.len() > 0 || !self.paused.is_empty()).then_some(self.again.at)
    }

    /// Tries what is kept; what still finds no room stays, and what is behind it for the same shard. Then connections go on.
    pub(super) fn try_again<I: Io<Source = S>>(&mut self, io: &mut I) {
        self.again.is_due(self.now.plus_ns(TRY_AGAIN_NS));
        for lane in [Lane::Leaves, Lane::Arrives] {
            for to in 0..self.post.shards() {
                for _ in 0..self.again.lane(lane).of(to) {
                    if !self.try_first(io, to, lane) {
                        break;
                    }
                }
            }
        }
        self.resume_streams(io);
        self.metrics.tried_again.set(self.again.len() as u64);
    }

    /// Tries the first letter to this shard; `false`: it stays.
    fn try_first<I: Io<Source = S>>(&mut self, io: &mut I, to: u16, lane: Lane) -> bool {
        let is_own = to == self.number || self.post.is_gone(to);
        // Else what is handled here would find no send buffer, or no room where it is to leave, and go behind the others.
        if is_own && (!has_tx(io) || lane == Lane::Arrives && self.again.is_half_full(Lane::Leaves)) {
            return false;
        }
        let Some(Letter { what, bytes }) = self.again.lane_mut(lane).take(to) else { return false };
        let posted = match is_own {
            true => Err((NotPosted::Gone, what)),
            false => self.post.send(to, &bytes, what),
        };
        match posted {
            Ok(posted) => {
                self.ring(io, to, posted);
                self.metrics.handed_over.count();
            }
            Err((NotPosted::NoRoom, what)) => {
                self.again.lane_mut(lane).put_back(to, Letter { what, bytes });
                return false;
            }
            Err((NotPosted::Gone, what)) => self.take_letter(io, to, what, &bytes),
        }
        true
    }

    /// What is for this shard, or for one that has ended.
    fn take_letter<I: Io<Source = S>>(&mut self, io: &mut I, to: u16, what: What, bytes: &[u8]) {
        if to != self.number {
            self.handler.shard_gone(to);
        }
        match what {
            What::Received(received) => self.take_over_message(io, &received, bytes),
            What::Leaves { way, waiting } => {
                let way = self.as_renamed(way);
                self.leave_by_stream(io, bytes, &way, waiting);
            }
            What::NotSent(transaction, why) if to == self.number => {
                self.handler.send_failed(transaction, why)
            }
            What::Lost(transaction, peer, why) if to == self.number => {
                self.handler.lost(transaction, peer, why);
            }
            // With that shard has ended what was to hear it; and nothing else is kept.
            What::NotSent(..) | What::Lost(..) | What::Accepted { .. } | What::Unreached(_) => {}
        }
    }
}

/// There is a send buffer.
fn has_tx<I: Io>(io: &mut I) -> bool {
    let tx = io.tx();
    let has_one = tx.is_some();
    tx.into_iter().for_each(|tx| io.discard(tx));
    has_one
}
