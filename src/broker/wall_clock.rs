//! Whether the wall clock is right. Boards often have no battery for theirs: after a power cut it is in
//! the past, until the network sets it.

use super::Broker;
use crate::clock::{Now, WALL_MS_MIN};

impl Broker {
    /// Whether the clock is right: the system says so, or it is not before the newest stamp of our
    /// own on flash. A client's timestamps never count.
    pub fn clock_right(&self, now: Now) -> bool {
        is_right(now, self.log.stamp_newest_ms())
    }

    /// Checks the clock, and logs when it is not trusted, and when it is again.
    pub(super) fn clock_look(&mut self, now: Now) -> bool {
        let (is_right, newest_ms) = (self.clock_right(now), self.log.stamp_newest_ms());
        if is_right == self.clock_distrusted {
            self.clock_distrusted = !is_right;
            if is_right {
                log::info!("the clock is trusted: retention.ms applies again");
            } else {
                log::warn!(
                    "the clock is not trusted: nothing says that it is synchronised, and it is {} s \
                     behind what was stored last. Until that changes no record is hidden for its age, \
                     and records get no earlier time than those before them",
                    newest_ms.max(WALL_MS_MIN).saturating_sub(now.wall_ms) / 1000
                );
            }
        }
        is_right
    }

    /// The time for records that arrive now. It never runs backwards while the clock is wrong.
    pub fn append_time_ms(&mut self, now: Now) -> i64 {
        if self.clock_right(now) {
            self.append_time_newest_ms = now.wall_ms;
        } else {
            let newest = self.append_time_newest_ms.max(self.log.stamp_newest_ms());
            self.append_time_newest_ms = newest.max(now.wall_ms);
        }
        self.append_time_newest_ms
    }
}

fn is_right(now: Now, stamp_newest_ms: i64) -> bool {
    now.wall_synchronised || (now.wall_ms >= stamp_newest_ms && now.wall_ms >= WALL_MS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;

    #[test]
    fn a_clock_is_right_when_the_system_says_so_or_when_it_goes_on_from_our_own_stamps() {
        let now = |wall_ms, wall_synchronised| Now { mono: Mono(0), wall_ms, wall_synchronised };
        let noon = WALL_MS_MIN + 43_200_000;
        assert!(is_right(now(noon, false), i64::MIN));
        assert!(is_right(now(noon, false), noon));
        assert!(!is_right(now(noon, false), noon + 1));
        assert!(is_right(now(noon, true), noon + 1));
        assert!(!is_right(now(0, false), i64::MIN));
    }
}
