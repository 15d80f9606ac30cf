//! `brooklet dump`: what is in the rings, a line for each thing, indented by what it is part of.

use std::io::{BufWriter, Write};

use super::Failure;
use super::offline::{Found, Offline};
use crate::log::format::{FLAG_COPY, FLAG_SEAL};
use crate::log::record::Records;
use crate::log::recovery::groups::Group;

/// Prints all rings.
pub fn run(offline: &Offline) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    for ring in offline.rings() {
        let name = &offline.rings[usize::from(ring.0)].name;
        written = written.and_then(|()| writeln!(out, "ring {name}, as the next start finds it"));
        offline.walk(ring, &mut |found| {
            // A reader that went away has seen enough; the walk goes on without a word.
            if written.is_ok() {
                written = put(&mut out, offline, &found);
            }
        });
    }
    let _ = written.and_then(|()| out.flush());
    Ok(())
}

fn put(out: &mut dyn Write, offline: &Offline, found: &Found<'_>) -> std::io::Result<()> {
    match found {
        Found::Segment(segment) => writeln!(
            out,
            " segment {} in file {}: groups from {} to {}",
            segment.seq.0, segment.file.file.0, segment.groups_at, segment.end
        ),
        Found::Group(group) => put_group(out, group, ""),
        Found::Void(group) => put_group(out, group, " void"),
        Found::Unreadable { at } => writeln!(out, "  unreadable at {at}"),
        Found::NoDirectory => writeln!(out, "   unreadable directory"),
        Found::Meta(None) => writeln!(out, "   unreadable metadata records"),
        Found::Meta(Some(bytes)) => {
            Records::new(bytes).try_for_each(|record| writeln!(out, "   {record:?}"))
        }
        Found::Run(run) => {
            let (first, last) = (run.offset.0, run.end().0 - 1);
            let name = offline.name_of(run.handle);
            writeln!(out, "   {name} offsets {first} to {last}, {} bytes", run.bytes)
        }
        Found::Batch(_, batch, _) => {
            let Some(header) = &batch.header else {
                let (first, last, bytes) = (batch.first, batch.last, batch.bytes);
                return writeln!(out, "    damaged: offsets {first} to {last}, {bytes} bytes");
            };
            writeln!(
                out,
                "    batch of offsets {} to {}: {} records, {} bytes, codec {}, producer {} \
                 epoch {} sequence {}, newest {}",
                header.base_offset,
                header.last_offset(),
                header.records_count,
                batch.bytes,
                CODECS.get(header.compression() as usize).unwrap_or(&"unknown"),
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
                header.max_timestamp
            )
        }
    }
}

fn put_group(out: &mut dyn Write, group: &Group, void: &str) -> std::io::Result<()> {
    let header = &group.header;
    let seal = if header.flags & FLAG_SEAL != 0 { " seal" } else { "" };
    let copy = if header.flags & FLAG_COPY != 0 { " copy" } else { "" };
    let carried = if header.is_carried() { " carried" } else { "" };
    writeln!(
        out,
        "  group {}{seal}{copy}{carried}{void} at {}: {} bytes, start {}, synced through {}, written at {}",
        header.seq.0,
        header.position,
        header.bytes,
        header.boot.0,
        header.synced_through.0,
        header.wall_ms
    )
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
