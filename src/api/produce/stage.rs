//! One partition's records after the other, from a request that is here whole or comes in pieces:
//! whether there is room, whether they are good, and into the open group with them.

use super::outcomes::Placed;
use super::{PartitionProduceData, Room, peek};
use crate::api::Step;
use crate::broker::{Broker, ConnId, topic_config, topics};
use crate::clock::Now;
use crate::codec::batch::{self, Checked, Refusal};
use crate::config::CheckRecords;
use crate::limits;
use crate::log::producers::{Check, batch_of};
use crate::log::state::Topic;
use crate::log::{Append, StageError};
use crate::types::{HeldBack, Offset, PartitionSlot, RingIndex, Ticket, TopicSlot, Until};

/// What a request says of all that it brings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask {
    pub acks: i16,
    pub timeout_ms: i32,
    pub version: i16,
}

impl Ask {
    pub fn acks_valid(&self) -> bool {
        (-1..=1).contains(&self.acks)
    }
}

/// What one topic's settings say of what may be produced to it.
pub(super) struct Rules {
    slot: TopicSlot,
    pub ring: RingIndex,
    pub batch: batch::Rules,
    /// Set for LogAppendTime.
    append_time_ms: Option<i64>,
    /// Otherwise timestamps must lie between these.
    timestamp_ms_min: i64,
    timestamp_ms_max: i64,
    relaxed_ms: Option<u64>,
    replicas_missing: bool,
    /// Whether a mirror reports there what it has.
    reports: bool,
}

/// Partitions that are carried out together.
pub(super) struct Stage {
    ask: Ask,
    now: Now,
    /// Rings that can take nothing, and why.
    closed: [Option<Refusal>; limits::RINGS_MAX],
    /// Why reports of mirrors cannot be taken, if so.
    reports_closed: Option<Refusal>,
    /// What all that was placed waits for.
    pub until: Until,
}

impl Stage {
    pub fn new(ask: Ask, now: Now) -> Stage {
        Stage {
            ask,
            now,
            closed: [None; limits::RINGS_MAX],
            reports_closed: None,
            until: Until { written: true, ..Until::default() },
        }
    }

    /// Whether all that is good of it can be staged now; else what to wait for. `waited_out`: it has
    /// waited for room in a held ring as long as it may.
    #[inline(never)]
    pub fn check_room(
        &mut self,
        broker: &mut Broker,
        room: &Room,
        waited_out: bool,
    ) -> Result<(), Step> {
        for (place, runs) in room.runs.iter().enumerate().filter(|(_, runs)| **runs > 0) {
            let ring = RingIndex(place as u8);
            match broker.log.room(ring, room.payload_bytes[place], *runs, room.kept[place]) {
                Ok(()) => {}
                Err(StageError::Full(ticket)) => {
                    return Err(Step::Again(Until::written(ring, ticket)));
                }
                Err(StageError::Storage) => self.closed[place] = Some(Refusal::Storage),
                Err(StageError::TooLarge) => self.closed[place] = Some(Refusal::GroupTooLarge),
                Err(StageError::Held) if waited_out => self.closed[place] = Some(Refusal::Held),
                Err(StageError::Held) => {
                    broker.hold_begins(ring, room.payload_bytes[place], self.now);
                    let wait_ms = peek::wait_ms(self.ask.acks, self.ask.timeout_ms);
                    return Err(Step::Held(HeldBack { ring, wait_ms }));
                }
            }
        }
        if room.meta_bytes > 0 {
            match broker.log.room_meta(broker.log.shared(), room.meta_bytes) {
                Err(StageError::Full(ticket)) => {
                    return Err(Step::Again(Until::written(broker.log.shared(), ticket)));
                }
                // What cannot be stored is sent again, and its reports with it.
                Err(_) => self.reports_closed = Some(Refusal::Storage),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What goes for the partitions of a topic, of this name, if it was found.
    #[inline(never)]
    pub fn rules(
        &self,
        broker: &mut Broker,
        name: &str,
        slot: Option<TopicSlot>,
    ) -> Result<Rules, Refusal> {
        if !self.ask.acks_valid() {
            return Err(Refusal::Acks);
        }
        if topics::is_internal(name) {
            return Err(Refusal::InternalTopic);
        }
        let config = &broker.config;
        let slot = slot.ok_or(Refusal::UnknownPartition)?;
        let topic = broker.log.state().topic(slot).ok_or(Refusal::UnknownPartition)?;
        let appends = topic_config::append_time(topic, config);
        let (before_ms, after_ms) = topic_config::timestamp_ms_max(topic, config);
        let right = broker.clock_right(self.now);
        let bound = |ms: i64, usual| if right && !appends { ms } else { usual };
        let rules = Rules {
            slot,
            ring: topic.ring,
            batch: self.batch_rules(broker, topic),
            append_time_ms: None,
            timestamp_ms_min: bound(self.now.wall_ms.saturating_sub(before_ms), i64::MIN),
            timestamp_ms_max: bound(self.now.wall_ms.saturating_add(after_ms), i64::MAX),
            relaxed_ms: topic_config::relaxed_ms(topic),
            reports: broker.is_mirror_topic(name),
            replicas_missing: self.ask.acks == ACKS_ALL
                && topic_config::insync_replicas_min(topic) > 1,
        };
        let append_time_ms = appends.then(|| broker.append_time_ms(self.now));
        Ok(Rules { append_time_ms, ..rules })
    }

    fn batch_rules(&self, broker: &Broker, topic: &Topic) -> batch::Rules {
        batch::Rules {
            batch_bytes_max: topic_config::message_bytes_max(topic, &broker.config),
            zstd_allowed: self.ask.version >= ZSTD_SINCE,
            // What a mirror reports is read anyway: who has checked it knows that it can be.
            records_read: broker.config.check_records == CheckRecords::All
                || broker.is_mirror_topic(&topic.name),
            compacted: topic.cleanup().compact,
        }
    }

    /// Checks the records of one partition; none: see `Unpacker::check`.
    #[inline(never)]
    pub fn check(
        &self,
        broker: &mut Broker,
        conn: ConnId,
        rules: &Rules,
        asked: &PartitionProduceData<'_>,
    ) -> Result<Option<Checked>, Refusal> {
        rules.partition(broker, asked.index)?;
        let batches = asked.records.ok_or(Refusal::NoRecords)?;
        broker.unpacker.check(conn, batches, &rules.batch)
    }

    /// Appends the records of one partition, which were checked, if all else is right.
    #[inline(never)]
    pub fn partition(
        &mut self,
        broker: &mut Broker,
        rules: &Rules,
        asked: &PartitionProduceData<'_>,
        checked: &Checked,
    ) -> Result<Placed, Refusal> {
        let slot = rules.partition(broker, asked.index)?;
        let batches = asked.records.ok_or(Refusal::NoRecords)?;
        let state = broker.log.state();
        let log_start = state.partition(slot).ok_or(Refusal::UnknownPartition)?.log_start;
        let batch = batch::batches(batches).next().ok_or(Refusal::NoRecords)?;
        let header = batch.header;
        if checked.batches != 1 {
            return Err(Refusal::ManyBatches);
        }
        let corrected_ms = checked.newest_ms;
        let newest_ms = corrected_ms.unwrap_or(header.max_timestamp);
        rules.check_timestamps(header.base_timestamp, newest_ms)?;
        if rules.replicas_missing {
            return Err(Refusal::ReplicasMissing);
        }
        // Judged here and not before: the request may have another batch of the same producer.
        let sequenced = batch_of(&header, Offset::NONE);
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        if let Some(batch) = sequenced {
            let (first, last) = (batch.sequence_first, batch.sequence_last);
            match state.producers.check(id, epoch, slot, first, last) {
                Check::Append => {}
                Check::Duplicate { offset, ticket } => {
                    self.wait(rules, ticket);
                    let reports = self.reports(broker, rules, batches);
                    let placed = rules.placed(offset, log_start, ticket, reports);
                    return Ok(Placed { append_time_ms: NO_TIMESTAMP, ..placed });
                }
                Check::DuplicateOld => return Err(Refusal::DuplicateOld),
                Check::OutOfOrder => return Err(Refusal::OutOfOrder),
                Check::EpochOld => return Err(Refusal::EpochOld),
            }
        }
        if rules.batch.compacted && !checked.tombstones {
            has_room_for_keys(broker, rules.ring)?;
        }
        let closed = self.closed[usize::from(rules.ring.0)];
        if let Some(closed) = closed.or(self.reports_closed.filter(|_| rules.reports)) {
            return Err(closed);
        }
        let append = Append {
            slot,
            batches,
            newest_ms: corrected_ms,
            append_time_ms: rules.append_time_ms,
            relaxed_ms: rules.relaxed_ms,
        };
        // There was room, so it is the disk that fails.
        let appended = broker.log.append(&append, self.now).map_err(|_| Refusal::Storage)?;
        if let Some(batch) = batch_of(&header, appended.offset) {
            let newest_ms = rules.append_time_ms.unwrap_or(newest_ms);
            broker.log.producer_staged(slot, id, epoch, batch, newest_ms, appended.ticket);
        }
        self.wait(rules, appended.ticket);
        let reports = self.reports(broker, rules, batches);
        Ok(rules.placed(appended.offset, log_start, appended.ticket, reports))
    }

    /// A mirror's reports are on flash before it is told that they are; whether there are some.
    fn reports(&mut self, broker: &mut Broker, rules: &Rules, batches: &[u8]) -> bool {
        if !rules.reports {
            return false;
        }
        let topic = broker.log.state().topic(rules.slot).map(|topic| topic.name.clone());
        let ticket = topic.and_then(|topic| broker.mirror_reports(&topic, batches, self.now));
        if let Some(ticket) = ticket {
            self.until.add(broker.log.shared(), ticket);
            self.until.written = false;
        }
        ticket.is_some()
    }

    fn wait(&mut self, rules: &Rules, ticket: Ticket) {
        self.until.add(rules.ring, ticket);
        self.until.written &= rules.relaxed_ms.is_some();
    }
}

impl Rules {
    /// Where a partition of the topic is.
    pub fn partition(&self, broker: &Broker, index: i32) -> Result<PartitionSlot, Refusal> {
        let index = u32::try_from(index).map_err(|_| Refusal::UnknownPartition)?;
        let slot = broker.log.state().partition_of(self.slot, index);
        slot.ok_or(Refusal::UnknownPartition)
    }

    fn placed(&self, offset: Offset, log_start: Offset, ticket: Ticket, reports: bool) -> Placed {
        Placed {
            offset,
            append_time_ms: self.append_time_ms.unwrap_or(NO_TIMESTAMP),
            log_start,
            ring: self.ring,
            ticket,
            written: self.relaxed_ms.is_some(),
            reports,
        }
    }

    fn check_timestamps(&self, first_ms: i64, newest_ms: i64) -> Result<(), Refusal> {
        let good = |ms| {
            ms == NO_TIMESTAMP || (self.timestamp_ms_min..=self.timestamp_ms_max).contains(&ms)
        };
        if good(first_ms) && good(newest_ms) { Ok(()) } else { Err(Refusal::Timestamp) }
    }
}

/// Once what lives of a ring's compacted topics is at its bound, what may be dropped is looked for.
fn has_room_for_keys(broker: &mut Broker, ring: RingIndex) -> Result<(), Refusal> {
    let carried = broker.log.carried(ring);
    if carried.bytes < carried.bytes_max && !carried.is_full {
        return Ok(());
    }
    broker.log.carried_sweep(ring);
    Err(Refusal::KeysFull)
}

const ACKS_ALL: i16 = -1;
const NO_TIMESTAMP: i64 = -1;
const ZSTD_SINCE: i16 = 7;
