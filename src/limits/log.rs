//! Bounds of what the log tells.

/// Changes of listeners that the log tells one by one in ten seconds; further ones are a number at their end.
pub const LISTENER_CHANGES_TOLD: usize = 40;

/// Records that wait for the log, from all shards together. The control thread takes them every
/// 100 ms; one more is lost and counted.
pub const RECORDS: usize = 1_024;

/// Log lines that wait to be written; one more is lost and counted. A reload that is refused is one, with all its findings.
pub const LOG_LINES: usize = 4_096;

/// Destinations without a fitting listener that the log tells of in an hour, and failures of connections; further ones are only
/// counted: whoever sends names them, and one scan must not fill a disk.
pub const TOLD_AN_HOUR: usize = 512;
