//! Bounds of what is let in.

/// Sets of a shard's table of what sources have sent (`limit` with `per = "source"`), a power of two, of
/// [`LIMITED_WAYS`] sources each: 32,768, in 1.5 MiB. At the bound the source of the set that could be forgotten first
/// is, counted: it may send its burst once more.
pub const LIMITED_SETS: usize = 8_192;

/// Sources in a set.
pub const LIMITED_WAYS: usize = 4;

/// So long, in nanoseconds, a shard has to have worked while every message had waited half of what new requests may until
/// that is overload.
pub const OVERLOAD_NS: u64 = 25_000_000;

/// And so many messages: what comes one by one is no queue.
pub const OVERLOAD_MESSAGES: u32 = 64;

/// Where so much more time passes between two batches than their messages take, in nanoseconds, the host paused.
pub const OVERLOAD_PAUSE_NS: u64 = 5_000_000;

/// A message takes so long, in nanoseconds, until it is known.
pub const OVERLOAD_PACE_NS: u64 = 25_000;

/// And at most so many times what is known.
pub const OVERLOAD_PACE_TIMES: u64 = 4;

/// In batches of so many messages at least it is found out: those are not waited for.
pub const OVERLOAD_PACE_MESSAGES: u64 = 32;

/// Where they take longer than what is known, one part in so many of that is believed.
pub const OVERLOAD_PACE_TAKES: u64 = 64;

/// The excuse of a pause is over after so many times as much work: enough for two thirds of the load that a shard can
/// carry, because of `n` of that load a pause takes `n / (1 - n)` times as long.
pub const OVERLOAD_MAKES_GOOD: u64 = 2;

/// So much of the host's pauses, in nanoseconds, excuses a queue: what then is left of the 500 ms (RFC 3261 §17.1.1.1: T1)
/// after which callers send again is for working it off.
pub const OVERLOAD_EXCUSED_NS: u64 = 300_000_000;

/// What was used up of that is there again after so many times as long: a host that pauses for more than a quarter of the
/// time lacks it.
pub const OVERLOAD_EXCUSED_PART: u64 = 4;

/// Where no message of a queue that stood came for so long, it is empty, in nanoseconds.
pub const OVERLOAD_OVER_NS: u64 = 1_000_000_000;

/// And a queue stands no more when in so long less than one part in so many of its messages, or fewer than
/// [`OVERLOAD_MESSAGES`], have waited too long: a host that pauses now and then makes a smaller part wait, and one twentieth
/// more than there is time for a larger one.
pub const OVERLOAD_PART: u64 = 4;

/// So often, in nanoseconds, it is found out anew what neighbours are asked to send less (RFC 7339): often enough for
/// a load that grows, seldom enough that what they do about it shows.
pub const FEEDBACK_NS: u64 = 500_000_000;

/// Where a queue stands, one request that has waited too long is answered 503 for so many requests that are let in, of whatever
/// kind (a call has an INVITE, an ACK and a BYE); what else has waited too long is dropped and counted. Reading such a request
/// whole, answering it and taking in its ACK takes some 4 µs where forwarding a call takes some 40: a fiftieth of the core,
/// however fast that is.
pub const ANSWERED_PART: u32 = 15;

/// Of what may be answered, so much is kept for later.
pub const ANSWERS_KEPT: u32 = 500;

/// And so many a second are answered where none is let in (RFC 7339 §5.10.2: some have to be).
pub const ANSWERS_PER_SECOND: u32 = 50;

/// Next hops that may ask to be sent less at a time, in sets of [`THROTTLE_WAYS`]: a power of two; 64 KiB for the process.
/// At the bound the one of the set whose time is over first makes room, and is sent everything again until it asks anew.
pub const THROTTLE_SETS: usize = 256;

/// Next hops in a set.
pub const THROTTLE_WAYS: usize = 4;

/// A next hop that asks to be sent less is heard for so long at most, in nanoseconds, whatever `oc-validity` it gives: it
/// renews that with each answer, and one that asks for no requests at all has none to answer.
pub const PLEA_NS: u64 = 60_000_000_000;

/// The sequence number of what a next hop asked for counts for so long at least, in nanoseconds, after that is over:
/// messages are on their way for no longer (RFC 3261 §17.1.1.2: T4, 5 s).
pub const PLEA_KNOWN_NS: u64 = 5_000_000_000;

/// So often, in nanoseconds, it is looked whether the filter at a socket should let through another part: each time takes the
/// kernel some 100 µs.
pub const FILTER_NS: u64 = 100_000_000;

/// From so many requests on it is known which part of them is let in.
pub const FILTER_COUNT: u32 = 64;

/// Or after so many looks.
pub const FILTER_LOOKS: u8 = 10;
