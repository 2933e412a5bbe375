//! Automatic choices of one snapshot, remembered.

use std::net::IpAddr;

use super::{Egress, NoEgress, Question, View, auto};
use crate::fib::Fib;
use crate::limits::RECENT_CHOICES;
use crate::net::{ListenerId, NextHop};
use crate::plan::Plan;

/// A shard's most recent automatic choices, so that a trunk's messages do not all ask the Fib the same.
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
    ingress: ListenerId,
    next_hop: NextHop,
    egress: Egress,
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
        if fib.is_multipath() {
            return auto(plan, fib, view, question);
        }
        if self.generation != generation {
            self.clear();
            self.generation = generation;
        }
        let [first, second] = &mut self.known[place(&question.next_hop)];
        let is_meant =
            |known: &&Known| known.ingress == question.ingress && known.next_hop == question.next_hop;
        if let Some(known) = first.as_ref().filter(is_meant).or(second.as_ref().filter(is_meant)) {
            return Ok(known.egress);
        }
        let egress = auto(plan, fib, view, question)?;
        let Question { ingress, next_hop, .. } = *question;
        *second = first.replace(Known { ingress, next_hop, egress });
        Ok(egress)
    }
}

/// Below half of [`RECENT_CHOICES`]; addresses of one network lie apart.
fn place(next_hop: &NextHop) -> usize {
    let ip = match next_hop.address.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
    };
    let mixed = (ip ^ u64::from(next_hop.address.port()) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize % (RECENT_CHOICES / 2)
}
