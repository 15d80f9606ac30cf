//! Topics and consumer groups, as JSON arrays.

use std::fmt::{self, Display, Write};

use super::{RingVec, Sent};
use crate::broker::Broker;
use crate::bytes::TextBuf;
use crate::log::state::{Partition, State, Topic};

/// The next piece of `[{"name", "ring", "partitions": [{"partition", "start", "end", "bytes"}]}]`.
pub(super) fn topics(broker: &Broker, sent: &mut Sent, buf: &mut [u8]) -> Option<usize> {
    let state = broker.log.state();
    let sizes: RingVec<_> = broker.log.rings().map(|ring| broker.log.sizes(ring)).collect();
    Array::write(shape(broker), sent, buf, &mut |out| {
        for (slot, topic) in state.topics() {
            let ring = &broker.log.ring_config(topic.ring).name;
            let (name, count) = (&topic.name, topic.partitions);
            out.part(format_args!(
                "{{\"name\":\"{name}\",\"ring\":\"{ring}\",\"partition_count\":{count},\"partitions\":["
            ))?;
            let mut between = "";
            for (slot, partition) in state.partitions_of(slot) {
                let Partition { index, log_start, high_watermark, .. } = partition;
                let sizes = sizes.get(usize::from(topic.ring.0));
                let bytes = sizes.map_or(0, |sizes| sizes.of(slot));
                out.part(format_args!(
                    "{between}{{\"partition\":{index},\"start\":{},\"end\":{},\"bytes\":{bytes}}}",
                    log_start.0, high_watermark.0
                ))?;
                between = ",";
            }
            out.end("]}")?;
        }
        Ok(())
    })
}

/// The next piece of `[{"name", "state", "members", "lag", "partitions": [{"topic", "partition",
/// "committed", "end", "lag", "missed"}]}]`: groups that committed something, and then those with members only.
pub(super) fn groups(broker: &Broker, sent: &mut Sent, buf: &mut [u8]) -> Option<usize> {
    let state = broker.log.state();
    Array::write(shape(broker), sent, buf, &mut |out| {
        for (slot, group) in state.groups() {
            group_begin(broker, &group.name, out)?;
            let mut between = "";
            for committed in state.offsets_of(slot) {
                let Some((topic, partition)) = placed(state, committed.handle) else { continue };
                let (name, index, end) = (&topic.name, partition.index, partition.high_watermark.0);
                let (had, offset) =
                    (committed.offset.max(partition.log_start).0, committed.offset.0);
                // What was gone before the group had it is no lag any more.
                let (lag, missed) = ((end - had).max(0), had - offset);
                out.part(format_args!(
                    "{between}{{\"topic\":\"{name}\",\"partition\":{index},\"committed\":{offset},\
                     \"end\":{end},\"lag\":{lag},\"missed\":{missed}}}"
                ))?;
                between = ",";
            }
            out.end("]}")?;
        }
        for group in broker.groups.shown() {
            if state.group_named(group.name()).is_none() {
                group_begin(broker, group.name(), out)?;
                out.end("]}")?;
            }
        }
        Ok(())
    })
}

fn group_begin(broker: &Broker, name: &str, out: &mut Array<'_>) -> fmt::Result {
    let shown = broker.groups.show(name);
    let (state, members) =
        shown.map_or(("Empty", 0), |group| (group.state().name(), group.members().count()));
    out.part(format_args!(
        "{{\"name\":\"{}\",\"state\":\"{state}\",\"members\":{members},\"partitions\":[",
        JsonText(name)
    ))
}

/// Changes when elements come or go.
fn shape(broker: &Broker) -> u64 {
    let state = broker.log.state();
    let counts =
        [state.topics_len(), state.partitions_len(), state.offsets_len(), broker.groups_len("")];
    counts.iter().fold(0, |shape, count| (shape << 16) ^ *count as u64)
}

fn placed(state: &State, handle: crate::types::PartitionHandle) -> Option<(&Topic, &Partition)> {
    let partition = state.partition(state.partition_with_handle(handle)?)?;
    Some((state.topic(partition.topic)?, partition))
}

/// An array whose elements come in parts; those that were sent before are left out.
struct Array<'a> {
    text: TextBuf<'a>,
    skip: u32,
    seen: u32,
    /// An element stands before this one.
    follows: bool,
    /// The element that is being written is at its beginning.
    begins: bool,
}

impl Array<'_> {
    fn write(
        shape: u64,
        sent: &mut Sent,
        buf: &mut [u8],
        elements: &mut dyn FnMut(&mut Array<'_>) -> fmt::Result,
    ) -> Option<usize> {
        if sent.parts == u32::MAX {
            return Some(0);
        }
        if sent.parts > 0 && sent.shape != shape {
            return None;
        }
        let text = TextBuf::new(buf);
        let mut out = Array { text, skip: sent.parts, seen: 0, follows: false, begins: true };
        let done = out
            .put("", format_args!("["))
            .and_then(|()| elements(&mut out))
            .and_then(|()| out.put("", format_args!("]\n")));
        sent.shape = shape;
        sent.parts = if done.is_ok() { u32::MAX } else { out.seen };
        Some(out.text.len())
    }

    /// A part of an element.
    fn part(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        let comma = if std::mem::take(&mut self.begins) && self.follows { "," } else { "" };
        self.put(comma, text)
    }

    /// The last part of an element.
    fn end(&mut self, text: &str) -> fmt::Result {
        (self.follows, self.begins) = (true, true);
        self.put("", format_args!("{text}"))
    }

    fn put(&mut self, comma: &str, part: fmt::Arguments<'_>) -> fmt::Result {
        if self.seen >= self.skip {
            self.text.whole(|text| write!(text, "{comma}{part}"))?;
        }
        self.seen += 1;
        Ok(())
    }
}

/// A client's own name, inside quotes.
pub struct JsonText<'a>(pub &'a str);

impl Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '"' | '\\' => write!(f, "\\{letter}"),
            ..'\u{20}' => write!(f, "\\u{:04x}", u32::from(letter)),
            _ => f.write_char(letter),
        })
    }
}
