//! Groups that nobody uses any more make room for new ones, where a table is full.
//!
//! Committed offsets never expire by themselves: whoever reads them may be away for weeks. But who uses a
//! new name at each start would fill the table for good. So the group that was unused for longest gives
//! way, with its offsets, when another one wants a place: one without members, for which no ring is held
//! or watched, and whose newest offset was stamped at least [`limits::GROUP_UNUSED_MS`] ago. The stamp is
//! what is stored with each offset, and that of a group with members is at most
//! [`limits::GROUP_STAMP_MS`] old, whether or not they commit. Ages count only while the clock is right,
//! and stamps of a clock that was not set yet say nothing.

use super::Broker;
use super::stamps::WALL_MS_MIN;
use super::topics::Busy;
use crate::clock::Now;
use crate::config::Holder;
use crate::group::states::State;
use crate::limits;
use crate::types::{GroupSlot, Until};

impl Broker {
    /// Whether a group may get a member, as far as there may be a group at all: one that exists, or a new
    /// one that there is room for, or will be.
    ///
    /// # Errors
    ///
    /// Those of [`Broker::displace`].
    #[inline(never)]
    pub fn group_room(&mut self, group: &str, client: &str, now: Now) -> Result<(), Busy> {
        let state = self.log.state();
        let exists = state.group_named(group).is_some() || self.group_lives(group);
        if exists || self.groups_len(group) < state.limits().groups_max {
            Ok(())
        } else {
            Err(self.displace(group, client, now))
        }
    }

    /// Has the group that was unused for longest give way to `group` of this client. When that is settled,
    /// it is to be asked for room again; [`Busy::TooMuch`]: none may give way.
    pub fn displace(&mut self, group: &str, client: &str, now: Now) -> Busy {
        let state = self.log.state();
        let oldest_ms = now.wall_ms.saturating_sub_unsigned(limits::GROUP_UNUSED_MS);
        let mut victim: Option<(i64, GroupSlot)> = None;
        for (slot, other) in state.groups() {
            let stamp_ms = match state.offset_newest(slot) {
                Some(offset) => offset.timestamp_ms,
                None => i64::MIN,
            };
            let is_unused = stamp_ms == i64::MIN
                || (self.clock_right(now) && (WALL_MS_MIN..=oldest_ms).contains(&stamp_ms));
            if is_unused
                && victim.is_none_or(|(before_ms, _)| stamp_ms < before_ms)
                && other.name != group
                && !self.group_lives(&other.name)
                && !self.group_holds(&other.name)
            {
                victim = Some((stamp_ms, slot));
            }
        }
        let victim = victim.and_then(|(stamp_ms, slot)| Some((stamp_ms, state.group(slot)?)));
        let Some((stamp_ms, name)) = victim.map(|(ms, group)| (ms, group.name.clone())) else {
            // Clients try again and again.
            if self.full_said.is_none_or(|said| said.plus_ms(FULL_SAY_MS) <= now.mono) {
                self.full_said = Some(now.mono);
                log::warn!(
                    "no room for consumer group '{group}' of client '{client}', and no other is unused \
                     for long enough to give way: raise groups_max or offsets_max, or delete groups"
                );
            }
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
            "consumer group '{name}', unused for {days} days, is deleted with its offsets to make room \
             for '{group}' of client '{client}': raise groups_max or offsets_max to keep such groups"
        );
        Busy::Wait(Until::synced(self.log.shared(), ticket))
    }

    /// Stamps the offsets of groups anew that have members and committed nothing for a day.
    pub(super) fn groups_stamp(&mut self, now: Now, until: &mut Until) {
        let due_ms = now.wall_ms.saturating_sub_unsigned(limits::GROUP_STAMP_MS);
        for place in 0..self.log.state().limits().groups_max {
            let (state, slot) = (self.log.state(), GroupSlot(place as u16));
            let is_old = state.offset_newest(slot).is_some_and(|o| o.timestamp_ms <= due_ms);
            // What is on its way stamps it, too, and must not be taken back.
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
        shown.is_some_and(|group| group.state() != State::Empty || group.is_expecting())
    }

    /// Whether a ring is held or watched for a group.
    fn group_holds(&self, group: &str) -> bool {
        let is = |holder: &Holder| matches!(holder, Holder::Group(name) if name == group);
        let rings = &self.config.rings;
        rings.iter().any(|ring| ring.hold_for.iter().any(is) || ring.watch_for.iter().any(is))
    }
}

/// That there is no room is worth a line a minute.
const FULL_SAY_MS: u64 = 60_000;

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests;
