//! What each metadata record changes.

use super::{CommittedOffset, State, TableFull};
use crate::log::record::MetaRecord;
use crate::types::{PartitionSlot, RingIndex, RingNumber};

impl State {
    /// Makes one synced change. `ring` is where the record was. `removed` is called with each partition
    /// of a deleted topic.
    pub fn apply(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        let done = self.apply_one(ring, record, removed);
        self.changes += 1;
        done
    }

    fn apply_one(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        match record {
            MetaRecord::Boot { boot } => self.boot = self.boot.max(*boot),
            MetaRecord::HandleNext { handle } => self.handle_next = self.handle_next.max(*handle),
            MetaRecord::ClusterId { id } => self.cluster_id = *id,
            MetaRecord::TopicCreate { .. }
            | MetaRecord::TopicDelete { .. }
            | MetaRecord::PartitionsAdd { .. }
            | MetaRecord::TopicConfigs { .. } => return self.apply_to_topics(record, removed),
            MetaRecord::OffsetCommit { .. }
            | MetaRecord::OffsetDelete { .. }
            | MetaRecord::GroupDelete { .. } => return self.apply_to_offsets(record),
            MetaRecord::LogStart { handle, offset } => {
                if let Some(partition) = self.with_handle(*handle) {
                    partition.log_start_move(*offset);
                }
            }
            MetaRecord::Partition { handle, log_start, next, epochs } => {
                self.partition_restore(ring, *handle)?;
                if let Some(partition) = self.with_handle(*handle) {
                    partition.bounds_restore(*log_start, *next, epochs);
                }
            }
            MetaRecord::Producer { id, epoch, handle, timestamp_ms, batches } => {
                if let Some(slot) = self.partition_with_handle(*handle) {
                    self.producers.restore(*id, *epoch, slot, *timestamp_ms, batches);
                }
            }
            MetaRecord::Mirrored { mirror, handle, offset } => {
                if let Some(slot) = self.partition_with_handle(*handle) {
                    self.mirrors.report(mirror, slot, *offset);
                }
            }
            MetaRecord::Overwritten { holder, records } => {
                self.missed.restore(ring, holder, *records);
            }
            MetaRecord::Evict { .. } => {}
        }
        Ok(())
    }

    /// Records of topics alone.
    fn apply_to_topics(
        &mut self,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        match record {
            MetaRecord::TopicCreate { id, name, ring, handle_first, partitions, configs } => {
                let (topic, number) = ((*id, *name), RingNumber(*ring));
                if let Some(ring) = self.ring_numbered(topic, number, *handle_first, *partitions) {
                    let slot = self.topic_create(*id, name, ring, configs)?;
                    self.partitions_add(slot, *handle_first, *partitions)?;
                }
            }
            MetaRecord::TopicDelete { id } => {
                self.strays_delete(*id);
                self.topic_delete(*id, removed);
            }
            MetaRecord::PartitionsAdd { id, handle_first, partitions } => {
                match self.topic_with_id(*id) {
                    Some((slot, _)) => self.partitions_add(slot, *handle_first, *partitions)?,
                    None => self.stray_grows(*id, *handle_first, *partitions),
                }
            }
            MetaRecord::TopicConfigs { id, configs } => self.topic_configure(*id, configs),
            _ => {}
        }
        Ok(())
    }

    /// Records of committed offsets alone.
    fn apply_to_offsets(&mut self, record: &MetaRecord<'_>) -> Result<(), TableFull> {
        match record {
            MetaRecord::OffsetCommit {
                group,
                handle,
                offset,
                leader_epoch,
                metadata,
                timestamp_ms,
            } => {
                let (offset, stamp_ms) = (*offset, *timestamp_ms);
                let entry = CommittedOffset::new(*handle, offset, *leader_epoch, stamp_ms);
                return self.offset_commit(group, entry, metadata);
            }
            MetaRecord::OffsetDelete { group, handle } => self.offset_delete(group, *handle),
            MetaRecord::GroupDelete { group } => self.group_delete(group),
            _ => {}
        }
        Ok(())
    }
}
