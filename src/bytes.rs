//! Texts of any length in one buffer of fixed size; and [`TextBuf`], of which one is written.
//!
//! They stand one behind the other without gaps: what is freed is closed up at once, so that room is
//! a sum and nothing else. Changes are rare enough for that.

use std::fmt;

/// A buffer that text is written into; what does not fit is an error.
pub struct TextBuf<'a> {
    buf: &'a mut [u8],
    len: usize,
}

/// The buffer.
pub struct ByteArena {
    buf: Box<[u8]>,
    used: usize,
}

/// Where a text stands. It moves when one in front of it is freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl<'a> TextBuf<'a> {
    /// Nothing is written yet.
    pub fn new(buf: &'a mut [u8]) -> TextBuf<'a> {
        TextBuf { buf, len: 0 }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// Writes all of it or nothing.
    pub fn whole(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        let len = self.len;
        let written = write(self);
        if written.is_err() {
            self.len = len;
        }
        written
    }
}

impl fmt::Write for TextBuf<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let to = self.len + text.len();
        self.buf.get_mut(self.len..to).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = to;
        Ok(())
    }
}

impl Span {
    /// How many bytes it has.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl ByteArena {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> ByteArena {
        ByteArena { buf: vec![0; bytes].into(), used: 0 }
    }

    /// All the bytes that it could hold.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// The bytes that it holds.
    pub fn used(&self) -> usize {
        self.used
    }

    /// A text.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.buf[span.start as usize..(span.start + span.len) as usize]
    }

    /// Takes room for a text of so many bytes, which are to be filled.
    pub fn take(&mut self, len: usize) -> Option<(Span, &mut [u8])> {
        let start = self.used;
        let window = self.buf.get_mut(start..start.checked_add(len)?)?;
        self.used += len;
        Some((Span { start: start as u32, len: len as u32 }, window))
    }

    /// Makes a text longer or shorter. It keeps what it begins with, and moves to the end; the other texts
    /// move as when it is freed. None: there is no room, and nothing changed.
    pub fn resize<'s>(
        &mut self,
        span: Span,
        len: usize,
        others: impl Iterator<Item = &'s mut Span>,
    ) -> Option<Span> {
        let start = self.used - span.len();
        let used = start.checked_add(len).filter(|used| *used <= self.buf.len())?;
        if !span.is_empty() {
            self.buf[span.start as usize..self.used].rotate_left(span.len());
            for other in others.filter(|other| other.start > span.start) {
                other.start -= span.len;
            }
        }
        self.used = used;
        Some(Span { start: start as u32, len: len as u32 })
    }

    /// A text, to change it.
    pub fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.buf[span.start as usize..(span.start + span.len) as usize]
    }

    /// Frees a text. `others` are all others, which move.
    pub fn free<'s>(&mut self, span: Span, others: impl Iterator<Item = &'s mut Span>) {
        let Span { start, len } = span;
        if len == 0 {
            return;
        }
        self.buf.copy_within((start + len) as usize..self.used, start as usize);
        self.used -= len as usize;
        for other in others.filter(|other| other.start > start) {
            other.start -= len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_what_they_are_while_others_come_and_go() {
        let mut arena = ByteArena::new(10);
        let mut put = |text: &str| {
            let (span, window) = arena.take(text.len())?;
            window.copy_from_slice(text.as_bytes());
            Some(span)
        };
        let mut spans = [put("abc").unwrap(), put("").unwrap(), put("defg").unwrap()];
        assert_eq!(put("hijk"), None, "three bytes are left");
        let freed = std::mem::take(&mut spans[0]);
        arena.free(freed, spans.iter_mut());
        assert_eq!((arena.used(), arena.capacity()), (4, 10));
        assert_eq!(arena.bytes(spans[2]), b"defg");
        assert_eq!(arena.bytes(spans[1]), b"");
        assert!(arena.take(6).is_some() && arena.take(1).is_none());
    }

    #[test]
    fn a_text_that_gets_longer_or_shorter_keeps_its_beginning() {
        let mut arena = ByteArena::new(10);
        let mut spans = ["abc", "de", "f"].map(|text| {
            let (span, window) = arena.take(text.len()).unwrap();
            window.copy_from_slice(text.as_bytes());
            span
        });
        for (nth, len, used) in [(0, 7, 10), (0, 2, 5), (1, 1, 4), (2, 0, 3), (2, 3, 6)] {
            let span = std::mem::take(&mut spans[nth]);
            let resized = arena.resize(span, len, spans.iter_mut());
            spans[nth] = resized.unwrap();
            assert_eq!((spans[nth].len(), arena.used()), (len, used), "text {nth} to {len} bytes");
        }
        assert_eq!([0, 1].map(|nth| arena.bytes(spans[nth])), [&b"ab"[..], b"d"]);
        let before = (spans, arena.used());
        let (span, mut others) = (spans[0], spans);
        assert_eq!(arena.resize(span, 7, others[1..].iter_mut()), None);
        assert_eq!((others, arena.used()), before);
    }
}
