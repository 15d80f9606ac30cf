//! `brooklet check`: reads every group and batch, and says what is damaged and what that costs.

use std::fmt::Write;

use super::offline::{Found, Offline};
use super::{Failure, print};
use crate::types::{PartitionHandle, RingIndex};

/// Checks all rings; damage is a failure.
pub fn run(offline: &Offline) -> Result<(), Failure> {
    let mut damaged = 0;
    for ring in offline.rings() {
        let checked = check_ring(offline, ring);
        damaged += checked.damaged;
        print(&checked.text);
    }
    let opened = offline.log.damage();
    if opened.torn > 0 || opened.unproven > 0 {
        print(&format!(
            "unclean shutdown: {} commit groups that may not be on flash yet, which the next start syncs, \
             and {} torn ones, which it drops; no acknowledged record is lost\n",
            opened.unproven, opened.torn
        ));
    }
    match damaged {
        0 => Ok(()),
        places => Err(Failure::Failed(format!("{places} damaged places"))),
    }
}

/// What was found in a ring.
pub struct Checked {
    /// For people.
    pub text: String,
    /// Damaged places.
    pub damaged: u64,
}

/// What is known so far of the ring that is walked.
#[derive(Default)]
struct Tally {
    segment: u64,
    group: u64,
    segments: u64,
    groups: u64,
    batches: u64,
    records: u64,
    /// Where each partition goes on; a run that starts later leaves a gap.
    next: Vec<(PartitionHandle, i64)>,
    /// A group was lost whole, so a gap behind it is damage; others are writes that were cut short.
    lost: bool,
    damage: Vec<String>,
}

/// Checks one ring.
pub fn check_ring(offline: &Offline, ring: RingIndex) -> Checked {
    let mut tally = Tally::default();
    offline.walk(ring, &mut |found| tally.take(offline, found));
    tally.end(offline);
    let name = &offline.rings[usize::from(ring.0)].name;
    let mut text = format!(
        "ring {name}: {} segments, {} groups, {} batches, {} records; {} damaged places\n",
        tally.segments,
        tally.groups,
        tally.batches,
        tally.records,
        tally.damage.len()
    );
    for damage in &tally.damage {
        let _ = writeln!(text, "  {damage}");
    }
    Checked { text, damaged: tally.damage.len() as u64 }
}

impl Tally {
    fn take(&mut self, offline: &Offline, found: Found<'_>) {
        match found {
            Found::Segment(segment) => {
                self.segment = segment.seq.0;
                self.segments += 1;
            }
            Found::Group(group) => {
                self.groups += 1;
                self.group = group.header.seq.0;
            }
            Found::Void(_) | Found::Meta(Some(_)) => {}
            Found::Unreadable { at } => {
                self.lost = true;
                self.damaged(format_args!("a group at {at} is unreadable"));
            }
            Found::NoDirectory => {
                self.lost = true;
                let group = self.group;
                self.damaged(format_args!("the directory of group {group} is unreadable"));
            }
            Found::Meta(None) => {
                let group = self.group;
                self.damaged(format_args!("metadata records of group {group} are unreadable"));
            }
            // What was carried says nothing about where its partition goes on.
            Found::Run(run) if run.is_carried() => {}
            Found::Run(run) => {
                let name = offline.name_of(run.handle);
                self.gap(&name, run.handle, run.offset.0);
                let end = run.end().0;
                match self.next.iter_mut().find(|(handle, _)| *handle == run.handle) {
                    Some((_, next)) => *next = end,
                    None => self.next.push((run.handle, end)),
                }
            }
            Found::Batch(run, batch, _) => {
                self.batches += 1;
                if let Some(header) = &batch.header {
                    self.records += u64::try_from(header.records_count).unwrap_or(0);
                } else {
                    let (first, last) = (batch.first, batch.last);
                    let name = offline.name_of(run.handle);
                    self.damaged(format_args!("{name} has lost offsets {first} to {last}"));
                }
            }
        }
    }

    /// What is missing at the end of partitions, if groups were lost.
    fn end(&mut self, offline: &Offline) {
        let state = offline.log.state();
        self.next.sort_unstable();
        for at in 0..self.next.len() {
            let (handle, _) = self.next[at];
            let slot = state.partition_with_handle(handle);
            if let Some(partition) = slot.and_then(|slot| state.partition(slot)) {
                self.gap(&offline.name_of(handle), handle, partition.next.0);
            }
        }
    }

    fn gap(&mut self, name: &str, handle: PartitionHandle, offset: i64) {
        let next = self.next.iter().find(|(known, _)| *known == handle);
        let next = next.map_or(offset, |(_, next)| *next);
        if self.lost && next < offset {
            self.damaged(format_args!("{name} has lost offsets {next} to {}", offset - 1));
        }
    }

    fn damaged(&mut self, what: std::fmt::Arguments<'_>) {
        self.damage.push(format!("segment {}: {what}", self.segment));
    }
}
