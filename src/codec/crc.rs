//! CRC-32C, at once or piece by piece: the only place that uses the implementation's crate.

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// A CRC-32C that is fed piece by piece.
#[derive(Clone, Default)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Nothing was fed yet.
    pub fn new() -> Self {
        Crc32c::default()
    }

    /// Feeds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = ::crc32c::crc32c_append(self.0, bytes);
    }

    /// The CRC of everything that was fed.
    pub fn finish(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for at in [0, 1, 7, 16, 255, 256] {
            let mut crc = Crc32c::new();
            crc.update(&bytes[..at]);
            crc.update(&bytes[at..]);
            assert_eq!(crc.finish(), crc32c(&bytes));
        }
    }
}
