//! xxHash without a seed: of 32 bits the checksum of LZ4's frames, of 64 bits that of zstd's.

/// The hash of `bytes`.
pub fn xxh32(bytes: &[u8]) -> u32 {
    let mut lanes =
        [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0_u32.wrapping_sub(PRIMES[0])];
    let (stripes, rest) = bytes.as_chunks::<16>();
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<4>().0) {
            let sum = lane.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[1]));
            *lane = sum.rotate_left(13).wrapping_mul(PRIMES[0]);
        }
    }
    let mut hash = match stripes {
        [] => PRIMES[4],
        _ => lanes
            .iter()
            .zip([1, 7, 12, 18])
            .fold(0, |sum: u32, (lane, by)| sum.wrapping_add(lane.rotate_left(by))),
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

/// The hash of 64 bits, of bytes that come piece by piece.
pub struct Xxh64 {
    lanes: [u64; 4],
    /// Bytes that do not fill a stripe yet.
    rest: heapless::Vec<u8, 32>,
    bytes: u64,
}

impl Xxh64 {
    pub fn new() -> Xxh64 {
        let [first, second, ..] = PRIMES_64;
        let lanes = [first.wrapping_add(second), second, 0, 0_u64.wrapping_sub(first)];
        Xxh64 { lanes, rest: heapless::Vec::new(), bytes: 0 }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (some, behind) = bytes.split_at(bytes.len().min(32 - self.rest.len()));
            let _ = self.rest.extend_from_slice(some);
            bytes = behind;
            if let Ok(stripe) = <[u8; 32]>::try_from(&self.rest[..]) {
                self.stripe(&stripe);
                self.rest.clear();
            }
        }
        let (stripes, rest) = bytes.as_chunks::<32>();
        for stripe in stripes {
            self.stripe(stripe);
        }
        let _ = self.rest.extend_from_slice(rest);
    }

    fn stripe(&mut self, stripe: &[u8; 32]) {
        for (lane, word) in self.lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }

    pub fn finish(&self) -> u64 {
        let [prime_1, prime_2, prime_3, prime_4, prime_5] = PRIMES_64;
        let mut hash = prime_5;
        if self.bytes >= 32 {
            let rotated = self.lanes.iter().zip([1, 7, 12, 18]);
            hash = rotated.fold(0, |sum, (lane, by)| sum.wrapping_add(lane.rotate_left(by)));
            for lane in self.lanes {
                hash = (hash ^ round(0, lane)).wrapping_mul(prime_1).wrapping_add(prime_4);
            }
        }
        hash = hash.wrapping_add(self.bytes);
        let (words, rest) = self.rest.as_chunks::<8>();
        for word in words {
            hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27);
            hash = hash.wrapping_mul(prime_1).wrapping_add(prime_4);
        }
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            hash ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(prime_1);
            hash = hash.rotate_left(23).wrapping_mul(prime_2).wrapping_add(prime_3);
        }
        for byte in rest {
            hash ^= u64::from(*byte).wrapping_mul(prime_5);
            hash = hash.rotate_left(11).wrapping_mul(prime_1);
        }
        hash = (hash ^ hash >> 33).wrapping_mul(prime_2);
        hash = (hash ^ hash >> 29).wrapping_mul(prime_3);
        hash ^ hash >> 32
    }
}

fn round(lane: u64, word: u64) -> u64 {
    let sum = lane.wrapping_add(word.wrapping_mul(PRIMES_64[1]));
    sum.rotate_left(31).wrapping_mul(PRIMES_64[0])
}

const PRIMES_64: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];

#[cfg(test)]
mod tests {
    use super::{Xxh64, xxh32};

    #[test]
    fn known_hashes() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"a"), 0x550d_7456);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }

    #[test]
    fn known_hashes_of_64_bits_whatever_the_pieces() {
        let hash = |pieces: &[&[u8]]| {
            let mut hash = Xxh64::new();
            pieces.iter().for_each(|piece| hash.update(piece));
            hash.finish()
        };
        assert_eq!(hash(&[]), 0xef46_db37_51d8_e999);
        assert_eq!(hash(&[b"abc"]), 0x44bc_2cf5_ad77_0999);
        let text = b"Nobody inspects the spammish repetition";
        assert_eq!(hash(&[text]), 0xfbce_a83c_8a37_8bf1);
        for at in 0..text.len() {
            let (first, second) = text.split_at(at);
            assert_eq!(hash(&[first, second]), 0xfbce_a83c_8a37_8bf1);
        }
    }
}
