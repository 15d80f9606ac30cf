//! A view of the rings that leaves them as they are: what is written stays in memory.
//!
//! Opening a log writes to it (a boot group, the gaps that a power cut left). Over this
//! storage the offline commands see exactly what a broker would serve after its next start, and
//! touch nothing.

use std::io::IoSlice;
use std::sync::{Mutex, PoisonError};

use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::storage::Storage;
use crate::types::{FileIndex, FileRef, RingIndex};

/// Files below, and pages over them.
pub struct Overlay<S> {
    below: S,
    above: Mutex<Above>,
}

#[derive(Default)]
struct Above {
    /// Files that are not there below, all zero but for their pages.
    made: Vec<(FileRef, u64)>,
    /// In order of their places.
    pages: Vec<(Place, Box<[u8; PAGE_BYTES]>)>,
}

/// A file, and the number of a page in it.
type Place = (FileRef, u64);

impl<S: Storage> Overlay<S> {
    /// Nothing written yet.
    pub fn new(below: S) -> Overlay<S> {
        Overlay { below, above: Mutex::default() }
    }

    fn above(&self) -> std::sync::MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Above {
    fn page<S: Storage>(
        &mut self,
        below: &S,
        file: FileRef,
        page: u64,
    ) -> Result<&mut [u8; PAGE_BYTES], DiskError> {
        let at = match self.pages.binary_search_by_key(&(file, page), |(place, _)| *place) {
            Ok(at) => at,
            Err(at) => {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                if !self.is_made(file) {
                    below.read(file, page * PAGE_BYTES as u64, &mut bytes[..])?;
                }
                self.pages.insert(at, ((file, page), bytes));
                at
            }
        };
        Ok(&mut self.pages[at].1)
    }

    fn is_made(&self, file: FileRef) -> bool {
        self.made.iter().any(|(made, _)| *made == file)
    }

    /// Puts what is written here over what was read from below.
    fn cover(&self, file: FileRef, at: u64, buf: &mut [u8]) {
        let end = at + buf.len() as u64;
        let first = at / PAGE_BYTES as u64;
        let last = end.div_ceil(PAGE_BYTES as u64);
        let from = self.pages.partition_point(|(place, _)| *place < (file, first));
        let pages = self.pages[from..].iter();
        for ((_, page), bytes) in pages.take_while(|(place, _)| *place < (file, last)) {
            let page_at = page * PAGE_BYTES as u64;
            let (from, to) = (at.max(page_at), end.min(page_at + PAGE_BYTES as u64));
            let piece = &bytes[(from - page_at) as usize..(to - page_at) as usize];
            buf[(from - at) as usize..(to - at) as usize].copy_from_slice(piece);
        }
    }
}

impl<S: Storage> Storage for Overlay<S> {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        let mut files = self.below.files(ring)?;
        let above = self.above();
        let made = above.made.iter().filter(|(file, _)| file.ring == ring);
        files.extend(made.map(|(file, bytes)| (file.file, *bytes)));
        files.sort_unstable();
        Ok(files)
    }

    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        _progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError> {
        let mut above = self.above();
        above.made.retain(|(made, _)| *made != file);
        above.made.push((file, bytes));
        Ok(())
    }

    fn remove(&self, _file: FileRef) -> Result<(), DiskError> {
        Ok(())
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let above = self.above();
        if above.is_made(file) {
            buf.fill(0);
        } else {
            self.below.read(file, at, buf)?;
        }
        above.cover(file, at, buf);
        Ok(())
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        self.read(file, at, buf).map(|()| true)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        // Nobody else works on these files, so the page cache says what the medium will.
        self.read(file, at, buf)
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let mut above = self.above();
        let mut at = at;
        for mut piece in parts.iter().map(|part| &part[..]) {
            while !piece.is_empty() {
                let within = (at % PAGE_BYTES as u64) as usize;
                let count = piece.len().min(PAGE_BYTES - within);
                let page = above.page(&self.below, file, at / PAGE_BYTES as u64)?;
                page[within..within + count].copy_from_slice(&piece[..count]);
                piece = &piece[count..];
                at += count as u64;
            }
        }
        Ok(())
    }

    fn sync(&self, _file: FileRef) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    #[test]
    fn what_is_written_is_read_back_and_the_files_stay_as_they_were() {
        let path = std::env::temp_dir().join(format!("brooklet-overlay-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let files = FileStorage::open(&path).unwrap();
        let file = |index| FileRef { ring: RingIndex(0), file: FileIndex(index) };
        files.create(file(0), 16384, &mut |_| {}).unwrap();
        files.write(file(0), 4090, &[IoSlice::new(b"0123456789ab")]).unwrap();
        let overlay = Overlay::new(files);
        overlay.create(file(1), 8192, &mut |_| {}).unwrap();
        overlay.write(file(0), 4094, &[IoSlice::new(b"X"), IoSlice::new(b"YZ")]).unwrap();
        overlay.write(file(1), 8191, &[IoSlice::new(b"!")]).unwrap();
        let mut read = [0; 12];
        overlay.read(file(0), 4090, &mut read).unwrap();
        assert_eq!(&read, b"0123XYZ789ab");
        overlay.read(file(1), 8180, &mut read).unwrap();
        assert_eq!(&read, b"\0\0\0\0\0\0\0\0\0\0\0!");
        overlay.below.read(file(0), 4090, &mut read).unwrap();
        assert_eq!(&read, b"0123456789ab");
        assert_eq!(
            overlay.files(RingIndex(0)),
            Ok(vec![(FileIndex(0), 16384), (FileIndex(1), 8192)])
        );
        let _ = std::fs::remove_dir_all(&path);
    }
}
