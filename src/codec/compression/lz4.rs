//! LZ4's frame format. As in Kafka's own client, the first frame is all there is, and the checksum of its
//! contents is not looked at.

use super::window::Window;
use super::xxhash::xxh32;
use super::{Trouble, take, take_le};

pub struct Lz4<S> {
    rest: S,
    state: State,
    /// Of the frame: bytes of a block's output at the most.
    block_bytes_max: u64,
    /// Of the frame: no block looks back on those before it.
    independent: bool,
    /// Of the frame: checksums follow blocks.
    checksums: bool,
    /// Of the block: what was not read.
    block: S,
    /// Of the block: where its output begins.
    begin: u64,
    literal: S,
    /// Distance and length of what is to be copied, behind the literal.
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

impl<S> Lz4<S> {
    pub fn map<T>(self, part: &mut impl FnMut(S) -> T) -> Lz4<T> {
        Lz4 {
            rest: part(self.rest),
            state: self.state,
            block_bytes_max: self.block_bytes_max,
            independent: self.independent,
            checksums: self.checksums,
            block: part(self.block),
            begin: self.begin,
            literal: part(self.literal),
            copy: self.copy,
        }
    }
}

impl<'a> Lz4<&'a [u8]> {
    pub fn new(input: &'a [u8]) -> Lz4<&'a [u8]> {
        Lz4 {
            rest: input,
            state: State::Begin,
            block_bytes_max: 0,
            independent: false,
            checksums: false,
            block: &[],
            begin: 0,
            literal: &[],
            copy: (0, 0),
        }
    }

    /// Makes a piece; false: nothing comes behind it.
    pub fn fill(&mut self, window: &mut Window) -> Result<bool, Trouble> {
        loop {
            let room = window.room();
            if room == 0 || self.state == State::End {
                return Ok(self.state != State::End);
            } else if !self.literal.is_empty() {
                let some = self.literal.len().min(room);
                window.put(take(&mut self.literal, some)?);
            } else if self.copy.1 > 0 {
                let some = self.copy.1.min(room);
                window.copy(self.copy.0, some)?;
                self.copy.1 -= some;
            } else {
                match self.state {
                    State::Begin => self.frame()?,
                    State::Between => self.block(window.written())?,
                    State::Block => self.sequence(window.written())?,
                    State::End => {}
                }
            }
        }
    }

    fn frame(&mut self) -> Result<(), Trouble> {
        if take_le(&mut self.rest, 4)? != MAGIC {
            return Err(Trouble::Corrupt);
        }
        let descriptor = self.rest;
        let flags = take(&mut self.rest, 2)?;
        let (flags, size) = (flags[0], flags[1] >> 4);
        // A dictionary is something that no client of Kafka's has.
        if flags >> 6 != 1 || flags & (RESERVED | DICTIONARY) != 0 || !(4..=7).contains(&size) {
            return Err(Trouble::Corrupt);
        }
        let more = if flags & CONTENT_BYTES != 0 { 8 } else { 0 };
        take(&mut self.rest, more)?;
        let sum = take(&mut self.rest, 1)?[0];
        if (xxh32(&descriptor[..2 + more]) >> 8) as u8 != sum {
            return Err(Trouble::Corrupt);
        }
        self.block_bytes_max = 1 << (8 + 2 * size);
        self.independent = flags & INDEPENDENT != 0;
        self.checksums = flags & BLOCK_CHECKSUMS != 0;
        self.state = State::Between;
        Ok(())
    }

    fn block(&mut self, written: u64) -> Result<(), Trouble> {
        let size = take_le(&mut self.rest, 4)?;
        if size == 0 {
            self.state = State::End;
            return Ok(());
        }
        let bytes = take(&mut self.rest, (size & !STORED) as usize)?;
        if self.checksums && take_le(&mut self.rest, 4)? != u64::from(xxh32(bytes)) {
            return Err(Trouble::Corrupt);
        }
        if bytes.len() as u64 > self.block_bytes_max {
            return Err(Trouble::Corrupt);
        }
        if size & STORED != 0 {
            self.literal = bytes;
        } else {
            (self.block, self.begin, self.state) = (bytes, written, State::Block);
        }
        Ok(())
    }

    /// Literals, and then what is to be copied; the last one of a block has only literals.
    fn sequence(&mut self, written: u64) -> Result<(), Trouble> {
        if self.block.is_empty() {
            self.state = State::Between;
            return Ok(());
        }
        let token = take(&mut self.block, 1)?[0];
        let count = self.length(token >> 4)?;
        self.literal = take(&mut self.block, count)?;
        let there = written - self.begin + count as u64;
        let mut end = there;
        if !self.block.is_empty() {
            let distance = take_le(&mut self.block, 2)?;
            if self.independent && distance > there {
                return Err(Trouble::Corrupt);
            }
            self.copy = (distance as usize, self.length(token & 15)? + 4);
            end += self.copy.1 as u64;
        }
        if end > self.block_bytes_max { Err(Trouble::Corrupt) } else { Ok(()) }
    }

    /// A length of four bits, and more where those are all set.
    fn length(&mut self, bits: u8) -> Result<usize, Trouble> {
        let mut length = usize::from(bits);
        let mut goes_on = bits == 15;
        while goes_on {
            let more = take(&mut self.block, 1)?[0];
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
