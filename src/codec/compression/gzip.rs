//! gzip: members of deflated bytes, one behind the other.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit};

use super::window::Window;
use super::{Part, Trouble};

/// Deflate's state between two pieces.
pub type State = DecompressorOxide;

pub struct Gzip {
    rest: Part,
    member: Option<Member>,
    /// Nothing was read yet.
    fresh: bool,
}

/// Checksum and length of a member's output.
struct Member {
    digest: crc::Digest<'static, u32, crc::Table<1>>,
    bytes: u32,
}

impl Gzip {
    pub fn new(all: Part) -> Gzip {
        Gzip { rest: all, member: None, fresh: true }
    }

    /// Makes a piece; false: it is the last.
    pub fn fill(
        &mut self,
        state: &mut State,
        window: &mut Window,
        input: &[u8],
    ) -> Result<bool, Trouble> {
        while !window.is_full() {
            if self.member.is_none() {
                // Another member may follow; anything else is ignored, as in Java.
                if !self.fresh && !self.rest.bytes(input).starts_with(&MAGIC) {
                    return Ok(false);
                }
                self.fresh = false;
                self.header(input)?;
                state.init();
                window.charge(MEMBER_WORK);
                self.member = Some(Member { digest: CRC.digest(), bytes: 0 });
            }
            self.inflate(state, window, input)?;
        }
        Ok(true)
    }

    fn inflate(
        &mut self,
        state: &mut State,
        window: &mut Window,
        input: &[u8],
    ) -> Result<(), Trouble> {
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        // Building a table takes as long as output does, so input that may be only tables is bounded.
        let rest = self.rest.bytes(input);
        let some = &rest[..rest.len().min(INPUT_BYTES_MAX)];
        let more = some.len() < rest.len();
        let flags = if more { TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
        let (ring, at, room) = window.ring_mut();
        let (status, read, written) = decompress_with_limit(state, some, ring, at, room, flags);
        self.rest.split(read)?;
        member.digest.update(&ring[at..at + written]);
        member.bytes = member.bytes.wrapping_add(written as u32);
        window.advance(written);
        window.charge(read.saturating_sub(written) * WORK_PER_INPUT);
        match status {
            TINFLStatus::HasMoreOutput => Ok(()),
            TINFLStatus::NeedsMoreInput if more => Ok(()),
            TINFLStatus::Done => self.trailer(input),
            _ => Err(Trouble::Corrupt),
        }
    }

    fn header(&mut self, input: &[u8]) -> Result<(), Trouble> {
        let header = self.rest.take(input, 10)?;
        let flags = header[3];
        if !header.starts_with(&MAGIC) || flags & RESERVED != 0 {
            return Err(Trouble::Corrupt);
        }
        if flags & EXTRA != 0 {
            let bytes = self.rest.take_le(input, 2)? as usize;
            self.rest.split(bytes)?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                let end = self.rest.bytes(input).iter().position(|byte| *byte == 0);
                self.rest.split(end.ok_or(Trouble::Corrupt)? + 1)?;
            }
        }
        if flags & HEADER_CRC != 0 {
            self.rest.split(2)?;
        }
        Ok(())
    }

    fn trailer(&mut self, input: &[u8]) -> Result<(), Trouble> {
        let member = self.member.take().ok_or(Trouble::Corrupt)?;
        let (sum, bytes) = (self.rest.take_le(input, 4)?, self.rest.take_le(input, 4)?);
        let (expected, count) = (member.digest.finalize(), member.bytes);
        let right = sum == u64::from(expected) && bytes == u64::from(count);
        if right { Ok(()) } else { Err(Trouble::Corrupt) }
    }
}

/// Bytes of input that are read at once.
const INPUT_BYTES_MAX: usize = 128;

/// What a byte of input without output costs, in bytes of output: a block of the fixed code has ten bits, and
/// its tables take a microsecond or two.
const WORK_PER_INPUT: usize = 512;

/// What a member costs beside that.
const MEMBER_WORK: usize = 1024;

/// The polynomial of gzip and zip, with one table of 1 KiB.
static CRC: crc::Crc<u32, crc::Table<1>> =
    crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);

/// Magic, and deflate, the one method.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;
