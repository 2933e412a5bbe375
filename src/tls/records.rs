//! How much of what has come is not whole: rustls keeps it, and does not say.

use crate::limits::TLS_READ_BYTES;

/// Bytes before a record's content: its type, a version, and a length of two bytes (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;

/// Most of a handshake message that rustls keeps, in bytes.
const HANDSHAKE_BYTES: usize = 65_536;

/// Follows the records of a connection by their headers, which nothing encrypts.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the record that has begun.
    begun: usize,
    /// Its length as its header says, as far as that has come.
    content: u16,
    /// Bytes of records that nothing has come out of: they may be parts of a handshake message.
    silent: usize,
    /// There was more than an idle connection has memory for.
    is_large: bool,
}

impl Records {
    /// These bytes have come.
    pub fn came(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.begun < HEADER_BYTES {
                if self.begun + 2 >= HEADER_BYTES {
                    self.content = self.content << 8 | u16::from(first);
                }
                (self.begun, bytes) = (self.begun + 1, rest);
            } else {
                let taken = self.missing().min(bytes.len());
                (self.begun, bytes) = (self.begun + taken, bytes.get(taken..).unwrap_or_default());
            }
            if self.begun >= HEADER_BYTES && self.missing() == 0 {
                self.silent = (self.silent + self.begun).min(HANDSHAKE_BYTES);
                self.is_large |= self.silent > TLS_READ_BYTES;
                (self.begun, self.content) = (0, 0);
            }
        }
    }

    /// Something has come out of what came last: there is no handshake message among it that has only begun (RFC 8446 §5.1:
    /// "Handshake messages MUST NOT be interleaved with other record types").
    pub const fn brought(&mut self) {
        self.silent = 0;
    }

    /// Whether memory can be given back: all is whole, and there was more of it than an idle connection has memory for.
    pub fn take_large(&mut self) -> bool {
        let is_idle = self.begun == 0 && self.silent == 0;
        is_idle && std::mem::take(&mut self.is_large)
    }

    const fn missing(&self) -> usize {
        (HEADER_BYTES + self.content as usize).saturating_sub(self.begun)
    }

    /// A record has begun and is not whole.
    pub const fn is_within(&self) -> bool {
        self.begun > 0
    }

    /// Memory for what is not whole, in bytes, beyond what an idle connection has.
    pub const fn kept_bytes(&self) -> usize {
        (self.silent + self.begun).saturating_sub(TLS_READ_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: usize) -> Vec<u8> {
        [&[23, 3, 3][..], &(content as u16).to_be_bytes(), &vec![7; content]].concat()
    }

    #[test]
    fn records_are_told_from_each_other_however_they_are_cut() {
        let all = [0, 1, 300, 16_640].map(record).concat();
        for step in [1, 2, 3, 4, 5, 6, 7, 299, 4_096, all.len()] {
            let mut records = Records::default();
            for (number, part) in all.chunks(step).enumerate() {
                records.came(part);
                let at = number * step + part.len();
                let is_end = [5, 11, 316, all.len()].contains(&at);
                assert_eq!(records.is_within(), !is_end, "{at} by {step}");
            }
            assert_eq!(records.silent, all.len());
        }
    }

    #[test]
    fn what_has_not_come_out_is_kept_and_an_idle_connection_keeps_nothing() {
        let mut records = Records::default();
        records.came(&record(16_000)[..10_000]);
        assert_eq!((records.kept_bytes(), records.is_within()), (10_000 - TLS_READ_BYTES, true));
        records.came(&vec![7; 6_005]);
        assert_eq!((records.kept_bytes(), records.is_within()), (16_005 - TLS_READ_BYTES, false));
        (0..100).for_each(|_| records.came(&record(16_000)));
        assert_eq!(records.kept_bytes(), HANDSHAKE_BYTES - TLS_READ_BYTES, "rustls keeps no more");
        assert!(!records.take_large(), "not yet");
        records.brought();
        assert_eq!((records.kept_bytes(), records.take_large(), records.take_large()), (0, true, false));
        records.came(&record(1_000));
        records.brought();
        assert!(!records.take_large());
    }
}
