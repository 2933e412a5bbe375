//! Packets of a capture file, pcap or pcapng, one at a time: memory has an end, however long the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

/// More than the largest packet with all that is written about it.
const BUFFER_BYTES: usize = 1 << 20;

/// The header of a classic file.
const CLASSIC_BYTES: usize = 24;

/// Interfaces that a pcapng section may describe; packets of further ones are of an unknown link.
const INTERFACES: usize = 4_096;

const NANOS: u128 = 1_000_000_000;

/// One captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The kind of link that it was seen on; `None`: it is not said.
    pub link: Option<Linktype>,
    /// Nanoseconds since 1970; `None`: not said.
    pub time_ns: Option<u64>,
    /// As far as it was captured.
    pub bytes: &'a [u8],
    /// It was longer than that.
    pub cut: bool,
}

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read the capture: {0}")]
    Io(#[from] io::Error),
    /// Neither pcap nor pcapng.
    #[error(
        "this is no capture: neither pcap nor pcapng\n  hint: a compressed one is read with `zcat FILE | viaduct explain --pcap -`"
    )]
    NoCapture,
    /// There is nothing in it.
    #[error("the capture is empty")]
    Empty,
    /// A block is larger than any packet.
    #[error("the capture holds a block of more than {BUFFER_BYTES} bytes")]
    TooLarge,
    /// A block is not as it should be.
    #[error("the capture is damaged behind its packet {0}")]
    Damaged(u64),
}

/// Whether the file ended where a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did.
    Whole,
    /// In the middle of a packet: whoever wrote it was stopped.
    Short,
}

/// What the file has said of its packets so far.
#[derive(Default)]
struct Described {
    /// pcap: one; pcapng: by number.
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of time in a second, and what to add in seconds.
    resolution: u64,
    offset: i64,
}

/// Reads a file, or standard input where it is `-`, and hands each packet on with its number from 1, until
/// `each` says that it has seen enough.
///
/// # Errors
/// What keeps the file from being read on; what came before has been handed on.
pub fn read(path: &Path, each: impl FnMut(u64, Frame<'_>) -> bool) -> Result<End, Error> {
    if path == Path::new("-") {
        return read_from(io::stdin(), each);
    }
    read_from(File::open(path)?, each)
}

pub(super) fn read_from(
    source: impl Read + Send,
    mut each: impl FnMut(u64, Frame<'_>) -> bool,
) -> Result<End, Error> {
    let source = Patient { source, asked: false };
    let mut reader = create_reader(BUFFER_BYTES, source).map_err(|error| match error {
        PcapError::Eof => Error::Empty,
        PcapError::ReadError => Error::Io(io::Error::other("the first read failed")),
        _ => Error::NoCapture,
    })?;
    let (mut described, mut number) = (Described::default(), 0);
    loop {
        let failed = match reader.next() {
            Ok((len, block)) => {
                let goes_on = match described.frame(&block) {
                    Some(frame) => {
                        number += 1;
                        each(number, frame)
                    }
                    None => true,
                };
                reader.consume(len);
                if !goes_on {
                    return Ok(End::Whole);
                }
                continue;
            }
            Err(PcapError::Eof) => return Ok(End::Whole),
            Err(PcapError::UnexpectedEof) => return Ok(End::Short),
            Err(PcapError::Incomplete(_)) => None,
            Err(PcapError::BufferTooSmall) => Some(Error::TooLarge),
            Err(PcapError::ReadError) => Some(Error::Io(io::Error::other("a read failed"))),
            Err(_) => Some(Error::Damaged(number)),
        };
        if let Some(error) = failed {
            return Err(error);
        }
        refill(&mut *reader)?;
    }
}

/// Gets more; where the buffer is full already, what is in it is no packet.
fn refill(reader: &mut (dyn PcapReaderIterator + Send)) -> Result<(), Error> {
    let before = reader.data().len();
    let refilled = reader.refill().map_err(|_| ());
    refilled.map_err(|()| Error::Io(io::Error::other("a read failed")))?;
    if reader.data().len() == before && !reader.reader_exhausted() {
        return Err(Error::TooLarge);
    }
    Ok(())
}

impl Described {
    fn frame<'a>(&mut self, block: &PcapBlockOwned<'a>) -> Option<Frame<'a>> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.interfaces = vec![Interface { link: header.network, resolution, offset: 0 }];
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.interfaces.first()?;
                let fraction = u128::from(packet.ts_usec) * NANOS / u128::from(interface.resolution);
                let time = u128::from(packet.ts_sec) * NANOS + fraction;
                Some(Frame {
                    link: Some(interface.link),
                    time_ns: u64::try_from(time).ok(),
                    bytes: packet.data,
                    cut: packet.caplen < packet.origlen,
                })
            }
            PcapBlockOwned::NG(block) => self.of_a_section(block),
        }
    }

    fn of_a_section<'a>(&mut self, block: &Block<'a>) -> Option<Frame<'a>> {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(new) if self.interfaces.len() < INTERFACES => {
                self.interfaces.push(Interface {
                    link: new.linktype,
                    resolution: new.ts_resolution().filter(|&units| units > 0).unwrap_or(1_000_000),
                    offset: new.ts_offset(),
                });
            }
            Block::EnhancedPacket(packet) => {
                let interface = usize::try_from(packet.if_id).ok().and_then(|id| self.interfaces.get(id));
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let len = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                return Some(Frame {
                    link: interface.map(|interface| interface.link),
                    time_ns: interface.and_then(|interface| interface.time_ns(units)),
                    bytes: packet.data.get(..len).unwrap_or(packet.data),
                    cut: packet.caplen < packet.origlen,
                });
            }
            Block::SimplePacket(packet) => {
                let len = usize::try_from(packet.origlen).unwrap_or(usize::MAX);
                return Some(Frame {
                    link: self.interfaces.first().map(|interface| interface.link),
                    time_ns: None,
                    bytes: packet.data.get(..len).unwrap_or(packet.data),
                    cut: packet.data.len() < len,
                });
            }
            _ => {}
        }
        None
    }
}

impl Interface {
    fn time_ns(&self, units: u64) -> Option<u64> {
        let since = i128::try_from(u128::from(units) * NANOS / u128::from(self.resolution)).ok()?;
        u64::try_from(since + i128::from(self.offset) * NANOS as i128).ok()
    }
}

/// Gives the first read enough to tell the file's form by, and no more: a pipe may be slow.
struct Patient<R> {
    source: R,
    asked: bool,
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let first = !std::mem::replace(&mut self.asked, true);
        let mut filled = 0;
        loop {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let wanted = if first { header_bytes(&buffer[..filled]) } else { 1 };
            if filled >= wanted.min(buffer.len()) {
                return Ok(filled);
            }
        }
    }
}

/// How long the header is that a file with these first bytes begins with.
fn header_bytes(begin: &[u8]) -> usize {
    const SECTION: &[u8] = &[0x0a, 0x0d, 0x0d, 0x0a];
    const LITTLE: &[u8] = &[0x4d, 0x3c, 0x2b, 0x1a];
    let word = |at: usize| begin.get(at..)?.first_chunk::<4>().copied();
    let length = match (begin.starts_with(SECTION), word(4), begin.get(8..12)) {
        (true, Some(len), Some(LITTLE)) => u32::from_le_bytes(len),
        (true, Some(len), Some(_)) => u32::from_be_bytes(len),
        _ => 0,
    };
    usize::try_from(length).unwrap_or(usize::MAX).clamp(CLASSIC_BYTES, BUFFER_BYTES)
}
