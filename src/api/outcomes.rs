//! What became of the items of a request, before any of it is written into the answer.

use super::Window;
use super::change::Made;
use crate::codec::ErrorCode;

/// A code for each item. They stand at the end of the window, which the answer leaves free.
pub(super) struct Outcomes<'a>(&'a mut [[u8; CODE_BYTES]]);

impl<'a> Outcomes<'a> {
    /// One for each of `items`, without an error so far, and the window in front of them. The whole
    /// window if an answer of `answer_bytes` does not fit there.
    pub fn split(
        out: Window<'a>,
        items: usize,
        answer_bytes: usize,
    ) -> Result<(Outcomes<'a>, Window<'a>), Window<'a>> {
        let Some(at) = out.buf.len().checked_sub(items.saturating_mul(CODE_BYTES)) else {
            return Err(out);
        };
        if answer_bytes > at {
            return Err(out);
        }
        let (buf, tail) = out.buf.split_at_mut(at);
        tail.fill(0);
        let (codes, _) = tail.as_chunks_mut();
        Ok((Outcomes(codes), Window { buf, from: out.from }))
    }

    /// Of an item, by its place in the request.
    pub fn get(&self, place: usize) -> ErrorCode {
        self.0.get(place).map_or(ErrorCode::NONE, |code| ErrorCode(i16::from_le_bytes(*code)))
    }

    /// Notes it.
    pub fn set(&mut self, place: usize, code: ErrorCode) {
        if let Some(outcome) = self.0.get_mut(place) {
            *outcome = code.0.to_le_bytes();
        }
    }
}

/// What was made for each item, as far as anything was. It stands where the codes would.
pub(super) struct Makings<'a> {
    bytes: &'a mut [u8],
    /// Of each: how it went, then what was made.
    each: usize,
}

impl<'a> Makings<'a> {
    /// How many bytes it takes: of each item so many of what is made, and how it went.
    pub fn bytes(items: usize, made_bytes: usize) -> usize {
        items.saturating_mul(1 + made_bytes)
    }

    /// Nothing so far, and the window in front of it. There is room for both.
    pub fn split(out: Window<'a>, items: usize, made_bytes: usize) -> (Makings<'a>, Window<'a>) {
        let at = out.buf.len() - Makings::bytes(items, made_bytes);
        let (buf, bytes) = out.buf.split_at_mut(at);
        bytes.fill(NOTHING);
        (Makings { bytes, each: 1 + made_bytes }, Window { buf, from: out.from })
    }

    /// Of an item, by its place in the request: what was made, or that it failed.
    pub fn get(&self, place: usize) -> Option<Result<Made, ()>> {
        let (how, bytes) = self.bytes.get(place * self.each..)?.split_first()?;
        match *how {
            MADE => {
                let mut made = Made::default();
                let count = self.each - 1;
                made.get_mut(..count)?.copy_from_slice(bytes.get(..count)?);
                Some(Ok(made))
            }
            FAILED => Some(Err(())),
            _ => None,
        }
    }

    /// Notes it.
    pub fn set(&mut self, place: usize, made: Result<Made, ()>) {
        let all = self.bytes.get_mut(place * self.each..);
        let one = all.and_then(|bytes| bytes.get_mut(..self.each));
        if let Some([how, bytes @ ..]) = one {
            *how = if made.is_ok() { MADE } else { FAILED };
            let made = made.unwrap_or_default();
            bytes.iter_mut().zip(made).for_each(|(byte, made)| *byte = made);
        }
    }
}

const NOTHING: u8 = 0;
const MADE: u8 = 1;
const FAILED: u8 = 2;

const CODE_BYTES: usize = size_of::<i16>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_read_as_it_was_noted() {
        let mut buf = [7; 40];
        let out = Window { buf: &mut buf, from: 0 };
        let (mut makings, out) = Makings::split(out, 4, 8);
        assert_eq!(out.buf.len(), 4);
        let one = std::array::from_fn(|at| if at < 8 { at as u8 } else { 0 });
        makings.set(1, Ok(one));
        makings.set(2, Err(()));
        makings.set(9, Ok(one));
        let seen = [0, 1, 2, 3, 4, 9].map(|place| makings.get(place));
        assert_eq!(seen, [None, Some(Ok(one)), Some(Err(())), None, None, None]);
    }

    #[test]
    fn outcomes_leave_the_answer_its_room() {
        let mut buf = [7; 10];
        assert!(Outcomes::split(Window { buf: &mut buf, from: 0 }, 3, 5).is_err());
        let (mut outcomes, out) =
            Outcomes::split(Window { buf: &mut buf, from: 0 }, 3, 4).ok().expect("4 and 6 bytes");
        outcomes.set(1, ErrorCode::NOT_COORDINATOR);
        outcomes.set(3, ErrorCode::NOT_COORDINATOR);
        assert_eq!(out.buf.len(), 4);
        let codes = [0, 1, 2, 3].map(|place| outcomes.get(place));
        let none = ErrorCode::NONE;
        assert_eq!(codes, [none, ErrorCode::NOT_COORDINATOR, none, none]);
    }
}
