//! What MirrorMaker 2 reports of itself, in a topic that it writes to the cluster that it reads
//! from: `mm2-offset-syncs.ALIAS.internal`. It commits nothing here, so this is how a ring that is
//! held for it learns what it has.
//!
//! A record there says that a record with this offset is in the other cluster. What it says is stored
//! beside it, and the producer is answered once both are on flash: a report that was lost might
//! never come again.

use super::Broker;
use super::topics::SHARED_RING;
use crate::clock::Now;
use crate::codec::batch;
use crate::codec::{Decode, Reader};
use crate::limits;
use crate::log::record::MetaRecord;
use crate::log::state::mirrors::RECORD_BYTES_MAX;
use crate::types::{Offset, Ticket};

/// A report.
struct OffsetSync<'a> {
    topic: &'a str,
    partition: i32,
    /// The offset of a record that was copied.
    upstream: i64,
}

impl Broker {
    /// The mirror whose reports are in this topic, if a ring is held for it.
    fn mirror_of(&self, topic: &str) -> Option<&str> {
        let alias = topic.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        self.log.state().mirrors.aliases().find(|known| *known == alias)
    }

    /// Whether a mirror that a ring is held for reports in this topic.
    pub fn is_mirror_topic(&self, topic: &str) -> bool {
        self.mirror_of(topic).is_some()
    }

    /// The most bytes of metadata that the reports in these batches lead to; 0 where it is no topic
    /// of reports.
    pub fn mirror_meta_bytes(&self, topic: &str, batches: &[u8]) -> usize {
        let Some(alias) = self.mirror_of(topic) else {
            return 0;
        };
        let records = batch::batches(batches).map(|batch| batch.header.records_count);
        let records: usize = records.map(|count| usize::try_from(count).unwrap_or(0)).sum();
        records.min(limits::MIRROR_REPORTS_MAX) * (RECORD_BYTES_MAX + alias.len())
    }

    /// Stages what the reports in a batch say: what is to be waited for, if anything.
    pub fn mirror_reports(&mut self, topic: &str, batches: &[u8], now: Now) -> Option<Ticket> {
        let mirror: heapless::String<{ limits::MIRROR_ALIAS_BYTES_MAX }> =
            self.mirror_of(topic)?.try_into().ok()?;
        let batch = batch::batches(batches).next()?;
        let Some(records) = batch.records() else {
            if !std::mem::replace(&mut self.mirror_compressed_told, true) {
                log::warn!(
                    "{topic} is compressed, so that what {mirror} has cannot be told, and the ring \
                     that is held for it will fill: set SOURCE.producer.compression.type = none in \
                     MirrorMaker's configuration, SOURCE being its name for this cluster"
                );
            }
            return None;
        };
        let mut ticket = None;
        for record in records.map_while(Result::ok).take(limits::MIRROR_REPORTS_MAX) {
            let sync = record.key.zip(record.value);
            let Some(sync) = sync.and_then(|(key, value)| OffsetSync::read(key, value)) else {
                continue;
            };
            let partition = self.partition_asked(sync.topic, sync.partition);
            // What is not here yet was of a topic of the same name that is gone.
            let Some(partition) = partition.filter(|p| sync.upstream < p.high_watermark.0) else {
                continue;
            };
            let offset = Offset(sync.upstream.saturating_add(1));
            let record = MetaRecord::Mirrored { mirror: &mirror, handle: partition.handle, offset };
            ticket = self.log.stage(SHARED_RING, &record, true, now).ok().max(ticket);
        }
        ticket
    }
}

impl<'a> OffsetSync<'a> {
    /// From Kafka's encoding of it: a string and a number; two offsets, of which the second is the one
    /// in the other cluster.
    fn read(key: &'a [u8], value: &'a [u8]) -> Option<OffsetSync<'a>> {
        let mut key = Reader::new(key);
        let topic = <&str>::decode_from(&mut key).ok()?;
        let partition = i32::decode_from(&mut key).ok()?;
        let upstream = i64::decode_from(&mut Reader::new(value)).ok()?;
        (upstream >= 0).then_some(OffsetSync { topic, partition, upstream })
    }
}

const PREFIX: &str = "mm2-offset-syncs.";
const SUFFIX: &str = ".internal";
