//! Unused consumer groups are displaced by new ones where a table is full.
//!
//! Committed offsets never expire by themselves: their consumers may be away for weeks. But clients that
//! use a new name at each start would fill the table for good. So the group that was unused for longest is
//! deleted with its offsets when another one needs a place: one without members, for which no ring is held
//! or watched, and whose newest offset was stamped at least [`limits::GROUP_UNUSED_MS`] ago. The stamp is
//! the time that is stored with each offset. That of a group with members is at most
//! [`limits::GROUP_STAMP_MS`] old, whether or not they commit; that of one without is renewed as often when
//! it commits the same offsets again. Ages count only while the clock is right, and not right after a
//! restart: all groups were unused while the broker was off. Stamps from before the clock was set say
//! nothing.

use super::Broker;
use super::offsets::OffsetGrowth;
use super::topics::Busy;
use crate::clock::{Mono, Now, WALL_MS_MIN};
use crate::config::Holder;
use crate::limits;
use crate::log::record::MetaRecord;
use crate::log::state::GroupName;
use crate::log_limit::About;
use crate::types::{Boot, GroupSlot, Until};

impl Broker {
    /// Whether there is room for a group that is to get a member: it exists, or the table has a place for
    /// it. If not, another one is displaced.
    ///
    /// # Errors
    ///
    /// Those of [`Broker::displace`].
    #[inline(never)]
    pub fn group_room(&mut self, group: &str, client: &str, now: Now) -> Result<(), Busy> {
        if self.group_has_room(group) {
            Ok(())
        } else {
            Err(self.displace(group, &OffsetGrowth::default(), client, now))
        }
    }

    /// The same, without displacing any.
    pub fn group_has_room(&self, group: &str) -> bool {
        let state = self.log.state();
        let exists = state.group_named(group).is_some() || self.group_lives(group);
        exists || self.groups_len(group) < state.limits().groups_max
    }

    /// Deletes the group that was unused for longest, for `group` of this client, which grows by this
    /// much. When that is settled, the request is handled again; [`Busy::TooMuch`]: none may be
    /// displaced, or all that may are not enough.
    pub fn displace(&mut self, group: &str, growth: &OffsetGrowth, client: &str, now: Now) -> Busy {
        // What is deleted already makes room.
        let ring = self.log.shared();
        let deleted = self.log.staged(ring).find_map(|(ticket, record)| {
            let is_deleted = matches!(record, MetaRecord::GroupDelete { .. });
            is_deleted.then(|| Until::synced(ring, ticket))
        });
        if let Err(busy) = self.busy_until(deleted) {
            return busy;
        }
        let Some((stamp_ms, name)) = self.displaced(group, growth, now) else {
            // Clients try again and again.
            let text = format_args!(
                "no room for consumer group {group:?} of client {client:?}, and not enough other groups \
                are known to be unused for long enough: raise groups_max or offsets_max, or delete groups"
            );
            self.lines.say(log::Level::Warn, About::kind("groups full"), now.mono, text);
            return Busy::TooMuch;
        };
        if let Err(busy) = self.groups_settled(&|other| other == name.as_str()) {
            return busy;
        }
        if let Err(busy) = self.meta_room(self.log.shared(), Broker::group_delete_bytes(&name)) {
            return busy;
        }
        let Ok(ticket) = self.group_delete(&name, now) else {
            return Busy::Storage;
        };
        self.groups.counts.displaced += 1;
        let days = now.wall_ms.saturating_sub(stamp_ms.max(WALL_MS_MIN)) / DAY_MS;
        log::warn!(
            "consumer group {name:?}, unused for {days} days, is deleted with its offsets to make room \
             for {group:?} of client {client:?}: raise groups_max or offsets_max to keep such \
             groups"
        );
        Busy::Wait(Until::synced(self.log.shared(), ticket))
    }

    /// The group to displace, and when it was last stamped; none, where even all that may be displaced are
    /// not enough.
    fn displaced(&self, group: &str, growth: &OffsetGrowth, now: Now) -> Option<(i64, GroupName)> {
        let state = self.log.state();
        let is_early = state.boot > Boot(1) && now.mono < Mono(0).plus_ms(limits::GROUP_FORMER_MS);
        let counts_ages = !is_early && self.clock_right(now);
        let mut offsets = state.offsets_len() + growth.offsets;
        let mut metadata_bytes = state.offset_metadata_bytes() + growth.metadata_bytes;
        let oldest_ms = now.wall_ms.saturating_sub_unsigned(limits::GROUP_UNUSED_MS);
        let mut victim: Option<(i64, GroupSlot)> = None;
        for (slot, other) in state.groups() {
            let stamp_ms = match state.offset_newest(slot) {
                Some(offset) => offset.timestamp_ms,
                None => i64::MIN,
            };
            let is_unused = stamp_ms == i64::MIN
                || (counts_ages && (WALL_MS_MIN..=oldest_ms).contains(&stamp_ms));
            if is_unused
                && other.name != group
                && !self.group_lives(&other.name)
                && !self.group_holds(&other.name)
            {
                for offset in state.offsets_of(slot) {
                    offsets -= 1;
                    metadata_bytes -= state.metadata_of(offset).len();
                }
                if victim.is_none_or(|(before_ms, _)| stamp_ms < before_ms) {
                    victim = Some((stamp_ms, slot));
                }
            }
        }
        let max = state.limits();
        let fits = offsets <= max.offsets_max && metadata_bytes <= max.offset_metadata_bytes;
        let (stamp_ms, slot) = victim.filter(|_| fits)?;
        Some((stamp_ms, state.group(slot)?.name.clone()))
    }

    /// Whether a group was not stamped for so long that a commit of the same offsets is stored for its
    /// stamp.
    pub fn group_stamp_is_old(&self, group: &str, now: Now) -> bool {
        let state = self.log.state();
        let newest = state.group_named(group).and_then(|slot| state.offset_newest(slot));
        let due_ms = now.wall_ms.saturating_sub_unsigned(limits::GROUP_STAMP_MS);
        newest.is_some_and(|newest| newest.timestamp_ms <= due_ms) && self.clock_right(now)
    }

    /// Stamps the offsets of groups anew that have members and committed nothing for a day.
    pub(super) fn groups_stamp(&mut self, now: Now, until: &mut Until) {
        let due_ms = now.wall_ms.saturating_sub_unsigned(limits::GROUP_STAMP_MS);
        for place in 0..self.log.state().limits().groups_max {
            let (state, slot) = (self.log.state(), GroupSlot(place as u16));
            let is_old = state.offset_newest(slot).is_some_and(|o| o.timestamp_ms <= due_ms);
            // A commit on its way stamps it as well, and the older offset must not follow it.
            let is_due = |name: &str| {
                self.group_lives(name) && self.groups_settled(&|other| other == name).is_ok()
            };
            if is_old
                && state.group(slot).is_some_and(|group| is_due(&group.name))
                && let Ok(ticket) = self.log.stage_again(slot, now)
            {
                until.add(self.log.shared(), ticket);
            }
        }
    }

    /// Whether a group has members, or expects some.
    #[inline(never)]
    fn group_lives(&self, group: &str) -> bool {
        let shown = self.groups.show(group);
        shown.is_some_and(|group| group.is_used())
    }

    /// Whether a ring is held or watched for a group.
    fn group_holds(&self, group: &str) -> bool {
        let is = |holder: &Holder| matches!(holder, Holder::Group(name) if name == group);
        let rings = &self.config.rings;
        rings.iter().any(|ring| ring.hold_for.iter().any(is) || ring.watch_for.iter().any(is))
    }
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests;
