//! `brooklet export`: a topic as Kafka's log directories, which its tools and brokers read.
//!
//! Each partition becomes a folder TOPIC-N with the batches byte for byte, in files named by their
//! first offset. A Kafka that opens the folder makes everything else itself: indexes, producers'
//! state, leader epochs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::offline::{Found, Offline};
use super::{Failure, print};
use crate::log::recovery::groups::FoundBatch;
use crate::types::{FileRef, PartitionHandle};

/// Exports one topic.
pub fn run(offline: &Offline, topic: &str, out: &Path) -> Result<(), Failure> {
    let state = offline.log.state();
    let Some((slot, found)) = state.topic_named(topic) else {
        return Err(Failure::Failed(format!("there is no topic {topic:?}")));
    };
    let mut exports = Vec::new();
    for (_, partition) in state.partitions_of(slot) {
        let folder = out.join(format!("{topic}-{}", partition.index));
        let export = Export::begin(folder, partition.log_start.0)?;
        exports.push((partition.handle, export));
    }
    let carried = offline.log.index(found.ring).carried();
    let compacted = state.partitions_of(slot).any(|(slot, _)| !carried.of(slot).is_empty());
    let mut late: Vec<Late> = Vec::new();
    let (mut segment, mut group_at) = (None, 0);
    offline.walk(found.ring, &mut |each| match each {
        Found::Segment(view) => segment = Some(view),
        Found::Group(group) => group_at = group.header.position,
        Found::Batch(run, batch, bytes) => {
            let Some(export) = export_of(&mut exports, run.handle) else { return };
            let place = segment.as_ref().map(|segment| (segment, group_at));
            let shown =
                place.is_some_and(|place| offline.is_shown(found.ring, run, batch.first, place));
            match segment.as_ref().filter(|_| shown) {
                Some(segment) if compacted => late.push((run.handle, *batch, segment.file)),
                Some(_) => export.take(batch, bytes),
                None => {}
            }
        }
        _ => {}
    });
    export_late(offline, late, &mut exports);
    for (handle, export) in exports {
        let end = high_watermark(offline, handle);
        print(&export.end(end)?);
    }
    Ok(())
}

/// A batch whose turn has not come where it stands.
type Late = (PartitionHandle, FoundBatch, FileRef);

/// What was carried stands behind what it precedes: in order of offset, then.
fn export_late(offline: &Offline, mut late: Vec<Late>, exports: &mut [(PartitionHandle, Export)]) {
    late.sort_unstable_by_key(|(handle, batch, _)| (*handle, batch.first));
    for (handle, batch, file) in &late {
        if let Some(export) = export_of(exports, *handle) {
            let mut bytes = vec![0; batch.bytes as usize];
            let read = offline.log.storage().read(*file, batch.at, &mut bytes);
            let header = batch.header.filter(|_| read.is_ok());
            export.take(&FoundBatch { header, ..*batch }, &bytes);
        }
    }
}

fn export_of(
    exports: &mut [(PartitionHandle, Export)],
    handle: PartitionHandle,
) -> Option<&mut Export> {
    exports.iter_mut().find(|(of, _)| *of == handle).map(|(_, export)| export)
}

fn high_watermark(offline: &Offline, handle: PartitionHandle) -> i64 {
    let state = offline.log.state();
    let slot = state.partition_with_handle(handle);
    slot.and_then(|slot| state.partition(slot)).map_or(0, |partition| partition.high_watermark.0)
}

/// A partition on its way out.
struct Export {
    folder: PathBuf,
    log_start: i64,
    file: Option<Open>,
    /// The offset behind the last batch; older copies of it are passed over.
    next: i64,
    records: u64,
    damaged: u64,
    error: Option<Failure>,
}

/// The file that is being written.
struct Open {
    file: BufWriter<File>,
    base_offset: i64,
    bytes: u64,
}

impl Export {
    fn begin(folder: PathBuf, log_start: i64) -> Result<Export, Failure> {
        if folder.exists() {
            return Err(Failure::Failed(format!("{} is there already", folder.display())));
        }
        std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        Ok(Export {
            folder,
            log_start,
            file: None,
            next: log_start,
            records: 0,
            damaged: 0,
            error: None,
        })
    }

    fn take(&mut self, batch: &FoundBatch, bytes: &[u8]) {
        if self.error.is_some() || batch.last < self.next {
            return;
        }
        let Some(header) = &batch.header else {
            self.damaged += 1;
            return;
        };
        if let Err(error) = self.write(header.base_offset, bytes) {
            self.error = Some(failed(&self.folder, &error));
            return;
        }
        self.next = header.last_offset() + 1;
        self.records += u64::try_from(header.records_count).unwrap_or(0);
    }

    fn write(&mut self, base_offset: i64, bytes: &[u8]) -> std::io::Result<()> {
        let fits = self.file.as_ref().is_some_and(|open| {
            open.bytes + bytes.len() as u64 <= FILE_BYTES_MAX
                && base_offset - open.base_offset <= FILE_OFFSETS_MAX
        });
        if !fits {
            self.close()?;
            self.open(base_offset)?;
        }
        match &mut self.file {
            Some(open) => {
                open.bytes += bytes.len() as u64;
                open.file.write_all(bytes)
            }
            None => Ok(()),
        }
    }

    fn open(&mut self, base_offset: i64) -> std::io::Result<()> {
        let path = self.folder.join(format!("{base_offset:020}.log"));
        let file = BufWriter::new(File::create_new(path)?);
        self.file = Some(Open { file, base_offset, bytes: 0 });
        Ok(())
    }

    fn close(&mut self) -> std::io::Result<()> {
        match self.file.take() {
            Some(mut open) => {
                open.file.flush()?;
                open.file.get_ref().sync_all()
            }
            None => Ok(()),
        }
    }

    /// Completes the files; gives a line for people.
    fn end(mut self, high_watermark: i64) -> Result<String, Failure> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.finish(high_watermark).map_err(|error| failed(&self.folder, &error))?;
        let damaged = match self.damaged {
            0 => String::new(),
            batches => format!(", {batches} damaged batches left out"),
        };
        Ok(format!(
            "{}: {} records, offsets {} to {high_watermark}{damaged}\n",
            self.folder.display(),
            self.records,
            self.log_start
        ))
    }

    fn finish(&mut self, high_watermark: i64) -> std::io::Result<()> {
        if self.file.is_none() {
            // An empty file's name says where the offsets go on, so that none is given twice.
            self.open(high_watermark)?;
        }
        self.close()
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// Positions in Kafka's files have 31 bits.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Kafka counts offsets in a file from its first one, with 31 bits.
const FILE_OFFSETS_MAX: i64 = 1 << 30;
