//! LZ4's frame format. As in Kafka's own client, only the first frame is read, and the checksum of its
//! contents is not checked.

use super::window::Window;
use super::xxhash::xxh32;
use super::{BLOCK_WORK, Part, Trouble};

pub struct Lz4 {
    rest: Part,
    state: State,
    /// Of the frame: bytes of a block's output at the most.
    block_bytes_max: u64,
    /// Of the frame: no block refers back to those before it.
    independent: bool,
    /// Of the frame: checksums follow blocks.
    checksums: bool,
    /// Of the block: what was not read.
    block: Part,
    /// Of the block: where its output begins.
    begin: u64,
    literal: Part,
    /// Distance and length of the match that follows the literal.
    copy: (usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the frame.
    Begin,
    /// Between blocks.
    Between,
    /// In a block that is compressed; one that is not is one literal.
    Block,
    End,
}

impl Lz4 {
    pub fn new(all: Part) -> Lz4 {
        Lz4 {
            rest: all,
            state: State::Begin,
            block_bytes_max: 0,
            independent: false,
            checksums: false,
            block: Part::default(),
            begin: 0,
            literal: Part::default(),
            copy: (0, 0),
        }
    }

    /// Makes a piece; false: it is the last.
    pub fn fill(&mut self, window: &mut Window, input: &[u8]) -> Result<bool, Trouble> {
        loop {
            let room = window.room();
            if window.is_full() || self.state == State::End {
                return Ok(self.state != State::End);
            } else if !self.literal.is_empty() {
                let some = self.literal.len().min(room);
                window.put(self.literal.take(input, some)?);
            } else if self.copy.1 > 0 {
                let some = self.copy.1.min(room);
                window.copy(self.copy.0, some)?;
                self.copy.1 -= some;
            } else {
                match self.state {
                    State::Begin => self.frame(input)?,
                    State::Between => {
                        self.block(input, window.written())?;
                        let summed = self.block.len() + self.literal.len();
                        window.charge(BLOCK_WORK + if self.checksums { summed / 4 } else { 0 });
                    }
                    State::Block => self.sequence(input, window.written())?,
                    State::End => {}
                }
            }
        }
    }

    fn frame(&mut self, input: &[u8]) -> Result<(), Trouble> {
        if self.rest.take_le(input, 4)? != MAGIC {
            return Err(Trouble::Corrupt);
        }
        let descriptor = self.rest.bytes(input);
        let flags = self.rest.take(input, 2)?;
        let (flags, size) = (flags[0], flags[1] >> 4);
        // No Kafka client uses a dictionary.
        if flags >> 6 != 1 || flags & (RESERVED | DICTIONARY) != 0 || !(4..=7).contains(&size) {
            return Err(Trouble::Corrupt);
        }
        let more = if flags & CONTENT_BYTES != 0 { 8 } else { 0 };
        self.rest.split(more)?;
        let sum = self.rest.take(input, 1)?[0];
        if (xxh32(&descriptor[..2 + more]) >> 8) as u8 != sum {
            return Err(Trouble::Corrupt);
        }
        self.block_bytes_max = 1 << (8 + 2 * size);
        self.independent = flags & INDEPENDENT != 0;
        self.checksums = flags & BLOCK_CHECKSUMS != 0;
        self.state = State::Between;
        Ok(())
    }

    fn block(&mut self, input: &[u8], written: u64) -> Result<(), Trouble> {
        let size = self.rest.take_le(input, 4)?;
        if size == 0 {
            self.state = State::End;
            return Ok(());
        }
        let block = self.rest.split((size & !STORED) as usize)?;
        if self.checksums && self.rest.take_le(input, 4)? != u64::from(xxh32(block.bytes(input))) {
            return Err(Trouble::Corrupt);
        }
        if block.len() as u64 > self.block_bytes_max {
            return Err(Trouble::Corrupt);
        }
        if size & STORED != 0 {
            self.literal = block;
        } else {
            (self.block, self.begin, self.state) = (block, written, State::Block);
        }
        Ok(())
    }

    /// Literals and a match; the last sequence of a block has only literals.
    fn sequence(&mut self, input: &[u8], written: u64) -> Result<(), Trouble> {
        if self.block.is_empty() {
            self.state = State::Between;
            return Ok(());
        }
        let token = self.block.take(input, 1)?[0];
        let count = self.length(input, token >> 4)?;
        self.literal = self.block.split(count)?;
        let there = written - self.begin + count as u64;
        let mut end = there;
        if !self.block.is_empty() {
            let distance = self.block.take_le(input, 2)?;
            if self.independent && distance > there {
                return Err(Trouble::Corrupt);
            }
            self.copy = (distance as usize, self.length(input, token & 15)? + 4);
            end += self.copy.1 as u64;
        }
        if end > self.block_bytes_max { Err(Trouble::Corrupt) } else { Ok(()) }
    }

    /// A length of four bits, and more where those are all set.
    fn length(&mut self, input: &[u8], bits: u8) -> Result<usize, Trouble> {
        let mut length = usize::from(bits);
        let mut goes_on = bits == 15;
        while goes_on {
            let more = self.block.take(input, 1)?[0];
            length += usize::from(more);
            goes_on = more == 255;
        }
        Ok(length)
    }
}

const MAGIC: u64 = 0x184d_2204;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_BYTES: u8 = 1 << 3;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;
const STORED: u64 = 1 << 31;
