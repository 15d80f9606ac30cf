//! First the heads and feet: which files are the ring's, and which cannot be read.

use super::groups::{self, Unreadable};
use super::{OpenError, RingFiles};
use crate::config::RingConfig;
use crate::limits::PAGE_BYTES;
use crate::log::format::{Anchor, AnchorKind, AnchorPage, ListEntry, RingId};
use crate::types::{Boot, FileIndex, SegmentSeq};

/// What is in the first or last page of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// An anchor of this ring, at its own place.
    Ours(Box<Anchor>),
    /// An anchor of another ring, or of another file: it was moved or copied.
    Alien(RingId),
    /// Zeroes.
    Blank,
    /// Anything else: cut short, damaged, or no anchor's page.
    Broken,
    /// It cannot be read.
    Unreadable(Unreadable),
}

/// A file and its two anchors.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    pub(super) file: FileIndex,
    pub(super) head: Page,
    pub(super) foot: Page,
}

/// Reads the anchors of all files, and finds out which ring this is; none: it is a new one.
pub(super) fn read(files: &RingFiles<'_>) -> Result<(Option<RingId>, Vec<FoundFile>), OpenError> {
    let mut found = Vec::new();
    for file in files.indexes()? {
        let head = read_page(files, file, 0)?;
        let foot = read_page(files, file, files.segment_bytes - PAGE_BYTES as u64)?;
        // Zeroes before a body that is not zero: the head was written, and its page is lost.
        let behind = matches!(head, Page::Blank) && !is_blank(files, file, PAGE_BYTES as u64);
        found.push(FoundFile { file, head: if behind { Page::Broken } else { head }, foot });
    }
    let id = match ring_of(files, &found) {
        Some(id) => Some(id),
        None => ring_by_groups(files, &found)?,
    };
    for pages in &mut found {
        for page in [&mut pages.head, &mut pages.foot] {
            if let Page::Ours(anchor) = page
                && (Some(anchor.ring_id) != id || anchor.file != pages.file)
            {
                *page = Page::Alien(anchor.ring_id);
            }
        }
    }
    Ok((id, found))
}

fn read_page(files: &RingFiles<'_>, file: FileIndex, at: u64) -> Result<Page, OpenError> {
    let mut page = vec![0; PAGE_BYTES];
    match files.storage.read_medium(files.file(file), at, &mut page) {
        Ok(()) => {}
        // What a file that is too short lacks is lost for good.
        Err(error) if error.is_short() => return Ok(Page::Broken),
        Err(error) => {
            return Ok(Page::Unreadable(Unreadable { file: files.file(file), at, error }));
        }
    }
    Ok(match Anchor::decode(&page) {
        AnchorPage::Newer(version) => return Err(OpenError::Newer { version }),
        AnchorPage::Valid(anchor) if is_plausible(&anchor) => Page::Ours(anchor),
        AnchorPage::Blank => Page::Blank,
        AnchorPage::Valid(_) | AnchorPage::Invalid => Page::Broken,
    })
}

/// Whether its numbers can be counted on from without overflow.
fn is_plausible(anchor: &Anchor) -> bool {
    anchor.boot < Boot::MAX
        && (1..=NUMBER_MAX).contains(&anchor.seq.0)
        && (1..=NUMBER_MAX).contains(&anchor.group_next.0)
}

fn is_blank(files: &RingFiles<'_>, file: FileIndex, at: u64) -> bool {
    let mut page = vec![0; PAGE_BYTES];
    let read = files.storage.read_medium(files.file(file), at, &mut page);
    read.is_ok() && page.iter().all(|byte| *byte == 0)
}

/// The ring that most files agree on. A file that was copied here from elsewhere names others that
/// are not here.
fn ring_of(files: &RingFiles<'_>, found: &[FoundFile]) -> Option<RingId> {
    let in_place = |found: &FoundFile, anchor: &Anchor| anchor.file == found.file;
    let own = found.iter().flat_map(|f| f.anchors().filter(move |anchor| in_place(f, anchor)));
    let mut ids: Vec<RingId> = own.map(|anchor| anchor.ring_id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < 2 {
        return ids.first().copied();
    }
    ids.into_iter().max_by_key(|id| {
        let holds = |file: FileIndex, seq: Option<SegmentSeq>| {
            let found = found.iter().find(|found| found.file == file);
            let its = |anchor: &&Anchor| anchor.ring_id == *id && anchor.file == file;
            let mut anchors = found.into_iter().flat_map(|found| found.anchors().filter(its));
            anchors.any(|anchor| seq.is_none_or(|seq| anchor.seq == seq))
        };
        let present = found.iter().filter(|found| holds(found.file, None)).count();
        let of_it = found.iter().flat_map(FoundFile::anchors).filter(|a| a.ring_id == *id);
        let newest = of_it.max_by_key(|anchor| anchor.seq);
        let list = newest.map(|anchor| list_of(files, anchor)).unwrap_or_default();
        let missing = list.iter().filter(|entry| !holds(entry.file, Some(entry.seq))).count();
        (present as i64 - missing as i64, present)
    })
}

/// The live segments as an anchor lists them, if that holds.
fn list_of(files: &RingFiles<'_>, anchor: &Anchor) -> Vec<ListEntry> {
    let end = anchor.body_at.saturating_add(u64::from(anchor.list.bytes));
    let mut reader = files.reader_to(anchor.file, end);
    let list = reader.vec(anchor.body_at, anchor.list.bytes as usize);
    let whole = anchor.list.holds(&list);
    if whole { ListEntry::decode_all(&list).collect() } else { Vec::new() }
}

/// Where no anchor is valid: the ring of which most files hold groups. A ring that was never begun has
/// no groups; pages that cannot be read may hold some, so they fail the start.
fn ring_by_groups(files: &RingFiles<'_>, found: &[FoundFile]) -> Result<Option<RingId>, OpenError> {
    let mut ids: Vec<RingId> = Vec::new();
    for pages in found {
        let unreadable = [&pages.head, &pages.foot].into_iter().find_map(Page::unreadable);
        if let Some(unreadable) = unreadable {
            return Err(OpenError::Unreadable(unreadable));
        }
        if pages.head == Page::Blank && pages.foot == Page::Blank {
            continue;
        }
        let mut reader = files.reader(pages.file);
        let any = SegmentSeq(1)..=SegmentSeq(NUMBER_MAX);
        let group = groups::first_group(&mut reader, None, any, files.segment_bytes);
        if let (None, Some(unreadable)) = (group, reader.unreadable()) {
            return Err(OpenError::Unreadable(unreadable));
        }
        ids.extend(group.map(|group| group.header.ring_id));
    }
    let count = |id: &RingId| ids.iter().filter(|other| *other == id).count();
    Ok(ids.iter().max_by_key(|id| count(id)).copied())
}

/// Refuses segments of another size than the configuration's.
pub(super) fn check_sizes(config: &RingConfig, found: &[FoundFile]) -> Result<(), OpenError> {
    let mut sizes = found.iter().flat_map(FoundFile::anchors).map(|anchor| anchor.segment_bytes);
    let Some(other) = sizes.find(|bytes| *bytes != config.segment_bytes) else {
        return Ok(());
    };
    Err(OpenError::Config {
        key: "ring.segment_bytes",
        found: format!(
            "ring {:?} was made with segments of {} MiB, not {} MiB, and keeps them; `segments` makes \
             it larger or smaller",
            config.name,
            other >> 20,
            config.segment_bytes >> 20
        ),
    })
}

impl FoundFile {
    /// Its valid anchors.
    pub(super) fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        [&self.head, &self.foot].into_iter().filter_map(Page::anchor)
    }
}

impl Page {
    pub(super) fn anchor(&self) -> Option<&Anchor> {
        match self {
            Page::Ours(anchor) => Some(anchor),
            _ => None,
        }
    }

    /// Whether this is the foot of a segment, or may be.
    pub(super) fn may_close(&self, seq: SegmentSeq) -> bool {
        match self {
            Page::Ours(anchor) => anchor.kind == AnchorKind::Foot && anchor.seq == seq,
            Page::Unreadable(_) => true,
            Page::Alien(_) | Page::Blank | Page::Broken => false,
        }
    }

    pub(super) fn unreadable(&self) -> Option<Unreadable> {
        match self {
            Page::Unreadable(unreadable) => Some(*unreadable),
            _ => None,
        }
    }
}

/// No ring gets this far: an anchor with a higher number is not valid, and the numbers could overflow.
const NUMBER_MAX: u64 = 1 << 62;
