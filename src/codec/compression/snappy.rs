//! Snappy: one raw stream, or blocks of it in xerial's framing, which Kafka's own clients write.

use super::window::Window;
use super::{BLOCK_WORK, Part, Trouble};

pub struct Snappy {
    /// A raw stream that was not begun.
    whole: Option<Part>,
    /// The blocks behind the one that is read.
    rest: Part,
    block: Block,
}

/// A raw stream, as far as it was not read.
#[derive(Default)]
struct Block {
    input: Part,
    /// Where its output begins, which bounds how far it may refer back.
    begin: u64,
    /// Output that is left, by its header.
    owed: u64,
    literal: Part,
    /// Distance and length of the copy in progress.
    copy: (usize, usize),
}

impl Snappy {
    pub fn new(input: &[u8]) -> Snappy {
        let all = Part::of(input, input);
        let framed = input.starts_with(MAGIC);
        let (whole, rest) = if framed { (None, all) } else { (Some(all), Part::default()) };
        Snappy { whole, rest, block: Block::default() }
    }

    /// Makes a piece; false: it is the last.
    pub fn fill(&mut self, window: &mut Window, input: &[u8]) -> Result<bool, Trouble> {
        while !window.is_full() {
            if self.block.fill(window, input)? {
                continue;
            }
            let Some(block) = self.block_next(input)? else {
                return Ok(false);
            };
            self.block = Block::new(block, input, window.written())?;
            window.charge(BLOCK_WORK);
        }
        Ok(true)
    }

    fn block_next(&mut self, input: &[u8]) -> Result<Option<Part>, Trouble> {
        if let Some(whole) = self.whole.take() {
            return Ok(Some(whole));
        }
        // A file may follow another: its header, version and the oldest version that can read it.
        while self.rest.bytes(input).starts_with(MAGIC) {
            self.rest.split(MAGIC.len() + 8)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let bytes = self.rest.take(input, 4)?;
        let bytes = bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        Ok(Some(self.rest.split(bytes)?))
    }
}

impl Block {
    fn new(mut block: Part, input: &[u8], begin: u64) -> Result<Block, Trouble> {
        let mut owed = 0;
        for shift in (0..).step_by(7) {
            let byte = block.take(input, 1)?[0];
            if shift == 28 && byte > 0x0f {
                return Err(Trouble::Corrupt);
            }
            owed |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(Block { input: block, begin, owed, ..Block::default() })
    }

    /// Does one step; false at its end.
    fn fill(&mut self, window: &mut Window, input: &[u8]) -> Result<bool, Trouble> {
        let room = window.room();
        if !self.literal.is_empty() {
            let some = self.literal.len().min(room);
            window.put(self.literal.take(input, some)?);
        } else if self.copy.1 > 0 {
            let some = self.copy.1.min(room);
            window.copy(self.copy.0, some)?;
            self.copy.1 -= some;
        } else if self.owed > 0 {
            self.element(input, window.written())?;
        } else if self.input.is_empty() {
            return Ok(false);
        } else {
            return Err(Trouble::Corrupt);
        }
        Ok(true)
    }

    fn element(&mut self, input: &[u8], written: u64) -> Result<(), Trouble> {
        let tag = usize::from(self.input.take(input, 1)?[0]);
        let (high, mut count) = (tag >> 2, (tag >> 2) + 1);
        let distance = match tag & 3 {
            0 => {
                if high >= 60 {
                    let bytes = self.input.take_le(input, high - 59)? as usize;
                    count = bytes.checked_add(1).ok_or(Trouble::Corrupt)?;
                }
                self.literal = self.input.split(count)?;
                None
            }
            1 => {
                count = (high & 7) + 4;
                Some((tag >> 5) << 8 | self.input.take_le(input, 1)? as usize)
            }
            wide => Some(self.input.take_le(input, 2 * (wide - 1))? as usize),
        };
        self.owed = self.owed.checked_sub(count as u64).ok_or(Trouble::Corrupt)?;
        if let Some(distance) = distance {
            if distance as u64 > written - self.begin {
                return Err(Trouble::Corrupt);
            }
            self.copy = (distance, count);
        }
        Ok(())
    }
}

const MAGIC: &[u8] = b"\x82SNAPPY\0";
