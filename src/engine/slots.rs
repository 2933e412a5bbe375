//! The sockets of a shard: how far each is, and which of them the engine has to look after.
//!
//! ```text
//!  open ──► Receiving ──close──► Leaving ──cancel──► Cancelling ──receive ended──► Emptying ──► gone
//!            │     ▲                └──────────no receive under way──────────────────▲
//!            └─────┘ receive ended: armed again                  too many failures ──┘
//! ```
//!
//! A batch looks only at sockets that stand in a list: those whose receive has ended, and those that
//! are being closed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SocketId;
use super::socket::Socket;
use crate::limits::DRAIN_NS;
use crate::net::Now;

/// A socket whose receives fail this often in a row is lost.
const MOST_FAILURES: u8 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Receiving,
    /// Its receive is to be cancelled.
    Leaving,
    /// Its receive is being cancelled.
    Cancelling,
    /// No receive is under way: what is still queued is read directly.
    Emptying,
}

#[derive(Debug)]
struct Slot<T> {
    socket: T,
    state: State,
    /// A receive is under way.
    armed: bool,
    /// A receive was started once.
    begun: bool,
    /// Receives in a row that failed for no passing reason.
    failures: u8,
    /// When it is closed even if it is not empty.
    close_by: Now,
}

/// What a closing socket needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Care {
    /// Its receive is to be cancelled; then [`Slots::cancelling`].
    Cancel,
    /// It is to be read until it is empty; then [`Slots::remove`]. So far no longer than until then.
    Empty(Now),
    /// Nothing now.
    Wait,
}

/// The sockets by number.
pub struct Slots<T> {
    slots: Box<[Option<Slot<T>>]>,
    /// Their receives are to be started, in this order: where there are fewer buffers than can be filled, the first take all.
    unarmed: VecDeque<SocketId>,
    /// Those that are not `Receiving`.
    closing: Vec<SocketId>,
}

impl<T> Slots<T> {
    /// None yet, of at most so many.
    pub fn new(most: u16) -> Self {
        let most = usize::from(most);
        Self {
            slots: (0..most).map(|_| None).collect(),
            unarmed: VecDeque::with_capacity(most),
            closing: Vec::with_capacity(most),
        }
    }

    /// Takes a socket in; its receive is to be started. False: there is no such place, or it is taken.
    pub fn open(&mut self, id: SocketId, socket: T) -> bool {
        let Some(place @ None) = self.slots.get_mut(usize::from(id.0)) else { return false };
        let state = State::Receiving;
        *place =
            Some(Slot { socket, state, armed: false, begun: false, failures: 0, close_by: Now(u64::MAX) });
        self.unarmed.push_back(id);
        true
    }

    /// Whether this socket can send.
    #[inline]
    pub fn knows(&self, id: SocketId) -> bool {
        self.slots.get(usize::from(id.0)).is_some_and(Option::is_some)
    }

    /// The socket.
    pub fn get(&self, id: SocketId) -> Option<&T> {
        self.slots.get(usize::from(id.0))?.as_ref().map(|slot| &slot.socket)
    }

    /// Begins to close a socket, which shall be gone by then. False: it is not open, or closing already.
    pub fn close(&mut self, id: SocketId, by: Now) -> bool {
        let Some(slot) = self.slot(id).filter(|slot| slot.state == State::Receiving) else { return false };
        slot.state = State::Leaving;
        slot.close_by = by;
        self.closing.push(id);
        true
    }

    /// A datagram came in, and the receive goes on.
    #[inline]
    pub fn went_well(&mut self, id: SocketId) {
        if let Some(slot) = self.slot(id) {
            slot.failures = 0;
        }
    }

    /// A receive has ended with this error number; 0: with a datagram or without any reason.
    pub fn ended(&mut self, id: SocketId, errno: i32) {
        let Some(slot) = self.slot(id) else { return };
        slot.armed = false;
        slot.failures = if passing(errno) { 0 } else { slot.failures.saturating_add(1) };
        if slot.state != State::Receiving {
            return;
        }
        if slot.failures < MOST_FAILURES {
            self.unarmed.push_back(id);
        } else {
            slot.state = State::Emptying;
            slot.close_by = Now(0);
            self.closing.push(id);
        }
    }

    /// The next receive that is to be started, and whether it is for another time; it counts as under way
    /// from now on.
    pub fn next_unarmed(&mut self) -> Option<(SocketId, bool)> {
        while let Some(id) = self.unarmed.pop_front() {
            if let Some(slot) = self.slot(id).filter(|slot| slot.state == State::Receiving && !slot.armed) {
                slot.armed = true;
                return Some((id, std::mem::replace(&mut slot.begun, true)));
            }
        }
        None
    }

    /// A cancel that found nothing: the receive was just not where the kernel looks. Tried again.
    pub fn not_cancelled(&mut self, id: SocketId) {
        if let Some(slot) = self.slot(id).filter(|slot| slot.state == State::Cancelling && slot.armed) {
            slot.state = State::Leaving;
        }
    }

    /// Whether any socket is being closed.
    #[inline]
    pub fn any_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The `i`th socket that is being closed, and what it needs.
    pub fn care(&mut self, i: usize) -> Option<(SocketId, Care)> {
        let id = *self.closing.get(i)?;
        let Some(slot) = self.slot(id) else { return Some((id, Care::Wait)) };
        Some((
            id,
            match (slot.state, slot.armed) {
                (State::Leaving, true) => {
                    slot.state = State::Cancelling;
                    Care::Cancel
                }
                (_, true) => Care::Wait,
                (_, false) => {
                    slot.state = State::Emptying;
                    Care::Empty(slot.close_by)
                }
            },
        ))
    }

    /// Forgets a socket that is empty.
    pub fn remove(&mut self, id: SocketId) -> Option<T> {
        self.closing.retain(|closing| *closing != id);
        self.slots.get_mut(usize::from(id.0))?.take().map(|slot| slot.socket)
    }

    #[inline]
    fn slot(&mut self, id: SocketId) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }
}

impl Slots<Arc<Socket>> {
    /// Begins to close a socket now: nothing more is queued for it.
    pub fn leave(&mut self, id: SocketId, now: Now) {
        if self.close(id, now.plus_ns(DRAIN_NS))
            && let Some(socket) = self.get(id).filter(|socket| !socket.is_stream())
        {
            // Where it fails (no route to its own address) the socket is emptied all the same.
            let _ = socket.leave_group();
        }
    }
}

/// Whether a receive may end with this and succeed the next time: the pool was empty, an ICMP error came
/// in, memory was short, a signal came, it was cancelled.
fn passing(errno: i32) -> bool {
    matches!(
        errno,
        0 | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EAGAIN
            | libc::EINTR
            | libc::ECANCELED
            | libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::EPROTO
            | libc::EMSGSIZE
            | libc::EACCES
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketId = SocketId(1);
    const B: SocketId = SocketId(2);
    const LATER: Now = Now(9);

    fn receiving() -> Slots<&'static str> {
        let mut slots = Slots::new(3);
        assert!(slots.open(A, "a"));
        assert_eq!((slots.next_unarmed(), slots.next_unarmed()), (Some((A, false)), None));
        slots
    }

    #[test]
    fn an_ended_receive_is_started_again_exactly_once() {
        let mut slots = receiving();
        for errno in [0, libc::ENOBUFS, libc::ECONNREFUSED, libc::EINTR].repeat(20) {
            slots.ended(A, errno);
            assert_eq!((slots.next_unarmed(), slots.next_unarmed()), (Some((A, true)), None), "{errno}");
        }
        assert!(!slots.any_closing());
    }

    #[test]
    fn receives_are_started_again_in_the_order_in_which_they_have_ended() {
        let mut slots = receiving();
        slots.open(B, "b");
        slots.next_unarmed();
        for [first, second] in [[A, B], [B, A], [A, B]] {
            [first, second].into_iter().for_each(|id| slots.ended(id, libc::ENOBUFS));
            assert_eq!(
                [slots.next_unarmed(), slots.next_unarmed()],
                [first, second].map(|id| Some((id, true)))
            );
        }
    }

    #[test]
    fn a_socket_that_only_fails_is_lost_and_one_that_recovers_is_not() {
        let mut slots = receiving();
        for _ in 1..MOST_FAILURES {
            slots.ended(A, libc::EINVAL);
            assert_eq!(slots.next_unarmed(), Some((A, true)));
        }
        slots.went_well(A);
        for _ in 1..MOST_FAILURES {
            slots.ended(A, libc::EINVAL);
            assert_eq!(slots.next_unarmed(), Some((A, true)));
        }
        slots.ended(A, libc::EINVAL);
        assert_eq!(slots.next_unarmed(), None);
        assert_eq!(slots.care(0), Some((A, Care::Empty(Now(0)))));
    }

    #[test]
    fn a_closing_socket_is_cancelled_emptied_and_gone() {
        let mut slots = receiving();
        assert!(slots.close(A, LATER) && !slots.close(A, LATER) && !slots.close(B, LATER));
        assert_eq!(slots.care(0), Some((A, Care::Cancel)));
        assert_eq!(slots.care(0), Some((A, Care::Wait)));
        assert!(slots.knows(A), "it still sends");
        slots.ended(A, libc::ECANCELED);
        assert_eq!(slots.next_unarmed(), None);
        assert_eq!(slots.care(0), Some((A, Care::Empty(LATER))));
        assert_eq!(slots.care(0), Some((A, Care::Empty(LATER))), "until it is empty");
        assert_eq!((slots.remove(A), slots.care(0), slots.knows(A)), (Some("a"), None, false));
        assert!(slots.open(A, "again"));
    }

    #[test]
    fn a_receive_that_waits_to_be_started_needs_no_cancel() {
        let mut slots = receiving();
        slots.ended(A, libc::ENOBUFS);
        slots.close(A, LATER);
        assert_eq!(slots.next_unarmed(), None);
        assert_eq!(slots.care(0), Some((A, Care::Empty(LATER))));
        slots.open(B, "b");
        slots.close(B, LATER);
        assert_eq!((slots.next_unarmed(), slots.care(1)), (None, Some((B, Care::Empty(LATER)))));
    }

    #[test]
    fn a_cancel_that_found_nothing_is_tried_again_while_the_receive_lasts() {
        let mut slots = receiving();
        slots.close(A, LATER);
        assert_eq!(slots.care(0), Some((A, Care::Cancel)));
        slots.not_cancelled(A);
        assert_eq!(slots.care(0), Some((A, Care::Cancel)));
        slots.ended(A, libc::ENOBUFS);
        slots.not_cancelled(A);
        assert_eq!(slots.care(0), Some((A, Care::Empty(LATER))));
    }

    #[test]
    fn a_number_in_use_or_out_of_range_is_refused_and_nothing_happens_to_its_owner() {
        let mut slots = receiving();
        assert!(!slots.open(A, "thief") && !slots.open(SocketId(3), "far"));
        assert_eq!(slots.next_unarmed(), None);
        assert_eq!(slots.get(A), Some(&"a"));
        slots.ended(SocketId(3), 0);
        slots.went_well(SocketId(500));
        assert!(!slots.any_closing());
    }
}
