//! Rings that are full of what their holders have not consumed: who waits, and what is logged of it.

use std::fmt::Write;

use super::Broker;
use crate::clock::{Mono, Now};
use crate::config::Holder;
use crate::limits;
use crate::log::hold::Lag;
use crate::metrics::render::OldestStatus;
use crate::types::{PartitionSlot, RingIndex};

/// What is known of the rings' holds.
#[derive(Debug, Default)]
pub struct Holds {
    rings: [RingHold; limits::RINGS_MAX],
}

#[derive(Debug, Default)]
struct RingHold {
    full: Full,
    /// When it was last logged that producers wait.
    told: Option<Mono>,
    /// Somebody found no room since then.
    asked: bool,
    /// When it was to be logged again, nobody waited: nothing more is logged until somebody does.
    quiet: bool,
    /// How many segments were begun when it was last checked how full the ring is.
    segments_seen: u64,
    /// The last of [`FULL_PERCENT`] that was warned of.
    warned: usize,
}

/// Whether a ring is full of what is held.
#[derive(Debug, Clone, Copy, Default)]
enum Full {
    /// It is not, or nobody has found out.
    #[default]
    No,
    /// Producers wait, since then; the shortest records that there was no room for have `bytes_min`.
    Waits { since: Mono, bytes_min: usize },
    /// They were woken then, as there is room for those. Others may have to wait again.
    Woken { since: Mono, at: Mono },
}

impl Full {
    fn since(self) -> Option<Mono> {
        match self {
            Full::No => None,
            Full::Waits { since, .. } | Full::Woken { since, .. } => Some(since),
        }
    }
}

impl Holds {
    /// When [`Broker::hold_tick`] is wanted.
    pub(super) fn due(&self) -> Mono {
        let due = |hold: &RingHold| match hold.full {
            Full::No => Mono(u64::MAX),
            Full::Waits { .. } if hold.quiet => Mono(u64::MAX),
            Full::Waits { since, .. } => Mono(hold.told.unwrap_or(since).0 + TELL_US),
            Full::Woken { at, .. } => Mono(at.0 + QUIET_US),
        };
        self.rings.iter().map(due).min().unwrap_or(Mono(u64::MAX))
    }
}

/// How full a held ring is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HoldNow {
    /// Bytes of segments that may not be overwritten.
    pub held_bytes: u64,
    /// Bytes of segments that may hold held records.
    pub data_bytes: u64,
    /// Microseconds for which producers have been waiting; none: they are not.
    pub waiting_us: Option<u64>,
}

impl Broker {
    /// A request found no room for this many bytes of held records.
    pub fn hold_begins(&mut self, ring: RingIndex, bytes: usize, now: Now) {
        let hold = &mut self.holds.rings[usize::from(ring.0)];
        let bytes_min = match hold.full {
            Full::Waits { bytes_min, .. } => bytes_min.min(bytes),
            _ => bytes,
        };
        hold.full = Full::Waits { since: hold.full.since().unwrap_or(now.mono), bytes_min };
        (hold.asked, hold.quiet) = (true, false);
        self.hold_tick(now);
    }

    /// Whether requests may be waiting for room in any ring.
    pub fn is_holding(&self) -> bool {
        self.holds.rings.iter().any(|hold| hold.full.since().is_some())
    }

    /// Whether a ring for which requests were waiting has room again, for the shortest of them.
    pub fn hold_ends(&mut self, now: Now) -> bool {
        let mut ended = false;
        for ring in self.log.rings() {
            let full = &mut self.holds.rings[usize::from(ring.0)].full;
            if let Full::Waits { since, bytes_min } = *full
                && self.log.takes_kept(ring, bytes_min)
            {
                (*full, ended) = (Full::Woken { since, at: now.mono }, true);
            }
        }
        ended
    }

    /// Logs that producers wait, now and then while they do, and that the ring takes records again once none
    /// had to wait for a while.
    pub(super) fn hold_tick(&mut self, now: Now) {
        for ring in self.log.rings() {
            let hold = &mut self.holds.rings[usize::from(ring.0)];
            let name = &self.log.ring_config(ring).name;
            match hold.full {
                Full::Waits { since, .. }
                    if hold.told.is_none_or(|told| now.mono.since_us(told) >= TELL_US) =>
                {
                    let place = usize::from(ring.0);
                    let waits = hold.asked || self.metrics.producers_held_by_ring[place] > 0;
                    (hold.asked, hold.quiet) = (false, !waits);
                    if waits {
                        hold.told = Some(now.mono);
                        self.hold_tell(ring, now.mono.since_us(since));
                    }
                }
                Full::Woken { since, at } if now.mono.since_us(at) >= QUIET_US => {
                    hold.full = Full::No;
                    if hold.told.is_some_and(|told| told >= since) {
                        let waited_us = at.since_us(since);
                        log::info!(
                            "ring {name} takes records again after {} s",
                            waited_us / 1_000_000
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn hold_tell(&self, ring: RingIndex, waited_us: u64) {
        let hold = self.log.hold(ring);
        for (at, holder) in hold.holders.iter().enumerate() {
            let lag = hold.lag(at);
            if lag.records > 0 {
                log::warn!(
                    "ring {} is full, and producers wait, for {} s: {}",
                    self.log.ring_config(ring).name,
                    waited_us / 1_000_000,
                    self.hold_text(holder, &lag, &hold.oldest(at))
                );
            }
        }
    }

    /// Warns at the start of holders that never committed or reported anything.
    pub(super) fn hold_warn_at_start(&self) {
        for (place, ring) in self.config.rings.iter().enumerate() {
            let hold = self.log.hold(RingIndex(place as u8));
            let silent = hold.holders.iter().enumerate().filter(|(at, _)| !hold.has_reported(*at));
            for (_, holder) in silent {
                log::warn!(
                    "ring {} is held for {holder}, which has {} yet: when the ring is full, \
                     producers will wait for it",
                    ring.name,
                    verb(holder)
                );
            }
        }
    }

    /// Warns of the same whenever held records reach another of [`FULL_PERCENT`] of a ring.
    pub fn hold_warn_as_it_fills(&mut self, ring: RingIndex) {
        let place = usize::from(ring.0);
        let config = self.log.ring_config(ring);
        let segments = self.log.stats(ring).segments;
        if config.hold_for.is_empty() || self.holds.rings[place].segments_seen == segments {
            return;
        }
        self.holds.rings[place].segments_seen = segments;
        let now = self.hold_now(ring, Mono(0));
        let percent = now.held_bytes * 100 / now.data_bytes.max(1);
        let reached = FULL_PERCENT.iter().take_while(|full| percent >= **full).count();
        let warned = std::mem::replace(&mut self.holds.rings[place].warned, reached);
        if reached <= warned {
            return;
        }
        let hold = self.log.hold(ring);
        let silent = hold.holders.iter().enumerate().filter(|(at, _)| !hold.has_reported(*at));
        for (at, holder) in silent {
            let lag = hold.lag(at);
            log::warn!(
                "ring {} is {percent} % full: {}",
                config.name,
                self.hold_text(holder, &lag, &hold.oldest(at))
            );
        }
    }

    /// How full a ring is of what is held.
    pub fn hold_now(&self, ring: RingIndex, now: Mono) -> HoldNow {
        let place = usize::from(ring.0);
        let config = self.log.ring_config(ring);
        let look = self.log.hold(ring).look();
        let segment_bytes = config.segment_bytes;
        let mut held_bytes = 0;
        let mut segments = self.log.segments(ring).peekable();
        while let Some(segment) = segments.next() {
            let file = segment.file.file;
            let last = segments.peek().is_none();
            if held_bytes == 0 && (!look.kept.has(file) || !last && !look.owed.has(file)) {
                continue;
            }
            held_bytes += if last { segment.end } else { segment_bytes };
        }
        HoldNow {
            held_bytes,
            data_bytes: u64::from(config.data_segments()) * segment_bytes,
            waiting_us: self.holds.rings[place].full.since().map(|since| now.since_us(since)),
        }
    }

    fn hold_text(
        &self,
        holder: &Holder,
        lag: &Lag,
        oldest: &OldestStatus<'_>,
    ) -> heapless::String<TEXT_BYTES> {
        let mut text = heapless::String::new();
        // What does not fit is left out.
        let _ = write!(
            text,
            "{holder} has not consumed {} records of {} partitions",
            lag.records, lag.partitions
        );
        if let Some((slot, first)) = lag.first {
            let name = self.partition_name(slot);
            let _ = write!(text, ", {name} from offset {} on", first.0);
        }
        if lag.unreported > 0 {
            let verb = verb(holder);
            let _ = write!(text, "; of {} partitions it has {verb} yet", lag.unreported);
        }
        let mut before = "; the oldest segment is held by ";
        let mut more = oldest.more;
        for stands in oldest.topics.iter().flatten() {
            let never = if stands.metrics.never_reported { verb(holder) } else { "behind" };
            let (topic, newest) = (stands.name, stands.metrics.newest_seconds());
            let records = stands.metrics.records;
            let whole = text.len();
            if write!(
                text,
                "{before}{topic} ({records} records, newest timestamp {newest} s, {never})"
            )
            .is_err()
            {
                text.truncate(whole);
                more += 1;
            }
            before = ", ";
        }
        if more > 0 {
            let _ = write!(text, " and {more} more topics");
        }
        text
    }

    pub(super) fn partition_name(&self, slot: PartitionSlot) -> heapless::String<TEXT_BYTES> {
        let mut name = heapless::String::new();
        let state = self.log.state();
        if let Some(partition) = state.partition(slot) {
            let topic = state.topic(partition.topic).map_or("", |topic| &topic.name);
            let _ = write!(name, "{topic}-{}", partition.index);
        }
        name
    }
}

/// What a holder has not done.
fn verb(holder: &Holder) -> &'static str {
    match holder {
        Holder::Group(_) => "committed nothing",
        Holder::Mirror(_) => "reported nothing",
    }
}

const FULL_PERCENT: [u64; 3] = [50, 75, 90];

/// How often it is logged while producers wait.
const TELL_US: u64 = 180_000_000;

/// If nobody had to wait again this long after there was room, the ring takes records again.
const QUIET_US: u64 = 1_000_000;

/// A holder's name, those of a few topics, and some words.
pub(super) const TEXT_BYTES: usize = 1024;
