//! Bits that are read backwards, from the end of the bytes.

use crate::codec::compression::{Part, Trouble};

/// What is left of such bits.
#[derive(Debug, Default, Clone, Copy)]
pub struct Backward<'a> {
    bytes: &'a [u8],
    left: usize,
    overrun: bool,
}

/// The same between two pieces, when nothing is borrowed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Kept {
    part: Part,
    left: usize,
    overrun: bool,
}

impl Kept {
    pub fn bits(self, input: &[u8]) -> Backward<'_> {
        Backward { bytes: self.part.bytes(input), left: self.left, overrun: self.overrun }
    }

    /// Some of them were taken.
    pub fn set(&mut self, bits: &Backward<'_>) {
        (self.left, self.overrun) = (bits.left, bits.overrun);
    }

    /// An error unless all of them were taken, and no more.
    pub fn finish(&self) -> Result<(), Trouble> {
        if self.left == 0 && !self.overrun { Ok(()) } else { Err(Trouble::Corrupt) }
    }
}

impl<'a> Backward<'a> {
    /// They begin below the highest bit that is set in the last byte.
    pub fn new(bytes: &'a [u8]) -> Result<Backward<'a>, Trouble> {
        match bytes.last() {
            None | Some(0) => Err(Trouble::Corrupt),
            Some(last) => {
                let left = bytes.len() * 8 - last.leading_zeros() as usize - 1;
                Ok(Backward { bytes, left, overrun: false })
            }
        }
    }

    /// The next bits, at most 32; where there are fewer, zeroes follow.
    pub fn peek(&self, count: u8) -> u32 {
        let count = usize::from(count);
        let (from, short) = match self.left.checked_sub(count) {
            Some(from) => (from, 0),
            None => (0, count - self.left),
        };
        let rest = self.bytes.get(from / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let mask = (1_u64 << (count - short)) - 1;
        ((word >> (from % 8) & mask) << short) as u32
    }

    /// Skips bits.
    pub fn skip(&mut self, count: u8) {
        match self.left.checked_sub(count.into()) {
            Some(left) => self.left = left,
            None => (self.left, self.overrun) = (0, true),
        }
    }

    /// Takes the next bits, at most 32.
    pub fn take(&mut self, count: u8) -> u32 {
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// Whether more were taken than there were.
    pub fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// To continue later.
    pub fn kept(&self, input: &[u8]) -> Kept {
        Kept { part: Part::of(self.bytes, input), left: self.left, overrun: self.overrun }
    }
}
