//! The account of every message: what was sent, how often, and what of it arrived.

use std::collections::VecDeque;

use serde::Serialize;

use super::mix::Kind;

/// Messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// INVITE, OPTIONS, MESSAGE or REGISTER.
    Request,
    /// 180 to an INVITE.
    Provisional,
    /// 200 to it.
    Final,
    /// ACK
    Ack,
    /// BYE
    Bye,
    /// 200 to it.
    ByeFinal,
}

const LEGS: usize = 6;

/// What a call keeps while it lasts.
#[derive(Debug, Default)]
pub struct Dialog {
    /// The BYE, ready to be sent, and where it goes.
    pub bye: Option<(Vec<u8>, std::net::SocketAddr)>,
    /// The 200 to the INVITE, and where it went.
    pub ok: Option<(Vec<u8>, std::net::SocketAddr)>,
}

/// One exchange.
#[derive(Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// When its request was to be sent, in nanoseconds of the load's clock.
    pub scheduled_ns: u64,
    /// It came to its end, well or not.
    pub over: bool,
    /// Present while a call lasts.
    pub dialog: Option<Box<Dialog>>,
    sent: [u8; LEGS],
    arrived: [u8; LEGS],
}

impl Entry {
    /// How often a message was sent.
    pub fn sent(&self, leg: Leg) -> u8 {
        self.sent[leg as usize]
    }

    /// How often it arrived.
    pub fn arrived(&self, leg: Leg) -> u8 {
        self.arrived[leg as usize]
    }

    /// The message that ends it well.
    fn last(&self) -> Option<Leg> {
        match self.kind {
            Kind::Unanswered => None,
            kind if kind.is_call() => Some(Leg::ByeFinal),
            _ => Some(Leg::Final),
        }
    }

    /// It went to its end, as far as the load can tell.
    pub fn went_well(&self) -> bool {
        self.last().is_none_or(|leg| self.arrived(leg) > 0)
    }
}

/// All exchanges that can still be heard of.
#[derive(Debug, Default)]
pub struct Book {
    /// Number of the first entry.
    base: u32,
    entries: VecDeque<Entry>,
    /// Exchanges that have an end to wait for and have not come to it.
    open: u64,
    folded: Tally,
    refused: u64,
    foreign: u64,
    late: u64,
}

/// Sums over exchanges. `transmissions + doubled == arrivals + lost`, and `messages == delivered + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Exchanges begun.
    pub begun: u64,
    /// Of which calls.
    pub calls: u64,
    /// Exchanges that did not come to their end.
    pub failed: u64,
    /// Distinct messages sent by both sides.
    pub messages: u64,
    /// Sends, repeated ones included.
    pub transmissions: u64,
    /// Of which repeated, by a timer or because the request came again.
    pub retransmissions: u64,
    /// Distinct messages that arrived.
    pub delivered: u64,
    /// Distinct messages that never arrived.
    pub missing: u64,
    /// Arrivals, repeated ones included.
    pub arrivals: u64,
    /// Sends that never arrived.
    pub lost: u64,
    /// Arrivals that nobody had sent: something on the way made two of one.
    pub doubled: u64,
    /// Responses above 299: of the forwarder's own making, because the load gives none.
    pub refused: u64,
    /// Datagrams that are none of the load's.
    pub foreign: u64,
    /// Messages of exchanges that were over too long ago to know them.
    pub late: u64,
}

impl Tally {
    /// The sums agree with each other.
    pub fn adds_up(&self) -> bool {
        self.transmissions + self.doubled == self.arrivals + self.lost
            && self.messages == self.delivered + self.missing
            && self.transmissions == self.messages + self.retransmissions
    }

    fn add(&mut self, entry: &Entry) {
        self.begun += 1;
        self.calls += u64::from(entry.kind.is_call());
        self.failed += u64::from(!entry.went_well());
        for (sent, arrived) in entry.sent.iter().zip(&entry.arrived) {
            let (sent, arrived) = (u64::from(*sent), u64::from(*arrived));
            self.messages += sent.min(1);
            self.transmissions += sent;
            self.retransmissions += sent.saturating_sub(1);
            // What came without having been sent is doubled in whole.
            self.delivered += arrived.min(sent).min(1);
            self.missing += sent.min(1) - arrived.min(sent).min(1);
            self.arrivals += arrived;
            self.lost += sent.saturating_sub(arrived);
            self.doubled += arrived.saturating_sub(sent);
        }
    }
}

impl Book {
    /// A book whose exchanges are numbered from here on.
    pub fn new(base: u32) -> Self {
        Self { base, ..Self::default() }
    }

    /// Begins an exchange; its number.
    pub fn begin(&mut self, kind: Kind, scheduled_ns: u64) -> u32 {
        let number = self.next_number();
        let over = kind == Kind::Unanswered;
        self.open += u64::from(!over);
        let entry = Entry { kind, scheduled_ns, over, dialog: None, sent: [0; LEGS], arrived: [0; LEGS] };
        self.entries.push_back(entry);
        number
    }

    /// Looks an exchange up.
    pub fn get(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number.wrapping_sub(self.base) as usize)
    }

    /// Notes a send.
    pub fn sent(&mut self, number: u32, leg: Leg) {
        if let Some(entry) = self.get(number) {
            entry.sent[leg as usize] = entry.sent[leg as usize].saturating_add(1);
        }
    }

    /// Notes an arrival; the exchange, and whether it was the message's first.
    pub fn arrived(&mut self, number: Option<u32>, leg: Leg) -> Option<(&mut Entry, bool)> {
        let Some(number) = number else {
            self.foreign += 1;
            return None;
        };
        let place = number.wrapping_sub(self.base) as usize;
        if place >= self.entries.len() {
            self.late += 1;
            return None;
        }
        let entry = &mut self.entries[place];
        let count = &mut entry.arrived[leg as usize];
        *count = count.saturating_add(1);
        let first = *count == 1;
        Some((entry, first))
    }

    /// Notes a datagram that is none of the load's.
    pub fn foreign(&mut self) {
        self.foreign += 1;
    }

    /// Notes a response that refuses an exchange, and ends that.
    pub fn refused(&mut self, number: u32) {
        self.refused += 1;
        self.end(number);
    }

    /// Ends an exchange, well or not; its memory of the dialog goes.
    pub fn end(&mut self, number: u32) {
        let Some(entry) = self.get(number) else { return };
        entry.dialog = None;
        let was_open = !std::mem::replace(&mut entry.over, true);
        self.open -= u64::from(was_open);
    }

    /// Exchanges that have not come to their end.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Adds up and forgets exchanges at the front that are over and were begun before this time.
    pub fn fold(&mut self, before_ns: u64) {
        while let Some(entry) = self.entries.front()
            && entry.over
            && entry.scheduled_ns < before_ns
        {
            self.folded.add(entry);
            self.entries.pop_front();
            self.base = self.base.wrapping_add(1);
        }
    }

    /// The sums so far.
    pub fn tally(&self) -> Tally {
        let mut tally = self.folded;
        self.entries.iter().for_each(|entry| tally.add(entry));
        Tally { refused: self.refused, foreign: self.foreign, late: self.late, ..tally }
    }

    /// Number of the exchange that begins next.
    pub fn next_number(&self) -> u32 {
        self.base.wrapping_add(self.entries.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_repeated_and_late_messages_are_told_apart() {
        let mut book = Book::new(u32::MAX);
        let numbers: Vec<u32> = (0..5).map(|n| book.begin(Kind::Options, n)).collect();
        assert_eq!(numbers, [u32::MAX, 0, 1, 2, 3]);
        let [well, lost, repeated, doubled, late] = numbers[..] else { panic!() };
        for number in [well, lost, repeated, doubled] {
            book.sent(number, Leg::Request);
        }
        book.sent(repeated, Leg::Request);
        for number in [well, repeated, doubled, doubled] {
            book.arrived(Some(number), Leg::Request).unwrap();
        }
        book.arrived(None, Leg::Request);
        book.sent(well, Leg::Final);
        assert!(book.arrived(Some(well), Leg::Final).unwrap().1, "the first");
        let tally = book.tally();
        assert!(tally.adds_up(), "{tally:?}");
        assert_eq!((tally.messages, tally.delivered, tally.missing), (5, 4, 1));
        assert_eq!((tally.transmissions, tally.retransmissions), (6, 1));
        assert_eq!((tally.lost, tally.doubled, tally.foreign, tally.late), (2, 1, 1, 0));
        assert_eq!((tally.begun, tally.failed), (5, 4));
        numbers.iter().for_each(|number| book.end(*number));
        assert_eq!(book.open(), 0);
        book.fold(5);
        assert!(book.arrived(Some(late), Leg::Request).is_none());
        assert_eq!(book.tally(), Tally { late: 1, ..tally });
        assert_eq!(book.begin(Kind::Call, 9), 4);
    }
}
