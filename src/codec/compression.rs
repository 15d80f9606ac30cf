//! Reading what is compressed: Kafka's four codecs, in the memory of one window.
//!
//! A stream of output is handed out piece by piece, as far as the window goes; nothing is allocated
//! after the start. The compressed bytes must lie there whole. The window is what a decoder may look
//! back on: gzip (32 KiB), snappy and LZ4 (64 KiB) look back no further in what real encoders write;
//! a zstd frame may, and then the rest of it cannot be read here ([`Trouble::Beyond`]), which says nothing
//! about whether others can.

mod gzip;
mod lz4;
mod snappy;
mod window;
mod xxhash;
mod zstd;

use std::sync::{Mutex, MutexGuard, PoisonError};

use window::Window;

/// Why there is no more output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not what it says it is: nobody can read it.
    Corrupt,
    /// It looks back further than the window goes.
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

/// What a compressed batch is read with: one for all of them.
pub struct Decompressor {
    window: Window,
    inflate: Box<gzip::State>,
    zstd: Box<zstd::Tables>,
}

impl Decompressor {
    /// With a window of so many bytes: a power of two, at least 64 KiB.
    pub fn new(window_bytes: usize) -> Decompressor {
        assert!(window_bytes.is_power_of_two() && window_bytes >= WINDOW_BYTES_MIN);
        Decompressor {
            window: Window::new(window_bytes),
            inflate: Box::default(),
            zstd: Box::default(),
        }
    }

    /// The memory that it takes.
    pub fn memory_bytes(window_bytes: usize) -> usize {
        window_bytes + size_of::<gzip::State>() + size_of::<zstd::Tables>()
    }

    /// The output of `input`, from its beginning.
    pub fn open<'a>(&'a mut self, compression: Compression, input: &'a [u8]) -> Stream<'a> {
        self.window.begin();
        let decoder = match compression {
            Compression::Gzip => Decoder::Gzip(gzip::Gzip::new(&mut self.inflate, input)),
            Compression::Snappy => Decoder::Snappy(snappy::Snappy::new(input)),
            Compression::Lz4 => Decoder::Lz4(lz4::Lz4::new(input)),
            Compression::Zstd => Decoder::Zstd(zstd::Zstd::new(&mut self.zstd, input)),
        };
        Stream { window: &mut self.window, decoder }
    }
}

/// The decompressor that several threads share. What one that panicked left in it is begun anew.
pub fn lock(shared: &Mutex<Decompressor>) -> MutexGuard<'_, Decompressor> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Output, as it comes.
pub struct Stream<'a> {
    window: &'a mut Window,
    decoder: Decoder<'a>,
}

#[expect(clippy::large_enum_variant, reason = "there is one, on the stack")]
enum Decoder<'a> {
    Gzip(gzip::Gzip<'a>),
    Snappy(snappy::Snappy<'a>),
    Lz4(lz4::Lz4<'a>),
    Zstd(zstd::Zstd<'a>),
}

impl Stream<'_> {
    /// The next piece, at most [`PIECE_BYTES_MAX`] long; an empty one is the end.
    pub fn next_piece(&mut self) -> Result<&[u8], Trouble> {
        self.window.piece_begin();
        match &mut self.decoder {
            Decoder::Gzip(gzip) => gzip.fill(self.window)?,
            Decoder::Snappy(snappy) => snappy.fill(self.window)?,
            Decoder::Lz4(lz4) => lz4.fill(self.window)?,
            Decoder::Zstd(zstd) => zstd.fill(self.window)?,
        }
        Ok(self.window.piece())
    }

    /// The piece that was handed out last.
    pub fn piece(&self) -> &[u8] {
        self.window.piece()
    }
}

/// The smallest window: what LZ4 may look back on, and what snappy's encoders do.
pub const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// Bytes that are handed out at once.
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
