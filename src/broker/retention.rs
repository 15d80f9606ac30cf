//! Retention by age: records that are older than their topic's `retention.ms` are hidden, a whole
//! segment's worth of a partition at a time, as in Kafka. The ring reclaims their space when it
//! comes round.

use super::{Broker, topic_config};
use crate::clock::{Now, WALL_MS_MIN};
use crate::limits;
use crate::log::record::MetaRecord;
use crate::log::state::Partition;
use crate::types::{Offset, PartitionSlot, Until};

impl Broker {
    /// Hides what is too old; gives what is to be settled then. Called with requests, it checks every
    /// [`limits::RETENTION_CHECK_MS`]: a broker without requests has nobody to hide records from. Does
    /// nothing while the clock is not known to be right.
    #[inline(always)]
    pub fn retention_tick(&mut self, now: Now) -> Until {
        if now.mono < self.retention_next { Until::default() } else { self.retention_look(now) }
    }

    fn retention_look(&mut self, now: Now) -> Until {
        let mut until = Until::default();
        self.retention_next = now.mono.plus_ms(limits::RETENTION_CHECK_MS);
        if !self.clock_look(now) {
            return until;
        }
        self.groups_stamp(now, &mut until);
        for place in 0..self.log.state().limits().partitions_max {
            let slot = PartitionSlot(place as u16);
            let Some(partition) = self.log.state().partition(slot) else {
                continue;
            };
            let Some(offset) = self.retention_start(slot, partition, now) else {
                continue;
            };
            let (ring, handle) = (partition.ring, partition.handle);
            let record = MetaRecord::LogStart { handle, offset };
            match self.log.stage(ring, &record, true, now) {
                Ok(ticket) => until.add(ring, ticket),
                // The rest is hidden next time.
                Err(_) => break,
            }
        }
        until
    }

    /// The partition's new log start offset, if that is higher than it is.
    fn retention_start(
        &self,
        slot: PartitionSlot,
        partition: &Partition,
        now: Now,
    ) -> Option<Offset> {
        let topic = self.log.state().topic(partition.topic)?;
        if !topic.cleanup().delete {
            return None;
        }
        let retention_ms = topic_config::retention_ms(topic, &self.config)?;
        let oldest_ms = now.wall_ms.saturating_sub_unsigned(retention_ms);
        // Timestamps from before this program was written are those of a clock that was not set yet:
        // such records are too old only once later ones in the same segment are.
        let expired = |newest_ms: i64| (WALL_MS_MIN..oldest_ms).contains(&newest_ms);
        let index = self.log.index(partition.ring);
        let segments = index.segments().iter();
        let kept = segments
            .filter_map(|(_, file)| index.in_segment(*file, slot))
            .find(|there| !expired(there.newest_ms));
        let mut carried = index.carried().of(slot).iter();
        let carried = carried.find(|stretch| !expired(stretch.newest_ms));
        let carried = carried.map(|stretch| stretch.from);
        let start = kept.map(|there| there.first).into_iter().chain(carried).min();
        let start = start.unwrap_or(partition.high_watermark);
        // What a holder has not consumed is not hidden, however old it is.
        let floor = self.log.hold(partition.ring).floor(slot, partition);
        let start = floor.map_or(start, |floor| start.min(floor));
        (start > partition.log_start).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Bench;
    use crate::broker::topics::NewTopic;
    use crate::log::Append;

    /// A broker whose topic `t` keeps records for a minute.
    fn bench() -> (Bench, PartitionSlot) {
        let mut bench = Bench::new();
        let mut edit = topic_config::Edit::default();
        let key = topic_config::key_named("retention.ms").unwrap();
        edit.set(key, "60000").unwrap();
        let new = NewTopic {
            name: "t".try_into().unwrap(),
            partitions: 1,
            configs: edit.finish().unwrap(),
        };
        bench.broker.topic_create(&new, bench.now).unwrap();
        bench.drive();
        let state = bench.broker.log.state();
        let topic = state.topic_named("t").unwrap().0;
        let slot = state.partition_of(topic, 0).unwrap();
        (bench, slot)
    }

    /// Ten records in so many bytes, stamped so long ago.
    fn append(bench: &mut Bench, slot: PartitionSlot, bytes: usize, stamp_ms: i64) {
        let mut batch = vec![0; bytes];
        batch[8..12].copy_from_slice(&(bytes as u32 - 12).to_be_bytes());
        batch[16] = 2;
        batch[26] = 9;
        batch[27..35].copy_from_slice(&stamp_ms.to_be_bytes());
        batch[35..43].copy_from_slice(&stamp_ms.to_be_bytes());
        batch[60] = 10;
        let append = Append {
            slot,
            batches: &batch,
            newest_ms: Some(stamp_ms),
            append_time_ms: None,
            relaxed_ms: None,
        };
        bench.broker.log.append(&append, bench.now).unwrap();
        bench.drive();
    }

    fn tick(bench: &mut Bench, slot: PartitionSlot) -> Offset {
        bench.now.mono = bench.now.mono.plus_ms(limits::RETENTION_CHECK_MS);
        // Any request will do; it waits for what the look at the clock has led to.
        let request = kafka_protocol::messages::DescribeClusterRequest::default();
        bench.ask(1, &request);
        bench.broker.log.state().partition(slot).unwrap().log_start
    }

    #[test]
    fn old_records_are_hidden_by_the_segment() {
        let (mut bench, slot) = bench();
        let now_ms = bench.now.wall_ms;
        for _ in 0..6 {
            append(&mut bench, slot, 900_000, now_ms - 3_600_000);
        }
        append(&mut bench, slot, 61, now_ms - 1000);
        // What shares its segment with a younger record stays, as in Kafka.
        let start = tick(&mut bench, slot);
        assert!(Offset(0) < start && start <= Offset(60), "{start:?}");
        bench.now.wall_ms += 61_000;
        assert_eq!(tick(&mut bench, slot), Offset(70));
    }

    #[test]
    fn a_clock_that_is_not_right_hides_nothing() {
        let (mut bench, slot) = bench();
        let now_ms = bench.now.wall_ms;
        append(&mut bench, slot, 61, now_ms - 3_600_000);
        (bench.now.wall_synchronised, bench.now.wall_ms) = (false, now_ms - 1);
        assert_eq!(tick(&mut bench, slot), Offset(0));
        (bench.now.wall_synchronised, bench.now.wall_ms) = (true, now_ms);
        assert_eq!(tick(&mut bench, slot), Offset(10));
    }

    #[test]
    fn records_of_a_device_that_did_not_know_the_time_stay() {
        let (mut bench, slot) = bench();
        append(&mut bench, slot, 61, 5000);
        assert_eq!(tick(&mut bench, slot), Offset(0));
    }

    #[test]
    fn topics_keep_records_of_any_age_unless_they_say_otherwise() {
        let (mut bench, slot) = bench();
        let id = bench.broker.log.state().topic_named("t").unwrap().1.id;
        let none = crate::log::state::TopicConfigs::new();
        bench.broker.topic_configs_set(id, &none, bench.now).unwrap();
        append(&mut bench, slot, 61, WALL_MS_MIN);
        assert_eq!(tick(&mut bench, slot), Offset(0));
    }
}
