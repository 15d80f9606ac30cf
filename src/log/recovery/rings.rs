//! Before anything else, which ring of the configuration is which on flash.
//!
//! A ring bears its name in its heads and feet, so its place in the configuration does not matter. A ring
//! that no table names is refused: one that is taken for another one would be overwritten.

use super::anchors::{self, FoundFile};
use super::{OpenError, RingFiles};
use crate::config::RingConfig;
use crate::limits::{DATA_RINGS_MAX, PAGE_BYTES, RING_NUMBERS_MAX, RINGS_MAX};
use crate::log::LogConfig;
use crate::log::format::{RingId, RingName};
use crate::log::state::{RingNumbers, State};
use crate::storage::Storage;
use crate::types::{FileRef, RingIndex, RingNumber};

/// A folder with segment files.
pub(super) struct OnFlash {
    pub(super) number: RingNumber,
    /// None: nothing was ever stored there.
    pub(super) id: Option<RingId>,
    /// Empty, if no anchor bears one.
    pub(super) name: RingName,
    /// The length of its longest file.
    pub(super) segment_bytes: u64,
    /// Whether its newest anchor is from before format 5.
    pub(super) is_old: bool,
    pub(super) found: Vec<FoundFile>,
    /// Set if it cannot be told which ring it is.
    unreadable: Option<OpenError>,
}

/// Looks at the anchors of all rings on flash.
pub(super) fn look(storage: &dyn Storage) -> Result<Vec<OnFlash>, OpenError> {
    let mut rings = Vec::new();
    for number in 0..=RingNumber::METADATA.0 {
        let ring = RingIndex(number);
        let longest = storage.files(ring)?.into_iter().map(|(_, bytes)| bytes).max();
        let Some(longest) = longest else { continue };
        // A shorter one was truncated.
        let segment_bytes = longest.max(PAGE_BYTES as u64);
        let read = anchors::read(&RingFiles { storage, ring, segment_bytes });
        let (id, found, unreadable) = match read {
            Ok((id, found)) => (id, found, None),
            // Fails the start later, if the ring is needed.
            Err(error @ OpenError::Unreadable(_)) => (None, Vec::new(), Some(error)),
            Err(error) => return Err(error),
        };
        let anchors = || found.iter().flat_map(FoundFile::anchors);
        let named = anchors().filter(|anchor| anchor.name != RingName::default());
        let newest = named.max_by_key(|anchor| anchor.seq);
        let name = newest.map_or_else(RingName::default, |anchor| anchor.name);
        let newest = anchors().max_by_key(|anchor| anchor.seq);
        let is_old = newest.is_some_and(|anchor| anchor.segments == 0);
        let number = RingNumber(number);
        rings.push(OnFlash { number, id, name, segment_bytes, is_old, found, unreadable });
    }
    Ok(rings)
}

/// Finds the number of each ring of the configuration that is on flash, and of those that it drops.
pub(super) fn number(config: &LogConfig, rings: &[OnFlash]) -> Result<RingNumbers, OpenError> {
    if config.rings.len() > RINGS_MAX {
        return Err(OpenError::Rings(format!(
            "there are {} rings on flash, and there may be {DATA_RINGS_MAX}",
            config.rings.len() - 1
        )));
    }
    let of_records = |ring: &&OnFlash| ring.id.is_some() && ring.number != RingNumber::METADATA;
    let made: Vec<&OnFlash> = rings.iter().filter(of_records).collect();
    let configured = &config.rings[..config.rings.len() - 1];
    let mut numbers: Vec<Option<RingNumber>> = vec![None; configured.len()];
    let mut retiring = heapless::Vec::new();
    let mut unnamed = Vec::new();
    let mut others = Vec::new();
    for ring in &made {
        let name = ring.name.as_str();
        let place = configured.iter().position(|configured| configured.name == name);
        if name.is_empty() {
            unnamed.push(ring.number);
        } else if let Some(place) = place {
            if let Some(twin) = numbers[place].replace(ring.number) {
                return Err(OpenError::Rings(format!(
                    "{twin} and {} both hold ring {name:?}: move away the one that is a copy",
                    ring.number
                )));
            }
        } else if config.retired.iter().any(|retired| retired == name) {
            let _ = retiring.push(ring.number);
        } else {
            others.push(format!("{name:?} (in {})", ring.number));
        }
    }
    if !others.is_empty() {
        return Err(OpenError::Rings(format!(
            "no [[ring]] is called {}: give each its table back, or one with `retire = true`, which \
             drops its topics with all their records",
            others.join(" or ")
        )));
    }
    number_unnamed(&mut numbers, &unnamed, configured)?;
    let complete = numbers.iter().all(Option::is_some);
    let needed = |ring: &&OnFlash| !complete || ring.number == RingNumber::METADATA;
    if let Some(error) = rings.iter().filter(needed).find_map(|ring| ring.unreadable.clone()) {
        return Err(error);
    }
    let live = numbers.into_iter().map(|number| number.unwrap_or(RingNumber::NEW));
    let live = live.chain([RingNumber::METADATA]).collect();
    Ok(RingNumbers { live, retiring })
}

/// Gives new rings the lowest numbers that neither a folder has nor a topic, whose ring may be put back.
pub(super) fn number_new(numbers: &mut RingNumbers, rings: &[OnFlash], state: &State) {
    let has_folder = |number: &RingNumber| {
        let of_ring = |ring: &&OnFlash| ring.number == *number;
        let ring = rings.iter().find(of_ring);
        ring.is_some_and(|ring| ring.id.is_some() || ring.unreadable.is_some())
    };
    let taken = |number: &RingNumber| has_folder(number) || state.has_strays_in(*number);
    let mut free = (0..RING_NUMBERS_MAX).map(RingNumber).filter(|number| !taken(number));
    for number in numbers.live.iter_mut().filter(|number| **number == RingNumber::NEW) {
        *number = free.next().expect("there are more numbers than rings");
    }
}

/// Refuses topics whose ring has no folder, unless one that is retired has none: then they are dropped.
pub(super) fn check_strays(
    config: &LogConfig,
    rings: &[OnFlash],
    state: &State,
) -> Result<(), OpenError> {
    let Some((topic, number)) = state.stray_unexpected() else {
        return Ok(());
    };
    let is_gone = |name: &String| !rings.iter().any(|ring| ring.name.as_str() == name);
    if config.retired.iter().any(is_gone) {
        log::warn!("{number} is not there; topic {topic} and others in it are dropped");
        return Ok(());
    }
    Err(OpenError::Rings(format!(
        "{number} is not there, and topic {topic:?} is in it: put its folder back, or give a [[ring]] of \
         its name `retire = true`, which drops such topics"
    )))
}

/// The configuration with the metadata ring as it was made: its segments are as long as the tables wanted
/// then. Refuses tables that have become too large for it.
pub(super) fn with_metadata_as_made(
    config: &LogConfig,
    rings: &[OnFlash],
) -> Result<LogConfig, OpenError> {
    let mut config = config.clone();
    let metadata = rings.iter().find(|ring| ring.number == RingNumber::METADATA);
    let Some(made) = metadata.filter(|ring| ring.id.is_some()) else {
        return Ok(config);
    };
    let last = config.rings.len() - 1;
    config.rings[last].segment_bytes = made.segment_bytes;
    let least = config.segment_bytes_least(RingIndex(last as u8));
    if made.segment_bytes < least {
        return Err(OpenError::Rings(format!(
            "the metadata ring was made for smaller tables: its segments have {} bytes, and topics_max, \
             offsets_max, groups_max, offset_metadata_bytes and partitions_max take {least}",
            made.segment_bytes
        )));
    }
    Ok(config)
}

/// Whether the shared metadata is still in the first ring, as before format 5. The metadata ring was
/// never begun.
pub(super) fn moves(rings: &[OnFlash], numbers: &RingNumbers) -> Result<bool, OpenError> {
    let mut made = rings.iter().filter(|ring| ring.id.is_some());
    let first = rings.iter().find(|ring| ring.number == RingNumber(0) && ring.is_old);
    if first.is_some() && numbers.ring(RingNumber(0)).is_none() {
        return Err(OpenError::Rings(
            "ring-0 still holds what all rings share: start once with its [[ring]], and without \
             retire = true"
                .to_string(),
        ));
    }
    if first.is_none() && made.any(|ring| ring.number != RingNumber::METADATA) {
        log::error!(
            "the metadata ring is lost, and with it topics, groups and committed offsets; records are \
             in topics lost-N"
        );
    }
    Ok(first.is_some())
}

/// Rings from before format 5, which have no names, are those of the configuration in order.
fn number_unnamed(
    numbers: &mut [Option<RingNumber>],
    unnamed: &[RingNumber],
    configured: &[RingConfig],
) -> Result<(), OpenError> {
    let left = numbers.iter().filter(|number| number.is_none()).count();
    if !unnamed.is_empty() && left != unnamed.len() {
        let folders = unnamed.iter().map(ToString::to_string);
        let folders = folders.collect::<Vec<_>>().join(", ");
        let names = configured.iter().zip(&*numbers).filter(|(_, number)| number.is_none());
        let names = names.map(|(ring, _)| format!("{:?}", ring.name)).collect::<Vec<_>>();
        return Err(OpenError::Rings(format!(
            "{folders} bear no name yet, and could be any of {}: keep the [[ring]] tables that they \
             were made with until each has begun its next segment, which names it",
            names.join(", ")
        )));
    }
    let places = numbers.iter_mut().filter(|number| number.is_none());
    places.zip(unnamed).for_each(|(place, number)| *place = Some(*number));
    Ok(())
}

/// Deletes the files of a ring whose topics are deleted on flash. Those that bear its name go last, so
/// that the next start continues if this one is interrupted.
pub(super) fn retire(storage: &dyn Storage, ring: &OnFlash) {
    let number = RingIndex(ring.number.0);
    let is_named = |found: &FoundFile| found.anchors().any(|anchor| anchor.name == ring.name);
    let mut order = [false, true].into_iter().flat_map(|named| {
        let files = ring.found.iter().filter(move |found| is_named(found) == named);
        files.map(|found| FileRef { ring: number, file: found.file })
    });
    match order.try_for_each(|file| storage.remove(file)) {
        Ok(()) => log::warn!("ring {}, with its topics, is gone", ring.name.as_str()),
        Err(error) => log::error!("ring {} cannot be removed: {error}", ring.name.as_str()),
    }
}
