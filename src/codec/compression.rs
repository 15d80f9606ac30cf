//! Decompression: Kafka's four codecs, in the memory of one window.
//!
//! Output comes piece by piece; nothing is allocated after the start. The compressed bytes must be there
//! whole, and are passed in again for each piece: between two pieces nothing is borrowed, so that other
//! tasks can have their turn. The work of a turn is counted ([`Decompressor::turn`]) in bytes of output, and
//! in the bytes that would take as long as work without output. The window bounds how far back a stream may
//! refer. What real encoders write with gzip (32 KiB), snappy and LZ4 (64 KiB) refers back no further; a zstd
//! frame may, and then the rest of it cannot be read here ([`Trouble::Beyond`]), though others may read it.

mod gzip;
mod lz4;
mod shared;
mod snappy;
mod window;
mod xxhash;
mod zstd;

pub use shared::Shared;
use window::Window;

/// Why there is no more output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not valid: nobody can read it.
    Corrupt,
    /// It refers back further than the window.
    Beyond,
}

/// The codecs, by their number in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// Snappy's raw format, or xerial's blocks of it, which Kafka's own clients write.
    Snappy,
    /// LZ4's frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The codec of a number; none for 0 (not compressed) and for what is no codec.
    pub fn from_number(number: i16) -> Option<Compression> {
        match number {
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// Reads compressed batches, one at a time.
pub struct Decompressor {
    window: Window,
    inflate: Box<gzip::State>,
    zstd: Box<zstd::Tables>,
    decoder: Decoder,
    /// Work that is left in this turn; and all that was done.
    left: u32,
    worked: u64,
}

impl Decompressor {
    /// With a window of this many bytes: a power of two, at least 64 KiB.
    pub fn new(window_bytes: usize) -> Decompressor {
        assert!(window_bytes.is_power_of_two() && window_bytes >= WINDOW_BYTES_MIN);
        Decompressor {
            window: Window::new(window_bytes),
            inflate: Box::default(),
            zstd: Box::default(),
            decoder: Decoder::None,
            left: u32::MAX,
            worked: 0,
        }
    }

    /// The memory that it takes.
    pub fn memory_bytes(window_bytes: usize) -> usize {
        window_bytes + size_of::<gzip::State>() + size_of::<zstd::Tables>()
    }

    /// Begins with the output of `input`.
    pub fn open(&mut self, compression: Compression, input: &[u8]) {
        self.window.begin();
        let all = Part::of(input, input);
        self.decoder = match compression {
            Compression::Gzip => Decoder::Gzip(gzip::Gzip::new(all)),
            Compression::Snappy => Decoder::Snappy(snappy::Snappy::new(input)),
            Compression::Lz4 => Decoder::Lz4(lz4::Lz4::new(all)),
            Compression::Zstd => Decoder::Zstd(zstd::Zstd::new(all)),
        };
    }

    /// Reads the next piece of the output of `input`, the same as it was opened with; false: there is none
    /// any more. A piece has at most [`PIECE_BYTES_MAX`] bytes, and may have none.
    pub fn next_piece(&mut self, input: &[u8]) -> Result<bool, Trouble> {
        self.window.piece_begin();
        let window = &mut self.window;
        let filled = match &mut self.decoder {
            Decoder::None => Ok(false),
            Decoder::Gzip(gzip) => gzip.fill(&mut self.inflate, window, input),
            Decoder::Snappy(snappy) => snappy.fill(window, input),
            Decoder::Lz4(lz4) => lz4.fill(window, input),
            Decoder::Zstd(zstd) => zstd.fill(&mut self.zstd, window, input),
        };
        let work = self.window.work();
        self.worked += u64::from(work);
        self.left = self.left.saturating_sub(work);
        Ok(filled? || !self.piece().is_empty())
    }

    /// The piece that was read last.
    pub fn piece(&self) -> &[u8] {
        self.window.piece()
    }

    /// A turn begins, for this much work.
    pub fn turn(&mut self, work: u32) {
        self.left = work;
    }

    /// Whether all of the turn's work was done.
    pub fn turn_is_over(&self) -> bool {
        self.left == 0
    }

    /// All the work that was ever done. A turn takes at most one piece more than its work.
    pub fn worked(&self) -> u64 {
        self.worked
    }
}

/// A codec's state between two pieces.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Decoder {
    None,
    Gzip(gzip::Gzip),
    Snappy(snappy::Snappy),
    Lz4(lz4::Lz4),
    Zstd(zstd::Zstd),
}

/// A part of the input, of which nothing is borrowed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Part {
    from: u32,
    to: u32,
}

impl Part {
    /// Where a slice of the input is in it. All empty ones are the same.
    fn of(slice: &[u8], input: &[u8]) -> Part {
        if slice.is_empty() {
            return Part::default();
        }
        let from = slice.as_ptr().addr() - input.as_ptr().addr();
        Part { from: from as u32, to: (from + slice.len()) as u32 }
    }

    fn bytes(self, input: &[u8]) -> &[u8] {
        input.get(self.from as usize..self.to as usize).unwrap_or_default()
    }

    fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Takes `count` bytes off the front.
    fn split(&mut self, count: usize) -> Result<Part, Trouble> {
        if count > self.len() {
            return Err(Trouble::Corrupt);
        }
        let head = Part { to: self.from + count as u32, ..*self };
        self.from = head.to;
        Ok(head)
    }

    /// The same, with the bytes.
    fn take<'a>(&mut self, input: &'a [u8], count: usize) -> Result<&'a [u8], Trouble> {
        Ok(self.split(count)?.bytes(input))
    }

    /// Takes a little-endian number of `count` bytes (at most 8) off the front.
    fn take_le(&mut self, input: &[u8], count: usize) -> Result<u64, Trouble> {
        take_le(&mut self.take(input, count)?, count)
    }
}

/// The smallest window: as far as LZ4 may refer back, and snappy's encoders do.
pub const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// What a block costs beside its output, in bytes of output: it may have none.
const BLOCK_WORK: usize = 64;

/// The longest piece.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;

/// Takes `count` bytes off the front.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Trouble> {
    let (head, behind) = rest.split_at_checked(count).ok_or(Trouble::Corrupt)?;
    *rest = behind;
    Ok(head)
}

/// Takes a little-endian number of `count` bytes (at most 8) off the front.
fn take_le(rest: &mut &[u8], count: usize) -> Result<u64, Trouble> {
    let bytes = take(rest, count)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
