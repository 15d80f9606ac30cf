//! What became of the items of a request, before any of it is written into the answer.

use super::Window;
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

const CODE_BYTES: usize = size_of::<i16>();

#[cfg(test)]
mod tests {
    use super::*;

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
