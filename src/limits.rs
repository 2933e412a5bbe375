//! Every bound in one place: what it is, why that number, and what happens at the bound.

mod handed_over;
mod log;
mod overload;

use std::time::Duration;

pub use handed_over::*;
pub use log::*;
pub use overload::*;

/// Largest message, in bytes, received or sent: the largest UDP datagram (RFC 3261 §18.1.1 asks for 65,535).
pub const MESSAGE_BYTES: usize = 65_535;

/// `[engine] socket_buffer` in bytes: what a burst of 50 ms at 100,000 messages a second of 700 bytes takes, with the
/// kernel's own cost of each datagram.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// `[engine] coalesce`: in that time several messages of a busy trunk come, and it is three orders of magnitude below
/// T1 (RFC 3261 §17.1.1.1: 500 ms), the shortest time that SIP acts on.
pub const COALESCE: Duration = Duration::from_micros(500);

/// Most header lines of a message; one more is answered 513 (or dropped, for a response).
/// Twice what RFC 4475's longest message has per kind; the index is 2 KiB of stack.
pub const HEADER_LINES: usize = 160;

/// Most listeners: of a configuration, and of all that interface names and wildcards stand for on this host. They
/// are numbered in 12 bits of the tokens' and tables' space. At load more are an error; of the host's addresses
/// those beyond are left out, with a warning that names the first.
pub const LISTENERS: usize = 1_024;

/// Listeners that the warning names when more addresses come than can be served.
pub const LEFT_OUT_NAMED: usize = 4;

/// Most bytes of a UDP datagram's content: 65,535 with the UDP header, and with the IP header where that counts (IPv4).
pub const fn datagram_bytes(is_ipv4: bool) -> usize {
    if is_ipv4 { 65_507 } else { 65_527 }
}

/// Most `[[route]]` rules of a configuration.
pub const RULES: usize = 65_536;

/// Most entries of a rule's `to`, and most next hops that all of them come to (names and groups come to several):
/// with [`crate::transaction::SIXTY_FOUR_T1_NS`] of silence each, a caller would have waited four minutes for the
/// last one. Entries beyond are an error at load; next hops beyond are not tried.
pub const CANDIDATES: usize = 8;

/// Most shards of a process: a branch names its owner in two digits of base32.
pub const SHARDS: usize = 1_024;

/// Most keys in the key file. A token that none of them made costs one MAC for each before it is
/// refused, about 50 ns: a signing key, and a week's worth of daily retirements that nobody removed.
pub const KEYS: usize = 8;

/// Largest key file in bytes: the header that explains it and [`KEYS`] lines with comments.
pub const KEY_FILE_BYTES: usize = 16_384;

/// Recent decisions that a shard keeps (pins).
///
/// A retransmission comes within 32 s (64·T1, RFC 3261 §17): of eight thousand new transactions a second all are kept for that
/// long, and the five minutes of an INVITE where there are 870 new transactions a second, others of them included. 14 MiB a shard.
/// Beyond that the oldest goes, counted: its transaction is decided anew, which gives the same answer unless the routing has changed
/// meanwhile.
pub const PINS: usize = 1 << 18;

/// The same of a state that handles messages to no effect, while a shard looks for others.
pub const UNDERSTUDY_PINS: usize = 8;

/// The longest datagram that a shard handles once more while it looks for others.
pub const REHEARSED_BYTES: usize = 2_048;

/// One that was kept for less, in nanoseconds, is as good as the next one, which would have to wait for its copy.
pub const REHEARSAL_KEPT_NS: u64 = 1_000_000_000;

/// It does so for a minute at most, in nanoseconds, where no other comes.
pub const REHEARSED_NS: u64 = 60_000_000_000;

/// Choices of listeners that a shard remembers until the next change: a multiple of the neighbours that most trunks have,
/// in 512 KiB, of which the neighbours that there are stay in the cache. Where three of them meet in a place of two, each time
/// may cost two lookups: of a thousand neighbours one in forty does, in a quarter of the places one in four did.
pub const RECENT_CHOICES: usize = 8192;

/// Pairs of listeners whose lines (Record-Route, Via) a shard keeps ready, some 600 bytes each: more than most hosts
/// have. Others take each other's place and cost 2,000 instructions each time.
pub const TOPS: usize = 64;

/// Transactions of a shard (`mode = "stateful"`), a server and a client side each.
///
/// An INVITE is kept while it rings (ten seconds, say) and 32 s after its answer, another request 32 s (64·T1):
/// 2,700 calls a second, with their BYEs, are 200,000; the next power of two. With [`TRANSACTION_BLOCKS`] and what finds
/// them 500 MiB of address space a shard, of which the memory is taken as it is used, and none where no route is
/// stateful. At the bound new requests are answered 503.
pub const TRANSACTIONS: usize = 1 << 18;

/// Bytes of a block of kept messages: an INVITE takes two or three, an answer one or two.
pub const TRANSACTION_BLOCK_BYTES: usize = 512;

/// Blocks of kept messages of a shard, three for each transaction: an INVITE that rings keeps two of itself and one of
/// the last answer, a BYE's answer takes one or two for 32 s, an INVITE that was accepted none. New requests leave an
/// eighth free for the answers to those under way; at that bound they are answered 503.
pub const TRANSACTION_BLOCKS: usize = 3 << 18;

/// Cancelled INVITEs of a shard whose CANCELs say why (RFC 3326): a fifth of 2,700 calls a second, for the seven seconds that
/// an INVITE is kept from there on. What more are cancelled are without a reason.
pub const CANCEL_REASONS: usize = 4_096;

/// Bytes of the Reason lines that are kept of a CANCEL: a block. Most take 60.
pub const CANCEL_REASON_BYTES: usize = TRANSACTION_BLOCK_BYTES;

/// What a request that finds no room is told to wait before the next one, in seconds (Retry-After): time enough for
/// an eighth of what is kept to run out.
pub const RETRY_AFTER_S: u64 = 4;

/// Messages that transactions send at the end of a batch; what else is due is sent in the next one, so that the
/// answers of many at a time leave send buffers to what comes in.
pub const DUE_PER_BATCH: usize = 384;

/// Messages that transactions send because of one that came in: the last answer once more, a 100, an ACK, a CANCEL, the
/// request to another next hop; and as many that were due. What a fork has more is sent at the end of the batch.
pub const DUE_PER_MESSAGE: usize = 2;

/// Panics in a second that a shard survives. One message that panics is a defect that a neighbour may
/// hit now and then; more than a few a second is an attack or a broken shard.
pub const PANICS_PER_SECOND: u32 = 5;

/// ICMP errors that are read in one go; then something else is done.
pub const ICMP_PER_LOOK: usize = 256;

/// ICMP errors that shards are told of in a second; what more comes is thrown away: anybody can send them, and what is
/// told takes the place of messages between shards.
pub const ICMP_PER_SECOND: u32 = 1_000;

/// From so many nanoseconds on a batch counts as long: what a caller's next message waits behind it.
pub const LONG_BATCH_NS: u64 = 5_000_000;

/// How long a stopping shard waits for its sockets to run empty, in nanoseconds.
pub const STOP_NS: u64 = 5_000_000_000;

/// How long a socket that is being closed is read at most, in nanoseconds. A buffer of 16 MiB holds some
/// 20,000 datagrams, which a core forwards in a tenth of that; longer it takes only where the kernel would
/// not take the socket out of its group.
pub const DRAIN_NS: u64 = 1_000_000_000;

/// Wanted receive buffer, in bytes, of the socket for routing events (without `CAP_NET_ADMIN` the kernel grants
/// at most `net.core.rmem_max`): about 8,000 events of 1 KiB, as the kernel counts them, that come while the
/// control thread is busy. More lose nothing: all tables are read anew.
pub const NETLINK_EVENT_BYTES: usize = 8 << 20;

/// Up to so many prefixes, all routing tables are read anew after any event, before anything is sent by it: it takes
/// some two microseconds for each, and cannot miss what the kernel does without an event.
pub const REDUMP_ROUTES: usize = 250;

/// Up to so many prefixes, what was changed by events is compared with the kernel's tables within a second.
pub const COMPARE_ROUTES: usize = 2_000;

/// Most questions to the kernel that wait for the control thread.
pub const KERNEL_QUESTIONS: usize = 256;

/// Most answers of the kernel that are kept for one routing snapshot, about 200 bytes each: two for each of
/// [`PARKED`] messages in eight shards. Where there is no room, the older half goes.
pub const KERNEL_ANSWERS: usize = 1_024;

/// Most messages of a shard that wait for an answer of the kernel; the next one is answered or dropped, but for a CANCEL for each.
pub const PARKED: usize = 64;

/// So long, in nanoseconds, a message waits for the kernel's answer: its sender has sent it again by then.
pub const PARKED_NS: u64 = 500_000_000;

/// So often a message is decided while it waits.
pub const PARKED_TRIES: u8 = 8;

/// Most routing events that are kept while all tables are read in the background, about 300 bytes each; more,
/// and the reading begins anew.
pub const EVENT_LOG: usize = 1 << 18;

/// Most edits of one message: a Via, a Record-Route and a Max-Forwards line in one, `received` and
/// `rport` (3), Max-Forwards, a Request-URI replaced and its `maddr`, port and `transport` cut out (4),
/// [`OWN_ROUTES`] Route values removed, one moved for a strict router (3), Content-Length; rounded up to 32. For
/// `set`, every line of a message could be removed, and each of [`SET_HEADERS`] be written or have four edits of its
/// parts. One more is answered 513.
pub const EDITS: usize = 32 + HEADER_LINES + 4 * SET_HEADERS;

/// Most Route values on top that name us and are removed from one request: each spiral of a dialog
/// through us leaves two. One more is refused as a request to ourselves.
pub const OWN_ROUTES: usize = 8;

/// Most memory in bytes for a pattern's automaton before it runs, and for all patterns of one key.
/// A thousand ordinary number patterns take less than a tenth of it.
pub const PATTERN_BYTES: usize = 16 << 20;

/// Most memory in bytes for the states that a shard makes of one key's patterns as it meets text;
/// beyond it the states are made anew, slower and never wrong.
pub const PATTERN_CACHE_BYTES: usize = 2 << 20;

/// Longest user part in bytes that rules see; a longer one is cut there. Numbers have at most 15 digits
/// (E.164), GRUUs and escaped addresses some 200 bytes.
pub const USER_BYTES: usize = 512;

/// Most `[[peer]]` of a configuration: every carrier of a large interconnection.
pub const PEERS: usize = 4_096;

/// Most networks of all `[[peer]]` together.
pub const PEER_NETWORKS: usize = 16_384;

/// Most priorities, and most emergency numbers, that `[overload]` names: a request is held against all of them.
pub const PRIORITIES: usize = 32;

/// Headers that a rule's `set` changes: twice what an interconnection agreement asks for. One more is an error.
pub const SET_HEADERS: usize = 16;

/// Longest text in bytes that `set` writes by itself, before what it shows of a request.
pub const SET_TEXT_BYTES: usize = 512;

/// Deepest nesting of `not`.
pub const NOT_DEPTH: usize = 8;

/// Sockets that a shard's engine can have: every listener, and as many that are being closed.
pub const ENGINE_SOCKETS: u16 = 2_048;

/// Receive buffers of a shard: what a core forwards in some 2 ms. The socket's own buffer takes longer
/// bursts; a pool that is empty ends the receives until the batch gives buffers back. 34 MiB of address
/// space, of which one of those beyond [`HOT_BUFFERS`] takes one page for messages below 4 KiB.
pub const RECEIVE_BUFFERS: u16 = 512;

/// Send buffers of a shard: one for each datagram of a batch, and as many again under way.
pub const SEND_BUFFERS: u16 = 1_024;

/// Of a pool of buffers so many are in huge pages: those that all messages pass by as long as no more come at once. They fill
/// 8 MiB for each pool of datagrams.
pub const HOT_BUFFERS: u16 = 120;

/// Completions that a ring holds: a full pool of receive buffers, every send failed, and for each socket
/// the end of a receive and of a cancel, doubled because overflow would cost a system call.
pub const COMPLETIONS: u32 = 8_192;

/// Locked memory in bytes that a shard's ring takes where the kernel counts it: 128 KiB of completions, 64 KiB of
/// submissions, 8 KiB of receive buffers' places, page ends (measured on Linux 6.18: it starts with 220 KiB and does
/// not with 200), rounded up. Without it the shard's ring cannot be made, and the process ends with the reason.
pub const RING_LOCKED_BYTES: u64 = 256 << 10;

/// Locked memory in bytes that a process may have to have for glommio to start, whatever it takes: three small rings and
/// 64 KiB that it registers with each of them. It looks at the limit, also where a privilege makes that count for nothing.
pub const GLOMMIO_LOCKED_BYTES: u64 = 512 << 10;

/// Sends that are submitted at a time: enough to share the system call, few enough that a message does
/// not wait for the whole batch and that its bytes are still in the cache.
pub const SENDS_PER_SUBMIT: usize = 64;

/// Most names that are kept, those of the configuration included (`[dns] names` may ask for fewer): ten times what a
/// busy peering point sees in an hour, some 1 KiB each. At the bound the one that was used least recently goes.
pub const DNS_NAMES: usize = 16_384;

/// Names of messages that are being looked up at a time, a few sockets and some 4 KiB each: as many as come in the five
/// seconds that a lookup may take, by the default of `[dns] per_second`, so that slow zones hold up no others. Further
/// ones wait among [`DNS_QUESTIONS`].
pub const DNS_LOOKUPS: usize = 512;

/// Names of the configuration that are being looked up at a time before their time is over, and as many of requests: ten
/// thousand are asked for in some seconds.
pub const DNS_AGAIN: usize = 32;

/// Names of messages that wait to be looked up, from all shards together. The message of one more is answered 503.
pub const DNS_QUESTIONS: usize = 256;

/// Most queries for one name: NAPTR, [`DNS_SERVICES`] times SRV, both addresses of [`DNS_TARGETS`] servers. A zone
/// that asks for more has us query others on its behalf.
pub const DNS_QUERIES: usize = 1 + DNS_SERVICES + 2 * DNS_TARGETS;

/// SRV names that are asked for, for one name: as many as there are transports.
pub const DNS_SERVICES: usize = 5;

/// Servers of one name; further SRV records, by priority and name, are left out.
pub const DNS_TARGETS: usize = 32;

/// How long a negative answer holds, in seconds, that does not say it (RFC 2308 §5: it "SHOULD NOT be cached").
pub const DNS_NEGATIVE_S: u32 = 5;

/// How long a name counts as unresolvable after no server could tell, in seconds (RFC 2308 §7: at most 300).
pub const DNS_FAILURE_S: u32 = 5;

/// How soon a name is asked for again whose answer has run out and which no server could tell, in seconds
/// (RFC 8767 §5).
pub const DNS_STALE_AGAIN_S: u32 = 30;

/// Most messages of a shard that wait for a name (`[dns] queue` may ask for fewer), some 1 KiB each: what comes for
/// unknown names in 4 s at 64 a second. A CANCEL for each may come to that.
pub const PARKED_FOR_NAMES: usize = 256;

/// So long, in nanoseconds, a message waits for a name: an INVITE's sender has sent it four times by then
/// (RFC 3261 §17.1.1.2), a resolver has asked a second server.
pub const PARKED_FOR_NAME_NS: u64 = 4_000_000_000;

/// Addresses that are kept of one name.
pub const ADDRESSES_PER_NAME: usize = 16;

/// Connections to the admin address at a time: a scraper, an operator and a probe, four times over.
/// For one more the oldest one that has not asked yet is closed.
pub const ADMIN_CONNECTIONS: usize = 12;

/// Findings that are kept of one rule, or of the host with its listeners: more of one cause say no more.
pub const FINDINGS_PER_UNIT: usize = 64;

/// Listeners that are tried when a finding says which other one would do.
pub const FINDING_CANDIDATES: usize = 64;

/// Next hops that are held against new routes at a time, once a second and after a publication only: 1 to
/// 2 ms on the control thread (measured: 17 ms for 10,000 of them that all have a finding, 1.7 µs each), which
/// meanwhile publishes nothing. Ten thousand rules are gone through in ten seconds.
pub const FINDING_QUESTIONS: usize = 1_000;

/// Findings that a running process knows as open; further ones are not remembered, and told once there is room.
pub const OPEN_FINDINGS: usize = 4_096;

/// Findings that are logged at a time; how many more there are is one line.
pub const FINDINGS_TOLD: usize = 20;

/// Most `[[group]]`s of a configuration: a carrier's trunks by country and quality.
pub const GROUPS: usize = 256;

/// Most gateways of a group: choosing one asks each of them, a dozen nanoseconds.
pub const GATEWAYS_PER_GROUP: usize = 64;

/// Most gateways of all groups together, those of former configurations that transactions may still name included: a
/// cache line each, four for answers and 8 bytes for why they fail, 328 KiB, and counters of 8 KiB in each shard. One more is an error at load; at a reload, which may
/// have too many former ones, it is refused.
pub const GATEWAYS: usize = 1_024;

/// Listeners that a gateway is known to be reached from, one state each: what is left of a cache line. From a further
/// one it counts as up.
pub const GATEWAY_WAYS: usize = 4;

/// So long, in nanoseconds, a gateway without pings is left alone when it did not answer: 64*T1, after which what was
/// sent to it is over.
pub const GATEWAY_REST_NS: u64 = 32_000_000_000;

/// Longest time, in seconds, that a 503 with Retry-After puts a gateway aside for, so that a mistake does not last.
pub const GATEWAY_ASIDE_S: u16 = 300;

/// How long, in nanoseconds, the number of a gateway that is gone is not given to another one: longer than any
/// transaction lives ([`crate::transaction::LONGEST_NS`]).
pub const GATEWAY_REUSE_NS: u64 = 300_000_000_000;

/// Most bytes that TLS holds of what a connection has received: a handshake message, of which rustls takes 64 KiB, and
/// the record that it does not know the end of, 16 KiB and what encryption adds (RFC 8446 §5.2: 256 bytes; RFC 5246
/// §6.2.3: 2,048). Once the handshake is over, a record only.
pub const TLS_RECEIVE_BYTES: usize = 65_536 + 16_384 + 2_048 + 5;

/// Bytes that TLS reads at a time; an idle connection holds a buffer of it.
pub const TLS_READ_BYTES: usize = 4_096;

/// What an idle connection over TLS holds besides what TCP does, at most: keys, the peer's certificates, and a buffer of 4 KiB
/// for the next record (`tests/layer_memory.rs`).
pub const TLS_IDLE_BYTES: usize = 12_288;

/// Largest file with certificates or a key that is read, in bytes: the bundle of all public authorities has a quarter of it.
pub const TLS_FILE_BYTES: u64 = 1 << 20;

/// Most certificates of a listener: one for each domain of a host that has many.
pub const TLS_CERTIFICATES: usize = 256;

/// TLS sessions that a shard can resume with servers, some 2 KiB each: as many gateways as are usual, and a few more
/// than once because servers give out several tickets. One more forgets the oldest.
pub const TLS_SESSIONS: usize = 256;

/// Longest head of a WebSocket handshake, in bytes: browsers add cookies, and 8 KiB is what web servers take.
pub const WS_HANDSHAKE_BYTES: usize = 8_192;

/// Bytes of plaintext that WebSocket takes at a time; an idle connection holds a buffer of it. Longer frames get a buffer of
/// their own length.
pub const WS_READ_BYTES: usize = 1_024;

/// What an idle connection over WebSocket holds besides what lies below it, at most (`tests/layer_memory.rs`).
pub const WS_IDLE_BYTES: usize = 4_096;

/// Most bytes that WebSocket holds of what a connection has received: the parts of a message, and the frame that it does not
/// know the end of. Text that is put together grows by doubling.
pub const WS_RECEIVE_BYTES: usize = 2 * MESSAGE_BYTES + MESSAGE_BYTES + WS_READ_BYTES;

/// Longest header section, in bytes, of a message on a stream: [`HEADER_LINES`] of 200 bytes each. A longer one is
/// answered 513, and the connection closed: its end is not looked for.
pub const STREAM_HEADER_BYTES: usize = 32_768;

/// How long, in nanoseconds, the headers of a message on a stream may take from their first byte on. Whoever is slower
/// keeps memory for nothing.
pub const STREAM_HEADER_NS: u64 = 10_000_000_000;

/// How much longer its body may take: 64 KiB at 4 KiB a second.
pub const STREAM_BODY_NS: u64 = 16_000_000_000;

/// Most connections of a shard (`[tcp]`), in 16 bits; less than 640 bytes each while idle (`tests/connection_memory.rs`).
pub const STREAMS: usize = 60_000;

/// Those of them that only connections which the shard opens itself may have: strangers cannot fill those.
pub const STREAMS_RESERVED: usize = 4_000;

/// Of the files that the process may have open, accepted connections leave one in so many to connections that it opens and
/// to its control thread.
pub const FILES_RESERVED_PART: u64 = 16;

/// How long, in nanoseconds, a connection that came in may say nothing: neither a message nor a keep-alive.
pub const STREAM_SILENT_NS: u64 = 60_000_000_000;

/// Connections of a shard with one peer's address (`[tcp]`): what many users behind one translator have. One more is refused.
pub const STREAMS_PER_PEER: usize = 20_000;

/// Bytes that all connections of a shard together keep of messages that are not whole or wait for room, and of requests without an
/// answer: a thousand of the largest. The connections of the peer that takes most are closed where it is more.
pub const STREAM_KEPT_BYTES: usize = 64 << 20;

/// What waits on one connection to be sent, in bytes (`[tcp] queue`): some hundred messages, three of the largest.
pub const STREAM_QUEUE_BYTES: usize = 256 << 10;
/// Whatever `[tcp] queue` says: what a trunk of a thousand calls a second sends in two seconds, and answers to what a batch of an
/// engine reads of one connection ([`STREAM_BUFFERS`]) beside it.
pub const STREAM_QUEUE_MOST_BYTES: usize = 4 << 20;

/// Bytes that a buffer of it has where what waits needs more than one: a TLS record.
pub const STREAM_CHUNK_BYTES: usize = 16 << 10;

/// Memory of what waits on all connections of a shard to be sent, in bytes: a thousand of them may stall at a time, of those that
/// leave all answers unread 64 ([`STREAM_QUEUE_MOST_BYTES`]). Beyond it who takes most of it is cut off.
pub const STREAM_QUEUES_BYTES: usize = 256 << 20;

/// Messages on one connection whose senders wait to hear that they have left: as many as [`STREAM_QUEUE_MOST_BYTES`] hold.
pub const STREAM_WAITING: usize = 16_384;

/// Requests of one connection whose final answers are awaited, on either side: what a trunk has under way. A peer that sends no
/// more, and has asked more, is kept for [`STREAM_HALF_CLOSED_NS`].
pub const STREAM_UNANSWERED: usize = 4_096;
/// Bytes that one which came in counts as: its key and its time, in a tree whose nodes are half full.
pub const STREAM_UNANSWERED_BYTES: usize = 32;

/// How long, in nanoseconds, an answer is awaited on its connection, and that to an INVITE is owed there: Timer C and 64*T1, by
/// when the transaction is over.
pub const STREAM_AWAITED_NS: u64 = 213_000_000_000;

/// How long, in nanoseconds, the answer to any other request is owed: 64*T1, by when its client has given up.
pub const STREAM_OWED_NS: u64 = 32_000_000_000;

/// How long, in nanoseconds, a connection may take to be opened: the kernel has sent three SYNs by then, and an
/// INVITE's caller waits.
pub const STREAM_CONNECT_NS: u64 = 5_000_000_000;

/// How long, in nanoseconds, a peer may take nothing of what is sent to it before it is cut off.
pub const STREAM_STALLED_NS: u64 = 10_000_000_000;

/// After how long, in nanoseconds, a peer that says nothing is asked if it is still there: 50,000 idle connections are
/// some 400 probes a second.
pub const STREAM_PROBE_NS: u64 = 120_000_000_000;

/// How long, in nanoseconds, anything may wait to be sent: 64*T1, after which no transaction wants it.
pub const STREAM_DRAIN_NS: u64 = 32_000_000_000;

/// Where what a shard's connections may take is taken, the heaviest are closed until one part in so many is free.
pub const STREAM_SPARE: usize = 16;

/// How long, in nanoseconds, a connection is kept on which nothing comes and goes: longer than the keep-alives of
/// RFC 5626 §4.4.1 (at most 15 minutes) are apart.
pub const STREAM_IDLE_NS: u64 = 960_000_000_000;

/// How long, in nanoseconds, a connection is kept for answers whose peer sends no more: 64*T1.
pub const STREAM_HALF_CLOSED_NS: u64 = 32_000_000_000;

/// How long, in nanoseconds, a connection that is being closed is read, so that what was sent last is not lost to a reset.
pub const STREAM_LINGER_NS: u64 = 2_000_000_000;

/// Receive buffers of a shard for streams, a power of two, and their bytes: 1 MiB is read in a batch, where many come.
pub const STREAM_BUFFERS: u16 = 256;
/// Bytes of each.
pub const STREAM_BUFFER_BYTES: usize = 4_096;

/// Connections that wait to be accepted, for each listener and shard; the kernel takes less where
/// `net.core.somaxconn` says so.
pub const STREAM_BACKLOG: i32 = 4_096;

/// Names of servers over TLS that a shard knows by number, some 200 bytes each: more than it has sessions with. Those that only
/// messages have take a quarter of them; beyond those that transactions need, the one that was asked for longest ago makes room.
pub const STREAM_NAMES: usize = 4_096;

/// What a shard keeps, in bytes, for each of what layers write: a message of the largest size and its records.
pub const LAYER_SCRATCH_BYTES: usize = 2 * MESSAGE_BYTES;

/// So long, in nanoseconds, handshakes of TLS and WebSocket may take: a few times what far and slow devices need.
pub const LAYER_HANDSHAKE_NS: u64 = 10_000_000_000;
