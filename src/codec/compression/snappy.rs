//! Snappy: one raw stream, or blocks of it in xerial's framing, which Kafka's own clients write.

use super::window::Window;
use super::{Trouble, take, take_le};

pub struct Snappy<S> {
    /// A raw stream that was not begun.
    whole: Option<S>,
    /// The blocks behind the one that is read.
    rest: S,
    block: Block<S>,
}

/// A raw stream, as far as it was not read.
#[derive(Default)]
struct Block<S> {
    input: S,
    /// Where its output begins: nothing before that is looked back on.
    begin: u64,
    /// Output that its elements still owe.
    owed: u64,
    literal: S,
    /// Distance and length of what is to be copied.
    copy: (usize, usize),
}

impl<S> Snappy<S> {
    pub fn map<T>(self, part: &mut impl FnMut(S) -> T) -> Snappy<T> {
        let Block { input, begin, owed, literal, copy } = self.block;
        let (input, literal) = (part(input), part(literal));
        let block = Block { input, begin, owed, literal, copy };
        Snappy { whole: self.whole.map(&mut *part), rest: part(self.rest), block }
    }
}

impl<'a> Snappy<&'a [u8]> {
    pub fn new(input: &'a [u8]) -> Snappy<&'a [u8]> {
        let framed = input.starts_with(MAGIC);
        let (whole, rest) = if framed { (None, input) } else { (Some(input), &[][..]) };
        Snappy { whole, rest, block: Block::default() }
    }

    /// Makes a piece; false: nothing comes behind it.
    pub fn fill(&mut self, window: &mut Window) -> Result<bool, Trouble> {
        while window.room() > 0 {
            if self.block.fill(window)? {
                continue;
            }
            let Some(input) = self.block_next()? else {
                return Ok(false);
            };
            self.block = Block::new(input, window.written())?;
        }
        Ok(true)
    }

    fn block_next(&mut self) -> Result<Option<&'a [u8]>, Trouble> {
        if let Some(whole) = self.whole.take() {
            return Ok(Some(whole));
        }
        // A file may follow another: its header, version and the oldest version that can read it.
        while self.rest.starts_with(MAGIC) {
            take(&mut self.rest, MAGIC.len() + 8)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let bytes = take(&mut self.rest, 4)?;
        let bytes = bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        Ok(Some(take(&mut self.rest, bytes)?))
    }
}

impl<'a> Block<&'a [u8]> {
    fn new(mut input: &'a [u8], begin: u64) -> Result<Block<&'a [u8]>, Trouble> {
        let mut owed = 0;
        for shift in (0..).step_by(7) {
            let byte = take(&mut input, 1)?[0];
            if shift == 28 && byte > 0x0f {
                return Err(Trouble::Corrupt);
            }
            owed |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(Block { input, begin, owed, ..Block::default() })
    }

    /// Goes one step further; false at its end.
    fn fill(&mut self, window: &mut Window) -> Result<bool, Trouble> {
        let room = window.room();
        if !self.literal.is_empty() {
            let some = self.literal.len().min(room);
            window.put(take(&mut self.literal, some)?);
        } else if self.copy.1 > 0 {
            let some = self.copy.1.min(room);
            window.copy(self.copy.0, some)?;
            self.copy.1 -= some;
        } else if self.owed > 0 {
            self.element(window.written())?;
        } else if self.input.is_empty() {
            return Ok(false);
        } else {
            return Err(Trouble::Corrupt);
        }
        Ok(true)
    }

    fn element(&mut self, written: u64) -> Result<(), Trouble> {
        let tag = usize::from(take(&mut self.input, 1)?[0]);
        let (high, mut count) = (tag >> 2, (tag >> 2) + 1);
        let distance = match tag & 3 {
            0 => {
                if high >= 60 {
                    count = take_le(&mut self.input, high - 59)? as usize + 1;
                }
                self.literal = take(&mut self.input, count)?;
                None
            }
            1 => {
                count = (high & 7) + 4;
                Some((tag >> 5) << 8 | take_le(&mut self.input, 1)? as usize)
            }
            wide => Some(take_le(&mut self.input, 2 * (wide - 1))? as usize),
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
