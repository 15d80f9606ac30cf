//! The positions of the mirrors that rings are held or watched for.

use crate::limits;
use crate::types::{Offset, PartitionSlot};

/// The positions of the mirrors that the configuration names; those of others are dropped.
pub struct Mirrors {
    mirrors: Vec<Mirror>,
}

struct Mirror {
    alias: String,
    /// By slot; [`Offset::NONE`]: it reported nothing of the partition.
    positions: Vec<Offset>,
}

impl Mirrors {
    /// Room for all that these may report; allocates all it will ever need.
    pub fn new(aliases: Vec<String>, partitions_max: usize) -> Mirrors {
        let mirror = |alias| Mirror { alias, positions: vec![Offset::NONE; partitions_max] };
        Mirrors { mirrors: aliases.into_iter().map(mirror).collect() }
    }

    /// The memory that this many take.
    pub fn memory_bytes(count: usize, partitions_max: usize) -> usize {
        count
            * (size_of::<Mirror>()
                + limits::MIRROR_ALIAS_BYTES_MAX
                + partitions_max * size_of::<Offset>())
    }

    /// The mirrors' aliases.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.mirrors.iter().map(|mirror| mirror.alias.as_str())
    }

    /// The first offset of a partition that the mirror may not have replicated, if it reported any.
    pub fn position(&self, alias: &str, slot: PartitionSlot) -> Option<Offset> {
        let mirror = self.mirrors.iter().find(|mirror| mirror.alias == alias)?;
        mirror.positions.get(usize::from(slot.0)).copied().filter(|at| *at != Offset::NONE)
    }

    /// All that was reported of a partition.
    pub fn positions(&self, slot: PartitionSlot) -> impl Iterator<Item = (&str, Offset)> {
        let of = move |mirror: &Mirror| mirror.positions.get(usize::from(slot.0)).copied();
        let all = self.mirrors.iter().filter_map(move |m| Some((m.alias.as_str(), of(m)?)));
        all.filter(|(_, at)| *at != Offset::NONE)
    }

    /// Whether the mirror reported anything of a partition that still exists.
    pub fn has_reported(&self, alias: &str) -> bool {
        let mirror = self.mirrors.iter().find(|mirror| mirror.alias == alias);
        mirror.is_some_and(|mirror| mirror.positions.iter().any(|at| *at != Offset::NONE))
    }

    /// The newest report counts, also if it is lower: then the mirror has begun anew.
    pub(in crate::log) fn report(&mut self, alias: &str, slot: PartitionSlot, offset: Offset) {
        let mirror = self.mirrors.iter_mut().find(|mirror| mirror.alias == alias);
        let position = mirror.and_then(|m| m.positions.get_mut(usize::from(slot.0)));
        if let Some(position) = position {
            *position = offset;
        }
    }

    /// There are no records in `from..to`: positions there move to `to`.
    pub(super) fn pass(&mut self, slot: PartitionSlot, from: Offset, to: Offset) {
        let positions =
            self.mirrors.iter_mut().filter_map(|m| m.positions.get_mut(usize::from(slot.0)));
        for position in positions.filter(|position| (from..to).contains(*position)) {
            *position = to;
        }
    }

    /// The partition is deleted.
    pub(in crate::log) fn forget_partition(&mut self, slot: PartitionSlot) {
        for mirror in &mut self.mirrors {
            if let Some(position) = mirror.positions.get_mut(usize::from(slot.0)) {
                *position = Offset::NONE;
            }
        }
    }

    /// The most that this many partitions take in a snapshot.
    pub fn snapshot_bytes(aliases: &[String], partitions: usize) -> usize {
        aliases.iter().map(|alias| RECORD_BYTES_MAX + alias.len()).sum::<usize>() * partitions
    }

    /// The same of these.
    pub fn snapshot_bytes_bound(&self, partitions: usize) -> usize {
        self.aliases().map(|alias| RECORD_BYTES_MAX + alias.len()).sum::<usize>() * partitions
    }
}

/// The most that a record takes beside the mirror's name: its kind, a length, a handle, an offset.
pub const RECORD_BYTES_MAX: usize = 1 + 1 + 5 + 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_report_stands_and_only_for_mirrors_that_are_known() {
        let mut mirrors = Mirrors::new(vec!["a".into(), "b".into()], 2);
        let slot = PartitionSlot(1);
        assert!(!mirrors.has_reported("a"));
        mirrors.report("a", slot, Offset(7));
        mirrors.report("a", slot, Offset(3));
        mirrors.report("c", slot, Offset(9));
        mirrors.report("a", PartitionSlot(2), Offset(9));
        assert_eq!(mirrors.position("a", slot), Some(Offset(3)));
        assert_eq!(mirrors.position("b", slot), None);
        assert_eq!(mirrors.positions(slot).collect::<Vec<_>>(), [("a", Offset(3))]);
        assert!(mirrors.has_reported("a") && !mirrors.has_reported("b"));
        for (from, to, position) in [(4, 9, 3), (0, 3, 3), (3, 9, 9)] {
            mirrors.pass(slot, Offset(from), Offset(to));
            assert_eq!(mirrors.position("a", slot), Some(Offset(position)));
        }
        assert_eq!(mirrors.position("b", slot), None);
        mirrors.forget_partition(slot);
        assert!(!mirrors.has_reported("a"));
    }
}
