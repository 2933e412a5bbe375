//! Bounds of what one shard hands over to another.

/// Letters that wait in either lane of a shard's box, besides [`HANDED_OVER_OF_STREAMS`]: as many as it forwards in some 20 ms. One
/// more datagram is dropped.
pub const HANDED_OVER: usize = 4_096;

/// Messages there that came by connections, which have room of their own, so that neither they nor datagrams starve: as many as a
/// shard takes over until those who wait for room look again ([`TRY_AGAIN_NS`]), and whose answers find room on one connection.
/// Where connections bring more, their peers wait.
pub const HANDED_OVER_OF_STREAMS: usize = 256;

/// Letters in each lane that found no room there, or no send buffer, and are tried again; of 64 KiB each at most. From half of it
/// on connections bring nothing more, which leaves room for what a piece of a stream holds ([`super::STREAM_BUFFER_BYTES`]) and for
/// what was decided before. A request beyond them is refused (503).
pub const TRIED_AGAIN: usize = 512;

/// How long, in nanoseconds, until then: a shard that does not keep up has read some two hundred by then.
pub const TRY_AGAIN_NS: u64 = 1_000_000;

/// So many may wait there, those included, that tell transactions of other shards of requests that were not sent and connections
/// that have ended: a full box once more, none of which has any bytes. Beyond them nobody is told, and that is counted.
pub const TOLD_AGAIN: usize = HANDED_OVER;

/// Of what is handed over, so many messages are taken over in a batch, each of which may lead to two sends: with
/// [`super::DUE_PER_BATCH`] less than [`super::SEND_BUFFERS`], which are free again one batch later.
pub const TAKEN_OVER_PER_BATCH: usize = 192;

/// What is to leave by connections needs no send buffer: so many are written in a batch, which takes it half a millisecond.
pub const LET_OUT_PER_BATCH: usize = 512;

/// Longest memory in bytes that a handed over message leaves to the next one; that of longer ones is freed.
pub const LETTER_BYTES: usize = 8_192;
