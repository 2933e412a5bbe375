//! Choices of one snapshot, remembered.

use std::net::SocketAddr;

use super::choose::{given, overridden};
use super::{Egress, Exit, NoEgress, Pin, Question, Reason, View, auto};
use crate::fib::Fib;
use crate::limits::RECENT_CHOICES;
use crate::net::{ListenerId, NextHop, SectionId, address_bits};
use crate::plan::Plan;
use crate::rules::EgressChoice;

/// A shard's most recent choices, so that a trunk's messages do not all ask the Fib the same.
///
/// What is remembered is good for one generation of snapshots, and for hosts whose routes have one path
/// each: with several, the choice depends on the transaction. The last two choices of each place are kept. All
/// memory is taken at construction.
pub struct Recent {
    /// In each place the one that was asked for last stands first, but for those found second.
    known: Box<[[Option<Known>; 2]]>,
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Known {
    generation: u64,
    asked: Asked,
    exit: Exit,
}

/// What was asked, as numbers that are compared at once.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    address: u128,
    rest: u128,
}

const _: () = assert!(size_of::<Option<Known>>() == 64);

/// What else a choice depends on, in 48 bits.
#[derive(Clone, Copy)]
struct Given(u64);

impl Given {
    /// Nothing names the listener.
    const NOTHING: Self = Self(0);

    /// It is this one, for this reason.
    #[inline(always)]
    fn listener(ListenerId(id): ListenerId, reason: Reason) -> Self {
        Self(1 << 8 | reason.index() as u64 | u64::from(id) << 16)
    }

    /// The message itself names the next hop, which may be sent to: by the listener of this identity, or by any.
    #[inline(always)]
    fn allowed(dialog: Option<u32>) -> Self {
        Self(dialog.map_or(1 << 10, |identity| 1 << 11 | u64::from(identity) << 16))
    }

    /// A rule names one of these.
    #[inline(always)]
    fn section(SectionId(id): SectionId) -> Self {
        Self(1 << 9 | u64::from(id) << 16)
    }
}

impl Asked {
    #[inline(always)]
    fn new(question: &Question, Given(given): Given) -> Self {
        let Question { ingress, next_hop: NextHop { transport, address }, .. } = *question;
        let scope = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        let place = u64::from(address.port()) | u64::from(scope) << 16 | (transport as u64) << 48;
        Self {
            address: address_bits(address.ip()),
            rest: u128::from(place) << 64 | u128::from(given << 16 | u64::from(ingress.0)),
        }
    }

    /// Below half of [`RECENT_CHOICES`]; addresses of one network lie apart.
    #[inline(always)]
    fn place(&self) -> usize {
        let both = self.address ^ self.rest.rotate_left(32);
        let mixed = (both as u64 ^ (both >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize % (RECENT_CHOICES / 2)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self { known: vec![[None; 2]; RECENT_CHOICES / 2].into() }
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
    #[inline(always)]
    pub fn auto(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        question: &Question,
    ) -> Result<Exit, NoEgress> {
        self.known(generation, fib, Given::NOTHING, question, || auto(plan, fib, view, question))
    }

    /// What [`Recent::dialog`] said of this identity, or [`Recent::auto`] where there is none, of a next hop that a message names
    /// and that may be sent to, if [`Recent::allow`] was told so.
    #[inline(always)]
    pub fn allowed(&self, generation: u64, dialog: Option<u32>, question: &Question) -> Option<Exit> {
        self.find(generation, &Asked::new(question, Given::allowed(dialog)))
    }

    /// This next hop may be sent to if a message names it, from there.
    #[cold]
    #[inline(never)]
    pub fn allow(
        &mut self,
        generation: u64,
        fib: &Fib,
        dialog: Option<u32>,
        question: &Question,
        exit: Exit,
    ) {
        self.keep(fib, Known { generation, asked: Asked::new(question, Given::allowed(dialog)), exit });
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
    ) -> Result<Exit, NoEgress> {
        let listener = view.by_identity(pin.egress).ok_or(NoEgress::NoListener)?;
        self.given(generation, plan, fib, view, (listener, Reason::Pinned), question)
    }

    /// The listener that a client's connection belongs to, named by its identity; no other has the connection.
    ///
    /// # Errors
    /// The listener is gone, not up or without a path.
    pub fn flow(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        (identity, reason): (u32, Reason),
        question: &Question,
    ) -> Result<Exit, NoEgress> {
        let listener = view.by_identity(identity).ok_or(NoEgress::NoListener)?;
        self.given(generation, plan, fib, view, (listener, reason), question)
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
    ) -> Result<Exit, NoEgress> {
        let wanted = question.next_hop.transport;
        let named = view.by_identity(identity).and_then(|l| view.sibling(plan, l, wanted));
        let fit = named
            .map(|listener| self.given(generation, plan, fib, view, (listener, Reason::Dialog), question));
        match fit {
            Some(fit @ (Ok(_) | Err(NoEgress::AskKernel(_)))) => fit,
            Some(Err(_)) | None => self.auto(generation, plan, fib, view, question),
        }
    }

    /// [`overridden`], or what it said before where the rule's `egress` is a `[[listener]]`.
    ///
    /// # Errors
    /// As [`overridden`]; never remembered.
    pub fn overridden(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        choice: &EgressChoice,
        question: &Question,
    ) -> Result<Exit, NoEgress> {
        let choose = || overridden(plan, fib, view, choice, question);
        match *choice {
            EgressChoice::Listener(section) => {
                self.known(generation, fib, Given::section(section), question, choose)
            }
            EgressChoice::Relative { .. } => choose().map(|egress| egress.exit()),
        }
    }

    fn given(
        &mut self,
        generation: u64,
        plan: &Plan,
        fib: &Fib,
        view: &View,
        (listener, reason): (ListenerId, Reason),
        question: &Question,
    ) -> Result<Exit, NoEgress> {
        let choose = || given(plan, fib, view, listener, question, reason);
        self.known(generation, fib, Given::listener(listener, reason), question, choose)
    }

    /// What is known of this, or what `choose` says, which is known from then on.
    #[inline(always)]
    fn known(
        &mut self,
        generation: u64,
        fib: &Fib,
        given: Given,
        question: &Question,
        choose: impl FnOnce() -> Result<Egress, NoEgress>,
    ) -> Result<Exit, NoEgress> {
        let asked = Asked::new(question, given);
        match self.find(generation, &asked) {
            Some(exit) => Ok(exit),
            None => self.learn(generation, fib, asked, choose),
        }
    }

    #[inline(always)]
    fn find(&self, generation: u64, asked: &Asked) -> Option<Exit> {
        let is_it = |known: &&Known| known.asked == *asked && known.generation == generation;
        self.known[asked.place()].iter().flatten().find(is_it).map(|known| known.exit)
    }

    /// What `choose` says, which is known from then on; where a route has several paths, nothing ever is.
    #[cold]
    #[inline(never)]
    fn learn(
        &mut self,
        generation: u64,
        fib: &Fib,
        asked: Asked,
        choose: impl FnOnce() -> Result<Egress, NoEgress>,
    ) -> Result<Exit, NoEgress> {
        let exit = choose()?.exit();
        self.keep(fib, Known { generation, asked, exit });
        Ok(exit)
    }

    fn keep(&mut self, fib: &Fib, known: Known) {
        if !fib.is_multipath() {
            let places = &mut self.known[known.asked.place()];
            places[1] = places[0].replace(known);
        }
    }
}
