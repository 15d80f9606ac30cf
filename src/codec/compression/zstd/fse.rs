//! Tables of finite state entropy: a state has a symbol, and tells how the next state is read.

use super::bits::Backward;
use crate::codec::compression::{Trouble, take};

/// A table of at most `N` states.
pub struct Table<const N: usize> {
    states: [State; N],
    /// As a power of two; none: there is no table.
    accuracy: Option<u8>,
}

/// A state.
#[derive(Debug, Default, Clone, Copy)]
pub struct State {
    base: u16,
    bits: u8,
    /// Its symbol.
    pub symbol: u8,
}

/// The bounds of a kind of table, and its predefined one.
pub struct Kind {
    pub symbol_max: usize,
    pub accuracy_max: u8,
    /// Of the predefined table.
    pub accuracy: u8,
    /// How many states each symbol has in it; −1: one, for a symbol of less than one state.
    pub counts: &'static [i16],
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Table { states: [State::default(); N], accuracy: None }
    }
}

impl<const N: usize> Table<N> {
    /// A new frame: no table can be reused.
    pub fn forget(&mut self) {
        self.accuracy = None;
    }

    /// How many states there are, as a power of two.
    pub fn accuracy(&self) -> u8 {
        self.accuracy.unwrap_or(0)
    }

    /// A state.
    pub fn at(&self, state: usize) -> State {
        self.states[state & (N - 1)]
    }

    /// Takes the table that a block's `mode` names.
    pub fn read(&mut self, mode: u8, block: &mut &[u8], kind: &Kind) -> Result<(), Trouble> {
        match mode {
            0 => self.build(kind.counts, kind.accuracy),
            1 => {
                let symbol = take(block, 1)?[0];
                if usize::from(symbol) > kind.symbol_max {
                    return Err(Trouble::Corrupt);
                }
                self.states[0] = State { symbol, ..State::default() };
                self.accuracy = Some(0);
            }
            2 => self.describe(block, kind)?,
            _ if self.accuracy.is_none() => return Err(Trouble::Corrupt),
            _ => {}
        }
        Ok(())
    }

    /// Reads a table's description.
    pub fn describe(&mut self, block: &mut &[u8], kind: &Kind) -> Result<(), Trouble> {
        let mut bits = Forward { bytes: block, at: 0 };
        let accuracy = bits.take(4) as u8 + 5;
        if accuracy > kind.accuracy_max {
            return Err(Trouble::Corrupt);
        }
        let (mut counts, mut symbols) = ([0_i16; SYMBOLS_MAX], 0);
        let mut left = 1_i32 << accuracy;
        while left > 0 && symbols <= kind.symbol_max {
            let count = bits.count(left)?;
            counts[symbols] = count;
            symbols += 1;
            left -= i32::from(count.unsigned_abs());
            let mut zeroes = 3;
            while count == 0 && zeroes == 3 {
                zeroes = bits.take(2) as usize;
                symbols += zeroes;
            }
        }
        if left != 0 || symbols > kind.symbol_max + 1 {
            return Err(Trouble::Corrupt);
        }
        take(block, bits.at.div_ceil(8))?;
        self.build(&counts[..symbols], accuracy);
        Ok(())
    }

    fn build(&mut self, counts: &[i16], accuracy: u8) {
        let size = 1_usize << accuracy;
        let mut high = size;
        for (symbol, _) in counts.iter().enumerate().filter(|(_, count)| **count == -1) {
            high -= 1;
            self.states[high].symbol = symbol as u8;
        }
        let (step, mut at) = ((size >> 1) + (size >> 3) + 3, 0);
        for (symbol, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                self.states[at].symbol = symbol as u8;
                at = (at + step) & (size - 1);
                while at >= high {
                    at = (at + step) & (size - 1);
                }
            }
        }
        let mut next = [0_u16; SYMBOLS_MAX];
        for (next, count) in next.iter_mut().zip(counts) {
            *next = count.unsigned_abs();
        }
        for state in &mut self.states[..size] {
            let next = &mut next[usize::from(state.symbol)];
            state.bits = accuracy - next.ilog2() as u8;
            state.base = (*next << state.bits) - size as u16;
            *next += 1;
        }
        self.accuracy = Some(accuracy);
    }
}

impl State {
    /// The state after this one.
    pub fn next(&self, bits: &mut Backward<'_>) -> usize {
        usize::from(self.base) + bits.take(self.bits) as usize
    }
}

/// Bits that are read from the beginning of bytes on. Behind their end there are zeroes.
struct Forward<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Forward<'_> {
    fn peek(&self, count: usize) -> u32 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = rest.iter().take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        word >> (self.at % 8) & ((1 << count) - 1)
    }

    fn take(&mut self, count: usize) -> u32 {
        let bits = self.peek(count);
        self.at += count;
        bits
    }

    /// How many states a symbol has, when `left` are left.
    fn count(&mut self, left: i32) -> Result<i16, Trouble> {
        if self.at > self.bytes.len() * 8 {
            return Err(Trouble::Corrupt);
        }
        let left = left.unsigned_abs() + 1;
        let wide = left.ilog2() as usize + 1;
        let low = (1 << (wide - 1)) - 1;
        // How many values take one bit less.
        let short = (1 << wide) - 1 - left;
        let value = self.peek(wide);
        let count = if value & low < short {
            self.at += wide - 1;
            value & low
        } else {
            self.at += wide;
            if value > low { value - short } else { value }
        };
        Ok(count as i16 - 1)
    }
}

/// More than any table has.
const SYMBOLS_MAX: usize = 64;
