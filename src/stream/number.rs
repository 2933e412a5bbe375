//! The numbers of streams.

/// A stream of one shard: its place, and how often that was used, so that what is late finds nobody. The engine gives
/// the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u32);

const PLACE_BITS: u32 = 16;
const TURN_BITS: u32 = 6;
const ID_BITS: u32 = PLACE_BITS + TURN_BITS;

impl StreamId {
    /// The first stream of a place.
    pub const fn first(place: u16) -> Self {
        Self(1 << PLACE_BITS | place as u32)
    }

    /// The one that stands in the same place after it; the turns repeat after 63, and 0 is none.
    #[must_use]
    pub const fn next(self) -> Self {
        let turn = (self.0 >> PLACE_BITS) % ((1 << TURN_BITS) - 1) + 1;
        Self(turn << PLACE_BITS | self.place() as u32)
    }

    /// Its place.
    pub const fn place(self) -> u16 {
        self.0 as u16
    }

    /// As a number below 2^22, never 0.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// [`StreamId::to_bits`] undone.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << ID_BITS) - 1))
    }
}

/// The number of a name of [`super::Names`]: from 1 on, and below 2^26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameId(pub(super) u32);

impl NameId {
    /// Bits that it has.
    pub(super) const BITS: u32 = u32::BITS - TURN_BITS;

    /// That of no name ever, whose first turn is 1: nothing is sent there.
    pub const NOBODY: Self = Self(1);
}

/// A stream of the process: shard and [`StreamId`], as a branch names it, and which of the shard's connections it is, as far
/// as that is known. 0 stands for a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    bits: u32,
    serial: u32,
}

impl Number {
    /// No stream.
    pub const NONE: Self = Self::from_bits(0);

    /// Whichever stream leads there.
    pub const ANY: Self = Self::from_bits(u32::MAX);

    /// Whichever was opened from here leads there: who connects from an address may not be whom it was configured for.
    pub const OPENED: Self = Self::from_bits(u32::MAX - 1);

    /// What [`Number::to_bits`] gave: the serial number is not known.
    pub const fn from_bits(bits: u32) -> Self {
        Self { bits, serial: 0 }
    }

    /// All of it but the serial number, which is what a branch has room for.
    pub const fn to_bits(self) -> u32 {
        self.bits
    }

    /// The same with the connection's serial number of its shard; 0: it is not known.
    #[must_use]
    pub const fn with_serial(self, serial: u32) -> Self {
        Self { serial, ..self }
    }

    /// The connection's serial number, from 1 on; 0: it is not known.
    pub const fn serial(self) -> u32 {
        self.serial
    }

    /// The connection with this serial number may be meant: turns of a place come round, and serial numbers do not.
    pub const fn may_be(self, serial: u32) -> bool {
        self.serial == 0 || self.serial == serial
    }

    /// Whichever was opened from here to the server of this name leads there.
    pub const fn named(name: NameId) -> Self {
        // A stream has a turn, so its low bits are never this small.
        Self::from_bits(name.0 >> PLACE_BITS << ID_BITS | name.0 & ((1 << PLACE_BITS) - 1))
    }

    /// The name that the server has to have, where there is one.
    pub const fn name(self) -> Option<NameId> {
        let turn = self.bits >> PLACE_BITS & ((1 << TURN_BITS) - 1);
        if self.bits == Self::NONE.bits || turn != 0 {
            return None;
        }
        Some(NameId(self.bits >> ID_BITS << PLACE_BITS | self.bits & ((1 << PLACE_BITS) - 1)))
    }

    /// This stream of this shard, which is below [`crate::limits::SHARDS`].
    pub const fn new(shard: u16, stream: StreamId) -> Self {
        Self::from_bits((shard as u32) << ID_BITS | stream.0)
    }

    /// A stream is meant, not datagrams.
    pub const fn is_stream(self) -> bool {
        self.bits != Self::NONE.bits
    }

    /// Shard and stream; `None`: it is none, or no certain one.
    pub const fn get(self) -> Option<(u16, StreamId)> {
        if self.bits == Self::NONE.bits || self.bits >= Self::OPENED.bits || self.name().is_some() {
            return None;
        }
        Some(((self.bits >> ID_BITS) as u16, StreamId::from_bits(self.bits)))
    }
}

const _: () = assert!(crate::limits::SHARDS <= 1 << (u32::BITS - ID_BITS));
// The last two numbers name no stream.
const _: () = assert!(crate::limits::STREAMS < (1 << PLACE_BITS) - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_has_another_stream_and_never_none() {
        let first = StreamId::first(7);
        let mut stream = first;
        for _ in 0..62 {
            stream = stream.next();
            assert!(stream != first && stream.place() == 7);
        }
        assert_eq!(stream.next(), first);
        assert_eq!(StreamId::from_bits(stream.to_bits()), stream);
    }

    #[test]
    fn a_number_names_shard_and_stream() {
        assert_eq!([Number::NONE, Number::ANY, Number::OPENED].map(Number::get), [None; 3]);
        assert_eq!([Number::NONE, Number::ANY, Number::OPENED].map(Number::name), [None; 3]);
        assert!(Number::ANY.is_stream() && Number::OPENED.is_stream() && !Number::NONE.is_stream());
        for (shard, place) in [(0, 0), (1_023, u16::MAX - 2), (5, 9)] {
            let stream = StreamId::first(place).next();
            let number = Number::new(shard, stream);
            assert_eq!((number.get(), number.name()), (Some((shard, stream)), None));
        }
    }

    #[test]
    fn a_number_without_a_serial_may_be_any_connection_of_its_place_and_one_with_it_may_not() {
        let number = Number::new(5, StreamId::first(9)).with_serial(7);
        assert_eq!((number.get(), number.serial()), (Number::new(5, StreamId::first(9)).get(), 7));
        assert!(number.may_be(7) && !number.may_be(8));
        let of_branch = Number::from_bits(number.to_bits());
        assert!(of_branch.get() == number.get() && of_branch.may_be(7) && of_branch.may_be(8));
    }

    #[test]
    fn a_number_that_names_a_server_is_no_stream_of_a_shard() {
        for name in [1, 2, 0xffff, 0x1_0000, 0x1_0001, (1 << NameId::BITS) - 1].map(NameId) {
            let number = Number::named(name);
            assert_eq!((number.name(), number.get(), number.is_stream()), (Some(name), None, true));
        }
    }
}
