//! Texts of any length in one buffer of fixed size.
//!
//! They stand one behind the other without gaps: what is freed is closed up at once, so that room is
//! a sum and nothing else. Changes are rare enough for that.

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
}
