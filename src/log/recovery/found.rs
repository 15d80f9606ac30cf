//! The recovery of all rings, the metadata ring first, because it says what the records of the others are;
//! and the creation of files that are missing.

use std::sync::Arc;

use super::anchors::{self, FoundFile, Page};
use super::rings::{self, OnFlash};
use super::{OpenError, Opening, Recovered, RingRecovery};
use crate::log::LogConfig;
use crate::log::state::{RingNumbers, State};
use crate::storage::{Arranged, Storage};
use crate::types::{FileIndex, FileRef, RingIndex, RingNumber};

/// All rings as they were found.
pub(super) struct FoundRings {
    pub(super) state: State,
    /// In the order of the configuration, the metadata ring last.
    pub(super) rings: Vec<Recovered>,
    /// The disk, with the rings in that order.
    pub(super) storage: Arc<dyn Storage>,
    /// The shared metadata was found in the first ring, and has to be moved to the metadata ring.
    pub(super) moves: bool,
}

impl FoundRings {
    /// Recovers all rings; makes the files that are missing.
    pub(super) fn find(
        config: &LogConfig,
        on_flash: &[OnFlash],
        storage: &Arc<dyn Storage>,
        opening: &mut Opening<'_>,
    ) -> Result<FoundRings, OpenError> {
        let mut numbers = rings::number(config, on_flash)?;
        let arranged = |numbers: &RingNumbers| -> Arc<dyn Storage> {
            Arc::new(Arranged::over(Arc::clone(storage), &numbers.live))
        };
        let mut state = State::of(config.state, &config.rings, numbers.clone());
        let shared = numbers.shared();
        check_sizes(config, on_flash, &numbers)?;
        let missing = Missing::of(config, &**storage, &numbers)?;
        let mut recovery = Recovering { config, on_flash, missing, opening };
        let metadata = recovery.ring(shared, &*arranged(&numbers), &mut state, false)?;
        let begun = !metadata.ring.segments().is_empty();
        let moves = !begun && rings::moves(on_flash, &numbers)?;
        if !begun {
            state.records_lost(shared);
        }
        rings::check_strays(config, on_flash, &state)?;
        rings::number_new(&mut numbers, on_flash, &state);
        state.numbers_set(&numbers);
        let storage = arranged(&numbers);
        let mut rings = Vec::with_capacity(config.rings.len());
        for ring in (0..shared.0).map(RingIndex) {
            rings.push(recovery.ring(ring, &*storage, &mut state, !moves)?);
        }
        rings.push(metadata);
        // Before format 5 the topics were in the first ring.
        rings::check_strays(config, on_flash, &state)?;
        state.records_found();
        Ok(FoundRings { state, rings, storage, moves })
    }
}

/// Refuses rings whose segments have another size than the configuration's, before any file is made.
fn check_sizes(
    config: &LogConfig,
    on_flash: &[OnFlash],
    numbers: &RingNumbers,
) -> Result<(), OpenError> {
    for (ring, number) in config.rings.iter().zip(&numbers.live) {
        if let Some(found) = on_flash.iter().find(|found| found.number == *number) {
            anchors::check_sizes(ring, &found.found)?;
        }
    }
    Ok(())
}

/// What the recovery of each ring works with.
struct Recovering<'a, 'o, 'e> {
    config: &'a LogConfig,
    on_flash: &'a [OnFlash],
    missing: Missing<'a>,
    opening: &'o mut Opening<'e>,
}

impl Recovering<'_, '_, '_> {
    /// Recovers a ring. `skips_shared`: the shared metadata in it does not count.
    fn ring(
        &mut self,
        ring: RingIndex,
        storage: &dyn Storage,
        state: &mut State,
        skips_shared: bool,
    ) -> Result<Recovered, OpenError> {
        let number = state.numbers().of(ring);
        let found = self.on_flash.iter().find(|found| found.number == number);
        let id = found.and_then(|found| found.id);
        let mut found = found.map_or_else(Vec::new, |found| found.found.clone());
        self.missing.create(storage, ring, id.is_none(), &mut found, self.opening)?;
        let mut recovery = RingRecovery::new(self.config, ring, storage, self.opening);
        recovery.skips_shared = skips_shared;
        let recovered = recovery.run(id, &found, state);
        recovered.map_err(|error| error.with_number(number))
    }
}

/// The files that the configuration wants and that are not there.
struct Missing<'a> {
    config: &'a LogConfig,
    /// Bytes of them that are filled, of how many.
    filled: u64,
    total: u64,
}

impl<'a> Missing<'a> {
    fn of(
        config: &'a LogConfig,
        below: &dyn Storage,
        numbers: &RingNumbers,
    ) -> Result<Missing<'a>, OpenError> {
        let mut total = 0;
        for (ring, number) in config.rings.iter().zip(&numbers.live) {
            let is_new = *number == RingNumber::NEW;
            let present = if is_new { 0 } else { below.files(RingIndex(number.0))?.len() as u64 };
            let files = u64::from(ring.segments + ring.spares);
            total += files.saturating_sub(present) * ring.segment_bytes;
        }
        Ok(Missing { config, filled: 0, total })
    }

    /// Makes a ring's missing files. `unused`: nothing was ever stored in it, so files of another size, which
    /// an earlier try left, are made anew.
    fn create(
        &mut self,
        storage: &dyn Storage,
        ring: RingIndex,
        unused: bool,
        found: &mut Vec<FoundFile>,
        opening: &mut Opening<'_>,
    ) -> Result<(), OpenError> {
        let config = &self.config.rings[usize::from(ring.0)];
        let bytes = config.segment_bytes;
        let mut existing = storage.files(ring)?;
        if unused {
            for (file, _) in existing.extract_if(.., |(_, length)| *length != bytes) {
                storage.remove(FileRef { ring, file })?;
                found.retain(|found| found.file != file);
            }
        }
        for file in (0..config.segments + config.spares).map(FileIndex) {
            if existing.iter().any(|(other, _)| *other == file) {
                continue;
            }
            let (before, total) = (self.filled, self.total.max(self.filled + bytes));
            storage.create(FileRef { ring, file }, bytes, &mut |filled| {
                (opening.progress)(before + filled, total);
            })?;
            self.filled += bytes;
            let at = found.partition_point(|found| found.file < file);
            found.insert(at, FoundFile { file, head: Page::Blank, foot: Page::Blank });
        }
        Ok(())
    }
}
