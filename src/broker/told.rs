//! Log lines about refused requests, of which otherwise only their clients know.

use std::fmt;

use log::Level;

use super::allowed::Caller;
use super::{Broker, topic_config};
use crate::clock::Now;
use crate::codec::{ErrorCode, batch};
use crate::log::state::Partition;
use crate::log_limit::{About, LogLimit};
use crate::types::Offset;

impl Broker {
    /// Logs that a member is refused, if that is for lack of room.
    #[inline(never)]
    pub fn member_refused(&self, group: &str, caller: &Caller<'_>, code: ErrorCode, now: Now) {
        let full = [ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::GROUP_MAX_SIZE_REACHED];
        if !full.contains(&code) {
            return;
        }
        let (of_all, of_one) = (self.config.group_members_max, self.config.group_max_size);
        let text = format_args!(
            "{caller}: there is no room for it in consumer group {group:?} (group_max_size = {of_one}, \
             group_members_max = {of_all}, groups_max = {})",
            self.config.groups_max
        );
        let about = About::kind("members full").of(group);
        self.lines.say(Level::Warn, about, now.mono, text);
    }

    /// Logs that records are refused, unless that is logged elsewhere, or the client handles it by itself.
    #[inline(never)]
    pub fn records_refused(
        &self,
        (topic, index): (&str, i32),
        bytes: usize,
        caller: &Caller<'_>,
        why: batch::Refusal,
        now: Now,
    ) {
        use batch::Refusal::{DuplicateOld, Held, Storage, TooLarge, UnknownPartition};
        if matches!(why, DuplicateOld | Held | Storage | UnknownPartition) {
            return;
        }
        let found = self.log.state().topic_named(topic).filter(|_| why == TooLarge);
        let bytes_max =
            found.map(|(_, found)| topic_config::message_bytes_max(found, &self.config));
        let limit = fmt::from_fn(|f| match bytes_max {
            None => Ok(()),
            Some(max) => write!(f, " ({max}); a producer's batch.size has to be smaller"),
        });
        let text = format_args!(
            "{caller}: records for {topic}-{index}, {bytes} bytes, are refused: {}{limit}",
            why.message()
        );
        let about = About::kind(why.message()).from(caller.remote.ip());
        self.lines.say(Level::Warn, about, now.mono, text);
    }

    /// Logs that a consumer asks for an offset that is out of range.
    #[inline(never)]
    pub fn offset_refused(
        lines: &LogLimit,
        (topic, partition): (&str, &Partition),
        asked: Offset,
        caller: &Caller<'_>,
        now: Now,
    ) {
        let (start, end) = (partition.log_start.0, partition.high_watermark.0);
        let why = fmt::from_fn(|f| {
            if asked.0 < start {
                let lost = start.abs_diff(asked.0);
                write!(
                    f,
                    "{lost} records before {start} were overwritten or deleted before it read them"
                )
            } else {
                write!(f, "it is beyond the end, {end}")
            }
        });
        let text = format_args!(
            "{caller}: offset {} of {topic}-{} is not there: {why}",
            asked.0, partition.index
        );
        let about = About::kind("out of range").from(caller.remote.ip());
        lines.say(Level::Warn, about, now.mono, text);
    }
}
