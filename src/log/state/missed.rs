//! How many records were overwritten before those in a ring's `watch_for` had consumed them.

use crate::config::{Holder, RingConfig};
use crate::log::record::MetaRecord;
use crate::types::RingIndex;

/// The counts of all rings. Each is in the snapshots of its ring.
pub struct Missed {
    watchers: Vec<Watcher>,
}

struct Watcher {
    ring: RingIndex,
    holder: Holder,
    /// As it is in a record.
    name: String,
    records: u64,
}

impl Missed {
    /// Nothing yet, for all that the rings are watched for; allocates all it will ever need.
    pub fn new(rings: &[RingConfig]) -> Missed {
        let watchers = rings.iter().enumerate().flat_map(|(place, ring)| {
            ring.watch_for.iter().map(move |holder| Watcher {
                ring: RingIndex(place as u8),
                holder: holder.clone(),
                name: holder.to_string(),
                records: 0,
            })
        });
        Missed { watchers: watchers.collect() }
    }

    /// The memory that this takes.
    pub fn memory_bytes(rings: &[RingConfig]) -> usize {
        let watchers = rings.iter().flat_map(|ring| &ring.watch_for);
        watchers.map(|holder| size_of::<Watcher>() + 2 * holder.to_string().len()).sum()
    }

    /// Records of a ring that were overwritten before this one had consumed them, as far as offsets tell.
    pub fn records(&self, ring: RingIndex, holder: &Holder) -> u64 {
        let found = self.watchers.iter().find(|w| w.ring == ring && w.holder == *holder);
        found.map_or(0, |watcher| watcher.records)
    }

    /// Adds to a count.
    pub(in crate::log) fn add(&mut self, ring: RingIndex, holder: &Holder, records: u64) {
        let found = self.watchers.iter_mut().find(|w| w.ring == ring && w.holder == *holder);
        if let Some(watcher) = found {
            watcher.records = watcher.records.saturating_add(records);
        }
    }

    /// Takes a count from a snapshot, if the ring is still watched for this one.
    pub(super) fn restore(&mut self, ring: RingIndex, name: &str, records: u64) {
        let found = self.watchers.iter_mut().find(|w| w.ring == ring && w.name == name);
        if let Some(watcher) = found {
            watcher.records = watcher.records.max(records);
        }
    }

    /// Writes what there is of a ring; false when `put` said that there is no room.
    pub(super) fn snapshot(
        &self,
        ring: RingIndex,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut of = self.watchers.iter().filter(|w| w.ring == ring && w.records > 0);
        of.all(|w| put(&MetaRecord::Overwritten { holder: &w.name, records: w.records }))
    }

    /// The most bytes that this takes.
    pub(super) fn snapshot_bytes_bound(&self, ring: RingIndex) -> usize {
        let of = self.watchers.iter().filter(|w| w.ring == ring);
        of.map(|watcher| RECORD_BYTES_MAX + watcher.name.len()).sum()
    }
}

/// The same, by the configuration alone.
pub fn snapshot_bytes(ring: &RingConfig) -> usize {
    ring.watch_for.iter().map(|holder| RECORD_BYTES_MAX + holder.to_string().len()).sum()
}

/// The most that a record takes beside the name: its kind, a length, a number.
const RECORD_BYTES_MAX: usize = 1 + 2 + 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::log::record::Appender;

    #[test]
    fn what_was_missed_is_counted_by_ring_and_holder_and_fits_its_bound() {
        let mut rings = vec![Config::default().rings[0].clone(); 2];
        let long = format!("group:{}", "g".repeat(255));
        let holders = ["mirror:up", &long].map(|text| Holder::from_text(text).unwrap());
        rings[1].watch_for = holders.to_vec();
        let mut missed = Missed::new(&rings);
        let ring = RingIndex(1);
        for holder in &holders {
            missed.add(ring, holder, 5);
            missed.add(ring, holder, u64::MAX - 5);
            missed.add(RingIndex(0), holder, 7);
        }
        let mut found = Missed::new(&rings);
        let (mut records, mut buf) = (Appender::default(), [0; 600]);
        assert!(missed.snapshot(ring, &mut |record| {
            let MetaRecord::Overwritten { holder, records: count } = record else {
                panic!("{record:?}");
            };
            found.restore(ring, holder, *count);
            records.push(record, &mut buf).is_some()
        }));
        let bound = snapshot_bytes(&rings[1]);
        // A short name's length takes a byte less.
        assert_eq!((records.end() + 1, missed.snapshot_bytes_bound(ring)), (bound, bound));
        assert_eq!(holders.map(|holder| found.records(ring, &holder)), [u64::MAX; 2]);
        assert_eq!(found.snapshot_bytes_bound(RingIndex(0)), 0);
    }
}
