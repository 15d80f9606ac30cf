//! A disk in memory that fails on purpose: for tests only (feature `sim`).
//!
//! It keeps two images of each file. The **live** one is what reads see: the page cache. The
//! **durable** one is what the medium holds. A write changes the live one and is *pending*, sector by
//! sector, until a sync; a power cut persists some of what is pending, and garbles some. A sync that
//! fails leaves the live image as it is and forgets what was pending, as kernels do: those pages count
//! as clean, are still read, and never reach the medium unless they are written again.
//!
//! Copies are cheap ([`SimStorage::fork`]): pages are shared until they are written.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Storage;
use crate::error::DiskError;
use crate::types::{FileIndex, FileRef, RingIndex};

/// Random numbers that repeat: xorshift64*.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From any seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends and is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buf: &mut [u8]) {
        buf.fill_with(|| (self.next() >> 32) as u8);
    }
}

/// What a power cut does with sectors that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// None of them is on the medium.
    None,
    /// All are.
    All,
    /// Those that were written first are.
    Prefix,
    /// Any of them are.
    Subset,
    /// Any of them are, and any page that one of them is in holds rubbish.
    Garble,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 5] = [Cut::None, Cut::All, Cut::Prefix, Cut::Subset, Cut::Garble];
}

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// [`Storage::read`] and its kin.
    Read,
    /// [`Storage::write`]; the first half of the bytes arrives.
    Write,
    /// [`Storage::sync`].
    Sync,
}

/// When it fails: counted from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failing {
    /// Not at all.
    #[default]
    Never,
    /// After this many that succeed, once.
    Once(u64),
    /// After this many that succeed, this many times.
    Burst(u64, u64),
    /// After this many that succeed, always.
    From(u64),
}

/// What was asked of the disk since it was made, and what failed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Bytes of them.
    pub read_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Of all these, how many were made to fail.
    pub failed: u64,
}

/// The disk. See the module.
pub struct SimStorage(Mutex<Disk>);

impl SimStorage {
    /// An empty disk; `seed` decides what its failures do.
    pub fn new(seed: u64) -> SimStorage {
        SimStorage(Mutex::new(Disk {
            files: BTreeMap::new(),
            pending: Vec::new(),
            rng: Rng::new(seed),
            counts: Counts::default(),
            failing: [Failing::Never; OPS],
            bad: Vec::new(),
            torn_bytes: PAGE as u64,
            heads_only: false,
            ring_fails: None,
            crash_at: None,
            dead: false,
            recording: false,
            forks: Vec::new(),
        }))
    }

    /// From now on a power cut spoils at most the sector that it cuts, and not the page around it.
    pub fn tear_sectors(&self) {
        self.disk().torn_bytes = SECTOR as u64;
    }

    /// A second disk in the same state, whose failures `seed` decides.
    pub fn fork(&self, seed: u64) -> SimStorage {
        let mut disk = self.disk().fork();
        disk.rng = Rng::new(seed);
        SimStorage(Mutex::new(disk))
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.disk().counts
    }

    /// Whether nothing is pending: then every power cut does the same.
    pub fn is_synced(&self) -> bool {
        self.disk().pending.is_empty()
    }

    /// Makes something fail.
    pub fn fail(&self, op: Op, failing: Failing) {
        self.disk().failing[op as usize] = failing;
    }

    /// Reads that touch this range fail from now on, until it is written.
    pub fn fail_reads_at(&self, file: FileRef, from: u64, to: u64) {
        self.disk().bad.push((file, from, to));
    }

    /// Writes fail from now on, but for those at the start of a file; or they work again.
    pub fn fail_behind_heads(&self, fail: bool) {
        self.disk().heads_only = fail;
    }

    /// Writes to this ring fail from now on; or they work again.
    pub fn fail_writes_of(&self, ring: Option<RingIndex>) {
        self.disk().ring_fails = ring;
    }

    /// All places can be read again.
    pub fn reads_work(&self) {
        self.disk().bad.clear();
    }

    /// After this many writes, counted from the first ever, everything fails until the power is cut.
    /// The last write itself is done, and pending.
    pub fn crash_at_write(&self, write: u64) {
        self.disk().crash_at = Some(write);
    }

    /// Whether [`SimStorage::crash_at_write`] has struck.
    pub fn is_dead(&self) -> bool {
        self.disk().dead
    }

    /// The power fails and comes back: only what is on the medium is left, and what failed works.
    pub fn power_cut(&self, cut: Cut) {
        self.disk().power_cut(cut);
    }

    /// The process dies and is started again: the page cache stays. What failed works again.
    pub fn process_kill(&self) {
        self.disk().revive();
    }

    /// Flips one bit of what is on the medium, and of the page cache where it is clean.
    pub fn flip(&self, file: FileRef, at: u64, bit: u8) {
        self.disk().change(file, at, 1, &mut |bytes| bytes[0] ^= 1 << (bit & 7));
    }

    /// Overwrites a range of the medium, and of the page cache, with rubbish.
    pub fn garble(&self, file: FileRef, at: u64, bytes: u64) {
        let mut rng = Rng::new(self.disk().rng.next());
        self.disk().change(file, at, bytes, &mut |bytes| rng.fill(bytes));
    }

    /// Fills `buf` with what is on the medium, whatever may be pending.
    pub fn read_durable(&self, file: FileRef, at: u64, buf: &mut [u8]) {
        if let Some(file) = self.disk().files.get(&file) {
            file.durable.read(at, buf);
        }
    }

    /// From now on the disk is forked behind each write and sync; [`SimStorage::forks_take`] gives
    /// the forks: all the instants at which the power could fail.
    pub fn record_forks(&self, recording: bool) {
        self.disk().recording = recording;
    }

    /// The forks since this was last asked, with the number of the write that came last.
    pub fn forks_take(&self) -> Vec<(u64, SimStorage)> {
        let forks = std::mem::take(&mut self.disk().forks);
        let storages =
            forks.into_iter().map(|disk| (disk.counts.writes, SimStorage(Mutex::new(disk))));
        storages.collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Storage for SimStorage {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        let disk = self.disk();
        let files = disk.files.iter().filter(|(file, _)| file.ring == ring);
        Ok(files.map(|(file, image)| (file.file, image.bytes)).collect())
    }

    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.alive("create")?;
        let (live, durable) = (Image::default(), Image::default());
        disk.files.insert(file, File { bytes, live, durable });
        disk.record();
        drop(disk);
        progress(bytes);
        Ok(())
    }

    fn remove(&self, file: FileRef) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.alive("remove")?;
        disk.files.remove(&file);
        disk.pending.retain(|pending| pending.file != file);
        disk.record();
        Ok(())
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk().read(file, at, buf, false)
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        let mut disk = self.disk();
        // Some of it is never in the cache.
        if disk.rng.one_in(4) {
            return Ok(false);
        }
        disk.read(file, at, buf, false).map(|()| true)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk().read(file, at, buf, true)
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk().write(file, at, &bytes)
    }

    fn sync(&self, file: FileRef) -> Result<(), DiskError> {
        self.disk().sync(file)
    }
}

/// The contents of a file; pages that were never written are zero.
#[derive(Clone, Default)]
struct Image(BTreeMap<u64, Arc<[u8; PAGE]>>);

impl Image {
    fn read(&self, at: u64, buf: &mut [u8]) {
        pieces(at, buf.len(), |page, within, here| match self.0.get(&page) {
            Some(bytes) => buf[here.clone()].copy_from_slice(&bytes[within..within + here.len()]),
            None => buf[here].fill(0),
        });
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.change(at, bytes.len(), &mut |here, target| target.copy_from_slice(&bytes[here]));
    }

    fn change(
        &mut self,
        at: u64,
        length: usize,
        change: &mut dyn FnMut(std::ops::Range<usize>, &mut [u8]),
    ) {
        pieces(at, length, |page, within, here| {
            let page = self.0.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            let target = &mut Arc::make_mut(page)[within..within + here.len()];
            change(here, target);
        });
    }
}

/// Calls `piece` with each page of a range, the place in the page, and the part of the range.
fn pieces(at: u64, length: usize, mut piece: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let position = at + done as u64;
        let within = (position % PAGE as u64) as usize;
        let count = (PAGE - within).min(length - done);
        piece(position / PAGE as u64, within, done..done + count);
        done += count;
    }
}

#[derive(Clone)]
struct File {
    bytes: u64,
    live: Image,
    durable: Image,
}

/// A part of a sector that was written and not synced.
#[derive(Clone)]
struct Pending {
    file: FileRef,
    at: u64,
    bytes: Vec<u8>,
}

struct Disk {
    files: BTreeMap<FileRef, File>,
    /// In the order of the writes.
    pending: Vec<Pending>,
    rng: Rng,
    counts: Counts,
    failing: [Failing; OPS],
    bad: Vec<(FileRef, u64, u64)>,
    torn_bytes: u64,
    heads_only: bool,
    ring_fails: Option<RingIndex>,
    crash_at: Option<u64>,
    dead: bool,
    recording: bool,
    forks: Vec<Disk>,
}

impl Disk {
    fn fork(&self) -> Disk {
        Disk {
            files: self.files.clone(),
            pending: self.pending.clone(),
            rng: self.rng.clone(),
            counts: self.counts,
            failing: self.failing,
            bad: self.bad.clone(),
            torn_bytes: self.torn_bytes,
            heads_only: self.heads_only,
            ring_fails: self.ring_fails,
            crash_at: None,
            dead: false,
            recording: false,
            forks: Vec::new(),
        }
    }

    fn read(
        &mut self,
        file: FileRef,
        at: u64,
        buf: &mut [u8],
        medium: bool,
    ) -> Result<(), DiskError> {
        self.alive("read")?;
        self.counts.reads += 1;
        self.counts.read_bytes += buf.len() as u64;
        let end = at + buf.len() as u64;
        let is_bad =
            |(bad, from, to): &(FileRef, u64, u64)| *bad == file && *from < end && at < *to;
        if self.fails(Op::Read) || self.bad.iter().any(is_bad) {
            return Err(failed("read", EIO));
        }
        let image = self.file(file, end, "read")?;
        if medium {
            image.durable.read(at, buf);
            // The kernel writes dirty pages of the range out before it reads past the cache.
            for pending in self.pending.iter().filter(|pending| pending.file == file) {
                let (from, to) = (pending.at.max(at), pending.end().min(end));
                if from < to {
                    let source = (from - pending.at) as usize..(to - pending.at) as usize;
                    let target = (from - at) as usize..(to - at) as usize;
                    buf[target].copy_from_slice(&pending.bytes[source]);
                }
            }
        } else {
            image.live.read(at, buf);
        }
        Ok(())
    }

    fn write(&mut self, file: FileRef, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.alive("write")?;
        let end = at + bytes.len() as u64;
        self.file(file, end, "write")?;
        self.counts.writes += 1;
        let fails = self.ring_fails == Some(file.ring) || self.heads_only && at > 0;
        let fails = self.fails(Op::Write) || fails;
        let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        self.counts.written_bytes += bytes.len() as u64;
        if let Some(image) = self.files.get_mut(&file) {
            image.live.write(at, bytes);
        }
        let mut done = 0;
        while done < bytes.len() {
            let position = at + done as u64;
            let count = (SECTOR - position as usize % SECTOR).min(bytes.len() - done);
            let piece = bytes[done..done + count].to_vec();
            self.pending.push(Pending { file, at: position, bytes: piece });
            done += count;
        }
        self.bad.retain(|(bad, from, to)| *bad != file || *from < at || *to > end);
        self.record();
        if self.crash_at.is_some_and(|crash_at| self.counts.writes >= crash_at) {
            self.dead = true;
        }
        if fails { Err(failed("write", EIO)) } else { self.alive("write") }
    }

    fn sync(&mut self, file: FileRef) -> Result<(), DiskError> {
        self.alive("sync")?;
        self.counts.syncs += 1;
        let fails = self.fails(Op::Sync);
        let pending = std::mem::take(&mut self.pending);
        for pending in pending {
            if pending.file != file {
                self.pending.push(pending);
            } else if !fails || self.rng.one_in(2) {
                self.persist(&pending);
            } else if self.rng.one_in(4) {
                let mut rubbish = pending;
                self.rng.fill(&mut rubbish.bytes);
                self.persist(&rubbish);
            }
        }
        self.record();
        if fails { Err(failed("sync", EIO)) } else { Ok(()) }
    }

    fn power_cut(&mut self, cut: Cut) {
        let pending = std::mem::take(&mut self.pending);
        let kept = match cut {
            Cut::None => 0,
            Cut::Prefix => self.rng.below(pending.len() as u64 + 1) as usize,
            Cut::All | Cut::Subset | Cut::Garble => pending.len(),
        };
        let any = matches!(cut, Cut::Subset | Cut::Garble);
        for sector in &pending[..kept] {
            if !any || self.rng.one_in(2) {
                self.persist(sector);
            }
        }
        if cut == Cut::Garble {
            for sector in &pending {
                if self.rng.one_in(4) {
                    let torn = sector.at / self.torn_bytes * self.torn_bytes;
                    let mut rubbish = vec![0; self.torn_bytes as usize];
                    self.rng.fill(&mut rubbish);
                    if let Some(file) = self.files.get_mut(&sector.file) {
                        file.durable.write(torn, &rubbish);
                    }
                }
            }
        }
        for file in self.files.values_mut() {
            file.live = file.durable.clone();
        }
        self.revive();
    }

    fn revive(&mut self) {
        self.dead = false;
        self.crash_at = None;
        self.failing = [Failing::Never; OPS];
    }

    fn persist(&mut self, pending: &Pending) {
        if let Some(file) = self.files.get_mut(&pending.file) {
            file.durable.write(pending.at, &pending.bytes);
        }
    }

    fn change(&mut self, file: FileRef, at: u64, bytes: u64, change: &mut dyn FnMut(&mut [u8])) {
        let mut buf = vec![0; bytes as usize];
        let Some(image) = self.files.get_mut(&file) else {
            return;
        };
        image.durable.read(at, &mut buf);
        change(&mut buf);
        image.durable.write(at, &buf);
        image.live.write(at, &buf);
    }

    fn file(&self, file: FileRef, end: u64, doing: &'static str) -> Result<&File, DiskError> {
        let found = self.files.get(&file).ok_or(failed(doing, ENOENT))?;
        if end <= found.bytes { Ok(found) } else { Err(failed(doing, 0)) }
    }

    fn alive(&self, doing: &'static str) -> Result<(), DiskError> {
        if self.dead { Err(failed(doing, EIO)) } else { Ok(()) }
    }

    fn fails(&mut self, op: Op) -> bool {
        let (fails, next) = match self.failing[op as usize] {
            Failing::Never | Failing::Burst(0, 0) => (false, Failing::Never),
            Failing::Once(0) => (true, Failing::Never),
            Failing::Burst(0, left) => (true, Failing::Burst(0, left - 1)),
            Failing::From(0) => (true, Failing::From(0)),
            Failing::Once(after) => (false, Failing::Once(after - 1)),
            Failing::Burst(after, count) => (false, Failing::Burst(after - 1, count)),
            Failing::From(after) => (false, Failing::From(after - 1)),
        };
        self.failing[op as usize] = next;
        self.counts.failed += u64::from(fails);
        fails
    }

    fn record(&mut self) {
        if self.recording {
            let fork = self.fork();
            self.forks.push(fork);
        }
    }
}

impl Pending {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

fn failed(doing: &'static str, os: i32) -> DiskError {
    DiskError { doing, os }
}

const PAGE: usize = crate::limits::PAGE_BYTES;
const SECTOR: usize = 512;
const OPS: usize = 3;
const EIO: i32 = 5;
const ENOENT: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileRef = FileRef { ring: RingIndex(0), file: FileIndex(1) };

    fn disk() -> SimStorage {
        let disk = SimStorage::new(1);
        disk.create(FILE, 1 << 22, &mut |_| {}).unwrap();
        disk
    }

    fn write(disk: &SimStorage, at: u64, byte: u8, length: usize) -> Result<(), DiskError> {
        disk.write(FILE, at, &[IoSlice::new(&vec![byte; length])])
    }

    fn read(disk: &SimStorage, at: u64) -> u8 {
        let mut byte = [0];
        disk.read(FILE, at, &mut byte).unwrap();
        byte[0]
    }

    fn medium(disk: &SimStorage, at: u64) -> u8 {
        let mut page = [0; PAGE];
        disk.read_medium(FILE, at, &mut page).unwrap();
        page[0]
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let disk = disk();
        write(&disk, 0, 7, 8192).unwrap();
        disk.sync(FILE).unwrap();
        write(&disk, 4096, 8, 4096).unwrap();
        assert_eq!((read(&disk, 4095), read(&disk, 4096)), (7, 8));
        let other = disk.fork(1);
        disk.power_cut(Cut::None);
        assert_eq!((read(&disk, 4095), read(&disk, 4096)), (7, 7));
        other.power_cut(Cut::All);
        assert_eq!((read(&other, 4095), read(&other, 4096)), (7, 8));
    }

    #[test]
    fn a_prefix_keeps_what_was_written_first() {
        for seed in 0..50 {
            let disk = disk().fork(seed);
            write(&disk, 0, 1, 1024).unwrap();
            write(&disk, 512, 2, 1024).unwrap();
            disk.power_cut(Cut::Prefix);
            let found = [0, 512, 1024].map(|at| read(&disk, at));
            let possible = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 2, 0], [1, 2, 2]];
            assert!(possible.contains(&found), "{found:?}");
        }
    }

    #[test]
    fn what_a_failed_sync_left_is_read_and_never_becomes_durable() {
        let disk = disk();
        write(&disk, 0, 1, 512 * 64).unwrap();
        disk.fail(Op::Sync, Failing::Once(0));
        assert!(disk.sync(FILE).is_err());
        assert!(disk.sync(FILE).is_ok());
        let places: Vec<u64> = (0..64).map(|sector| sector * 512).collect();
        assert!(places.iter().all(|at| read(&disk, *at) == 1));
        assert!((0..8).any(|page| medium(&disk, page * 4096) == 0));
        disk.process_kill();
        assert!(places.iter().all(|at| read(&disk, *at) == 1));
        disk.power_cut(Cut::All);
        assert!(places.iter().any(|at| read(&disk, *at) == 0));
    }

    #[test]
    fn the_medium_is_read_with_what_the_kernel_writes_out_first() {
        let disk = disk();
        write(&disk, 0, 3, 1).unwrap();
        assert_eq!(medium(&disk, 0), 3);
        disk.power_cut(Cut::None);
        assert_eq!(medium(&disk, 0), 0);
    }

    #[test]
    fn after_the_crash_everything_fails_until_the_power_is_back() {
        let disk = disk();
        disk.crash_at_write(2);
        write(&disk, 0, 1, 512).unwrap();
        assert!(write(&disk, 512, 1, 512).is_err());
        assert!(disk.sync(FILE).is_err() && disk.is_dead());
        disk.power_cut(Cut::All);
        assert_eq!((read(&disk, 0), read(&disk, 512)), (1, 1));
    }

    #[test]
    fn forks_are_every_instant_between_two_changes() {
        let disk = disk();
        disk.record_forks(true);
        write(&disk, 0, 1, 512).unwrap();
        disk.sync(FILE).unwrap();
        write(&disk, 0, 2, 512).unwrap();
        let forks = disk.forks_take();
        for (_, fork) in &forks {
            fork.power_cut(Cut::None);
        }
        let found: Vec<u8> = forks.iter().map(|(_, fork)| read(fork, 0)).collect();
        assert_eq!(found, [0, 1, 1]);
        assert_eq!(forks[2].0, 2);
    }

    #[test]
    fn bad_places_are_read_again_once_they_were_written() {
        let disk = disk();
        disk.fail_reads_at(FILE, 4096, 8192);
        let mut buf = [0; 100];
        assert!(disk.read(FILE, 4090, &mut buf).is_err());
        assert!(disk.read(FILE, 3996, &mut buf).is_ok());
        write(&disk, 4096, 1, 4096).unwrap();
        assert!(disk.read(FILE, 4090, &mut buf).is_ok());
        disk.sync(FILE).unwrap();
        disk.flip(FILE, 4096, 3);
        assert_eq!(read(&disk, 4096), 9);
        disk.power_cut(Cut::All);
        assert_eq!(read(&disk, 4096), 9);
    }
}
