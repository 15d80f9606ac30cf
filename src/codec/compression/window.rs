//! The newest output, to which streams refer back, and of which the pieces are parts.

use super::{PIECE_BYTES_MAX, Trouble};

/// A ring of a power of two bytes.
pub struct Window {
    bytes: Box<[u8]>,
    /// Bytes of output since the stream began.
    written: u64,
    /// Where the piece began that is being made.
    piece_from: usize,
    piece_bytes: usize,
    /// How long it may become: it does not wrap around.
    piece_max: usize,
    /// The work for it beside its bytes.
    charged: u32,
}

impl Window {
    pub fn new(bytes: usize) -> Window {
        Window {
            bytes: vec![0; bytes].into_boxed_slice(),
            written: 0,
            piece_from: 0,
            piece_bytes: 0,
            piece_max: 0,
            charged: 0,
        }
    }

    /// A new stream, which cannot refer back to earlier output.
    pub fn begin(&mut self) {
        (self.written, self.piece_from, self.piece_bytes, self.piece_max) = (0, 0, 0, 0);
    }

    /// Begins the next piece.
    pub fn piece_begin(&mut self) {
        self.piece_from = self.written as usize & (self.bytes.len() - 1);
        self.piece_bytes = 0;
        self.charged = 0;
        self.piece_max = PIECE_BYTES_MAX.min(self.bytes.len() - self.piece_from);
    }

    pub fn piece(&self) -> &[u8] {
        &self.bytes[self.piece_from..self.piece_from + self.piece_bytes]
    }

    /// How many bytes the piece has room for.
    pub fn room(&self) -> usize {
        self.piece_max - self.piece_bytes
    }

    /// Counts work that takes as long as this many bytes of output.
    pub fn charge(&mut self, work: usize) {
        self.charged += work as u32;
    }

    /// What the piece has cost so far.
    pub fn work(&self) -> u32 {
        self.charged + self.piece_bytes as u32
    }

    /// Whether the piece ends here: there is no room in it, or it has cost enough.
    pub fn is_full(&self) -> bool {
        self.room() == 0 || self.charged as usize >= PIECE_BYTES_MAX
    }

    /// Bytes of output since the stream began.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes for which there is room.
    pub fn put(&mut self, bytes: &[u8]) {
        let at = self.advance(bytes.len());
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends a byte `count` times.
    pub fn repeat(&mut self, byte: u8, count: usize) {
        let at = self.advance(count);
        self.bytes[at..at + count].fill(byte);
    }

    /// Appends `count` bytes from `distance` bytes back; there is room for them.
    pub fn copy(&mut self, distance: usize, count: usize) -> Result<(), Trouble> {
        if distance == 0 || distance as u64 > self.written {
            return Err(Trouble::Corrupt);
        }
        if distance > self.bytes.len() {
            return Err(Trouble::Beyond);
        }
        let at = self.advance(count);
        let (mut done, ring) = (0, self.bytes.len());
        while done < count {
            // A copy that overlaps itself repeats its first `distance` bytes: all that are there by
            // now are copied at once.
            let back = distance + done - done % distance;
            let back = if back > ring { distance } else { back };
            let from = (at + done).wrapping_sub(back) & (ring - 1);
            let some = back.min(count - done).min(ring - from);
            self.bytes.copy_within(from..from + some, at + done);
            done += some;
        }
        Ok(())
    }

    /// The whole ring, where in it the next byte goes, and for how many there is room: for a decoder that
    /// writes by itself. [`Window::advance`] then says how many it wrote.
    pub fn ring_mut(&mut self) -> (&mut [u8], usize, usize) {
        let room = self.room();
        (&mut self.bytes, self.piece_from + self.piece_bytes, room)
    }

    /// Adds bytes that are in the ring already; gives where they begin.
    pub fn advance(&mut self, count: usize) -> usize {
        assert!(count <= self.room());
        let at = self.piece_from + self.piece_bytes;
        self.piece_bytes += count;
        self.written += count as u64;
        at
    }
}
