//! Zstandard (RFC 8878), one sequence at a time: literals are decoded when they are needed, so that only
//! the tables take memory. Dictionaries are refused: no Kafka client uses them.

mod bits;
mod fse;
mod literals;

use bits::{Backward, Kept};
use literals::{Huffman, Literals};

use super::window::Window;
use super::xxhash::Xxh64;
use super::{Part, Trouble, take_le};

/// The tables that blocks build and may reuse. 9 KiB.
#[derive(Default)]
pub struct Tables {
    huffman: Huffman,
    literal_lengths: fse::Table<512>,
    offsets: fse::Table<256>,
    match_lengths: fse::Table<512>,
}

pub struct Zstd {
    rest: Part,
    frame: Option<Frame>,
    /// Nothing was read yet.
    fresh: bool,
    block: Block,
    literals: Literals,
    sequences: Sequences,
    /// Literals that come next.
    literal_bytes: usize,
    /// Distance and length of the match behind them.
    copy: (usize, usize),
}

/// A frame.
struct Frame {
    /// Where its output begins, which bounds how far it may refer back.
    begin: u64,
    /// Bytes of a block's output at the most.
    block_bytes_max: u64,
    /// Bytes of all its output, where it says so.
    content_bytes: Option<u64>,
    /// The checksum of its output so far, if it has one, and how much of the output is in it.
    checksum: Option<Xxh64>,
    summed: u64,
    last_block: bool,
    /// The last three distances, newest first.
    distances: [usize; 3],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Between,
    Raw(Part),
    Repeat(u8, usize),
    /// A compressed one, and where its output must end at the latest.
    Compressed(u64),
}

/// The state of a block's sequences.
#[derive(Default)]
struct Sequences {
    left: u32,
    bits: Kept,
    literal_length: usize,
    offset: usize,
    match_length: usize,
}

impl Zstd {
    pub fn new(all: Part) -> Zstd {
        Zstd {
            rest: all,
            frame: None,
            fresh: true,
            block: Block::Between,
            literals: Literals::default(),
            sequences: Sequences::default(),
            literal_bytes: 0,
            copy: (0, 0),
        }
    }

    /// Makes a piece; false: it is the last.
    pub fn fill(
        &mut self,
        tables: &mut Tables,
        window: &mut Window,
        input: &[u8],
    ) -> Result<bool, Trouble> {
        loop {
            let room = window.room();
            if window.is_full() {
                self.sum(window);
                return Ok(true);
            }
            match &mut self.block {
                Block::Raw(bytes) => {
                    let some = bytes.len().min(room);
                    window.put(bytes.take(input, some)?);
                    if bytes.is_empty() {
                        self.block = Block::Between;
                    }
                }
                Block::Repeat(byte, left) => {
                    let some = room.min(*left);
                    window.repeat(*byte, some);
                    *left -= some;
                    if *left == 0 {
                        self.block = Block::Between;
                    }
                }
                Block::Compressed(end_max) => {
                    let end_max = *end_max;
                    self.step(tables, window, input, end_max)?;
                }
                Block::Between => {
                    if !self.block_next(tables, window, input)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Does one step in a block.
    fn step(
        &mut self,
        tables: &Tables,
        window: &mut Window,
        input: &[u8],
        end_max: u64,
    ) -> Result<(), Trouble> {
        let room = window.room();
        if self.literal_bytes > 0 {
            let some = self.literal_bytes.min(room);
            self.literals.put(&tables.huffman, window, input, some)?;
            self.literal_bytes -= some;
        } else if self.copy.1 > 0 {
            let some = self.copy.1.min(room);
            window.copy(self.copy.0, some)?;
            self.copy.1 -= some;
        } else if self.sequences.left > 0 {
            self.sequence(tables, input, window.written(), end_max)?;
        } else if self.literals.left() > 0 {
            self.literal_bytes = self.literals.left();
            let end = window.written() + self.literal_bytes as u64;
            return if end > end_max { Err(Trouble::Corrupt) } else { Ok(()) };
        } else {
            self.literals.finish()?;
            self.sequences.bits.finish()?;
            self.block = Block::Between;
        }
        Ok(())
    }

    /// Begins the next block; false if there is none.
    fn block_next(
        &mut self,
        tables: &mut Tables,
        window: &mut Window,
        input: &[u8],
    ) -> Result<bool, Trouble> {
        self.sum(window);
        let written = window.written();
        let Some(frame) = &mut self.frame else {
            return self.frame_next(tables, input, written);
        };
        if frame.last_block {
            if frame.content_bytes.is_some_and(|bytes| bytes != written - frame.begin) {
                return Err(Trouble::Corrupt);
            }
            if let Some(sum) = &frame.checksum
                && self.rest.take_le(input, 4)? != sum.finish() & u64::from(u32::MAX)
            {
                return Err(Trouble::Corrupt);
            }
            self.frame = None;
            return Ok(true);
        }
        let header = self.rest.take_le(input, 3)? as usize;
        frame.last_block = header & 1 != 0;
        let (kind, bytes) = (header >> 1 & 3, header >> 3);
        if bytes as u64 > frame.block_bytes_max {
            return Err(Trouble::Corrupt);
        }
        self.block = match kind {
            0 if bytes == 0 => Block::Between,
            0 => Block::Raw(self.rest.split(bytes)?),
            1 => match (self.rest.take(input, 1)?[0], bytes) {
                (_, 0) => Block::Between,
                (byte, bytes) => Block::Repeat(byte, bytes),
            },
            2 => {
                let end_max = written + frame.block_bytes_max;
                let block = self.rest.take(input, bytes)?;
                self.compressed(tables, input, block)?;
                window.charge(BLOCK_WORK);
                Block::Compressed(end_max)
            }
            _ => return Err(Trouble::Corrupt),
        };
        Ok(true)
    }

    /// Adds the output that came since to the frame's checksum.
    fn sum(&mut self, window: &Window) {
        if let Some(frame) = &mut self.frame
            && let Some(sum) = &mut frame.checksum
        {
            let new = (window.written() - frame.summed) as usize;
            sum.update(&window.piece()[window.piece().len() - new..]);
            frame.summed = window.written();
        }
    }

    fn frame_next(
        &mut self,
        tables: &mut Tables,
        input: &[u8],
        written: u64,
    ) -> Result<bool, Trouble> {
        if self.rest.is_empty() && !self.fresh {
            return Ok(false);
        }
        self.fresh = false;
        let magic = self.rest.take_le(input, 4)?;
        if magic & !0xf == MAGIC_SKIPPABLE {
            let bytes = self.rest.take_le(input, 4)? as usize;
            self.rest.split(bytes)?;
            return Ok(true);
        }
        if magic != MAGIC {
            return Err(Trouble::Corrupt);
        }
        let flags = self.rest.take(input, 1)?[0];
        let single_segment = flags & SINGLE_SEGMENT != 0;
        let mut window_bytes = 0;
        if !single_segment {
            let size = self.rest.take(input, 1)?[0];
            let base = 1_u64 << (10 + (size >> 3));
            window_bytes = base + base / 8 * u64::from(size & 7);
        }
        let dictionary = self.rest.take_le(input, [0, 1, 2, 4][usize::from(flags & 3)])?;
        if dictionary != 0 || flags & RESERVED != 0 {
            return Err(Trouble::Corrupt);
        }
        let size = match (flags >> 6, single_segment) {
            (0, single) => usize::from(single),
            (wide, _) => 1 << wide,
        };
        let content_bytes = self.rest.take_le(input, size)? + if size == 2 { 256 } else { 0 };
        if single_segment {
            window_bytes = content_bytes;
        } else if window_bytes > WINDOW_BYTES_MAX {
            return Err(Trouble::Corrupt);
        }
        tables.huffman.forget();
        tables.literal_lengths.forget();
        tables.offsets.forget();
        tables.match_lengths.forget();
        self.frame = Some(Frame {
            begin: written,
            content_bytes: (size > 0).then_some(content_bytes),
            block_bytes_max: window_bytes.min(BLOCK_BYTES_MAX),
            checksum: (flags & CHECKSUM != 0).then(Xxh64::new),
            summed: written,
            last_block: false,
            distances: [1, 4, 8],
        });
        Ok(true)
    }

    /// Begins a compressed block.
    fn compressed(
        &mut self,
        tables: &mut Tables,
        input: &[u8],
        mut block: &[u8],
    ) -> Result<(), Trouble> {
        self.literals = Literals::read(&mut block, input, &mut tables.huffman)?;
        let count = match take_le(&mut block, 1)? as u32 {
            count @ 0..128 => count,
            255 => take_le(&mut block, 2)? as u32 + 0x7f00,
            high => (high - 128) << 8 | take_le(&mut block, 1)? as u32,
        };
        self.sequences = Sequences { left: count, ..Sequences::default() };
        if count == 0 {
            return if block.is_empty() { Ok(()) } else { Err(Trouble::Corrupt) };
        }
        let modes = take_le(&mut block, 1)? as u8;
        if modes & 3 != 0 {
            return Err(Trouble::Corrupt);
        }
        tables.literal_lengths.read(modes >> 6, &mut block, &LITERAL_LENGTHS)?;
        tables.offsets.read(modes >> 4 & 3, &mut block, &OFFSETS)?;
        tables.match_lengths.read(modes >> 2 & 3, &mut block, &MATCH_LENGTHS)?;
        let mut bits = Backward::new(block)?;
        self.sequences.literal_length = bits.take(tables.literal_lengths.accuracy()) as usize;
        self.sequences.offset = bits.take(tables.offsets.accuracy()) as usize;
        self.sequences.match_length = bits.take(tables.match_lengths.accuracy()) as usize;
        self.sequences.bits = bits.kept(input);
        Ok(())
    }

    /// Reads the next sequence.
    fn sequence(
        &mut self,
        tables: &Tables,
        input: &[u8],
        written: u64,
        end_max: u64,
    ) -> Result<(), Trouble> {
        let frame = self.frame.as_mut().ok_or(Trouble::Corrupt)?;
        let sequences = &mut self.sequences;
        let bits = &mut sequences.bits.bits(input);
        let literal = tables.literal_lengths.at(sequences.literal_length);
        let offset = tables.offsets.at(sequences.offset);
        let length = tables.match_lengths.at(sequences.match_length);

        let offset_value = (1_usize << offset.symbol) + bits.take(offset.symbol) as usize;
        let match_bytes = of_code(length.symbol, &MATCH_CODES, bits)?;
        let literal_bytes = of_code(literal.symbol, &LITERAL_CODES, bits)?;
        sequences.left -= 1;
        if sequences.left > 0 {
            sequences.literal_length = literal.next(bits);
            sequences.match_length = length.next(bits);
            sequences.offset = offset.next(bits);
        }
        sequences.bits.set(bits);
        if bits.is_overrun() {
            return Err(Trouble::Corrupt);
        }
        let distance = distance_of(offset_value, literal_bytes == 0, &mut frame.distances)?;
        let there = written + literal_bytes as u64;
        let within =
            literal_bytes <= self.literals.left() && distance as u64 <= there - frame.begin;
        if !within || there + match_bytes as u64 > end_max {
            return Err(Trouble::Corrupt);
        }
        self.literal_bytes = literal_bytes;
        self.copy = (distance, match_bytes);
        Ok(())
    }
}

/// The length that a code stands for, with its extra bits.
fn of_code(code: u8, codes: &[(u32, u8)], bits: &mut Backward<'_>) -> Result<usize, Trouble> {
    let (base, more) = *codes.get(usize::from(code)).ok_or(Trouble::Corrupt)?;
    Ok((base + bits.take(more)) as usize)
}

/// A distance from its value: 1 to 3 stand for one of the last three.
fn distance_of(value: usize, no_literals: bool, last: &mut [usize; 3]) -> Result<usize, Trouble> {
    if value > 3 {
        *last = [value - 3, last[0], last[1]];
        return Ok(last[0]);
    }
    let place = value - 1 + usize::from(no_literals);
    let distance = match place {
        3 => last[0] - 1,
        place => last[place],
    };
    if distance == 0 {
        return Err(Trouble::Corrupt);
    }
    *last = match place {
        0 => *last,
        1 => [distance, last[0], last[2]],
        _ => [distance, last[0], last[1]],
    };
    Ok(distance)
}

const MAGIC: u64 = 0xfd2f_b528;
const MAGIC_SKIPPABLE: u64 = 0x184d_2a50;
const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;
const BLOCK_BYTES_MAX: u64 = 128 * 1024;

/// What the tables of a block cost, in bytes of output.
const BLOCK_WORK: usize = 1024;

/// Other decoders refuse larger windows as well, by default.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

/// For each code its lowest length and how many extra bits follow it: the last ones have these, the others
/// none.
const fn codes<const N: usize, const M: usize>(first: u32, more: [u8; M]) -> [(u32, u8); N] {
    let (mut codes, mut code, mut base) = ([(0, 0); N], 0, first);
    while code < N {
        let bits = if code < N - M { 0 } else { more[code + M - N] };
        codes[code] = (base, bits);
        base += 1 << bits;
        code += 1;
    }
    codes
}

const LITERAL_CODES: [(u32, u8); 36] =
    codes(0, [1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

const MATCH_CODES: [(u32, u8); 53] =
    codes(3, [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

const LITERAL_LENGTHS: fse::Kind = fse::Kind {
    symbol_max: 35,
    accuracy_max: 9,
    accuracy: 6,
    counts: &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1,
        1, 1, -1, -1, -1, -1,
    ],
};

const OFFSETS: fse::Kind = fse::Kind {
    symbol_max: 31,
    accuracy_max: 8,
    accuracy: 5,
    counts: &[
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
};

const MATCH_LENGTHS: fse::Kind = fse::Kind {
    symbol_max: 52,
    accuracy_max: 9,
    accuracy: 6,
    counts: &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
};
