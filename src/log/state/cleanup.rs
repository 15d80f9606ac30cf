//! A topic's own settings for its old records, which are the only settings that the log itself reads.

use super::{State, Topic};
use crate::types::{PartitionSlot, TopicSlot};

/// What happens to a topic's old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// The newest record of each key is kept when the ring overwrites (`cleanup.policy`).
    pub compact: bool,
    /// They may be deleted: by age, and by clients.
    pub delete: bool,
    /// How long a record that deletes a key is kept (`delete.retention.ms`).
    pub tombstones_ms: i64,
    /// A record that is younger than this stays, though a newer one has its key (`min.compaction.lag.ms`).
    pub lag_ms: i64,
}

impl Cleanup {
    /// What encoded settings say; see `broker::topic_config` for their form.
    pub fn of(configs: &[u8]) -> Cleanup {
        let mut cleanup =
            Cleanup { compact: false, delete: true, tombstones_ms: TOMBSTONES_MS, lag_ms: 0 };
        let mut rest = configs;
        while let Some(([number, length], behind)) = rest.split_first_chunk::<2>()
            && let Some((value, behind)) = behind.split_at_checked(usize::from(*length))
        {
            rest = behind;
            let value = std::str::from_utf8(value).unwrap_or_default().trim();
            match *number {
                CLEANUP_POLICY => {
                    let has = |word| value.split(',').any(|item| item.trim() == word);
                    (cleanup.compact, cleanup.delete) = (has("compact"), has("delete"));
                }
                DELETE_RETENTION_MS => {
                    cleanup.tombstones_ms = value.parse().unwrap_or(TOMBSTONES_MS);
                }
                MIN_COMPACTION_LAG_MS => cleanup.lag_ms = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        cleanup
    }
}

impl Topic {
    /// What happens to its old records.
    pub fn cleanup(&self) -> Cleanup {
        Cleanup::of(&self.configs)
    }
}

impl State {
    /// A topic's settings changed: its partitions follow.
    pub(super) fn cleanup_changed(&mut self, topic: TopicSlot) {
        let compacted = self.topic(topic).is_some_and(|topic| topic.cleanup().compact);
        let recompacted = &mut self.recompacted;
        self.partitions.each_of(topic, &mut |slot, partition| {
            if compacted && !partition.compacted && !recompacted.contains(&slot) {
                recompacted.push(slot);
            }
            partition.compacted = compacted;
        });
    }

    /// A partition that became compacted with its topic's settings: no pass has read any of it.
    pub(in crate::log) fn compacted_take(&mut self) -> Option<PartitionSlot> {
        self.recompacted.pop()
    }
}

/// The settings' numbers on flash.
const CLEANUP_POLICY: u8 = 1;
const DELETE_RETENTION_MS: u8 = 6;
const MIN_COMPACTION_LAG_MS: u8 = 21;

/// Kafka's default: a day.
const TOMBSTONES_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_delete_unless_the_topic_says_otherwise() {
        let of = |policy: &str, ms: &str| {
            let mut configs = vec![28, 1, b'7', CLEANUP_POLICY, policy.len() as u8];
            configs.extend(policy.as_bytes());
            configs.extend([DELETE_RETENTION_MS, ms.len() as u8]);
            configs.extend(ms.as_bytes());
            configs.extend([MIN_COMPACTION_LAG_MS, 2, b'7', b'0']);
            let cleanup = Cleanup::of(&configs);
            assert_eq!(cleanup.lag_ms, 70);
            (cleanup.compact, cleanup.delete, cleanup.tombstones_ms)
        };
        let none = Cleanup::of(&[]);
        assert_eq!((none.compact, none.delete, none.tombstones_ms), (false, true, TOMBSTONES_MS));
        assert_eq!(of("compact", "5"), (true, false, 5));
        assert_eq!(of(" delete , compact ", " 0 "), (true, true, 0));
        assert_eq!(of("delete", "x"), (false, true, TOMBSTONES_MS));
        assert_eq!(of("", "0"), (false, false, 0));
    }
}
