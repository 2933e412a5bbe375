//! Choices of one snapshot, remembered.

use std::net::IpAddr;

use super::choose::given;
use super::{Egress, NoEgress, Pin, Question, Reason, View, auto};
use crate::fib::Fib;
use crate::limits::RECENT_CHOICES;
use crate::net::{ListenerId, NextHop};
use crate::plan::Plan;

/// A shard's most recent choices, so that a trunk's messages do not all ask the Fib the same.
///
/// What is remembered is good for one generation of snapshots, and for hosts whose routes have one path
/// each: with several, the choice depends on the transaction. The last two choices of each place are kept. All
/// memory is taken at construction.
pub struct Recent {
    generation: u64,
    /// In each place the one that was asked for last stands first, but for those found second.
    known: Box<[[Option<Known>; 2]]>,
}

#[derive(Clone, Copy)]
struct Known {
    asked: Asked,
    next_hop: NextHop,
    egress: Egress,
}

/// What was asked about a next hop.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    ingress: ListenerId,
    /// Whether this listener can send to it; `None`: which one can.
    given: Option<ListenerId>,
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self { generation: 0, known: vec![[None; 2]; RECENT_CHOICES / 2].into() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.fill([None; 2]);
    }

    /// [`auto`], or what it said before. `generation` is the snapshot's, which `plan`, `fib` and `view`
    /// are parts of.
    ///
    /// # Errors
    /// As [`auto`]; never remembered.
    #[inline]
    pub fn auto(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        question: &Question,
    ) -> Result<Egress, NoEgress> {
        self.known(generation, fib, None, question, || auto(plan, fib, view, question))
    }

    /// The listener of a transaction that was decided before; `question.next_hop` is the pin's.
    ///
    /// # Errors
    /// The listener is gone, not up or without a path: decide anew and count `egress_moved`.
    pub fn pinned(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        pin: &Pin,
        question: &Question,
    ) -> Result<Egress, NoEgress> {
        let listener = view.by_identity(pin.egress).ok_or(NoEgress::NoListener)?;
        self.known(generation, fib, Some(listener), question, || {
            given(plan, fib, view, listener, question, Reason::Pinned)
        })
        .map(|egress| Egress { reason: Reason::Pinned, ..egress })
    }

    /// A dialog's listener, named by the identity in a valid token: it, else its sibling of the wanted
    /// transport, else the automatic choice. The `reason` tells: anything but [`Reason::Dialog`] is to be
    /// counted.
    ///
    /// # Errors
    /// No listener can reach the next hop.
    pub fn dialog(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        identity: u32,
        question: &Question,
    ) -> Result<Egress, NoEgress> {
        let wanted = question.next_hop.transport;
        let named = view.by_identity(identity).and_then(|l| view.sibling(plan, l, wanted));
        let Some(listener) = named else { return self.auto(generation, plan, fib, view, question) };
        let chosen = self.known(generation, fib, Some(listener), question, || {
            given(plan, fib, view, listener, question, Reason::Dialog)
        });
        match chosen {
            Ok(egress) => Ok(Egress { reason: Reason::Dialog, ..egress }),
            Err(why @ NoEgress::AskKernel(_)) => Err(why),
            Err(_) => self.auto(generation, plan, fib, view, question),
        }
    }

    /// What is known of this, or what `choose` says, which is known from then on.
    #[inline(always)]
    fn known(
        &mut self,
        generation: u64,
        fib: &Fib,
        given: Option<ListenerId>,
        question: &Question,
        choose: impl FnOnce() -> Result<Egress, NoEgress>,
    ) -> Result<Egress, NoEgress> {
        if fib.is_multipath() {
            return choose();
        }
        if self.generation != generation {
            self.clear();
            self.generation = generation;
        }
        let Question { ingress, next_hop, .. } = *question;
        let asked = Asked { ingress, given };
        let [first, second] = &mut self.known[place(&next_hop, given)];
        let is_meant = |known: &&Known| known.asked == asked && known.next_hop == next_hop;
        if let Some(known) = first.as_ref().filter(is_meant).or(second.as_ref().filter(is_meant)) {
            return Ok(known.egress);
        }
        let egress = choose()?;
        *second = first.replace(Known { asked, next_hop, egress });
        Ok(egress)
    }
}

/// Below half of [`RECENT_CHOICES`]; addresses of one network lie apart.
fn place(next_hop: &NextHop, given: Option<ListenerId>) -> usize {
    let ip = match next_hop.address.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
    };
    let given = given.map_or(0, |listener| 1 + u64::from(listener.0));
    let mixed =
        (ip ^ u64::from(next_hop.address.port()) << 32 ^ given << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize % (RECENT_CHOICES / 2)
}
