//! OPTIONS to a gateway: when they are due, and their bytes.

use std::fmt::Write;

use super::alive::Alive;
use super::fault::{Fault, Heard};
use crate::limits::CANDIDATES;
use crate::net::Now;

/// How a group's gateways are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinging {
    /// From one OPTIONS to the next, in nanoseconds.
    pub every_ns: u64,
    /// So long, in nanoseconds, an answer is waited for; not longer than `every_ns`.
    pub timeout_ns: u64,
    /// Which answers count.
    pub alive: Alive,
}

/// The OPTIONS of one way over time. They are sent in rounds, of which at most one is open: one OPTIONS to each address that
/// requests would be sent to, with numbers in a row. The gateway lives if one of them does.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    next: Now,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    number: u32,
    /// Addresses that have not answered: a bit each.
    waits: u8,
    /// Those that were asked at all.
    asked: u8,
    /// Why one of them failed, the last one.
    fault: Option<Fault>,
    ends: Now,
    again: Now,
    wait_ns: u64,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The open round is over.
    pub over: Option<Over>,
    /// OPTIONS are to be sent, for the first time or once more.
    pub send: Option<Send>,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The gateway lives.
    Lives,
    /// It does not; why the last address that told of itself does not, or that none did.
    Fails(Fault),
    /// Nothing has left, for a reason that lies here.
    Unsent,
}

/// OPTIONS to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// The number of the first address; the others follow.
    pub number: u32,
    /// To which addresses: a bit each, the lowest is the first.
    pub to: u8,
    /// They were sent before.
    pub is_again: bool,
}

/// Numbers of one round.
pub const ROUND: u32 = CANDIDATES as u32;

const _: () = assert!(ROUND.is_power_of_two() && ROUND <= u8::BITS);

/// RFC 3261 §17.1.2.2: timer E begins with T1 and doubles up to T2.
const T1_NS: u64 = 500_000_000;
const T2_NS: u64 = 4_000_000_000;

/// The first OPTIONS of many ways are sent over so long, in nanoseconds.
const SPREAD_NS: u64 = 1_000_000_000;

impl Schedule {
    /// The first one is due within a second (or `every`), at an instant of that second that `identity` chooses: a
    /// thousand gateways are not asked in one moment.
    pub fn new(now: Now, identity: u32, pinging: &Pinging) -> Self {
        let spread_ns = SPREAD_NS.min(pinging.every_ns);
        let part = (u128::from(identity) * u128::from(spread_ns)) >> 32;
        Self { next: now.plus_ns(part as u64), open: None }
    }

    /// What is due. `answers`: of each OPTIONS that something is heard of its number and what that is; `number` gives one that
    /// no other round has, a multiple of [`ROUND`].
    pub fn look(
        &mut self,
        pinging: &Pinging,
        answers: &[(u32, Heard)],
        now: Now,
        number: impl FnOnce() -> u32,
    ) -> Due {
        let mut due = Due::default();
        if let Some(open) = &mut self.open {
            due.over = open.hear(pinging, answers, now);
            if due.over.is_none() && now >= open.again {
                open.wait_ns = (open.wait_ns * 2).min(T2_NS);
                open.again = now.plus_ns(open.wait_ns);
                due.send = Some(Send { number: open.number, to: open.waits, is_again: true });
            }
            if due.over.is_some() {
                self.open = None;
            }
        }
        if self.open.is_none() && now >= self.next {
            let number = number();
            let (ends, again) = (now.plus_ns(pinging.timeout_ns), now.plus_ns(T1_NS));
            let (waits, asked) = (u8::MAX, u8::MAX);
            self.open = Some(Open { number, waits, asked, fault: None, ends, again, wait_ns: T1_NS });
            self.next = now.plus_ns(pinging.every_ns);
            due.send = Some(Send { number, to: u8::MAX, is_again: false });
        }
        due
    }

    /// The OPTIONS that were due were sent to these addresses: a bit each.
    pub fn asked(&mut self, addresses: u8) {
        if let Some(open) = &mut self.open {
            (open.waits, open.asked) = (open.waits & addresses, open.asked & addresses);
        }
    }

    /// None of the OPTIONS that were due could be sent, for a reason that lies here: that is neither an answer nor the want
    /// of one, and they are due again at their time.
    pub fn unsent(&mut self) {
        self.open = None;
    }
}

impl Open {
    /// What is heard of it; whether and how it is over by now.
    fn hear(&mut self, pinging: &Pinging, answers: &[(u32, Heard)], now: Now) -> Option<Over> {
        for (number, heard) in answers.iter().filter(|(number, _)| number - number % ROUND == self.number) {
            let address = 1 << (number % ROUND);
            self.waits &= !address;
            match *heard {
                Heard::Answer(status) if pinging.alive.has(status) => return Some(Over::Lives),
                Heard::Answer(status) => self.fault = Some(Fault::Status(status)),
                Heard::Failed(fault) => self.fault = Some(fault),
                Heard::Unsent => self.asked &= !address,
            }
        }
        if self.waits != 0 && now < self.ends {
            return None;
        }
        Some(if self.asked == 0 { Over::Unsent } else { Over::Fails(self.fault.unwrap_or(Fault::Silent)) })
    }
}

/// What an OPTIONS is written of.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The gateway's URI as it is written.
    pub uri: &'a str,
    /// `UDP`
    pub transport: &'a str,
    /// What the listener advertises: host and port.
    pub advertised: &'a str,
    /// The branch.
    pub branch: &'a str,
    /// Tells its Call-ID from those of other processes and other starts.
    pub instance: u32,
    /// Its number.
    pub number: u32,
}

/// The bytes of an OPTIONS.
///
/// RFC 3261 §11: "The OPTIONS method allows a UA to query another UA or a proxy server as to its capabilities." "An
/// Accept header field SHOULD be included to indicate the type of message body the UAC wishes to receive in the
/// response." (§11.1)
pub fn write_options(options: &Options<'_>) -> Vec<u8> {
    let Options { uri, transport, advertised, branch, instance, number } = *options;
    let mut text = String::with_capacity(512);
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "OPTIONS {uri} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {advertised};rport;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:viaduct@{advertised}>;tag={instance:08x}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {instance:08x}-{number:08x}@viaduct\r\n\
         CSeq: 1 OPTIONS\r\n\
         Accept: application/sdp\r\n\
         User-Agent: viaduct\r\n\
         Content-Length: 0\r\n\r\n"
    );
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use sip_parser::{CSeq, HeaderLine, HeaderName, NameAddr, Start, Via, parse};

    use super::*;

    const MS: u64 = 1_000_000;

    fn pinging() -> Pinging {
        Pinging { every_ns: 10_000 * MS, timeout_ns: 2_000 * MS, alive: Alive::default() }
    }

    struct World {
        schedule: Schedule,
        numbers: u32,
    }

    impl World {
        fn at(&mut self, ms: u64, answer: Option<(u32, u16)>) -> Due {
            let numbers = &mut self.numbers;
            let answers: Vec<_> =
                answer.map(|(round, status)| (round * ROUND, Heard::Answer(status))).into_iter().collect();
            let due = self.schedule.look(&pinging(), &answers, Now(ms * MS), || {
                *numbers += 1;
                *numbers * ROUND
            });
            if due.send.is_some_and(|send| !send.is_again) {
                self.schedule.asked(1);
            }
            due
        }
    }

    fn world() -> World {
        World { schedule: Schedule::new(Now(0), 0, &pinging()), numbers: 0 }
    }

    /// To the only address.
    fn sent(round: u32, is_again: bool) -> Option<Send> {
        Some(Send { number: round * ROUND, to: if is_again { 1 } else { u8::MAX }, is_again })
    }

    #[test]
    fn one_that_is_not_answered_is_sent_again_and_ends() {
        let mut world = world();
        assert_eq!(world.at(0, None), Due { over: None, send: sent(1, false) });
        assert_eq!(world.at(499, None), Due::default());
        assert_eq!(world.at(500, None).send, sent(1, true));
        assert_eq!(world.at(1_499, None), Due::default());
        assert_eq!(world.at(1_500, None).send, sent(1, true));
        assert_eq!(world.at(2_000, None), Due { over: Some(Over::Fails(Fault::Silent)), send: None });
        assert_eq!(world.at(9_999, None), Due::default());
        assert_eq!(world.at(10_000, None).send, sent(2, false));
    }

    #[test]
    fn an_answer_ends_it_and_only_its_own() {
        let mut world = world();
        world.at(0, None);
        assert_eq!(world.at(100, Some((7, 200))), Due::default(), "an answer to another one");
        assert_eq!(world.at(200, Some((1, 404))), Due { over: Some(Over::Lives), send: None });
        assert_eq!(world.at(300, Some((1, 200))), Due::default(), "it came again");
        world.at(10_000, None);
        assert_eq!(world.at(10_100, Some((2, 503))).over, Some(Over::Fails(Fault::Status(503))));
        // Between two looks there may have been an answer and the next one's time.
        world.at(20_000, None);
        assert_eq!(world.at(31_000, Some((3, 200))), Due { over: Some(Over::Lives), send: sent(4, false) });
    }

    #[test]
    fn it_lives_if_one_of_its_addresses_does() {
        let look = |schedule: &mut Schedule, ms, answers: &[(u32, u16)]| {
            let heard: Vec<_> =
                answers.iter().map(|(number, status)| (*number, Heard::Answer(*status))).collect();
            schedule.look(&pinging(), &heard, Now(ms * MS), || ROUND)
        };
        let begin = || {
            let mut schedule = Schedule::new(Now(0), 0, &pinging());
            look(&mut schedule, 0, &[]);
            schedule.asked(0b101);
            schedule
        };
        let mut schedule = begin();
        assert_eq!(look(&mut schedule, 100, &[(ROUND, 503)]), Due::default(), "the third may yet answer");
        let again = Send { number: ROUND, to: 0b100, is_again: true };
        assert_eq!(look(&mut schedule, 500, &[]).send, Some(again));
        assert_eq!(look(&mut schedule, 600, &[(ROUND + 2, 200)]).over, Some(Over::Lives));
        let mut schedule = begin();
        assert_eq!(look(&mut schedule, 100, &[(ROUND, 200), (ROUND + 2, 503)]).over, Some(Over::Lives));
        let mut schedule = begin();
        let refused = Some(Over::Fails(Fault::Status(503)));
        assert_eq!(look(&mut schedule, 100, &[(ROUND, 503), (ROUND + 2, 503)]).over, refused);
        let mut schedule = begin();
        assert_eq!(look(&mut schedule, 100, &[(ROUND, 503)]).over, None);
        assert_eq!(look(&mut schedule, 2_000, &[]).over, refused);
    }

    #[test]
    fn what_could_not_be_sent_says_nothing_of_the_gateway() {
        let mut world = world();
        world.at(0, None);
        world.schedule.unsent();
        assert_eq!(world.at(9_000, None), Due::default());
        assert_eq!(world.at(10_000, None), Due { over: None, send: sent(2, false) });
    }

    #[test]
    fn a_connection_that_is_not_made_ends_it_at_once_and_one_that_cannot_be_begun_says_nothing() {
        let failed = (ROUND, Heard::Failed(Fault::Connection));
        let (unsent, other_unsent) = ((ROUND, Heard::Unsent), (ROUND + 1, Heard::Unsent));
        for (heard, over) in [
            (&[failed][..], None),
            (&[failed, other_unsent], Some(Over::Fails(Fault::Connection))),
            (&[unsent, other_unsent], Some(Over::Unsent)),
            (&[failed, (ROUND + 1, Heard::Answer(200))], Some(Over::Lives)),
        ] {
            let mut schedule = Schedule::new(Now(0), 0, &pinging());
            schedule.look(&pinging(), &[], Now(0), || ROUND);
            schedule.asked(0b11);
            assert_eq!(schedule.look(&pinging(), heard, Now(MS), || 0).over, over, "{heard:?}");
        }
    }

    #[test]
    fn the_first_ones_are_spread_over_a_second() {
        let first = |identity| Schedule::new(Now(0), identity, &pinging()).next;
        assert_eq!((first(0), first(1 << 31)), (Now(0), Now(500 * MS)));
        assert!(first(u32::MAX) < Now(1_000 * MS));
    }

    #[test]
    fn an_options_is_sound() {
        let bytes = write_options(&Options {
            uri: "sip:10.0.0.1:5070",
            transport: "UDP",
            advertised: "[fd00::4]:5060",
            branch: "z9hG4bKx",
            instance: 0xabc,
            number: 7,
        });
        let mut lines = [HeaderLine::EMPTY; 32];
        let message = parse(&bytes, &mut lines).unwrap();
        assert!(message.defect().is_none());
        let Start::Request(line) = message.start() else { panic!() };
        assert_eq!(message.text(line.uri), b"sip:10.0.0.1:5070");
        let via = Via::parse(message.value(HeaderName::Via)).unwrap();
        assert_eq!((via.branch(), via.sent_by()), (Some(&b"z9hG4bKx"[..]), &b"[fd00::4]:5060"[..]));
        assert_eq!(NameAddr::parse(message.value(HeaderName::From)).unwrap().tag(), Some(&b"00000abc"[..]));
        assert_eq!(CSeq::parse(message.value(HeaderName::CSeq)).unwrap().method, b"OPTIONS");
        assert_eq!(message.value(HeaderName::CallId), b"00000abc-00000007@viaduct");
    }
}
