//! Rings by their place in the configuration, over rings by their number on flash.

use std::io::IoSlice;
use std::sync::Arc;

use super::Storage;
use super::medium::Medium;
use crate::error::DiskError;
use crate::limits::RINGS_MAX;
use crate::types::{FileIndex, FileRef, RingIndex, RingNumber};

/// A storage in which ring N is the one with the Nth of the given numbers.
pub struct Arranged {
    below: Arc<dyn Storage>,
    numbers: heapless::Vec<RingNumber, RINGS_MAX>,
}

impl Arranged {
    /// Puts the rings in this order.
    pub fn over(below: Arc<dyn Storage>, numbers: &[RingNumber]) -> Arranged {
        Arranged { below, numbers: numbers.iter().copied().collect() }
    }

    fn ring(&self, ring: RingIndex) -> RingIndex {
        RingIndex(self.numbers[usize::from(ring.0)].0)
    }

    fn file(&self, file: FileRef) -> FileRef {
        FileRef { ring: self.ring(file.ring), ..file }
    }
}

impl Storage for Arranged {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        self.below.files(self.ring(ring))
    }

    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError> {
        self.below.create(self.file(file), bytes, progress)
    }

    fn remove(&self, file: FileRef) -> Result<(), DiskError> {
        self.below.remove(self.file(file))
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.below.read(self.file(file), at, buf)
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        self.below.read_cached(self.file(file), at, buf)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.below.read_medium(self.file(file), at, buf)
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        self.below.write(self.file(file), at, parts)
    }

    fn medium(&self) -> Option<&Medium> {
        self.below.medium()
    }

    fn sync(&self, file: FileRef) -> Result<(), DiskError> {
        self.below.sync(self.file(file))
    }
}
