//! How the state follows the log: what a sync makes visible, what replay finds, what eviction hides.

use super::{Partition, State};
use crate::codec::batch::BatchHeader;
use crate::log::format::Run;
use crate::types::{Boot, Offset, PartitionHandle, PartitionSlot, RingIndex, Ticket};

impl State {
    /// Everything written in `ring` is synced now. `moved` is called for each partition whose high
    /// watermark moves.
    pub(in crate::log) fn written_is_visible(
        &mut self,
        ring: RingIndex,
        moved: &mut dyn FnMut(PartitionSlot),
    ) {
        for (slot, partition) in self.partitions.iter_mut() {
            if partition.ring == ring && partition.written > partition.high_watermark {
                partition.high_watermark_move(partition.written, partition.written);
                moved(slot);
            }
        }
    }

    /// What was written in `ring` and not synced is lost: it is never seen, its offsets are not given
    /// again, and its producers may send any sequence. [`State::gaps_take`] gives the gaps.
    pub(in crate::log) fn written_is_lost(&mut self, ring: RingIndex) {
        let is_lost = |partition: &Partition| {
            partition.ring == ring && partition.written > partition.high_watermark
        };
        let partitions = &self.partitions;
        self.producers.forget_sequences(&|slot| partitions.get(slot).is_some_and(is_lost));
        for (_, partition) in self.partitions.iter_mut().filter(|(_, found)| is_lost(found)) {
            let (first, end) = (partition.high_watermark, partition.written);
            partition.written = first;
            self.gaps += usize::from(partition.gap == Offset(0));
            partition.gap = end;
            let index = partition.index;
            let topic = self.topics.get(partition.topic).map_or("", |topic| &topic.name);
            log::error!(
                "{topic}-{index}: offsets {} to {} were acknowledged when written (flush.ms, \
                 flush.messages), could not be synced, and are lost",
                first.0,
                end.0 - 1
            );
        }
    }

    /// Gives each gap that is not staged yet to `put`, with the offset behind it; false: there is no
    /// room for it now.
    pub(in crate::log) fn gaps_take(
        &mut self,
        ring: RingIndex,
        put: &mut dyn FnMut(PartitionHandle, Offset) -> bool,
    ) {
        if self.gaps == 0 {
            return;
        }
        self.gaps = 0;
        for (_, partition) in self.partitions.iter_mut() {
            let owed = partition.gap > Offset(0);
            if owed && partition.ring == ring && put(partition.handle, partition.gap) {
                partition.gap = Offset(0);
            }
            self.gaps += usize::from(partition.gap > Offset(0));
        }
    }

    /// Everything staged in `ring` up to `ticket` is synced now.
    pub(in crate::log) fn producers_synced(&mut self, ring: RingIndex, ticket: Ticket) {
        self.producers.synced(ring, ticket);
    }

    /// Records follow the hole at the end of a partition, if there is one. Where it was is not remembered, so
    /// mirrors that had reported all before it are taken to be behind it.
    pub(in crate::log) fn hole_passed(&mut self, slot: PartitionSlot) {
        if let Some(partition) = self.partitions.get(slot).filter(|found| found.hole() > 0) {
            self.mirrors.pass(slot, partition.records_end(), partition.high_watermark);
        }
    }

    /// Takes a run of the log while it is replayed. `records_end`: the offset behind its last batch that is
    /// not damaged; none: all are.
    pub(in crate::log) fn run_replay(
        &mut self,
        slot: PartitionSlot,
        epoch: Boot,
        run: &Run,
        records_end: Option<Offset>,
    ) {
        if records_end.is_some() {
            self.hole_passed(slot);
        }
        if let Some(partition) = self.partition_mut(slot) {
            partition.epoch_note(epoch, run.offset);
            let records_end = records_end.unwrap_or(partition.records_end());
            partition.high_watermark_move(run.end(), records_end);
            partition.written = run.end();
            partition.next = run.end();
            partition.bytes_note(run.offset, run.bytes);
        }
    }

    /// How many records are missing before `offset`, after damage that nothing else can name.
    pub(in crate::log) fn gap_before(&self, slot: PartitionSlot, offset: Offset) -> u64 {
        let Some(partition) = self.partition(slot) else {
            return 0;
        };
        // What comes first in the log after an eviction does not begin at 0.
        if partition.next.0 == 0 || offset <= partition.next {
            return 0;
        }
        let topic = self.topic(partition.topic).map_or("", |topic| &topic.name);
        log::error!(
            "{topic}-{}: offsets {} to {} are lost",
            partition.index,
            partition.next.0,
            offset.0 - 1
        );
        offset.0.abs_diff(partition.next.0)
    }

    /// Notes a replayed batch for its producer.
    pub(in crate::log) fn producer_replay(&mut self, slot: PartitionSlot, header: &BatchHeader) {
        if header.has_producer_id() {
            self.producers.replay(slot, header);
        }
    }

    /// Something of `ring` was lost: from here on its producers may send any sequence.
    pub(in crate::log) fn producers_forget_sequences(&mut self, ring: RingIndex) {
        let partitions = &self.partitions;
        let is_of = |slot| partitions.get(slot).is_some_and(|partition| partition.ring == ring);
        self.producers.forget_sequences(&is_of);
    }

    /// Carried records are below the end of their partition. If they are not, because of damage, it is
    /// moved behind them.
    pub(in crate::log) fn carried_replay(&mut self, slot: PartitionSlot, end: Offset) {
        if let Some(partition) = self.partition_mut(slot) {
            partition.high_watermark_move(end, end);
            partition.written = partition.written.max(end);
            partition.next = partition.next.max(end);
        }
    }

    /// Moves log starts up to the oldest record that is left, except those of compacted partitions.
    /// `first` gives its offset, or the offset that it gets where there is none.
    pub(in crate::log) fn log_starts_move(
        &mut self,
        ring: RingIndex,
        first: &dyn Fn(PartitionSlot, Offset) -> Offset,
    ) {
        for (slot, partition) in self.partitions.iter_mut() {
            if partition.ring == ring && !partition.compacted {
                let first = first(slot, partition.high_watermark);
                partition.log_start_move(first);
            }
        }
    }
}
