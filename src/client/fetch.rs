//! Reading records, out of batches of any of Kafka's codecs.

use super::messages::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, version};
use super::topics::{Partition, what};
use super::{Client, Trouble};
use crate::codec::batch::{self, Batch, Kept, Packed, Record, Walked};
use crate::codec::compression::{Compression, Decompressor};
use crate::limits;

/// How far a partition was read.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// Which one.
    pub partition: Partition,
    /// The next offset.
    pub next: i64,
    /// Where it ends.
    pub end: i64,
}

impl Position {
    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

/// What is done with each record of a partition; false: no more are wanted.
pub type Each<'a> = &'a mut dyn FnMut(i32, &Record<'_>) -> bool;

impl Client {
    /// Reads what a leader has of those partitions that are not done, and waits a moment if that is
    /// nothing. A partition whose offset is gone is OFFSET_OUT_OF_RANGE.
    pub fn fetch(
        &mut self,
        topic: &str,
        leader: i32,
        positions: &mut [Position],
        unpack: &mut Unpack,
        each: Each<'_>,
    ) -> Result<(), Trouble> {
        self.check_leader(topic, leader)?;
        let mut r = self.ask(leader, FetchRequest::KEY, version::FETCH, &mut |w| {
            FetchRequest {
                replica_id: -1,
                max_wait_ms: WAIT_MS,
                min_bytes: 1,
                max_bytes: limits::CLIENT_FETCH_BYTES as i32,
                isolation_level: 0,
                session_id: 0,
                session_epoch: -1,
                topics: &mut |list| {
                    list.push(FetchTopic {
                        topic,
                        partitions: &mut |list| {
                            let of_leader = |at: &&Position| at.partition.leader == leader;
                            let wanted = positions.iter().filter(of_leader);
                            for position in wanted.filter(|position| !position.is_done()) {
                                list.push(FetchPartition {
                                    partition: position.partition.index,
                                    current_leader_epoch: -1,
                                    fetch_offset: position.next,
                                    log_start_offset: -1,
                                    partition_max_bytes: limits::CLIENT_FETCH_BYTES as i32,
                                });
                            }
                        },
                    });
                },
                forgotten_topics_data: &mut |_| {},
            }
            .encode(w, version::FETCH);
        })?;
        let answer = FetchResponse::decode(&mut r, version::FETCH)?;
        Trouble::check(&what(topic), answer.error_code, None)?;
        for fetched in answer.responses.iter().flat_map(|topic| topic.partitions.iter()) {
            let index = fetched.partition_index;
            let Some(at) = positions.iter_mut().find(|at| at.partition.index == index) else {
                continue;
            };
            let name = format!("{} partition {index}", what(topic));
            Trouble::check(&name, fetched.error_code, None)?;
            let records = fetched.records.unwrap_or_default();
            match unpack.read(records, at, each) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(why) => {
                    let next = at.next;
                    return Err(Trouble::new(format!("{name}: the records at {next} are {why}")));
                }
            }
        }
        Ok(())
    }
}

/// What compressed batches are read with, from the first of them on.
#[derive(Default)]
pub struct Unpack {
    decompressor: Option<Decompressor>,
    record: Vec<u8>,
}

impl Unpack {
    /// Hands out the records, and moves the position behind them; false: no more are wanted. An error
    /// says what they are.
    fn read(
        &mut self,
        records: &[u8],
        at: &mut Position,
        each: Each<'_>,
    ) -> Result<bool, &'static str> {
        let mut batches = batch::batches(records);
        let mut is_first = true;
        for batch in &mut batches {
            is_first = false;
            if batch.header.magic != 2 {
                return Err("of a format before Kafka 0.11");
            }
            if !batch.crc_holds() {
                return Err("damaged: their CRC is wrong");
            }
            if !batch.header.is_control() && !self.read_batch(&batch, at, each)? {
                return Ok(false);
            }
            let behind = batch.header.last_offset().saturating_add(1);
            at.next = behind.min(at.end).max(at.next);
            if at.is_done() {
                return Ok(true);
            }
        }
        // A batch that is cut short comes again, but for the first one, which is sent whole.
        if is_first && !batches.rest().is_empty() { Err("no batch") } else { Ok(true) }
    }

    fn read_batch(
        &mut self,
        batch: &Batch<'_>,
        at: &mut Position,
        each: Each<'_>,
    ) -> Result<bool, &'static str> {
        let index = at.partition.index;
        let mut take = |record: &Record<'_>| {
            if record.offset < at.next || record.offset >= at.end {
                return true;
            }
            at.next = record.offset.saturating_add(1);
            each(index, record)
        };
        if let Some(records) = batch.records() {
            for record in records {
                if !take(&record.map_err(|_| "damaged")?) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let codec = Compression::from_number(batch.header.compression());
        let codec = codec.ok_or("compressed with a codec that is not known here")?;
        let new = || Decompressor::new(limits::CLIENT_WINDOW_BYTES);
        let decompressor = self.decompressor.get_or_insert_with(new);
        if self.record.is_empty() {
            // Only what is written of it takes memory.
            self.record = vec![0; limits::CLIENT_RECORD_BYTES_MAX];
        }
        let packed = Packed::new(decompressor, codec, batch.header, batch.bytes);
        let mut packed = packed.up_to(limits::CLIENT_DECOMPRESSED_BYTES_MAX);
        loop {
            decompressor.turn(u32::MAX);
            let kept = Kept::All(&mut self.record);
            match packed.next_keeping(decompressor, batch.bytes, kept) {
                Ok(Walked::Record(_)) => {
                    let record = self.record.get(..packed.kept_bytes()).unwrap_or_default();
                    let record = batch.header.record(record).map_err(|_| "damaged")?;
                    if !take(&record) {
                        return Ok(false);
                    }
                }
                Ok(Walked::End) => return Ok(true),
                Ok(Walked::Turn) => {}
                Err(batch::Unread::Beyond | batch::Unread::NoRoom) => {
                    return Err("compressed so that more memory is needed than there is for it");
                }
                Err(_) => return Err("damaged: they cannot be decompressed"),
            }
        }
    }
}

/// For how long a broker waits for records.
const WAIT_MS: i32 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::batch::sample::{batch_of, with_payload};
    use crate::codec::batch::{marker, set_offset};

    fn read(bytes: &[u8], next: i64, end: i64, count: usize) -> (Vec<i64>, Result<i64, &str>) {
        let partition = Partition { index: 0, leader: 1 };
        let mut at = Position { partition, next, end };
        let mut offsets = Vec::new();
        let done = Unpack::default().read(bytes, &mut at, &mut |_, record| {
            offsets.push(record.offset);
            offsets.len() < count
        });
        (offsets, done.map(|_| at.next))
    }

    #[test]
    fn records_are_handed_out_from_the_position_to_the_end() {
        let mut second = batch_of(&[(0, 0), (0, 1), (0, 2)]);
        set_offset(&mut second, 5, 0);
        // Between them offsets without records, and behind them what has none that are shown.
        let whole = [&batch_of(&[(0, 0), (0, 1), (0, 2)])[..], &second, &marker(8, 9, 0)].concat();
        let all = 10;
        assert_eq!(read(&whole, 0, i64::MAX, all), (vec![0, 1, 2, 5, 6, 7], Ok(10)));
        assert_eq!(read(&whole, 1, 7, all), (vec![1, 2, 5, 6], Ok(7)));
        assert_eq!(read(&whole, 2, i64::MAX, 2), (vec![2, 5], Ok(6)));
        // The last batch may be cut short, the first may not.
        let cut = &whole[..whole.len() - 1];
        assert_eq!(read(cut, 7, i64::MAX, all), (vec![7], Ok(8)));
        assert_eq!(read(&second[..70], 5, i64::MAX, all), (vec![], Err("no batch")));
        assert_eq!(read(&[], 5, i64::MAX, all), (vec![], Ok(5)));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let batch = batch_of(&[(0, 0)]);
        let mut damaged = batch.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let mut old = batch.clone();
        old[16] = 1;
        for (bytes, why) in [
            (damaged, "damaged: their CRC is wrong"),
            (old, "of a format before Kafka 0.11"),
            (with_payload(&batch, 7, b""), "compressed with a codec that is not known here"),
            (with_payload(&batch, 1, b"no gzip"), "damaged: they cannot be decompressed"),
            (with_payload(&batch, 0, b"\x04"), "damaged"),
        ] {
            assert_eq!(read(&bytes, 0, i64::MAX, 1), (vec![], Err(why)));
        }
    }
}
