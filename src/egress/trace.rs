//! What the automatic choice considered, for `explain`: the same code tells, none is written twice.

use super::{Step, Unfit};
use crate::fib::{Answer, Query};
use crate::plan::ListenerId;

/// One thing that the automatic choice looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A class of listeners begins: its place among the classes, and the question with any source.
    Class {
        /// From 0; classes are asked in this order.
        number: usize,
        /// Its first listener; the others have the same transport, family, mark and device.
        first: ListenerId,
        /// The question with any source, under the class's mark and device.
        query: Query,
        /// Its answer.
        answer: Answer,
    },
    /// A listener was considered.
    Candidate(Candidate),
}

/// One listener that was considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub listener: ListenerId,
    /// In which step.
    pub step: Step,
    /// Why it lost; `None`: its bound lookup confirmed it. In [`Step::Elsewhere`] several confirmed
    /// ones cancel each other out.
    pub lost: Option<Unfit>,
}

/// Is told what the automatic choice looks at.
pub trait Observer {
    /// One thing was looked at.
    fn note(&mut self, note: Note);
}

/// Nobody listens: the forwarding path.
impl Observer for () {
    #[inline(always)]
    fn note(&mut self, _: Note) {}
}

/// Keeps all notes, in order.
#[derive(Clone, Debug, Default)]
pub struct Recorder(pub Vec<Note>);

impl Observer for Recorder {
    fn note(&mut self, note: Note) {
        self.0.push(note);
    }
}
