//! Every bound, once: what it bounds, what it costs, what a client sees beyond it.

/// Rings in one broker that hold records. Costs two staging buffers and an index each. Beyond: the
/// configuration is refused.
pub const DATA_RINGS_MAX: usize = 4;

/// Those, and the one for what they share.
pub const RINGS_MAX: usize = DATA_RINGS_MAX + 1;

/// Folders `ring-N` of a data directory: a ring keeps its number, and one that is dropped leaves a gap.
/// Costs nothing. Beyond: they are not looked at.
pub const RING_NUMBERS_MAX: u8 = 16;

/// Bytes of a ring's name. Beyond: the configuration is refused.
pub const RING_NAME_BYTES_MAX: usize = 32;

/// Holders of one ring (`hold_for`), and as many for whom it is watched (`watch_for`). Costs a look at each committed position whenever a segment may
/// have to go. Beyond: the configuration is refused.
pub const HOLDERS_MAX: usize = 4;

/// Topics that are named, for each holder of a ring, as those that hold its oldest segment. Beyond: they are
/// counted.
pub const HOLD_TOPICS_SHOWN: usize = 4;

/// Bytes of MirrorMaker's name for a cluster. Costs as much per partition in the first ring's
/// snapshots, for mirrors that a ring is held or watched for. Beyond: the configuration is refused.
pub const MIRROR_ALIAS_BYTES_MAX: usize = 64;

/// Segments of a held ring that hold no records when it is full: two in which metadata alternates,
/// and one for a failure.
pub const HOLD_SPARES: u16 = 3;

/// Positions that are taken from one batch of a mirror's reports. Costs nothing: MirrorMaker has ten
/// on their way. Beyond: they are passed over.
pub const MIRROR_REPORTS_MAX: usize = 64;

/// Bytes of a topic's name, as in Kafka. Beyond: INVALID_TOPIC_EXCEPTION (17).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Bytes of one topic's own settings, encoded. Costs as much per topic. Beyond: INVALID_CONFIG (40).
pub const TOPIC_CONFIG_BYTES_MAX: usize = 256;

/// Bytes of a consumer group's name. Costs as much per group. Beyond: INVALID_GROUP_ID (24).
pub const GROUP_ID_BYTES_MAX: usize = 255;

/// Bytes of a name that a consumer group's member id begins with, and that is shown of its client.
/// Costs as much per member. Beyond: it is cut.
pub const GROUP_CLIENT_ID_BYTES_MAX: usize = 64;

/// Bytes of a member id: one that was given here is a name, a hyphen and a UUID; a client of the consumer
/// protocol makes its own. Costs as much per member. Beyond: INVALID_REQUEST (42).
pub const GROUP_MEMBER_ID_BYTES_MAX: usize = GROUP_CLIENT_ID_BYTES_MAX + 1 + 36;

/// Partitions that a member of the consumer protocol is told together with the id that it is given, which only
/// version 0 asks for: an answer that takes several windows is found again by the member's id. Costs
/// nothing. Beyond: its next heartbeat tells them.
pub const GROUP_TOLD_WITH_ID_MAX: u32 = 2048;

/// Bytes of the name of an assignment protocol, and of a type of them. Costs twice as much per
/// group. Beyond: INCONSISTENT_GROUP_PROTOCOL (23).
pub const GROUP_PROTOCOL_BYTES_MAX: usize = 64;

/// Assignment protocols that one member offers. Costs time only: they are voted on. Beyond:
/// INCONSISTENT_GROUP_PROTOCOL (23).
pub const GROUP_PROTOCOLS_MAX: usize = 16;

/// Milliseconds that a new member may wait for the others, as in Kafka: its client may be gone, and
/// then nobody knows its id. Beyond: UNKNOWN_MEMBER_ID (25), and the client joins again.
pub const GROUP_JOIN_MS_MAX: u64 = 300_000;

/// Milliseconds that a group without members and offsets is shown. Costs nothing: its place is
/// given away sooner where it is wanted.
pub const GROUP_EMPTY_MS: u64 = 600_000;

/// Milliseconds from the start of the broker in which members of groups of before it may go on: as long as a
/// session and the time that a client may spend on what it has, twice, by the defaults of clients. No group
/// with offsets gives way to another until then. Costs nothing. Beyond: UNKNOWN_MEMBER_ID (25). A group that
/// was used since the start is not forgotten before.
pub const GROUP_FORMER_MS: u64 = 600_000;
const _: () = assert!(GROUP_FORMER_MS <= GROUP_EMPTY_MS);

/// Milliseconds after which the stamp of a group with members is renewed, whether or not they commit; that of
/// one without when it commits the same again. Costs a write of one page each.
pub const GROUP_STAMP_MS: u64 = 86_400_000;

/// Milliseconds that a group must at least have been stamped ago to give way to another: the week in which Kafka
/// lets offsets expire, and what the stamp may be behind. Costs nothing. Before: COORDINATOR_NOT_AVAILABLE (15).
pub const GROUP_UNUSED_MS: u64 = 7 * 86_400_000 + GROUP_STAMP_MS;

/// The length in UTF-16 of the metadata string that goes with a committed offset, as in Kafka, so that it
/// has three times as many bytes at the most. Costs nothing: all of them share `offset_metadata_bytes`.
/// Beyond: OFFSET_METADATA_TOO_LARGE (12).
pub const OFFSET_METADATA_LENGTH_MAX: usize = 4096;

/// Batches whose sequence numbers are remembered per producer and partition, as in Kafka: a client
/// has at most this many unanswered. A duplicate older than that is DUPLICATE_SEQUENCE_NUMBER (46).
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// Leader epochs remembered per partition, newest last. Costs 16 bytes each. Beyond: an older
/// epoch's end is answered as the oldest remembered epoch's start.
pub const EPOCHS_PER_PARTITION_MAX: usize = 4;

/// Partition runs (batches, before they are joined) in the larger commit group of a ring. Costs 88
/// bytes each. Beyond: the group is closed, and the next request waits for its sync.
pub const RUNS_PER_GROUP_MAX: usize = 1536;

/// The same in the smaller one, which is waited for in the same way.
pub const RUNS_PER_SMALL_GROUP_MAX: usize = 768;

/// The page of flash: groups start on it (unless `commit_alignment` says 512), and segment anchors
/// take one each.
pub const PAGE_BYTES: usize = 4096;

/// The unit of the index of a segment, at the least: one entry of 12 bytes says where the first group in it
/// starts and which partitions the groups starting in it hold.
pub const BLOCK_BYTES_MIN: usize = 64 * 1024;

/// Such blocks of a ring. Costs 12 bytes each. Beyond: blocks are twice as large, so that a reader passes
/// more groups that have nothing for it.
pub const BLOCKS_MAX: usize = 8192;

/// Segments of one ring, spares included. Costs an index each. Beyond: the configuration is refused.
pub const SEGMENTS_MAX: usize = 1024;

/// Bytes of one string on the wire, as in Kafka. Costs nothing: strings stay in the frame. Beyond:
/// the connection is closed.
pub const WIRE_STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Elements of one array in a request. Costs nothing: arrays stay in the frame. Beyond: the
/// connection is closed.
pub const WIRE_ARRAY_COUNT_MAX: usize = 65_536;

/// Tagged fields that end one structure of a request; all are skipped. Beyond: the connection is
/// closed.
pub const WIRE_TAGS_MAX: usize = 64;

/// Milliseconds between looks for records that are older than their topic's `retention.ms`. Costs a
/// walk over the partitions each. Records are hidden so much later at the most.
pub const RETENTION_CHECK_MS: u64 = 30_000;

/// Milliseconds between looks at whether the system's clock is synchronised. Costs a system call
/// each, and only while there is something to do. It is noticed so much later at the most.
pub const CLOCK_LOOK_MS: u64 = 60_000;

/// Milliseconds from writing to syncing in a topic that is relaxed by `flush.messages` alone. Costs
/// nothing. It is how long such records stay invisible, and what a power cut can take.
pub const RELAXED_MS_DEFAULT: u64 = 1000;

/// Milliseconds from writing to syncing, whatever a larger `flush.ms` says: Kafka's own default of
/// it is for ever, which here would hide records as long.
pub const RELAXED_MS_MAX: u64 = 60_000;

/// Bytes of a small produce buffer, a control buffer and a fetch buffer. Costs as much for each of
/// them. Beyond: produce requests are carried out partition by partition as they come, other requests
/// take a large buffer, of `message_max_bytes`, and answers leave piece by piece. Of those that do not
/// fit a large buffer either, some are answered with a code (`api::Api::too_long`), and the others close
/// the connection.
pub const LEASE_BYTES: usize = 64 * 1024;

/// Bytes of output that compressed records are read with: what they may look back on. Costs as much.
/// Beyond, which only zstd goes: the rest of the batch is believed when it is produced, and looked up by
/// its header.
pub const DECOMPRESSION_WINDOW_BYTES: usize = 64 * 1024;

/// Bytes that one batch is decompressed to. Costs the time for so many. Beyond: as above.
pub const DECOMPRESSED_BYTES_MAX: u64 = 4 << 20;

/// Bytes that are decompressed before everybody else has a turn, and what takes as long as so many. Costs
/// others the wait for them: 0.1 to 0.9 ms on a processor of 3 GHz. Beyond: it goes on in another turn.
pub const DECOMPRESSED_TURN_BYTES: u32 = 128 * 1024;

/// What came of one partition of a produce request that is read as it comes. Costs as much per partition
/// of `partitions_max`, for `produce_leases_large` and one more such requests. Beyond: the connection
/// is closed.
pub const PRODUCE_OUTCOME_BYTES: usize = 40;

/// The name of a topic of such a request, on average. Costs as much per topic of `topics_max`, as above.
/// Beyond: what partitions leave is taken, then the connection is closed.
pub const PRODUCE_TOPIC_BYTES: usize = 32;

/// A connection's slot, its task and its small buffer, the allocator's rounding included. Part of the
/// memory plan, against which `tests/memory/run` holds what is resident with idle ones.
pub const CONNECTION_BYTES: usize = 2 * 1024;

/// Bytes of a connection's task. musl's allocator gives blocks of 1,340 and then of 2,028 bytes, of
/// which its executor takes some: beyond this, a connection costs a third more.
pub const CONNECTION_TASK_BYTES: usize = 1264;

/// What a produce request that is read as it comes takes beside its buffers. Costs as much for each of
/// `reply_leases`, for such a request needs one.
pub const LONG_REQUEST_BYTES: usize = 1024;

/// Of so many connections, one is left for others than producers that wait for room in a held ring,
/// and at least [`OTHERS_MIN`]. Costs nothing: beyond that, the producer that has waited for longest
/// makes way for a new connection, and its client comes again.
pub const OTHERS_SHARE: usize = 8;

/// See [`OTHERS_SHARE`].
pub const OTHERS_MIN: usize = 2;

/// What is kept of an idempotent producer in a partition. Part of the memory plan.
pub const PRODUCER_BYTES: usize = 280;

/// Pages of the program that are resident: at most all of it, built for size for x86-64, AArch64 or ARMv7.
/// ARMv6 code is 54 KiB larger than this. Part of the memory plan.
pub const PROGRAM_BYTES: usize = 1200 * 1024;

/// Threads: one thinks, one waits for sockets, one syncs, one reads what is not cached.
pub const THREADS: usize = 4;

/// Bytes of a thread's stack that are ever touched. Part of the memory plan.
pub const STACK_BYTES: usize = 48 * 1024;

/// What `partitions_max` may be set to. Costs two bits of stack for each in some requests.
pub const PARTITIONS_MAX: usize = 16_384;

/// What `topics_max` may be set to. Costs a bit of stack for each in some requests.
pub const TOPICS_MAX: usize = 4096;

/// Topics or resources in one request that changes something. Costs time only: they are compared
/// with each other. Beyond: POLICY_VIOLATION (44) for each.
pub const ADMIN_ITEMS_MAX: usize = 1024;

/// Bytes of records in one commit group of the metadata ring. Costs as much twice. Beyond: the group is
/// closed, and the next request waits for its sync; a single request's records beyond it are refused
/// with POLICY_VIOLATION (44).
pub const GROUP_META_BYTES_MAX: usize = 32 * 1024;

/// The same in a ring of records: deletions of them, and what a start finds missing. Costs as much twice
/// per ring.
pub const DATA_GROUP_META_BYTES_MAX: usize = 16 * 1024;

/// Segments of the metadata ring: each begins with all that is in it, so a lap loses nothing. Costs as
/// many files, and one more.
pub const METADATA_SEGMENTS: u16 = 3;

/// Bytes of the one window that every answer is encoded in. Costs as much. Beyond: an answer is
/// encoded again for each further window, which only requests that change nothing may need.
pub const ANSWER_WINDOW_BYTES: usize = 64 * 1024;

/// Bytes of what the status socket shows. Costs as much. Beyond: it shows nothing.
pub const STATUS_BYTES_MAX: usize = 32 * 1024;

/// HTTP connections at a time; one more is closed at once. Costs the head and the task of each.
pub const HTTP_CONNECTIONS_MAX: usize = 4;

/// Bytes of an HTTP request's head; a longer one is refused. Costs as much for each connection.
pub const HTTP_HEAD_BYTES_MAX: usize = 2048;

/// Bytes of an HTTP connection's task, without the head.
pub const HTTP_TASK_BYTES: usize = 2048;

/// Bytes of one request that a command sends to a broker, and of one answer that it reads. Costs as
/// much as is sent or answered. Beyond: the command fails.
pub const CLIENT_FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes of one record that a command produces, and of one that it reads out of a compressed batch. Costs
/// as much as the longest one has. Beyond: the command fails.
pub const CLIENT_RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes of output that a command reads compressed records with: what they may look back on. Costs as
/// much of it as is used. Beyond, which only zstd goes: the command fails.
pub const CLIENT_WINDOW_BYTES: usize = 8 << 20;

/// Bytes that a command decompresses one batch to. Costs the time for so many. Beyond: it fails.
pub const CLIENT_DECOMPRESSED_BYTES_MAX: u64 = 256 << 20;

/// Bytes of records that a command puts into one batch. Costs as much per partition. Beyond: the batch is
/// sent; a longer record is a batch by itself.
pub const CLIENT_BATCH_BYTES: usize = 32 * 1024;

/// Bytes of records that a command asks for at once. Costs as much. Beyond: brokers send one batch.
pub const CLIENT_FETCH_BYTES: usize = 1 << 20;

/// Topics whose deletion fetches under way are told of. Costs 360 bytes each. Beyond: a fetch that
/// waited for one that was deleted longer ago has its connection closed.
pub const TOPICS_LEAVING_MAX: usize = 16;

/// How often partitions may have been added to such a topic. Costs 12 bytes for each of them. Beyond:
/// who waited for those that were added last has its connection closed.
pub const TOPIC_STRETCHES_MAX: usize = 8;

/// Milliseconds that a fetch waits for records, whatever a larger `max_wait_ms` says. Costs its places
/// among those that wait as long. Beyond: it is answered with what there is, and its client asks again.
pub const FETCH_WAIT_MS_MAX: u64 = 300_000;

/// Milliseconds that a fetch waits for records where it could be answered with nothing but offsets that
/// have none. Costs a reader so long when it comes to the end over some. Clients that do not pass
/// over them (rskafka 0.6) ask at once again, for ever.
pub const FETCH_HOLES_WAIT_MS: u64 = 100;

/// Unknown topics whose names fetches and look-ups under way repeat in their answers. Costs 26 bytes each.
/// Beyond: such a fetch is answered at once, without records; a look-up by time is LEADER_NOT_AVAILABLE
/// (5), and its client tries again.
pub const FETCH_NAMES_MAX: usize = 512;

/// Bytes of these names together. Costs as much. Beyond: as above.
pub const FETCH_NAMES_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a key in a compacted topic. Costs as much per ring, and a part of the window that compaction
/// reads through. Beyond: INVALID_RECORD (87).
pub const COMPACTED_KEY_BYTES_MAX: usize = 2 * 1024;

/// Partitions whose records compaction looks at in one walk over the ring. Costs 80 bytes each.
/// Beyond: the next walk looks at them.
pub const CARRY_PARTITIONS_MAX: usize = 16;

/// Bytes that compaction reads in one go. Costs nothing. Beyond: commit groups have their turn.
pub const CARRY_STEP_BYTES: usize = 256 * 1024;

/// Stretches of carried records that a segment's foot lists. Costs 40 bytes each on flash and in the
/// buffer for feet. Beyond: the next start walks the segment.
pub const CARRIED_PER_FOOT_MAX: usize = 64;

/// Places where consumers stopped, to go on without a search. Costs 32 bytes each. Beyond: the one
/// unused for longest among a few is forgotten, and its consumer's next fetch searches.
pub const CURSORS_MAX: usize = 1024;
