//! Literals of a block: raw, one byte repeated, or in a Huffman code in one or four streams.

use super::bits::{Backward, Kept};
use super::fse;
use crate::codec::compression::window::Window;
use crate::codec::compression::{Part, Trouble, take, take_le};

/// The literals that are left.
#[derive(Default)]
pub struct Literals {
    left: usize,
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    None,
    Raw(Part),
    Repeat(u8),
    Streams {
        bits: Kept,
        /// Literals that are left in the stream, and how many each but the last stream has.
        left: usize,
        each: usize,
        behind: [Part; 3],
    },
}

impl Literals {
    /// Reads a block's section of literals, with its Huffman code if it has one.
    pub fn read(
        block: &mut &[u8],
        input: &[u8],
        huffman: &mut Huffman,
    ) -> Result<Literals, Trouble> {
        let first = *block.first().ok_or(Trouble::Corrupt)?;
        let (kind, format) = (first & 3, first >> 2 & 3);
        if kind < 2 {
            let (bytes, shift) = [(1, 3), (2, 4), (1, 3), (3, 4)][usize::from(format)];
            let left = (take_le(block, bytes)? >> shift) as usize;
            check_size(left)?;
            let kind = match kind {
                0 => Kind::Raw(Part::of(take(block, left)?, input)),
                _ => Kind::Repeat(take(block, 1)?[0]),
            };
            return Ok(Literals { left, kind });
        }
        let (bytes, wide) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(format)];
        let header = take_le(block, bytes)? >> 4;
        let left = (header & ((1 << wide) - 1)) as usize;
        check_size(left)?;
        let mut section = take(block, (header >> wide) as usize)?;
        if kind == 2 {
            huffman.read(&mut section)?;
        } else if huffman.bits == 0 {
            return Err(Trouble::Corrupt);
        }
        Literals::streams(left, section, input, format != 0)
    }

    fn streams(
        left: usize,
        mut section: &[u8],
        input: &[u8],
        four: bool,
    ) -> Result<Literals, Trouble> {
        let (mut streams, mut each) = ([&[][..]; 4], left);
        if four {
            each = left.div_ceil(4);
            let mut sizes = take(&mut section, 6)?;
            for stream in &mut streams[..3] {
                let bytes = take_le(&mut sizes, 2)? as usize;
                *stream = take(&mut section, bytes)?;
            }
            streams[3] = section;
            if each * 3 > left {
                return Err(Trouble::Corrupt);
            }
        } else {
            streams[0] = section;
        }
        let [first, behind @ ..] = streams;
        let bits = Backward::new(first)?.kept(input);
        let behind = behind.map(|stream| Part::of(stream, input));
        let kind = Kind::Streams { bits, left: each, each, behind };
        Ok(Literals { left, kind })
    }

    /// How many there are.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Writes the next ones to the window, which has room for them.
    pub fn put(
        &mut self,
        huffman: &Huffman,
        window: &mut Window,
        input: &[u8],
        count: usize,
    ) -> Result<(), Trouble> {
        self.left = self.left.checked_sub(count).ok_or(Trouble::Corrupt)?;
        match &mut self.kind {
            Kind::None => {}
            Kind::Raw(bytes) => window.put(bytes.take(input, count)?),
            Kind::Repeat(byte) => window.repeat(*byte, count),
            Kind::Streams { bits, left, each, behind } => {
                let mut count = count;
                while count > 0 {
                    if *left == 0 {
                        bits.finish()?;
                        *bits = Backward::new(behind[0].bytes(input))?.kept(input);
                        *behind = [behind[1], behind[2], Part::default()];
                        *left = *each;
                    }
                    let some = count.min(*left);
                    let mut live = bits.bits(input);
                    huffman.put(&mut live, window, some);
                    bits.set(&live);
                    *left -= some;
                    count -= some;
                }
            }
        }
        Ok(())
    }

    /// An error unless their streams were read to the end.
    pub fn finish(&self) -> Result<(), Trouble> {
        match &self.kind {
            Kind::Streams { bits, .. } => bits.finish(),
            _ => Ok(()),
        }
    }
}

fn check_size(bytes: usize) -> Result<(), Trouble> {
    if bytes > super::BLOCK_BYTES_MAX as usize { Err(Trouble::Corrupt) } else { Ok(()) }
}

/// A Huffman code, as a table by the next 11 bits.
pub struct Huffman {
    /// The symbol, and in the high byte the length of its code.
    table: [u16; 1 << CODE_BITS_MAX],
    /// Bits of the longest code; 0: there is none.
    bits: u8,
    weights: fse::Table<64>,
}

impl Default for Huffman {
    fn default() -> Self {
        Huffman { table: [0; 1 << CODE_BITS_MAX], bits: 0, weights: fse::Table::default() }
    }
}

impl Huffman {
    /// A new frame: no code can be reused.
    pub fn forget(&mut self) {
        self.bits = 0;
    }

    fn put(&self, bits: &mut Backward<'_>, window: &mut Window, count: usize) {
        let (ring, at, _) = window.ring_mut();
        for byte in &mut ring[at..at + count] {
            let entry = self.table[bits.peek(self.bits) as usize];
            *byte = entry as u8;
            bits.skip((entry >> 8) as u8);
        }
        window.advance(count);
    }

    /// Reads a code from its weights.
    fn read(&mut self, section: &mut &[u8]) -> Result<(), Trouble> {
        self.bits = 0;
        let (mut weights, mut symbols) = ([0_u8; 256], 0);
        let header = usize::from(take(section, 1)?[0]);
        if header < 128 {
            let mut described = take(section, header)?;
            self.weights.describe(&mut described, &WEIGHTS)?;
            symbols = self.weights_read(described, &mut weights)?;
        } else {
            symbols += header - 127;
            let packed = take(section, symbols.div_ceil(2))?;
            for (weight, place) in weights[..symbols].iter_mut().zip(0..) {
                *weight = packed[place / 2] >> (4 * (1 - place % 2)) & 15;
            }
        }
        self.build(&mut weights, symbols)
    }

    /// Two states take turns until the bits are used up.
    fn weights_read(&self, described: &[u8], weights: &mut [u8; 256]) -> Result<usize, Trouble> {
        let mut bits = Backward::new(described)?;
        let accuracy = self.weights.accuracy();
        let mut states = [bits.take(accuracy) as usize, bits.take(accuracy) as usize];
        if bits.is_overrun() {
            return Err(Trouble::Corrupt);
        }
        let mut turns = 0;
        loop {
            let state = self.weights.at(states[turns % 2]);
            // The last symbol's weight follows from the others.
            *weights[..255].get_mut(turns).ok_or(Trouble::Corrupt)? = state.symbol;
            turns += 1;
            states[(turns - 1) % 2] = state.next(&mut bits);
            if bits.is_overrun() {
                let other = self.weights.at(states[turns % 2]);
                *weights[..255].get_mut(turns).ok_or(Trouble::Corrupt)? = other.symbol;
                return Ok(turns + 1);
            }
        }
    }

    fn build(&mut self, weights: &mut [u8; 256], symbols: usize) -> Result<(), Trouble> {
        let mut sum = 0_u32;
        for weight in &weights[..symbols] {
            if *weight > CODE_BITS_MAX {
                return Err(Trouble::Corrupt);
            }
            sum += 1 << weight >> 1;
        }
        let bits = sum.checked_ilog2().ok_or(Trouble::Corrupt)? as u8 + 1;
        let last = (1 << bits) - sum;
        if bits > CODE_BITS_MAX || !last.is_power_of_two() {
            return Err(Trouble::Corrupt);
        }
        weights[symbols] = last.ilog2() as u8 + 1;
        let mut at = 0;
        for weight in 1..=bits {
            let of_weight = weights[..=symbols].iter().zip(0_u16..);
            for (_, symbol) in of_weight.filter(|(other, _)| **other == weight) {
                let places = 1 << (weight - 1);
                let entry = u16::from(bits + 1 - weight) << 8 | symbol;
                self.table[at..at + places].fill(entry);
                at += places;
            }
        }
        self.bits = bits;
        Ok(())
    }
}

const CODE_BITS_MAX: u8 = 11;

const WEIGHTS: fse::Kind =
    fse::Kind { symbol_max: CODE_BITS_MAX as usize, accuracy_max: 6, accuracy: 0, counts: &[] };
