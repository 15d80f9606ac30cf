use super::*;
use std::io::Write;

/// A generator of numbers, for contents of all kinds.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.next() % bound) as usize
    }

    /// Noise, words, one byte again and again, or stretches that come again from further back.
    fn contents(&mut self, bytes: usize) -> Vec<u8> {
        let (kind, mut contents) = (self.below(4), Vec::new());
        let words: Vec<Vec<u8>> = (0..40)
            .map(|_| (0..1 + self.below(20)).map(|_| b'a' + self.below(26) as u8).collect())
            .collect();
        while contents.len() < bytes {
            match kind {
                0 => contents.push(self.next() as u8),
                1 => contents.extend_from_slice(&words[self.below(40)]),
                2 => contents.resize(contents.len() + self.below(300), self.below(4) as u8),
                _ if contents.is_empty() || self.below(3) > 0 => {
                    contents.extend((0..self.below(40)).map(|at| (at * 7) as u8));
                    contents.push(self.next() as u8);
                }
                _ => {
                    let distance = 1 + self.below(contents.len() as u64);
                    for _ in 0..self.below(1000) {
                        contents.push(contents[contents.len() - distance]);
                    }
                }
            }
        }
        contents.truncate(bytes);
        contents
    }
}

const ALL: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Compressed by somebody else.
fn packed(compression: Compression, contents: &[u8], dice: &mut Dice) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let level = flate2::Compression::new(dice.below(10) as u32);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(contents).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy if dice.below(2) == 0 => raw_snappy(contents),
        Compression::Snappy => {
            let mut file = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in contents.chunks(1 + dice.below(50_000)) {
                let block = raw_snappy(block);
                file.extend((block.len() as u32).to_be_bytes());
                file.extend(block);
            }
            file
        }
        Compression::Lz4 => {
            use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
            let size = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB];
            let mode = [BlockMode::Independent, BlockMode::Linked];
            let info = FrameInfo::new()
                .block_size(size[dice.below(3)])
                .block_mode(mode[dice.below(2)])
                .block_checksums(dice.below(2) == 0)
                .content_checksum(dice.below(2) == 0);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(contents).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            use ruzstd::encoding::{CompressionLevel, compress_to_vec};
            let levels = [CompressionLevel::Uncompressed, CompressionLevel::Fastest];
            compress_to_vec(contents, levels[dice.below(2)])
        }
    }
}

fn raw_snappy(contents: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(contents).unwrap()
}

/// All of the output, as long as there is no more of it than that.
fn unpacked(
    decompressor: &mut Decompressor,
    compression: Compression,
    packed: &[u8],
) -> Result<Vec<u8>, Trouble> {
    decompressor.open(compression, packed);
    // Each piece's input may stand somewhere else.
    let (copy, mut output) = (packed.to_vec(), Vec::new());
    for input in [packed, &copy].into_iter().cycle() {
        if output.len() >= 4 << 20 || !decompressor.next_piece(input)? {
            break;
        }
        output.extend_from_slice(decompressor.piece());
        assert!(decompressor.piece().len() <= PIECE_BYTES_MAX);
    }
    Ok(output)
}

#[test]
fn what_others_compressed_comes_out_as_it_went_in() {
    let (mut dice, mut decompressor) = (Dice(0x5eed), Decompressor::new(1 << 20));
    for round in 0..60 {
        let bytes = [10, 3000, 90_000, 400_000][round % 4];
        let bytes = dice.below(bytes);
        let contents = dice.contents(bytes);
        for compression in ALL {
            let packed = packed(compression, &contents, &mut dice);
            let found = unpacked(&mut decompressor, compression, &packed);
            assert!(found == Ok(contents.clone()), "{compression:?} of {bytes}, round {round}");
        }
    }
}

#[test]
fn what_is_spoiled_ends_in_an_error_or_in_something_else_but_it_ends() {
    let (mut dice, mut decompressor) = (Dice(0xbad), Decompressor::new(WINDOW_BYTES_MIN));
    let mut refused = 0;
    for _ in 0..200 {
        let bytes = dice.below(3000);
        let contents = dice.contents(bytes);
        for compression in ALL {
            let good = packed(compression, &contents, &mut dice);
            for _ in 0..8 {
                let mut bad = good.clone();
                let at = dice.below(bad.len() as u64);
                match dice.below(3) {
                    0 => bad.truncate(at),
                    1 => bad[at] ^= 1 << dice.below(8),
                    _ => bad[at] = dice.next() as u8,
                }
                let found = unpacked(&mut decompressor, compression, &bad);
                refused += usize::from(found.is_err());
            }
        }
    }
    assert!(refused > 3000, "{refused}");
}

#[test]
fn looking_back_too_far_is_not_called_corrupt() {
    let mut dice = Dice(7);
    let noise: Vec<u8> = (0..100_000).map(|_| dice.next() as u8).collect();
    let twice = [&noise[..], &noise[..]].concat();
    // Raw blocks, and then one sequence: 100,000 bytes from 100,000 back.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 80];
    frame.extend((100_000_u32 << 3).to_le_bytes()[..3].iter());
    frame.extend(&noise);
    // No literals; one sequence, of codes that stand in the block: literals 0, distance 2^16 and
    // 34,467 more (3 is added to distances), length 65,539 and 34,461 more.
    frame.extend((11_u32 << 3 | 2 << 1 | 1).to_le_bytes()[..3].iter());
    frame.extend([0, 1, 0b0101_0100, 0, 16, 52]);
    let bits = (1_u64 << 16 | 34_467) << 16 | 34_461;
    frame.extend(&bits.to_le_bytes()[..5]);
    let mut large = Decompressor::new(1 << 17);
    assert!(unpacked(&mut large, Compression::Zstd, &frame) == Ok(twice));
    let mut small = Decompressor::new(1 << 16);
    assert_eq!(unpacked(&mut small, Compression::Zstd, &frame), Err(Trouble::Beyond));
}

#[test]
fn frames_of_the_reference_encoder_come_out_at_each_of_its_levels() {
    let readings = |count: u64| -> Vec<u8> {
        let reading = |i| format!("{{\"sensor\":{},\"value\":{}}}", i % 97, i * i % 1009);
        (0..count).map(reading).collect::<String>().into_bytes()
    };
    let noise = |count| -> Vec<u8> {
        let mut x = 1_u32;
        let mut byte = || {
            x = x.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (x >> 24 & x >> 16) as u8
        };
        (0..count).map(|_| byte()).collect()
    };
    let mut decompressor = Decompressor::new(1 << 18);
    let mut check = |name: &str, frame: &[u8], contents: Vec<u8>| {
        assert!(unpacked(&mut decompressor, Compression::Zstd, frame) == Ok(contents), "{name}");
    };
    check("fast", include_bytes!("tests/readings-fast.zst"), readings(2000));
    check("level 1", include_bytes!("tests/readings-1.zst"), readings(2000));
    check("level 3", include_bytes!("tests/readings-3.zst"), readings(6000));
    check("level 19", include_bytes!("tests/readings-19.zst"), readings(6000));
    check("noise, level 3", include_bytes!("tests/noise-3.zst"), noise(20_000));
    check("noise, level 22", include_bytes!("tests/noise-22.zst"), noise(3000));
}

#[test]
fn frames_and_members_may_follow_each_other_where_kafkas_client_reads_on() {
    let (mut dice, mut decompressor) = (Dice(3), Decompressor::new(WINDOW_BYTES_MIN));
    for (compression, expected) in [
        (Compression::Gzip, "first second"),
        (Compression::Zstd, "first second"),
        (Compression::Lz4, "first "),
    ] {
        let mut both = packed(compression, b"first ", &mut dice);
        both.extend(packed(compression, b"second", &mut dice));
        let found = unpacked(&mut decompressor, compression, &both);
        assert_eq!(found, Ok(expected.as_bytes().to_vec()), "{compression:?}");
    }
}

#[test]
fn blocks_without_output_are_work_as_well() {
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\0".iter().chain(b"\0\0\0\xff\xff".iter().cycle());
    // A compressed block of no literals and no sequences.
    let zstd = b"\x28\xb5\x2f\xfd\0\x30".iter().chain(b"\x14\0\0\0\0".iter().cycle());
    let fixed = b"\x1f\x8b\x08\0\0\0\0\0\0\0".iter().chain(b"\x02\x08\x20\x80\0".iter().cycle());
    let fixed: Vec<u8> = fixed.copied().take(100_010).collect();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"x").unwrap();
    let mut lz4 = lz4.finish().unwrap();
    lz4.truncate(7);
    lz4.extend(b"\0\0\0\x80".iter().cycle().take(100_001));
    let mut snappy = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    snappy.extend(b"\0\0\0\x01\0".iter().cycle().take(100_001));
    let gzip: Vec<u8> = gzip.copied().take(100_010).collect();
    let zstd: Vec<u8> = zstd.copied().take(100_006).collect();
    let mut decompressor = Decompressor::new(WINDOW_BYTES_MIN);
    for (compression, input, work) in [
        (Compression::Gzip, gzip, 512 * 100_000),
        (Compression::Gzip, fixed, 512 * 100_000),
        (Compression::Zstd, zstd, 1024 * 20_000),
        (Compression::Lz4, lz4, 64 * 25_000),
        (Compression::Snappy, snappy, 64 * 20_000),
    ] {
        decompressor.open(compression, &input);
        let begun = decompressor.worked();
        loop {
            let before = decompressor.worked();
            let more = decompressor.next_piece(&input);
            let work = decompressor.worked() - before;
            assert!(work <= 3 * PIECE_BYTES_MAX as u64, "{compression:?}: {work}");
            assert!(decompressor.piece().is_empty());
            if more == Err(Trouble::Corrupt) {
                break;
            }
        }
        assert!(decompressor.worked() - begun >= work - 1024, "{compression:?}");
    }
}

#[test]
fn a_literal_of_four_gigabytes_is_none() {
    let mut decompressor = Decompressor::new(WINDOW_BYTES_MIN);
    let input = b"\x01\xfc\xff\xff\xff\xff";
    decompressor.open(Compression::Snappy, input);
    assert_eq!(decompressor.next_piece(input), Err(Trouble::Corrupt));
}
