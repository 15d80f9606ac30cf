//! MirrorMaker 2's offset syncs, in a topic that it writes to the cluster that it reads from:
//! `mm2-offset-syncs.ALIAS.internal`. It commits nothing here, so this is how a ring that is held or
//! watched for it learns what it has replicated.
//!
//! A record there says that the record with this offset is in the other cluster. The report is stored
//! beside it, and the producer is answered once both are on flash: a report that was lost might
//! never come again.

use std::sync::Arc;

use super::Broker;
use crate::clock::Now;
use crate::codec::batch::{self, Kept, Packed, Record, Walked};
use crate::codec::compression::Compression;
use crate::codec::{Decode, Reader};
use crate::limits;
use crate::log::record::MetaRecord;
use crate::log::state::mirror_positions::RECORD_BYTES_MAX;
use crate::types::{Offset, Ticket};

/// A report.
struct OffsetSync<'a> {
    topic: &'a str,
    partition: i32,
    /// The offset of a record that was copied.
    upstream: i64,
}

impl Broker {
    /// The mirror whose reports are in this topic, if a ring is held or watched for it.
    fn mirror_of(&self, topic: &str) -> Option<&str> {
        let alias = topic.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        self.log.state().mirrors.aliases().find(|known| *known == alias)
    }

    /// Whether a mirror that a ring is held or watched for reports in this topic.
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

    /// Whether there are reports that cannot be read now: another connection has the decompressor.
    pub fn mirror_waits(&self, topic: &str, batches: &[u8]) -> bool {
        self.unpacker.is_kept() && batch::is_packed(batches) && self.is_mirror_topic(topic)
    }

    /// Stages the reports in a batch; gives the ticket to wait for, if there are any. Not while
    /// [`Broker::mirror_waits`].
    pub fn mirror_reports(&mut self, topic: &str, batches: &[u8], now: Now) -> Option<Ticket> {
        let mirror: heapless::String<{ limits::MIRROR_ALIAS_BYTES_MAX }> =
            self.mirror_of(topic)?.try_into().ok()?;
        let batch = batch::batches(batches).next()?;
        let mut ticket = None;
        if let Some(records) = batch.records() {
            for record in records.map_while(Result::ok).take(limits::MIRROR_REPORTS_MAX) {
                ticket = self.mirror_report(&mirror, &record, now).max(ticket);
            }
            return ticket;
        }
        let compression = Compression::from_number(batch.header.compression())?;
        let shared = Arc::clone(self.unpacker.shared());
        debug_assert!(!self.unpacker.is_kept(), "nobody would give it back");
        shared.with(|decompressor| {
            decompressor.turn((limits::MIRROR_REPORTS_MAX * REPORT_BYTES_MAX) as u32);
            let mut records = Packed::new(decompressor, compression, batch.header, batch.bytes);
            let mut bytes = [0; REPORT_BYTES_MAX];
            for _ in 0..limits::MIRROR_REPORTS_MAX {
                let kept = Kept::All(&mut bytes);
                let Ok(Walked::Record(_)) = records.next_keeping(decompressor, batch.bytes, kept)
                else {
                    break;
                };
                if let Ok(record) = batch.header.record(&bytes[..records.kept_bytes()]) {
                    ticket = self.mirror_report(&mirror, &record, now).max(ticket);
                }
            }
        });
        ticket
    }

    /// Stages a record, if it is a report of a record that is here.
    fn mirror_report(&mut self, mirror: &str, record: &Record<'_>, now: Now) -> Option<Ticket> {
        let sync = OffsetSync::read(record.key?, record.value?)?;
        // An offset that is not here yet is of a deleted topic with the same name.
        let partition = self
            .partition_asked(sync.topic, sync.partition)
            .filter(|partition| sync.upstream < partition.high_watermark.0)?;
        let offset = Offset(sync.upstream.saturating_add(1));
        let record = MetaRecord::Mirrored { mirror, handle: partition.handle, offset };
        self.log.stage(self.log.shared(), &record, true, now).ok()
    }
}

impl<'a> OffsetSync<'a> {
    /// From MirrorMaker's encoding: the key is topic and partition; the value is the offset here, and the
    /// one in the other cluster.
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

/// A report is a topic's name and a few numbers. In a compressed batch, a longer record is none, and what
/// follows it is not read.
const REPORT_BYTES_MAX: usize = limits::TOPIC_NAME_BYTES_MAX + 64;
