//! Last, what a start writes: the boot group, and in a new ring the head before it.

use super::{Gap, Opening};
use crate::clock::Now;
use crate::limits::PAGE_BYTES;
use crate::log::Log;
use crate::log::format::{Anchor, AnchorKind, AnchorPage};
use crate::log::record::MetaRecord;
use crate::types::{FileRef, Offset, RingIndex, RingNumber};

impl Log {
    /// Writes the boot group. If the disk fails here, what can be read is served all the same, and the
    /// ring tries again as after any failure.
    pub(super) fn begin(&mut self, place: usize, gaps: &[Gap], opening: &mut Opening<'_>) {
        let now = opening.now;
        let boot = self.state.boot;
        let ring = &mut self.rings[place];
        let fresh = ring.segments().is_empty();
        ring.boot = boot;
        if self.state.cluster_id == [0; 16] {
            self.state.cluster_id = self.cluster_id_new();
        }
        self.begin_with(place, &MetaRecord::Boot { boot }, now);
        if self.rings[place].index == self.shared() {
            self.begin_with_found(place, now);
            for id in self.state.strays_take() {
                self.begin_with(place, &MetaRecord::TopicDelete { id }, now);
            }
        }
        for (handle, next) in gaps.iter().copied() {
            let slot = self.state.partition_with_handle(handle);
            let partition = slot.and_then(|slot| self.state.partition_mut(slot));
            let Some(partition) = partition else { continue };
            // Produces that are accepted before this is on flash follow it.
            partition.next = partition.next.max(next);
            let (log_start, epochs) = (Offset(0), heapless::Vec::new());
            let gap = MetaRecord::Partition { handle, log_start, next, epochs };
            self.begin_with(place, &gap, now);
        }
        self.drive(RingIndex(place as u8), now);
        self.rings[place].current_look(&self.state, &self.indexes[place]);
        if fresh {
            self.twin_write(place);
        }
    }

    /// A cluster's id, made of the first ring's id, so that it stays the same if the metadata ring is lost.
    /// It is hashed (FNV-1a, 64 bits for each half): clients see it, and with a ring's id they could produce
    /// bytes that look like its groups.
    fn cluster_id_new(&self) -> [u8; 16] {
        let first = self.rings.iter().find(|ring| self.number_of(ring.index) == RingNumber(0));
        let id = first.map_or_else(|| self.ring_id(self.shared()), |ring| ring.id);
        cluster_id_of(id)
    }

    /// Records topics whose creation was lost under the names that they got, so that none is created later
    /// under such a name.
    fn begin_with_found(&mut self, place: usize, now: Now) {
        for slot in self.state.found_take() {
            let first = self.state.partitions_of(slot).next();
            let handle_first = first.map(|(_, partition)| partition.handle);
            let topic = self.state.topic(slot).cloned();
            let Some((topic, handle_first)) = topic.zip(handle_first) else { continue };
            let create = MetaRecord::TopicCreate {
                id: topic.id,
                name: &topic.name,
                ring: self.number_of(topic.ring).0,
                handle_first,
                partitions: 1,
                configs: &[],
            };
            self.begin_with(place, &create, now);
        }
    }

    /// Stages a record, committing what is staged if there is no room for it.
    fn begin_with(&mut self, place: usize, record: &MetaRecord<'_>, now: Now) {
        if self.rings[place].stage(true, None).push_meta(record).is_err() {
            self.drive(RingIndex(place as u8), now);
            let again = self.rings[place].stage(true, None).push_meta(record);
            assert!(
                again.is_ok() || self.rings[place].is_failing(),
                "an empty group takes a record"
            );
        }
    }

    /// Carries out the ring's jobs until none is left.
    fn drive(&mut self, ring: RingIndex, now: Now) {
        while let Some(mut job) = self.next_io(ring, now) {
            let result = job.run(&*self.storage);
            self.io_done(ring, job, result, now);
        }
    }

    /// Writes a new ring's head once more, at the other end of its segment: nothing else says yet that
    /// this is a ring.
    fn twin_write(&mut self, place: usize) {
        let ring = &self.rings[place];
        let Some(current) = ring.current().copied() else {
            return;
        };
        let file = FileRef { ring: ring.index, file: current.file };
        let mut head = vec![0; current.groups_at as usize];
        let bytes = ring.config.segment_bytes;
        if self.storage.read(file, 0, &mut head).is_err() {
            return;
        }
        let AnchorPage::Valid(anchor) = Anchor::decode(&head) else {
            return;
        };
        let body = head.split_off(PAGE_BYTES);
        let at = bytes - PAGE_BYTES as u64 - body.len() as u64;
        let twin = Anchor { kind: AnchorKind::Twin, body_at: at, ..*anchor };
        let mut page = vec![0; PAGE_BYTES];
        twin.encode(&mut page);
        let parts = [std::io::IoSlice::new(&body), std::io::IoSlice::new(&page)];
        let written = self.storage.write(file, at, &parts);
        if let Err(error) = written.and_then(|()| self.storage.sync(file)) {
            log::warn!("the ring's first head has no twin: {error}");
        }
    }
}

fn cluster_id_of(ring_id: [u8; 16]) -> [u8; 16] {
    let hash = |bytes: &[u8]| {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, step)
    };
    let first = hash(&ring_id).to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&first);
    id[8..].copy_from_slice(&hash(&first).to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_id_stays_and_is_not_the_rings() {
        let rings = [[1; 16], [2; 16]].map(cluster_id_of);
        assert!(rings[0] != rings[1] && rings.iter().all(|id| id[..8] != [1; 8]));
        assert_eq!(cluster_id_of(*b"0123456789abcdef"), cluster_id_of(*b"0123456789abcdef"));
    }
}
