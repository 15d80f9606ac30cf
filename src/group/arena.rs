//! One buffer for all that is of any length: names, what members say, what they are assigned.

use crate::bytes::{ByteArena, Span};

/// A block's number: fixed, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId(pub u16);

/// The buffer and where its blocks are.
pub struct Arena {
    bytes: ByteArena,
    blocks: Vec<Span>,
}

impl Arena {
    /// Room for so many bytes in so many blocks, all of them empty.
    pub fn new(bytes: usize, blocks: usize) -> Arena {
        Arena { bytes: ByteArena::new(bytes), blocks: vec![Span::default(); blocks] }
    }

    /// The memory that this takes.
    pub fn memory_bytes(bytes: usize, blocks: usize) -> usize {
        bytes + blocks * size_of::<Span>()
    }

    /// All the bytes that it could hold.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes that it holds.
    pub fn used(&self) -> usize {
        self.bytes.used()
    }

    /// How many bytes a block has.
    pub fn len_of(&self, id: BlockId) -> usize {
        self.blocks[usize::from(id.0)].len()
    }

    /// What a block holds.
    pub fn bytes(&self, id: BlockId) -> &[u8] {
        self.bytes.bytes(self.blocks[usize::from(id.0)])
    }

    /// Whether a block may hold so many bytes in place of what it has.
    pub fn has_room(&self, id: BlockId, len: usize) -> bool {
        self.used() - self.len_of(id) + len <= self.capacity()
    }

    /// Gives a block so many bytes, which are to be filled, in place of what it had.
    pub fn put(&mut self, id: BlockId, len: usize) -> Option<&mut [u8]> {
        if !self.has_room(id, len) {
            return None;
        }
        self.free(id);
        let (span, window) = self.bytes.take(len)?;
        self.blocks[usize::from(id.0)] = span;
        Some(window)
    }

    /// Makes a block longer or shorter, in which what it begins with stays; it is given whole. None:
    /// there is no room, and nothing changed.
    #[cfg(feature = "consumer-protocol")]
    pub fn resize(&mut self, id: BlockId, len: usize) -> Option<&mut [u8]> {
        let place = usize::from(id.0);
        let before = std::mem::take(&mut self.blocks[place]);
        let span = self.bytes.resize(before, len, self.blocks.iter_mut());
        self.blocks[place] = span.unwrap_or(before);
        Some(self.bytes.bytes_mut(span?))
    }

    /// What a block holds, to change it.
    #[cfg(feature = "consumer-protocol")]
    pub fn bytes_mut(&mut self, id: BlockId) -> &mut [u8] {
        self.bytes.bytes_mut(self.blocks[usize::from(id.0)])
    }

    /// Puts another field in the place of a block's `nth`; whoever asks has looked for room.
    #[cfg(feature = "consumer-protocol")]
    pub fn field_set(&mut self, id: BlockId, nth: usize, field: &[u8]) {
        let mut fields = Fields(self.bytes(id));
        let before = self.len_of(id);
        for _ in 0..nth {
            fields.next();
        }
        let start = before - fields.0.len();
        let old = fields.next().expect("the block has such a field").len();
        let (old_end, new_end) = (start + FIELD_BYTES + old, start + FIELD_BYTES + field.len());
        let after = before - old + field.len();
        let block = self.resize(id, before.max(after)).expect("there is room");
        block.copy_within(old_end..before, new_end);
        Filler(&mut block[start..new_end]).push(field);
        self.resize(id, after).expect("it is not longer");
    }

    /// Empties a block.
    pub fn free(&mut self, id: BlockId) {
        let span = std::mem::take(&mut self.blocks[usize::from(id.0)]);
        self.bytes.free(span, self.blocks.iter_mut());
    }
}

/// Fills a block with fields, each behind its length.
pub struct Filler<'a>(pub &'a mut [u8]);

impl Filler<'_> {
    /// Appends a field.
    pub fn push(&mut self, field: &[u8]) {
        let len = u32::try_from(field.len()).expect("no field is longer than the arena");
        let rest = std::mem::take(&mut self.0);
        let (head, rest) = rest.split_at_mut(FIELD_BYTES);
        head.copy_from_slice(&len.to_le_bytes());
        let (body, rest) = rest.split_at_mut(field.len());
        body.copy_from_slice(field);
        self.0 = rest;
    }
}

/// Reads the fields of a block.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_first_chunk::<FIELD_BYTES>()?;
        let (field, rest) = rest.split_at(u32::from_le_bytes(*head) as usize);
        self.0 = rest;
        Some(field)
    }
}

/// What a field takes beside itself.
pub const FIELD_BYTES: usize = size_of::<u32>();

#[cfg(test)]
mod tests {
    use super::*;

    fn put(arena: &mut Arena, id: u16, text: &str) -> bool {
        let block = arena.put(BlockId(id), text.len());
        block.map(|block| block.copy_from_slice(text.as_bytes())).is_some()
    }

    #[test]
    fn blocks_keep_what_they_hold_while_others_come_and_go() {
        let mut arena = Arena::new(12, 4);
        assert!(
            put(&mut arena, 0, "abc") && put(&mut arena, 1, "defg") && put(&mut arena, 2, "hi")
        );
        assert!(!put(&mut arena, 3, "jklm"), "there is room for three");
        assert!(put(&mut arena, 0, "ABCDE"), "with its own place there is room for more");
        assert_eq!(arena.bytes(BlockId(1)), b"defg");
        assert_eq!(arena.bytes(BlockId(2)), b"hi");
        assert_eq!(arena.bytes(BlockId(0)), b"ABCDE");
        arena.free(BlockId(1));
        assert_eq!((arena.used(), arena.bytes(BlockId(1))), (7, &b""[..]));
        assert_eq!(arena.bytes(BlockId(0)), b"ABCDE");
        assert!(put(&mut arena, 3, "jklmn"));
        assert_eq!(arena.bytes(BlockId(2)), b"hi");
        assert_eq!(arena.used(), arena.capacity());
    }

    #[test]
    #[cfg(feature = "consumer-protocol")]
    fn a_field_is_replaced_in_its_place() {
        let mut arena = Arena::new(11 + 8 + 3 + 3 * FIELD_BYTES, 3);
        assert!(put(&mut arena, 0, "before"));
        let mut filler = Filler(arena.put(BlockId(1), 3 + 3 * FIELD_BYTES).unwrap());
        for field in [&b"ab"[..], b"", b"c"] {
            filler.push(field);
        }
        assert!(put(&mut arena, 2, "after"));
        for (nth, field) in [(1, "long one"), (0, "x"), (1, "y"), (2, "")] {
            arena.field_set(BlockId(1), nth, field.as_bytes());
            let fields: Vec<&[u8]> = Fields(arena.bytes(BlockId(1))).collect();
            assert_eq!((fields.len(), fields[nth]), (3, field.as_bytes()));
            assert_eq!(arena.bytes(BlockId(0)), b"before");
            assert_eq!(arena.bytes(BlockId(2)), b"after");
        }
        assert_eq!(arena.used(), 6 + 3 * FIELD_BYTES + 2 + 5);
        assert!(arena.resize(BlockId(1), 99).is_none());
        assert_eq!(Fields(arena.bytes(BlockId(1))).next(), Some(&b"x"[..]));
    }

    #[test]
    fn fields_come_back_as_they_went_in() {
        let mut buf = [0; 3 + 3 * FIELD_BYTES];
        let mut filler = Filler(&mut buf);
        for field in [&b"ab"[..], b"", b"c"] {
            filler.push(field);
        }
        let fields: Vec<&[u8]> = Fields(&buf).collect();
        assert_eq!(fields, [&b"ab"[..], b"", b"c"]);
    }
}
