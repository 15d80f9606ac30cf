//! The little of Kafka's wire format that a load generator needs, written independently of the
//! broker's codec so that one mistake cannot hide in both.
//!
//! Versions are the newest before flexible headers, which every broker still serves: Produce 7,
//! Fetch 11, ListOffsets 2, Metadata 1, CreateTopics 2.

use std::io::{self, Write};

/// Bytes of a v2 record batch before its first record.
pub const BATCH_HEAD_BYTES: usize = 61;

/// One request or record batch being written.
#[derive(Default)]
pub struct Put(pub Vec<u8>);

impl Put {
    /// Starts a request; `finish` fills in its length.
    pub fn request(key: i16, version: i16, correlation: i32) -> Put {
        let mut put = Put::default();
        put.i32(0).i16(key).i16(version).i32(correlation).string("bench");
        put
    }

    /// Writes the length in front and gives the whole frame.
    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as i32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }

    /// Appends one byte.
    pub fn i8(&mut self, value: i8) -> &mut Put {
        self.raw(&value.to_be_bytes())
    }

    /// Appends two bytes.
    pub fn i16(&mut self, value: i16) -> &mut Put {
        self.raw(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn i32(&mut self, value: i32) -> &mut Put {
        self.raw(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn i64(&mut self, value: i64) -> &mut Put {
        self.raw(&value.to_be_bytes())
    }

    /// Appends a string with its length.
    pub fn string(&mut self, value: &str) -> &mut Put {
        self.i16(value.len() as i16).raw(value.as_bytes())
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Put {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a zigzag varint.
    fn varint(&mut self, value: i64) -> &mut Put {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }
}

/// An answer being read; running out of bytes is an error, not a panic.
pub struct Get<'a>(pub &'a [u8]);

impl<'a> Get<'a> {
    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> io::Result<&'a [u8]> {
        match self.0.split_at_checked(count) {
            Some((head, rest)) => {
                self.0 = rest;
                Ok(head)
            }
            None => Err(io::Error::other("the answer is shorter than it says")),
        }
    }

    /// Two bytes.
    pub fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A string, which may be null (then empty).
    pub fn string(&mut self) -> io::Result<&'a [u8]> {
        let length = self.i16()?;
        self.raw(length.max(0) as usize)
    }

    /// An array's length; null counts as empty.
    pub fn count(&mut self) -> io::Result<usize> {
        Ok(self.i32()?.max(0) as usize)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.raw(N)?.try_into().expect("raw gives N bytes"))
    }
}

/// A v2 record batch of `records` records with `value_bytes` of noise each, no keys, no codec.
pub fn batch(records: usize, value_bytes: usize, timestamp_ms: i64) -> Vec<u8> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let value = |_| std::iter::repeat_with(|| noise.byte()).take(value_bytes).collect();
    batch_of((0..records).map(value), records, Codec::None, timestamp_ms)
}

/// A v2 record batch of readings as sensors send them, so many bytes in each record, compressed.
pub fn batch_packed(
    records: usize,
    value_bytes: usize,
    codec: Codec,
    timestamp_ms: i64,
) -> Vec<u8> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let value = |index: usize| {
        let mut value = String::new();
        while value.len() < value_bytes {
            let (sensor, reading) = (index % 20, u16::from(noise.byte()) + 900);
            let time_ms = timestamp_ms + index as i64;
            value += &format!("{{\"sensor\":{sensor},\"time\":{time_ms},\"reading\":{reading}}}");
        }
        value.truncate(value_bytes);
        value.into_bytes()
    };
    batch_of((0..records).map(value), records, codec, timestamp_ms)
}

/// What records are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(name: &str) -> Result<Codec, String> {
        match name {
            "none" => Ok(Codec::None),
            "gzip" => Ok(Codec::Gzip),
            "snappy" => Ok(Codec::Snappy),
            "lz4" => Ok(Codec::Lz4),
            "zstd" => Ok(Codec::Zstd),
            _ => Err("none, gzip, snappy, lz4 or zstd".to_string()),
        }
    }
}

impl Codec {
    fn pack(self, records: Vec<u8>) -> Vec<u8> {
        let packed = match self {
            Codec::None => Ok(records),
            Codec::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&records).and_then(|()| encoder.finish())
            }
            Codec::Snappy => {
                snap::raw::Encoder::new().compress_vec(&records).map_err(io::Error::other)
            }
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                let written = encoder.write_all(&records);
                written.and_then(|()| encoder.finish().map_err(io::Error::other))
            }
            Codec::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                Ok(ruzstd::encoding::compress_to_vec(&records[..], level))
            }
        };
        packed.expect("memory takes everything")
    }
}

fn batch_of(
    values: impl Iterator<Item = Vec<u8>>,
    count: usize,
    codec: Codec,
    timestamp_ms: i64,
) -> Vec<u8> {
    let mut records = Put::default();
    for (index, value) in values.enumerate() {
        let mut record = Put::default();
        record.i8(0).varint(0).varint(index as i64).varint(-1).varint(value.len() as i64);
        record.raw(&value).varint(0);
        records.varint(record.0.len() as i64).raw(&record.0);
    }
    let mut tail = Put::default();
    tail.i16(codec as i16).i32(count as i32 - 1).i64(timestamp_ms).i64(timestamp_ms);
    tail.i64(-1).i16(-1).i32(-1).i32(count as i32).raw(&codec.pack(records.0));
    let mut batch = Put::default();
    batch.i64(0).i32(9 + tail.0.len() as i32).i32(-1).i8(2);
    batch.i32(crc32c::crc32c(&tail.0) as i32).raw(&tail.0);
    batch.0
}

/// A produce request of one batch for one partition.
pub fn produce(correlation: i32, topic: &str, partition: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut put = Put::request(0, 7, correlation);
    put.i16(-1).i16(acks).i32(30_000).i32(1).string(topic);
    put.i32(1).i32(partition).i32(batch.len() as i32).raw(batch);
    put.finish()
}

/// Bytes of the answer to `produce`, its length included: they depend on the topic's name only.
pub fn produce_answer_bytes(topic: &str) -> usize {
    produce_answer_error_at(topic) + 2 + 8 + 8 + 8 + 4
}

/// Where in that answer the error code stands.
pub fn produce_answer_error_at(topic: &str) -> usize {
    4 + 4 + 4 + 2 + topic.len() + 4 + 4
}

/// A batch's head as a reader needs it.
pub struct BatchHead {
    /// The first record's offset.
    pub base_offset: i64,
    /// The offset after the last record.
    pub offset_next: i64,
    /// Records, as the head says.
    pub records: u64,
    /// The whole batch, head included.
    pub bytes: usize,
}

/// Reads the head of the batch at the front; none when it is cut short, as a fetch's last may be.
pub fn batch_head(bytes: &[u8]) -> io::Result<Option<BatchHead>> {
    if bytes.len() < BATCH_HEAD_BYTES {
        return Ok(None);
    }
    let mut get = Get(bytes);
    let base_offset = get.i64()?;
    let length = get.i32()? as usize + 12;
    if bytes.len() < length {
        return Ok(None);
    }
    if bytes[16] != 2 || length < BATCH_HEAD_BYTES {
        return Err(io::Error::other(format!("batch at offset {base_offset} is not a v2 one")));
    }
    let last_delta = Get(&bytes[23..]).i32()?;
    let records = Get(&bytes[57..]).i32()?.max(0) as u64;
    let offset_next = base_offset + i64::from(last_delta) + 1;
    Ok(Some(BatchHead { base_offset, offset_next, records, bytes: length }))
}

/// Whether the batch's CRC-32C holds; `batch` is whole.
pub fn batch_crc_holds(batch: &[u8]) -> bool {
    let stored = u32::from_be_bytes(batch[17..21].try_into().expect("four bytes"));
    crc32c::crc32c(&batch[21..]) == stored
}

/// A small generator, so that no medium or codec makes the payload disappear.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}
