//! Why requests are cancelled: as the CANCELs say that were received for them, or because another branch has answered.
//!
//! RFC 3326 §2: "Proxies generating a CANCEL request upon reception of a CANCEL from the previous hop that contains a Reason
//! header field SHOULD copy it into the new CANCEL request." §3.1: "The forking proxy includes this status code in a Reason
//! header field in the CANCEL request that it sends to the rest of the branches."

use std::collections::HashMap;

use super::slab::Handle;
use super::store::Stored;
use crate::rewrite::Output;

/// Reason lines by the server transaction of the INVITE, as long as that is kept.
pub(super) struct Reasons {
    by_server: HashMap<u64, Stored>,
    most: usize,
}

impl Reasons {
    /// With room for so many transactions.
    pub fn new(most: usize) -> Self {
        Self { by_server: HashMap::with_capacity(most), most }
    }

    /// No transaction has any, as nearly always.
    pub fn is_empty(&self) -> bool {
        self.by_server.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.by_server.len() >= self.most
    }

    pub fn get(&self, server: Handle) -> Option<&Stored> {
        self.by_server.get(&server.to_bits())
    }

    /// Keeps them; gives back those that there were.
    pub fn put(&mut self, server: Handle, lines: Stored) -> Option<Stored> {
        self.by_server.insert(server.to_bits(), lines)
    }

    pub fn take(&mut self, server: Handle) -> Option<Stored> {
        self.by_server.remove(&server.to_bits())
    }
}

/// Writes header lines of these values, as many as fit; gives their length. Those that are folded are left out.
pub(super) fn write<'v>(values: impl Iterator<Item = &'v [u8]>, out: &mut [u8]) -> usize {
    let mut len = 0;
    for value in values.filter(|value| memchr::memchr2(b'\r', b'\n', value).is_none()) {
        let mut line = Output::new(out.get_mut(len..).unwrap_or_default());
        line.put_all([b"Reason: ", value, b"\r\n"]);
        len += line.finish().unwrap_or(0);
    }
    len
}

/// Writes the header line which says that another branch has answered with this status, a 2xx or 6xx; gives its length.
pub(super) fn write_answered(status: u16, out: &mut [u8]) -> usize {
    let mut line = Output::new(out);
    line.put(b"Reason: SIP ;cause=");
    line.put_number(u64::from(status));
    if status < 300 {
        line.put(b" ;text=\"Call completed elsewhere\"");
    }
    line.put(b"\r\n");
    line.finish().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[&[u8]], room: usize) -> String {
        let mut out = vec![0; room];
        let len = write(values.iter().copied(), &mut out);
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn each_value_gets_a_line_as_far_as_there_is_room() {
        let values: [&[u8]; 4] = [b"SIP;cause=200", b"SIP;\r\n cause=600", b"Q.850;cause=16", b"X"];
        assert_eq!(written(&values, 100), "Reason: SIP;cause=200\r\nReason: Q.850;cause=16\r\nReason: X\r\n");
        assert_eq!(written(&values, 40), "Reason: SIP;cause=200\r\nReason: X\r\n");
        assert_eq!(written(&values, 5), "");
    }
}
