//! The only access to the disk.
//!
//! A [`Storage`] holds the segment files of all rings. Every call takes `&self`, because the thread
//! that syncs writes while the executor reads. A [`FileStorage`] has them in the data directory, one
//! folder per ring; the simulator has its own.

mod arranged;
pub mod medium;
#[cfg(feature = "sim")]
pub mod sim;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::error::DiskError;
use crate::types::{FileIndex, FileRef, RingIndex, RingNumber};

pub use arranged::Arranged;
use medium::{Medium, SyncCall};

/// The segment files of all rings. A ring is named by its number on flash here, the N of `ring-N`;
/// [`Arranged`] translates from places in the configuration.
pub trait Storage: Send + Sync {
    /// The ring's files that exist, with their lengths, in ascending order of index.
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError>;

    /// Makes a file of `bytes` zeroes, durable with its name. One that an interrupted start left is
    /// completed.
    /// `progress` is called with the bytes filled so far.
    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError>;

    /// Deletes a file that the ring no longer needs.
    fn remove(&self, file: FileRef) -> Result<(), DiskError>;

    /// Fills `buf` from `at`; may wait for the medium.
    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Fills `buf` from `at` if that needs no waiting; false: a thread that may wait has to read.
    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError>;

    /// Fills `buf` from `at` with what the medium holds, past the page cache. `at` and the length
    /// are multiples of a page.
    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Writes `parts` one behind the other at `at`. They are not durable before a [`Storage::sync`].
    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError>;

    /// Returns when everything written to the file before is on the medium.
    fn sync(&self, file: FileRef) -> Result<(), DiskError>;

    /// The file system and device of the files, as far as they are known.
    fn medium(&self) -> Option<&Medium> {
        None
    }
}

/// A range of a write job's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it starts in the buffer.
    pub at: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// Reading for compaction, which takes turns with the writes: run as a [`WriteJob`] is.
pub trait Errand: Send + std::fmt::Debug {
    /// Does a part of it. The errand itself handles what cannot be read, so this cannot fail.
    fn run(&mut self, storage: &dyn Storage);

    /// For the sender, to downcast it.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

/// One step of the commit path, to be run where waiting for the disk is allowed. It owns its buffer
/// while it is on its way and must be handed back to the log whole.
#[derive(Debug)]
pub struct WriteJob {
    /// Where to.
    pub file: FileRef,
    /// At which position.
    pub at: u64,
    /// What the parts are ranges of.
    pub buf: Box<[u8]>,
    /// The parts, in their order on flash.
    pub parts: Vec<Part>,
    /// Zero bytes that follow the parts, to fill the last page.
    pub padding: u32,
    /// Whether the file is synced afterwards. A job without parts only syncs.
    pub sync: bool,
    /// Set: nothing is written, and this is done instead.
    pub errand: Option<Box<dyn Errand>>,
}

impl WriteJob {
    /// Carries the job out.
    pub fn run(&mut self, storage: &dyn Storage) -> Result<(), DiskError> {
        if let Some(errand) = &mut self.errand {
            errand.run(storage);
            return Ok(());
        }
        if self.parts.len() < PARTS_FEW {
            self.run_in(storage, &mut [IoSlice::new(&[]); PARTS_FEW])
        } else {
            self.run_in(storage, &mut [IoSlice::new(&[]); PARTS_PER_WRITE])
        }
    }

    fn run_in<'a>(
        &'a self,
        storage: &dyn Storage,
        chunk: &mut [IoSlice<'a>],
    ) -> Result<(), DiskError> {
        let mut at = self.at;
        let mut filled = 0;
        let mut bytes = 0;
        for part in &self.parts {
            let from = part.at as usize;
            let piece = &self.buf[from..from + part.bytes as usize];
            chunk[filled] = IoSlice::new(piece);
            filled += 1;
            bytes += u64::from(part.bytes);
            if filled == chunk.len() - 1 {
                storage.write(self.file, at, &chunk[..filled])?;
                at += bytes;
                (filled, bytes) = (0, 0);
            }
        }
        if self.padding > 0 {
            chunk[filled] = IoSlice::new(&ZEROES[..self.padding as usize]);
            filled += 1;
        }
        if filled > 0 {
            storage.write(self.file, at, &chunk[..filled])?;
        }
        if self.sync { storage.sync(self.file) } else { Ok(()) }
    }
}

/// Segment files in a data directory: `ring-N/segment-NNNN`, and `metadata/segment-NNNN`.
pub struct FileStorage {
    directory: PathBuf,
    medium: Medium,
    rings: Vec<RwLock<Vec<Option<Segment>>>>,
}

/// A segment file; one that cannot be opened is listed all the same, and every access to it fails.
type Segment = Result<Arc<File>, DiskError>;

impl FileStorage {
    /// Opens the files of all rings that exist under `directory`.
    pub fn open(directory: &Path) -> Result<FileStorage, DiskError> {
        FileStorage::open_with(directory, open_options().write(true))
    }

    /// The same, only to be read: writes fail.
    pub fn open_to_read(directory: &Path) -> Result<FileStorage, DiskError> {
        FileStorage::open_with(directory, &open_options())
    }

    fn open_with(directory: &Path, options: &OpenOptions) -> Result<FileStorage, DiskError> {
        let medium = Medium::of(directory);
        let directory = directory.to_path_buf();
        let mut storage = FileStorage { directory, medium, rings: Vec::new() };
        for number in 0..=RingNumber::METADATA.0 {
            let files = open_folder(&storage.folder(RingIndex(number)), options)?;
            storage.rings.push(RwLock::new(files));
        }
        Ok(storage)
    }

    fn folder(&self, ring: RingIndex) -> PathBuf {
        self.directory.join(RingNumber(ring.0).to_string())
    }

    fn path(&self, file: FileRef) -> PathBuf {
        self.folder(file.ring).join(format!("segment-{:04}", file.file.0))
    }

    fn file(&self, file: FileRef, doing: &'static str) -> Result<Arc<File>, DiskError> {
        let missing = DiskError { doing, os: rustix::io::Errno::NOENT.raw_os_error() };
        let ring = self.rings.get(usize::from(file.ring.0)).ok_or(missing)?;
        let files = ring.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        files.get(usize::from(file.file.0)).and_then(Clone::clone).unwrap_or(Err(missing))
    }

    /// Syncs what a file's own sync leaves out; see [`medium`].
    fn sync_rest(&self, handle: &File, call: SyncCall) -> Result<(), DiskError> {
        match call {
            SyncCall::File => Ok(()),
            SyncCall::FileSystem => rustix::fs::syncfs(handle)
                .map_err(|e| DiskError { doing: "sync", os: e.raw_os_error() }),
        }
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        let folder = File::open(folder).map_err(|e| DiskError::new("open", &e))?;
        folder.sync_all().map_err(|e| DiskError::new("sync folder", &e))?;
        self.sync_rest(&folder, self.medium.sync_made)
    }

    fn put(&self, file: FileRef, handle: Option<Segment>) {
        let ring = &self.rings[usize::from(file.ring.0)];
        let mut files = ring.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = usize::from(file.file.0);
        if files.len() <= index {
            files.resize_with(index + 1, || None);
        }
        files[index] = handle;
    }
}

impl Storage for FileStorage {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        let files = self.rings[usize::from(ring.0)]
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut found = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            let bytes = match file {
                Some(Ok(file)) => file.metadata().map_err(|e| DiskError::new("stat", &e))?.len(),
                Some(Err(_)) => 0,
                None => continue,
            };
            found.push((FileIndex(index as u16), bytes));
        }
        Ok(found)
    }

    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError> {
        let folder = self.folder(file.ring);
        if !folder.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder);
            made.map_err(|e| DiskError::new("create folder", &e))?;
            self.sync_folder(&self.directory)?;
        }
        let path = self.path(file);
        let unfinished = path.with_extension("new");
        let handle = open_options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&unfinished)
            .map_err(|e| DiskError::new("create", &e))?;
        let length = handle.metadata().map_err(|e| DiskError::new("stat", &e))?.len();
        // The last chunk that an interrupted start wrote may have a length but no contents.
        let mut at = length.min(bytes).saturating_sub(FILL_BYTES as u64);
        let zeroes = vec![0u8; FILL_BYTES];
        while at < bytes {
            let piece = (bytes - at).min(FILL_BYTES as u64) as usize;
            handle.write_all_at(&zeroes[..piece], at).map_err(|e| DiskError::new("fill", &e))?;
            at += piece as u64;
            progress(at);
        }
        handle.set_len(bytes).map_err(|e| DiskError::new("set length", &e))?;
        handle.sync_all().map_err(|e| DiskError::new("sync", &e))?;
        self.sync_rest(&handle, self.medium.sync_made)?;
        std::fs::rename(&unfinished, &path).map_err(|e| DiskError::new("rename", &e))?;
        self.sync_folder(&folder)?;
        let handle = open_segment(&path, open_options().write(true))?;
        self.put(file, Some(Ok(Arc::new(handle))));
        Ok(())
    }

    fn remove(&self, file: FileRef) -> Result<(), DiskError> {
        self.put(file, None);
        std::fs::remove_file(self.path(file)).map_err(|e| DiskError::new("remove", &e))?;
        self.sync_folder(&self.folder(file.ring))
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let handle = self.file(file, "read")?;
        handle.read_exact_at(buf, at).map_err(|e| DiskError::new("read", &e))
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let handle = self.file(file, "read")?;
        let mut done = 0;
        while done < buf.len() {
            let piece = &mut [std::io::IoSliceMut::new(&mut buf[done..])];
            match preadv2(&handle, piece, at + done as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => {
                    return Err(DiskError { doing: "read", os: 0 });
                }
                Ok(count) => done += count,
                // OPNOTSUPP and NOSYS: this file system or kernel has no such read.
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => {
                    return Err(DiskError { doing: "read", os: e.raw_os_error() });
                }
            }
        }
        Ok(true)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let direct = open_options().custom_flags(NO_FOLLOW | direct).open(self.path(file));
        // Direct reads want memory aligned to a block of the device; a page is enough everywhere.
        let page = crate::limits::PAGE_BYTES;
        if let (Ok(direct), Ok(_)) = (direct, self.file(file, "read medium")) {
            let mut aligned = vec![0u8; buf.len() + page];
            let skip = aligned.as_ptr().align_offset(page);
            let window = &mut aligned[skip..skip + buf.len()];
            if direct.read_exact_at(window, at).is_ok() {
                buf.copy_from_slice(window);
                return Ok(());
            }
        }
        let handle = self.file(file, "read medium")?;
        handle.sync_data().map_err(|e| DiskError::new("read medium", &e))?;
        self.sync_rest(&handle, self.medium.sync)?;
        let length = std::num::NonZero::new(buf.len() as u64);
        let _ = rustix::fs::fadvise(handle.as_fd(), at, length, rustix::fs::Advice::DontNeed);
        handle.read_exact_at(buf, at).map_err(|e| DiskError::new("read medium", &e))
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let handle = self.file(file, "write")?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let done = loop {
            match rustix::io::pwritev(&handle, parts, at) {
                Ok(done) => break done,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    return Err(DiskError { doing: "write", os: e.raw_os_error() });
                }
            }
        };
        if done == total { Ok(()) } else { write_rest(&handle, at, parts, done) }
    }

    fn sync(&self, file: FileRef) -> Result<(), DiskError> {
        let handle = self.file(file, "sync")?;
        handle.sync_data().map_err(|e| DiskError::new("sync", &e))?;
        self.sync_rest(&handle, self.medium.sync)
    }

    fn medium(&self) -> Option<&Medium> {
        Some(&self.medium)
    }
}

/// Completes a write that the kernel cut short after `done` bytes.
fn write_rest(handle: &File, at: u64, parts: &[IoSlice<'_>], done: usize) -> Result<(), DiskError> {
    let mut before = 0;
    for part in parts {
        let skip = done.saturating_sub(before).min(part.len());
        handle
            .write_all_at(&part[skip..], at + (before + skip) as u64)
            .map_err(|e| DiskError::new("write", &e))?;
        before += part.len();
    }
    Ok(())
}

/// How files are opened: only to be read, and not through links.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE).custom_flags(NO_FOLLOW);
    options
}

/// A ring's files; none, if there is no such folder.
fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Vec<Option<Segment>>, DiskError> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(|e| DiskError::new("list", &e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| DiskError::new("list", &e))?;
        let Some(index) = entry.file_name().to_str().and_then(file_index_of) else {
            continue;
        };
        let file = open_segment(&entry.path(), options).map(Arc::new);
        if let Err(error) = &file
            && REFUSED.iter().any(|refused| refused.raw_os_error() == error.os)
        {
            return Err(*error);
        }
        if files.len() <= index {
            files.resize_with(index + 1, || None);
        }
        files[index] = Some(file);
    }
    Ok(files)
}

fn open_segment(path: &Path, options: &OpenOptions) -> Result<File, DiskError> {
    options.open(path).map_err(|e| DiskError::new("open segment", &e))
}

fn file_index_of(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("segment-")?;
    let index: usize = digits.parse().ok()?;
    (index < crate::limits::SEGMENTS_MAX && digits.len() == 4).then_some(index)
}

/// Errors that tell of permissions and not of the medium: opening the storage fails with them.
const REFUSED: [rustix::io::Errno; 4] = {
    use rustix::io::Errno;
    [Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::LOOP]
};

/// Only brooklet's own user may read what clients stored.
pub const FOLDER_MODE: u32 = 0o700;
/// The same of files.
pub const FILE_MODE: u32 = 0o600;

/// Opening a file fails if it is a symbolic link.
pub const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Most groups have fewer parts than this; an array for [`PARTS_PER_WRITE`] takes long to initialise.
const PARTS_FEW: usize = 8;

/// Parts per system call, well under the kernel's bound of 1,024; costs stack.
const PARTS_PER_WRITE: usize = 256;

/// Zero-filling goes in pieces of this many bytes.
const FILL_BYTES: usize = 1 << 20;

static ZEROES: [u8; crate::limits::PAGE_BYTES] = [0; crate::limits::PAGE_BYTES];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(index: u16) -> FileRef {
        FileRef { ring: RingIndex(0), file: FileIndex(index) }
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("brooklet-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_job_writes_its_parts_in_their_order_and_pads_with_zeroes() {
        let path = scratch("job");
        let storage = FileStorage::open(&path).unwrap();
        storage.create(file(0), 1 << 16, &mut |_| {}).unwrap();
        let parts = vec![Part { at: 4, bytes: 4 }, Part { at: 0, bytes: 4 }];
        let buf = b"worldhello"[..8].to_vec().into_boxed_slice();
        let (file, at, padding) = (file(0), 4096, 4088);
        let mut job = WriteJob { file, at, buf, parts, padding, sync: true, errand: None };
        job.run(&storage).unwrap();
        let mut read = [1u8; 12];
        storage.read(file, 4096, &mut read).unwrap();
        assert_eq!(&read, b"dhelworl\0\0\0\0");
        let mut page = vec![0u8; 4096];
        storage.read_medium(file, 4096, &mut page).unwrap();
        assert_eq!(&page[..8], b"dhelworl");
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_there_and_cannot_be_read() {
        let path = scratch("closed");
        std::fs::create_dir_all(path.join("ring-0/segment-0001")).unwrap();
        let storage = FileStorage::open(&path).unwrap();
        storage.create(file(0), 8192, &mut |_| {}).unwrap();
        let files = storage.files(RingIndex(0)).unwrap();
        assert_eq!(files, [(FileIndex(0), 8192), (FileIndex(1), 0)]);
        let mut page = [0; 4096];
        storage.read_medium(file(0), 0, &mut page).unwrap();
        let error = storage.read_medium(file(1), 0, &mut page).unwrap_err();
        assert_eq!((error.doing, error.is_short()), ("open segment", false));
        assert!(storage.write(file(1), 0, &[IoSlice::new(&page)]).is_err());
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn files_are_their_users_own_and_are_not_found_through_links() {
        use std::os::unix::fs::PermissionsExt;
        let path = scratch("own");
        let storage = FileStorage::open(&path).unwrap();
        storage.create(file(0), 8192, &mut |_| {}).unwrap();
        let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ring-0"), mode("ring-0/segment-0000")), (0o700, 0o600));
        std::os::unix::fs::symlink("segment-0000", path.join("ring-0/segment-0001")).unwrap();
        let error = FileStorage::open(&path).err().unwrap();
        assert_eq!((error.doing, error.os), ("open segment", REFUSED[3].raw_os_error()));
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn a_file_that_was_cut_short_is_completed() {
        let path = scratch("short");
        let storage = FileStorage::open(&path).unwrap();
        std::fs::create_dir_all(path.join("ring-0")).unwrap();
        std::fs::write(path.join("ring-0/segment-0003.new"), vec![0u8; 5000]).unwrap();
        storage.create(file(3), 3 << 20, &mut |_| {}).unwrap();
        let again = FileStorage::open(&path).unwrap();
        assert_eq!(again.files(RingIndex(0)).unwrap(), vec![(FileIndex(3), 3 << 20)]);
        let _ = std::fs::remove_dir_all(&path);
    }
}
