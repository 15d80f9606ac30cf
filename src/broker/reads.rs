//! Read jobs: fetches and look-ups by timestamp, one per connection at the most.
//!
//! A handler lists the partitions of its request in the arena and starts the job; the connection
//! then drives it with [`Reads::step`]. A fetch first **plans**: it finds which ranges of which
//! segments it will send, so that the answer's length is known before its first byte. With too
//! little to send it **sleeps**, and plans again when woken. Then it **answers**: reads the ranges
//! through the buffer and checks each batch's CRC on the way. What turns out damaged, or was
//! overwritten meanwhile, is noted; then the job plans again if nothing was sent yet, else the
//! connection is closed, and the client's next fetch skips it.
//!
//! The buffer: the answer is put together from its start, a window of a segment is read into its
//! second half while planning, and the planned ranges are at its end. A small answer is copied from
//! the window: one read, one send.

pub mod answer;
mod entries;
mod gone;
mod job;
mod lookup;
mod plan;
mod send;

use crate::broker::unpacker::Unpacker;
use crate::broker::{ConnId, JobNext};
use crate::clock::{Mono, Now};
use crate::codec::{ErrorCode, ErrorsSeen};
use crate::config::Config;
use crate::error::DiskError;
use crate::limits;
use crate::log::read::Source;
use crate::log::read::cursors::Cursors;
use crate::log::read::damage::Damage;
use crate::log::state::{Partition, State, Topic};
use crate::types::{Boot, Offset, PartitionHandle, PartitionSlot};
use answer::{Pieces, TopicRef};
use entries::{Arena, Entry, Target};
use gone::Gone;
use job::{Awake, Context, Job, Phase, Work};

/// The jobs of all connections, and what they wait for.
pub struct Reads {
    /// By connection, as far as connections ever had one.
    jobs: Vec<Job>,
    arena: Arena,
    cursors: Cursors,
    damage: Damage,
    gone: Gone,
    errors: ErrorsSeen,
    woken: Vec<ConnId>,
    waiting: u64,
    /// Work areas that no job uses now.
    spare: Vec<Awake>,
    /// Bytes of a large buffer.
    large_bytes: usize,
}

/// What a request asks for all its partitions together.
#[derive(Clone, Copy)]
pub struct Terms {
    /// How the answer is written.
    pub pieces: &'static dyn Pieces,
    /// The message's version.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// A fetch that wants committed records only.
    pub read_committed: bool,
    /// With fewer bytes than this it waits for more.
    pub bytes_min: u32,
    /// More bytes than this are not answered (but at least one batch).
    pub bytes_max: u32,
    /// At this moment it is answered with what there is.
    pub deadline: Mono,
    /// At this moment, if it is earlier, it is answered though it has only holes.
    pub holes_at: Mono,
}

/// The arena has no room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaFull;

/// What a look-up looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: this is the result.
    Known(Offset, i64),
    /// The first record that is not older.
    Timestamp(i64),
    /// The record with the newest timestamp.
    Newest,
}

/// The leader epoch that a record with this offset has, or would have, in a partition.
pub fn epoch_of(partition: &Partition, offset: Offset, boot: Boot) -> Boot {
    let mut epochs = partition.epochs.iter().rev();
    let below = epochs.find(|(_, first)| *first <= offset);
    let oldest = partition.epochs.first();
    below.or(oldest).map_or(boot, |(epoch, _)| *epoch)
}

impl Reads {
    /// No jobs; allocates all that they will ever need.
    pub fn new(config: &Config) -> Reads {
        let connections = config.max_connections;
        Reads {
            jobs: Vec::with_capacity(connections),
            arena: Arena::new(config.fetch_waits_max, config.partitions_max),
            cursors: Cursors::new(limits::CURSORS_MAX),
            damage: Damage::new(),
            gone: Gone::default(),
            errors: ErrorsSeen::default(),
            woken: Vec::with_capacity(connections),
            waiting: 0,
            spare: (0..Reads::awake_max(config)).map(|_| Awake::made()).collect(),
            large_bytes: config.message_max_bytes,
        }
    }

    /// Jobs that have a buffer at the same time.
    fn awake_max(config: &Config) -> usize {
        config.fetch_leases + config.produce_leases_large
    }

    /// The memory that this takes with such a configuration.
    pub fn memory_bytes(config: &Config) -> usize {
        config.max_connections * (size_of::<Job>() + size_of::<ConnId>())
            + Reads::awake_max(config) * (size_of::<Awake>() + size_of::<Work>())
            + Arena::memory_bytes(config.fetch_waits_max, config.partitions_max)
            + Cursors::memory_bytes(limits::CURSORS_MAX)
            + size_of::<Reads>()
    }

    /// Fetches that wait for records now.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Places in segments that were found broken since the start.
    pub fn damaged(&self) -> u64 {
        self.damage.found
    }

    /// Searches that a cursor saved, and those that it did not.
    pub fn cursor_hits(&self) -> (u64, u64) {
        (self.cursors.hits, self.cursors.misses)
    }

    /// Whether a request of this many partitions can have a job now.
    pub fn room(&self, partitions: usize) -> bool {
        partitions <= self.arena.free_count()
    }

    /// Begins a fetch for a connection; its partitions follow.
    pub fn fetch(&mut self, conn: ConnId, terms: &Terms) {
        self.begin(conn, Phase::Plan, terms);
    }

    /// Begins a look-up for a connection; its partitions follow.
    pub fn lookup(&mut self, conn: ConnId, terms: &Terms) {
        self.begin(conn, Phase::Lookup, terms);
    }

    /// Adds a partition to a fetch. `topic_first`: the answer's next topic begins with it. A
    /// partition with an error is only repeated.
    pub fn fetch_partition(
        &mut self,
        conn: ConnId,
        topic_first: bool,
        (slot, handle): (PartitionSlot, PartitionHandle),
        (offset, bytes_max): (Offset, u32),
        error: ErrorCode,
    ) -> Result<(), ArenaFull> {
        let target = Target::Known(slot, handle);
        let mut entry = Entry::new(conn, target, topic_first, error);
        entry.fetch_set(offset, bytes_max);
        self.push(conn, entry)
    }

    /// Adds a partition to a look-up.
    pub fn lookup_partition(
        &mut self,
        conn: ConnId,
        topic_first: bool,
        (slot, handle): (PartitionSlot, PartitionHandle),
        wanted: Wanted,
        error: ErrorCode,
    ) -> Result<(), ArenaFull> {
        let target = Target::Known(slot, handle);
        let mut entry = Entry::new(conn, target, topic_first, error);
        match wanted {
            Wanted::Known(offset, timestamp_ms) => entry.found_set(offset, timestamp_ms),
            Wanted::Timestamp(timestamp_ms) => entry.lookup_set(timestamp_ms.max(0)),
            Wanted::Newest => entry.lookup_set(lookup::NEWEST),
        }
        self.push(conn, entry)
    }

    /// Adds a partition that does not exist; its topic's name comes with the first of the topic.
    pub fn unknown_partition(
        &mut self,
        conn: ConnId,
        topic: Option<&TopicRef<'_>>,
        index: i32,
        error: ErrorCode,
    ) -> Result<(), ArenaFull> {
        // Only the first of a topic is asked for the name.
        let place = topic.map_or(Some(0), |topic| self.arena.name_put(topic));
        let target = Target::Unknown { name: place.ok_or(ArenaFull)?, index };
        let mut entry = Entry::new(conn, target, topic.is_some(), error);
        entry.found_set(Offset::NONE, -1);
        self.push(conn, entry)
    }

    /// The errors of answers since this was last asked.
    pub fn errors_take(&mut self) -> ErrorsSeen {
        std::mem::take(&mut self.errors)
    }

    /// Steps a connection's job; see [`crate::broker::Broker::job_step`].
    pub fn step(
        &mut self,
        source: &dyn Source,
        unpacker: &mut Unpacker,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext {
        let Some(job) = self.jobs.get_mut(usize::from(conn.0)) else {
            return JobNext::Close("no such connection");
        };
        let slept = job.phase == Phase::Sleep;
        let mut context = Context {
            source,
            arena: &mut self.arena,
            cursors: &mut self.cursors,
            damage: &mut self.damage,
            gone: &self.gone,
            errors: &mut self.errors,
            unpacker,
            conn,
            large_bytes: self.large_bytes,
            now,
        };
        job.work.begin(&mut self.spare);
        let mut step = job.step(&mut context, buf, read);
        if job.phase == Phase::Sleep && job.count > context.arena.waits_max() {
            job.hurry();
            step = job.step(&mut context, buf, None);
        }
        if matches!(step, JobNext::Sleep(_) | JobNext::Buffer { .. }) {
            job.work.end(&mut self.spare);
        }
        let sleeps = job.phase == Phase::Sleep;
        self.waiting = self.waiting + u64::from(sleeps) - u64::from(slept);
        if matches!(step, JobNext::Done | JobNext::Close(_)) {
            self.cancel(conn);
        }
        if sleeps && !slept {
            self.make_way(conn);
        }
        step
    }

    /// Keeps room for new fetches: as many as it takes of those that have slept longest are woken, to be
    /// answered early.
    fn make_way(&mut self, newest: ConnId) {
        let asleep = |job: &&Job| job.phase == Phase::Sleep;
        let waits: usize = self.jobs.iter().filter(asleep).map(|job| job.count).sum();
        let mut surplus = waits.saturating_sub(self.arena.waits_max());
        let leaving = |job: &&Job| asleep(job) && job.deadline() == Mono(0);
        let left: usize = self.jobs.iter().filter(leaving).map(|job| job.count).sum();
        surplus = surplus.saturating_sub(left);
        while surplus > 0 {
            let jobs = self.jobs.iter_mut().enumerate();
            let others = jobs.filter(|(at, job)| {
                *at != usize::from(newest.0)
                    && job.phase == Phase::Sleep
                    && job.deadline() > Mono(0)
            });
            let Some((at, job)) = others.min_by_key(|(_, job)| job.slept_at) else {
                return;
            };
            job.hurry();
            surplus = surplus.saturating_sub(job.count);
            if !std::mem::replace(&mut job.woken, true) {
                self.woken.push(ConnId(at as u16));
            }
        }
    }

    /// The connection has ended: drops its job.
    pub fn cancel(&mut self, conn: ConnId) {
        let Some(job) = self.jobs.get_mut(usize::from(conn.0)) else {
            return;
        };
        self.waiting -= u64::from(job.phase == Phase::Sleep);
        if job.woken {
            self.woken.retain(|other| *other != conn);
        }
        self.arena.release(job.list);
        job.work.end(&mut self.spare);
        *job = Job::default();
    }

    /// This many more bytes of a partition can be read: wakes the jobs that now have enough.
    pub fn partition_synced(&mut self, slot: PartitionSlot, bytes: u32) {
        for conn in self.arena.waiting(slot) {
            let job = &mut self.jobs[usize::from(conn.0)];
            job.ready = job.ready.saturating_add(u64::from(bytes));
            if job.ready >= u64::from(job.bytes_min()) && !job.woken {
                job.woken = true;
                self.woken.push(conn);
            }
        }
    }

    /// A topic is about to be deleted.
    pub fn topic_leaves(
        &mut self,
        topic: &Topic,
        partitions: impl Iterator<Item = (PartitionSlot, PartitionHandle, u32)>,
    ) {
        self.gone.leaves(topic, partitions);
    }

    /// Wakes the jobs that wait for topics which were deleted.
    pub fn topics_left(&mut self, state: &State) {
        if !self.gone.any_left(state) {
            return;
        }
        for (at, job) in self.jobs.iter_mut().enumerate() {
            let gone = |at| match self.arena.entry(at).target() {
                Target::Known(_, handle) => self.gone.find(handle).is_some(),
                Target::Unknown { .. } => false,
            };
            let waits = job.phase == Phase::Sleep && !job.woken;
            if waits && self.arena.iter(job.list).any(gone) {
                job.woken = true;
                self.woken.push(ConnId(at as u16));
            }
        }
    }

    /// A connection whose sleeping job should be stepped.
    pub fn woken(&mut self) -> Option<ConnId> {
        let conn = self.woken.pop()?;
        self.jobs[usize::from(conn.0)].woken = false;
        Some(conn)
    }

    fn begin(&mut self, conn: ConnId, phase: Phase, terms: &Terms) {
        self.cancel(conn);
        let at = usize::from(conn.0);
        if at >= self.jobs.len() {
            assert!(at < self.jobs.capacity(), "a connection beyond max_connections");
            self.jobs.resize_with(at + 1, Job::default);
        }
        self.jobs[at].begin(phase, *terms);
    }

    fn push(&mut self, conn: ConnId, entry: Entry) -> Result<(), ArenaFull> {
        let job = &mut self.jobs[usize::from(conn.0)];
        if self.arena.push(&mut job.list, entry) {
            job.count += 1;
            return Ok(());
        }
        // A name that is in no list would never be given back.
        self.arena.name_release(&entry);
        Err(ArenaFull)
    }
}
