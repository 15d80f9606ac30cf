//! Sending records: in batches, one for each partition, which are acknowledged by all replicas.

use super::messages::{ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, version};
use super::topics::{Partition, Topic, what};
use super::{Client, REQUEST_TIMEOUT_MS, Trouble};
use crate::codec::batch::{self, HEADER_BYTES, LENGTH_END};
use crate::limits;

/// Takes records for a topic.
pub struct Producer {
    topic: Topic,
    /// The one partition for all records, if it was said.
    partition: Option<usize>,
    /// The place of the partition that records without a key go to, until they are sent.
    turn: usize,
    batches: Vec<Builder>,
    /// Records that were acknowledged.
    pub acknowledged: u64,
}

impl Producer {
    /// For a topic, or one partition of it.
    pub fn new(topic: Topic, partition: Option<i32>) -> Result<Producer, Trouble> {
        let place = partition.map(|index| topic.place(index)).transpose()?;
        let batches = topic.partitions.iter().map(|_| Builder::default()).collect();
        Ok(Producer { topic, partition: place, turn: 0, batches, acknowledged: 0 })
    }

    /// Takes a record; sends what was taken before if there is no room for it.
    pub fn push(
        &mut self,
        client: &mut Client,
        timestamp: i64,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(String, String)],
    ) -> Result<(), Trouble> {
        let count = self.batches.len().max(1);
        let mut at = self.place(key, count);
        let is_full = |batch: &Builder| {
            batch.count > 0 && batch.bytes.len() + value.len() > limits::CLIENT_BATCH_BYTES
        };
        if self.batches.get(at).is_some_and(is_full) {
            self.send(client)?;
            at = self.place(key, count);
        }
        if let Some(batch) = self.batches.get_mut(at) {
            batch.push(timestamp, key, value, headers);
        }
        Ok(())
    }

    fn place(&self, key: Option<&[u8]>, count: usize) -> usize {
        match (self.partition, key) {
            (Some(place), _) => place,
            (None, Some(key)) => (murmur2(key) & 0x7fff_ffff) as usize % count,
            (None, None) => self.turn % count,
        }
    }

    /// Sends what was taken.
    pub fn send(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.turn = self.turn.wrapping_add(1);
        let Producer { topic, batches, acknowledged, .. } = self;
        for at in 0..topic.partitions.len() {
            let Some(batch) = batches.get_mut(at).filter(|batch| batch.count > 0) else {
                continue;
            };
            let count = batch.count;
            let bytes = batch.finish();
            let mut is_again = false;
            client.retry(&mut |client| {
                if is_again {
                    topic.partitions = client.topic(&topic.name, false)?.partitions;
                }
                is_again = true;
                let Some(partition) = topic.partitions.get(at) else {
                    return Err(Trouble::new("the topic has fewer partitions than before"));
                };
                client.produce(&topic.name, *partition, bytes)
            })?;
            *acknowledged += u64::from(count.unsigned_abs());
            *batch = Builder::default();
        }
        Ok(())
    }
}

impl Topic {
    /// The place of a partition among them.
    pub fn place(&self, index: i32) -> Result<usize, Trouble> {
        let place = self.partitions.iter().position(|partition| partition.index == index);
        place.ok_or_else(|| {
            let (name, count) = (&self.name, self.partitions.len());
            Trouble::new(format!("topic {name} has no partition {index}, but {count} from 0 on"))
        })
    }
}

impl Client {
    fn produce(&mut self, topic: &str, to: Partition, batch: &[u8]) -> Result<(), Trouble> {
        self.check_leader(topic, to.leader)?;
        let mut r = self.ask(to.leader, ProduceRequest::KEY, version::PRODUCE, &mut |w| {
            ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: REQUEST_TIMEOUT_MS,
                topic_data: &mut |list| {
                    list.push(ProduceTopic {
                        name: topic,
                        partition_data: &mut |list| {
                            list.push(ProducePartition { index: to.index, records: batch });
                        },
                    });
                },
            }
            .encode(w, version::PRODUCE);
        })?;
        let answer = ProduceResponse::decode(&mut r, version::PRODUCE)?;
        let mut results = answer.responses.iter().flat_map(|t| t.partition_responses.iter());
        let Some(result) = results.next() else {
            return Err(Trouble::new("the broker does not say what became of the records"));
        };
        let name = format!("{} partition {}", what(topic), to.index);
        Trouble::check(&name, result.error_code, None)
    }
}

/// A batch that is being made.
#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    count: i32,
    first_timestamp: i64,
    newest_timestamp: i64,
}

impl Builder {
    fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(String, String)],
    ) {
        if self.count == 0 {
            self.bytes.resize(HEADER_BYTES, 0);
            (self.first_timestamp, self.newest_timestamp) = (timestamp, timestamp);
        }
        self.newest_timestamp = self.newest_timestamp.max(timestamp);
        let mut record = vec![0];
        varint(&mut record, timestamp - self.first_timestamp);
        varint(&mut record, self.count.into());
        sized(&mut record, key);
        sized(&mut record, Some(value));
        varint(&mut record, headers.len() as i64);
        for (name, value) in headers {
            sized(&mut record, Some(name.as_bytes()));
            sized(&mut record, Some(value.as_bytes()));
        }
        sized(&mut self.bytes, Some(&record));
        self.count += 1;
    }

    /// Fills in the header.
    fn finish(&mut self) -> &[u8] {
        let length = (self.bytes.len() - LENGTH_END) as i32;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(0_i64.to_be_bytes());
        header.extend(length.to_be_bytes());
        header.extend((-1_i32).to_be_bytes());
        // The format; the CRC and the attributes come last.
        header.extend([2, 0, 0, 0, 0, 0, 0]);
        header.extend((self.count - 1).to_be_bytes());
        header.extend(self.first_timestamp.to_be_bytes());
        header.extend(self.newest_timestamp.to_be_bytes());
        // No producer id, epoch and sequence.
        header.extend([0xff; 14]);
        header.extend(self.count.to_be_bytes());
        self.bytes.splice(..HEADER_BYTES, header);
        batch::set_timestamps(&mut self.bytes, false, self.newest_timestamp);
        &self.bytes
    }
}

/// Bytes behind their length; −1 is null.
fn sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// The hash by which Kafka's Java client chooses the partition of a key.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let (words, rest) = key.as_chunks();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hashed_as_kafka_does() {
        // From UtilsTest.testMurmur2 of Kafka.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_batch_that_was_made_is_read_as_one() {
        let mut builder = Builder::default();
        let headers = [("h".to_string(), "v".to_string())];
        builder.push(1000, None, b"first", &[]);
        builder.push(999, Some(b"key"), &[0; 300], &headers);
        let bytes = builder.finish();
        let batch = batch::batches(bytes).next().unwrap();
        assert!(batch.crc_holds());
        assert_eq!(batch.bytes.len(), bytes.len());
        assert_eq!((batch.header.last_offset(), batch.header.max_timestamp), (1, 1000));
        assert!(!batch.header.has_producer_id());
        let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        assert_eq!((records[0].key, records[0].value), (None, Some(&b"first"[..])));
        assert_eq!((records[1].timestamp, records[1].offset), (999, 1));
        assert_eq!((records[1].key, records[1].value), (Some(&b"key"[..]), Some(&[0; 300][..])));
        assert_eq!(records[1].headers().collect::<Vec<_>>(), [(&b"h"[..], Some(&b"v"[..]))]);
    }
}
