//! How much of what has come is not whole: tungstenite keeps it, and does not say.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

use crate::limits::MESSAGE_BYTES;

/// Most bytes of a header: length and mask in full (RFC 6455 §5.2).
const HEADER_BYTES: usize = 14;

/// Follows the frames of a connection by their headers.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// The header of the frame that has begun, as far as it has come.
    header: [u8; HEADER_BYTES],
    has: u8,
    /// That frame, once its header is there.
    frame: Option<Begun>,
    /// Bytes of the frames before it that belong to the same message; `None`: it is the first one.
    parts: Option<u64>,
}

/// A frame whose header is there.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Bytes of its payload, and how many are still to come.
    bytes: u64,
    missing: u64,
    is_data: bool,
    is_final: bool,
}

impl Unfinished {
    /// These bytes have come; gives those that are to be read, up to where a message gets too large.
    pub fn came<'b>(&mut self, all: &'b [u8]) -> &'b [u8] {
        let mut bytes = all;
        while !bytes.is_empty() && !self.is_too_large() {
            bytes = match &mut self.frame {
                None => self.take_header(bytes),
                Some(frame) => {
                    let taken = bytes.len().min(usize::try_from(frame.missing).unwrap_or(usize::MAX));
                    frame.missing -= taken as u64;
                    bytes.get(taken..).unwrap_or_default()
                }
            };
            if let Some(frame) = self.frame.take_if(|frame| frame.missing == 0) {
                self.end(frame);
            }
        }
        all.get(..all.len() - bytes.len()).unwrap_or(all)
    }

    /// The message that has begun has more than [`MESSAGE_BYTES`].
    pub fn is_too_large(&self) -> bool {
        self.message_bytes() > MESSAGE_BYTES
    }

    /// Takes one byte of a header; what is none is tungstenite's to say.
    fn take_header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((first, rest)) = bytes.split_first() else { return bytes };
        if let Some(place) = self.header.get_mut(usize::from(self.has)) {
            *place = *first;
            self.has += 1;
        }
        let header = self.header.get(..usize::from(self.has)).unwrap_or_default();
        if let Ok(Some((header, bytes))) = FrameHeader::parse(&mut Cursor::new(header)) {
            let is_data = matches!(header.opcode, OpCode::Data(_));
            self.frame = Some(Begun { bytes, missing: bytes, is_data, is_final: header.is_final });
        }
        rest
    }

    fn end(&mut self, frame: Begun) {
        self.has = 0;
        if frame.is_data {
            self.parts = (!frame.is_final).then(|| self.parts.unwrap_or(0).saturating_add(frame.bytes));
        }
    }

    /// A frame has begun, or a message of several.
    pub const fn is_within(&self) -> bool {
        self.has > 0 || self.parts.is_some()
    }

    /// Bytes of the message that has begun, as far as they have come or are announced: there is memory for those, too.
    pub fn message_bytes(&self) -> usize {
        let frame = self.frame.filter(|frame| frame.is_data).map_or(0, |frame| frame.bytes);
        usize::try_from(self.parts.unwrap_or(0).saturating_add(frame)).unwrap_or(usize::MAX)
    }
}
