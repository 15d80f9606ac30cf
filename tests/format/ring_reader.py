#!/usr/bin/env python3
"""Reads a data directory that no broker has open, by FORMAT.md and nothing else.

    tests/format/ring_reader.py DIRECTORY [--json]

Prints a line for each batch that a consumer would get: topic, partition, base offset, records, and
the batch's CRC-32C in hexadecimal. With --json one object: topics with partitions, settings and
batches, committed offsets, and what mirrors have. Nothing is written. Exit 1: the directory cannot be read.
"""

import argparse
import itertools
import json
import pathlib
import struct
import sys

VERSION = 5
RINGS_MAX = 16
PAGE, SECTOR = 4096, 512
ANCHOR_BYTES, GROUP_HEADER_BYTES, RUN_BYTES, ENTRY_BYTES = 192, 128, 32, 32
FOOT = 2
FLAG_CARRIED = 4
# A sequence that no segment begins with.
NEVER = 1 << 64
SEGMENT_JUMP_MAX = 1 << 24
# The smallest record takes 7 bytes, and gzip makes at best one byte of 1,032.
RECORDS_PER_BYTE_MAX = 148
BATCH_HEADER_BYTES, BATCH_LENGTH_END, BATCH_CRC_END = 61, 12, 21


class Refused(Exception):
    """The directory cannot be read."""


# ---- CRC-32C, two bytes at a time -----------------------------------------------------------


def _one(value):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def _two(word):
    crc = word >> 8 ^ ONE[word & 0xFF]
    return crc >> 8 ^ ONE[crc & 0xFF]


ONE = [_one(value) for value in range(1 << 8)]
TWO = [_two(word) for word in range(1 << 16)]


def crc32c(data):
    """The CRC-32C of bytes."""
    crc = 0xFFFFFFFF
    even = len(data) & ~1
    for word in struct.unpack(f"<{even // 2}H", data[:even]):
        crc = crc >> 16 ^ TWO[(crc ^ word) & 0xFFFF]
    if even != len(data):
        crc = crc >> 8 ^ ONE[(crc ^ data[-1]) & 0xFF]
    return crc ^ 0xFFFFFFFF


# ---- records --------------------------------------------------------------------------------


class Decoder:
    """Walks over values in postcard's encoding."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """So many bytes."""
        if self.at + count > len(self.data):
            raise ValueError("a record is cut short")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def unsigned(self):
        """A varint."""
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self):
        """A zigzag varint."""
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)

    def blob(self):
        """Bytes with their number before them."""
        return self.take(self.unsigned())

    def text(self):
        """Text with the number of its bytes before it."""
        return self.blob().decode()

    def byte(self):
        """One byte."""
        return self.take(1)[0]

    def topic_id(self):
        """16 bytes."""
        return self.take(16)

    def epochs(self):
        """A list of (boot, offset)."""
        return [(self.unsigned(), self.signed()) for _ in range(self.unsigned())]

    def batches(self):
        """A list of (first sequence, last sequence, offset)."""
        return [(self.signed(), self.signed(), self.signed()) for _ in range(self.unsigned())]


D = Decoder
RECORDS = (
    ("boot", (("boot", D.unsigned),)),
    ("topic_create", (("id", D.topic_id), ("name", D.text), ("ring", D.byte),
                      ("handle_first", D.unsigned), ("partitions", D.unsigned),
                      ("configs", D.blob))),
    ("topic_delete", (("id", D.topic_id),)),
    ("partitions_add", (("id", D.topic_id), ("handle_first", D.unsigned),
                        ("partitions", D.unsigned))),
    ("topic_configs", (("id", D.topic_id), ("configs", D.blob))),
    ("log_start", (("handle", D.unsigned), ("offset", D.signed))),
    ("offset_commit", (("group", D.text), ("handle", D.unsigned), ("offset", D.signed),
                       ("leader_epoch", D.signed), ("metadata", D.text), ("time", D.signed))),
    ("offset_delete", (("group", D.text), ("handle", D.unsigned))),
    ("group_delete", (("group", D.text),)),
    ("evict", (("segment", D.unsigned),)),
    ("partition", (("handle", D.unsigned), ("log_start", D.signed), ("next", D.signed),
                   ("epochs", D.epochs))),
    ("producer", (("id", D.signed), ("epoch", D.signed), ("handle", D.unsigned),
                  ("time", D.signed), ("batches", D.batches))),
    ("handle_next", (("handle", D.unsigned),)),
    ("mirrored", (("mirror", D.text), ("handle", D.unsigned), ("offset", D.signed))),
    ("overwritten", (("holder", D.text), ("records", D.unsigned))),
    ("cluster_id", (("id", D.topic_id),)),
)
# What stands in each ring; all else is in the metadata ring, or in ring 0 where there is none.
OF_EACH_RING = ("boot", "partition", "producer", "log_start", "evict", "overwritten")


OFFSET_COMMIT_NEXT = 64


def records(data):
    """The records that stand one behind the other: (name, {field: value})."""
    decoder, commit = Decoder(data), None
    while decoder.at < len(data):
        tag = decoder.unsigned()
        if tag == OFFSET_COMMIT_NEXT:
            name, record = "offset_commit", commit_next(decoder, commit)
        else:
            name, fields = RECORDS[tag]
            record = {field: read(decoder) for field, read in fields}
        if name == "offset_commit":
            commit = record
        yield name, record


def commit_next(decoder, before):
    """An offset_commit of the group of the one before."""
    record = dict(before)
    record["handle"] = decoder.unsigned()
    record["offset"] = decoder.signed()
    record["leader_epoch"] = decoder.signed()
    if decoder.byte():
        record["metadata"] = decoder.text()
    record["time"] = before["time"] + decoder.signed()
    return record


SETTINGS = """cleanup.policy compression.gzip.level compression.lz4.level compression.type
    compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages flush.ms
    follower.replication.throttled.replicas index.interval.bytes
    leader.replication.throttled.replicas local.retention.bytes local.retention.ms
    max.compaction.lag.ms max.message.bytes message.timestamp.after.max.ms
    message.timestamp.before.max.ms message.timestamp.type min.cleanable.dirty.ratio
    min.compaction.lag.ms min.insync.replicas preallocate remote.log.copy.disable
    remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms segment.bytes
    segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable""".split()


def settings(data):
    """A topic's own settings by Kafka's names."""
    decoder, out = Decoder(data), {}
    while decoder.at < len(data):
        number = decoder.byte()
        out[SETTINGS[number - 1]] = decoder.take(decoder.byte()).decode()
    return out


# ---- state ----------------------------------------------------------------------------------


class Partition:
    """A partition, and what was found of it."""

    def __init__(self, topic, index, ring):
        self.topic, self.index, self.ring = topic, index, ring
        self.log_start, self.next = 0, 0
        # What a walk over the segments finds: (base offset, last offset, CRC, whether it holds).
        self.found, self.first, self.segment = [], None, None
        # Carried stretches in order of offset: [first, behind the last, batches].
        self.carried, self.compacted = [], False

    def carry(self, first, end, batches):
        """A stretch that replaces what others say of its offsets."""
        left = [[a, min(b, first), c] for a, b, c in self.carried if a < first]
        right = [[max(a, end), b, c] for a, b, c in self.carried if b > end]
        self.carried = left + [[first, end, batches]] + right

    def batches(self):
        """What a consumer gets: (base offset, records, CRC)."""
        first = self.next if self.first is None else self.first
        if self.carried:
            first = min(first, self.carried[0][0])
        start, out = self.log_start if self.compacted else max(self.log_start, first), []
        found = [
            batch for batch in self.found
            if not any(first <= batch[0] < end for first, end, _ in self.carried)
        ]
        if self.carried:
            carried = [
                batch for first, end, batches in self.carried for batch in batches
                if first <= batch[0] < end
            ]
            found = sorted(found + carried, key=lambda batch: batch[0])
        for base, last, crc, good in found:
            if last < start or last >= self.next:
                continue
            start = last + 1
            if good:
                out.append((base, last - base + 1, crc))
        return out


class State:
    """Topics, partitions, committed offsets."""

    def __init__(self):
        self.topics, self.partitions, self.offsets, self.handle_next = {}, {}, {}, 1
        self.mirrored = {}

    def apply(self, ring, name, record):
        """Makes the change that a record says; what is not of interest here is left out."""
        if name == "topic_create":
            if record["name"] not in self.topics:
                self.topics[record["name"]] = {
                    "id": record["id"], "ring": record["ring"], "configs": record["configs"],
                    "handles": [],
                }
            self.partitions_add(record["name"], record["handle_first"], record["partitions"])
        elif name == "topic_delete":
            for topic in self.named(record["id"]):
                handles = self.topics.pop(topic)["handles"]
                for handle in handles:
                    del self.partitions[handle]
                self.offsets = {
                    key: value for key, value in self.offsets.items() if key[1] not in handles
                }
                self.mirrored = {
                    key: value for key, value in self.mirrored.items() if key[1] not in handles
                }
        elif name == "partitions_add":
            for topic in self.named(record["id"]):
                self.partitions_add(topic, record["handle_first"], record["partitions"])
        elif name == "topic_configs":
            for topic in self.named(record["id"]):
                self.topics[topic]["configs"] = record["configs"]
        elif name == "log_start" and record["handle"] in self.partitions:
            partition = self.partitions[record["handle"]]
            partition.log_start = max(partition.log_start, record["offset"])
        elif name == "partition":
            partition = self.partition(ring, record["handle"])
            if partition is not None:
                partition.log_start = max(partition.log_start, record["log_start"])
                partition.next = max(partition.next, record["next"])
        elif name == "offset_commit":
            key = record["group"], record["handle"]
            self.offsets[key] = record["offset"], record["metadata"]
        elif name == "mirrored":
            self.mirrored[record["mirror"], record["handle"]] = record["offset"]
        elif name == "offset_delete":
            self.offsets.pop((record["group"], record["handle"]), None)
        elif name == "group_delete":
            self.offsets = {
                key: value for key, value in self.offsets.items() if key[0] != record["group"]
            }
        elif name == "handle_next":
            self.handle_next = max(self.handle_next, record["handle"])

    def named(self, topic_id):
        """The names of the topics with this id: one or none."""
        return [name for name, topic in self.topics.items() if topic["id"] == topic_id]

    def partitions_add(self, name, handle_first, count):
        """More partitions of a topic."""
        topic = self.topics[name]
        for handle in range(handle_first, handle_first + count):
            if handle not in self.partitions:
                self.partitions[handle] = Partition(name, len(topic["handles"]), topic["ring"])
                topic["handles"].append(handle)
            self.handle_next = max(self.handle_next, handle + 1)

    def partition(self, ring, handle):
        """The partition with this handle, made if its topic's creation was lost."""
        if handle not in self.partitions and handle >= self.handle_next:
            name = f"lost-{handle}"
            self.topics[name] = {"id": b"", "ring": ring, "configs": b"", "handles": []}
            self.partitions_add(name, handle, 1)
        return self.partitions.get(handle)


# ---- fixed layouts --------------------------------------------------------------------------


class Anchor:
    """A head, foot or twin."""

    def __init__(self, page):
        (self.ring_id, self.kind, self.boot, self.seq, self.file, self.alignment,
         self.segment_bytes, self.groups_at, self.end, self.group_next, self.prev_crc,
         self.body_at) = struct.unpack_from("<16sIIQHxxIQQQQI4xQ", page, 16)
        self.list, self.snapshot, self.index = (
            struct.unpack_from("<II", page, at) for at in (104, 112, 120)
        )
        self.name = page[136:168].rstrip(b"\0").decode()


def anchor_of(page):
    """The anchor in a page, or None. An anchor of a newer format ends everything."""
    if page[:8] != b"brooklet":
        return None
    version, crc = struct.unpack_from("<II", page, 8)
    if version > VERSION:
        raise Refused(f"the ring is of format {version}; this reads up to {VERSION}")
    if crc != crc32c(page[16:ANCHOR_BYTES]):
        return None
    return Anchor(page)


class Group:
    """A commit group's header."""

    def __init__(self, data):
        (self.ring_id, self.segment, self.seq, self.position, self.boot, self.flags,
         self.synced_through, self.supersedes, _time, self.bytes, self.runs, self.payload_bytes,
         self.meta_bytes, self.directory_crc, self.meta_crc, self.prev_crc) = struct.unpack_from(
             "<16sQQQIHxxQQqIIIIIII", data, 8)
        self.contents_bytes = (
            GROUP_HEADER_BYTES + self.runs * RUN_BYTES + self.meta_bytes + self.payload_bytes
        )


def group_of(data, at):
    """The group header at a position, if magic, CRC and lengths hold."""
    header = data[at : at + GROUP_HEADER_BYTES]
    if len(header) < GROUP_HEADER_BYTES or header[:4] != b"bkGr":
        return None
    if struct.unpack_from("<I", header, 4)[0] != crc32c(header[8:]):
        return None
    group = Group(header)
    return group if group.contents_bytes <= group.bytes else None


class Segment:
    """A live segment."""

    def __init__(self, seq, file, groups_at, end, first=0, headless=False):
        self.seq, self.file, self.groups_at, self.end = seq, file, groups_at, end
        self.headless = headless
        # The sequence of its first group, if it is walked with those before it.
        self.first = first
        # Its groups with their runs, once they were walked.
        self.taken = None


class Slot:
    """A group, or a hole where one should be."""

    def __init__(self, seq, group, length=0):
        # How far it is to the next one.
        self.seq, self.group, self.bytes = seq, group, group.bytes if group else length


# ---- a ring ---------------------------------------------------------------------------------


class Ring:
    """Reads one ring into the state."""

    def __init__(self, index, folder, state, skips_shared=False):
        self.index, self.state, self.skips_shared = index, state, skips_shared
        self.paths = sorted(
            path for path in folder.iterdir()
            if path.name.startswith("segment-") and path.name[8:].isdigit()
        )
        self.ring_id, self.data, self.anchors, self.evicted = None, {}, {}, 0
        # Files that are not believed; the bytes that were lost, and the partitions that go on
        # behind them.
        self.aliens, self.lost, self.seen, self.begun = set(), 0, set(), False

    def read(self):
        """Everything."""
        for path in self.paths:
            file = int(path.name[8:])
            data = path.read_bytes()
            self.data[file] = data
            self.anchors[file] = anchor_of(data[:PAGE]), anchor_of(data[-PAGE:])
        self.ring_id = self.ring()
        if self.ring_id is None:
            return
        for file, pair in self.anchors.items():
            if pair[0] and not self.is_own(file, pair[0]):
                self.aliens.add(file)
            self.anchors[file] = tuple(
                anchor if anchor and self.is_own(file, anchor) else None for anchor in pair
            )
        base, base_file, entries = self.newest()
        live = self.live(base, base_file, entries)
        self.begun = bool(live)
        self.replay(base, live)
        live = [segment for segment in live if segment.seq > self.evicted]
        self.find(live)

    def records(self, data):
        """The records that count in this ring."""
        for name, record in records(data):
            if name in OF_EACH_RING or not self.skips_shared:
                yield name, record

    def is_own(self, file, anchor):
        """Whether an anchor is this ring's and stands in its own file."""
        return anchor.ring_id == self.ring_id and anchor.file == file

    def ring(self):
        """The ring's id, or None."""
        own = {
            (anchor.ring_id, file)
            for file, pair in self.anchors.items() for anchor in pair
            if anchor and anchor.file == file
        }
        ids = {ring_id for ring_id, _ in own}
        if ids:
            return max(sorted(ids), key=lambda ring_id: self.present(ring_id, own))
        groups = [
            group.ring_id
            for data in self.data.values() if any(data[:PAGE]) or any(data[-PAGE:])
            for group in [self.first_group(data)] if group
        ]
        return max(groups, key=groups.count) if groups else None

    def present(self, ring_id, own):
        """How much of a ring is there: files of it, less those that it lists and that are not."""
        files = sum(1 for other, _ in own if other == ring_id)
        pairs = self.anchors.items()
        found = [
            (file, anchor) for file, pair in pairs for anchor in pair
            if anchor and anchor.ring_id == ring_id
        ]
        file, newest = max(found, key=lambda entry: entry[1].seq)
        (length, crc), at = newest.list, newest.body_at
        part = self.data[file][at : at + length]
        entries = self.entries(part) if crc32c(part) == crc else []
        here = {(file, anchor.seq) for file, anchor in found if anchor.file == file}
        missing = sum(1 for entry in entries if (entry[3], entry[0]) not in here)
        return files - missing, files

    @staticmethod
    def entries(part):
        """A list's entries: sequence, end, last group, file, flags."""
        return [
            struct.unpack_from("<QQQHH", part, at) for at in range(0, len(part), ENTRY_BYTES)
        ]

    @staticmethod
    def first_group(data):
        """The first group of any ring."""
        for at in range(0, len(data), SECTOR):
            group = group_of(data, at)
            if group and group.position == at:
                return group
        return None

    def newest(self):
        """The base: its anchor, its file, its list; the state is that of its snapshot then."""
        found = [
            (anchor.seq, anchor.kind == FOOT, file, anchor)
            for file, pair in self.anchors.items() for anchor in pair if anchor
        ]
        for _, _, file, anchor in sorted(found, key=lambda entry: entry[:2], reverse=True):
            at, parts = anchor.body_at, []
            for length, crc in (anchor.list, anchor.snapshot):
                part = self.data[file][at : at + length]
                parts.append(part if len(part) == length and crc32c(part) == crc else None)
                at += length
            if None in parts:
                continue
            for name, record in self.records(parts[1]):
                self.state.apply(self.index, name, record)
            return anchor, file, self.entries(parts[0])
        return None, None, []

    def live(self, base, base_file, entries):
        """The live segments, oldest first."""
        live, above = [], base.seq if base else 0
        for seq, end, _last, file, _flags in entries:
            head, foot = self.anchors.get(file, (None, None))
            if file not in self.data or file in self.aliens or (head and head.seq > above):
                continue
            if self.later(above, file):
                continue
            if self.is_blank(file) and not (foot and foot.seq == seq):
                continue
            own = [anchor for anchor in (head, foot) if anchor and anchor.seq == seq]
            live.append(Segment(seq, file, own[0].groups_at if own else PAGE, end))
        if base and base.kind != FOOT:
            live.append(
                Segment(base.seq, base_file, base.groups_at, base.groups_at, base.group_next)
            )
        named = {segment.file for segment in live}
        live += filter(None, (
            self.later(above, file) for file in self.data if file not in named
        ))
        seen, out = set(), []
        for segment in sorted(live, key=lambda segment: segment.seq):
            if segment.seq not in seen:
                seen.add(segment.seq)
                out.append(segment)
        return out

    def later(self, above, file):
        """The segment in a file, if it is behind the base."""
        data, head = self.data[file], self.anchors[file][0]
        if file in self.aliens or head and head.seq <= above or self.is_blank(file):
            return None
        for at in range(0, len(data), SECTOR):
            group = group_of(data, at)
            if group and group.ring_id == self.ring_id and group.position == at:
                if head and group.segment == head.seq:
                    return Segment(head.seq, file, head.groups_at, head.groups_at, head.group_next)
                if not head and above < group.segment <= above + SEGMENT_JUMP_MAX:
                    return Segment(group.segment, file, at, at, group.seq, True)
        return None

    def is_blank(self, file):
        """Whether its head was never written."""
        return not any(self.data[file][: 2 * PAGE])

    def replay(self, base, live):
        """Takes the groups behind the base into the state."""
        seq, boot = (base.group_next, base.boot) if base else (1, 0)
        for place, segment in enumerate(live):
            if base and (segment.seq < base.seq or base.kind == FOOT and segment.seq == base.seq):
                continue
            before = live[place + 1].first if place + 1 < len(live) else None
            length = len(self.data[segment.file])
            if segment.headless and segment.first > seq:
                self.lose(segment.groups_at)
            slots, tail, seq = self.walk(segment, length, seq, boot, before)
            segment.taken = []
            whole = list(itertools.takewhile(lambda slot: self.whole(segment, slot), tail))
            for slot in slots + whole:
                self.take(segment, slot)
            self.drop(segment, tail[len(whole):])
        for handle, partition in self.state.partitions.items():
            if self.lost and handle not in self.seen and self.is_here(partition):
                partition.next += self.lost * RECORDS_PER_BYTE_MAX

    def lose(self, count):
        """So many bytes of groups are lost."""
        self.lost += count
        self.seen = set()

    def is_here(self, partition):
        """Whether this ring holds a partition."""
        return partition.ring == self.index

    def drop(self, segment, slots):
        """Groups that never happened: their offsets are not given again."""
        for slot in slots:
            runs = slot.group and self.directory(segment, slot.group)
            for run in runs or ():
                partition = self.state.partitions.get(run[0])
                if partition:
                    partition.next = max(partition.next, run[2] + run[1])

    def walk(self, segment, limit, seq, boot, before):
        """(the slots whose fate is known and that are not void, those that nothing proves, the
        sequence that comes next)."""
        data, at = self.data[segment.file], segment.groups_at
        known, pending = [], []
        while at + SECTOR <= limit:
            group = self.believed(segment, data, at, limit, seq, boot)
            if group is None:
                hole = at
                while group is None and at + 2 * SECTOR <= limit:
                    at += SECTOR
                    group = self.believed(segment, data, at, limit, seq, boot)
                pending.append(Slot(seq, None, (group.position if group else limit) - hole))
            if group is None or before is not None and group.seq >= before:
                break
            left = []
            voids = group.supersedes and self.whole(segment, Slot(group.seq, group))
            for slot in pending:
                older = slot.group is None or slot.group.boot < group.boot
                if group.synced_through >= slot.seq:
                    known.append(slot)
                elif not (voids and slot.seq <= group.supersedes and older):
                    left.append(slot)
            pending = left + [Slot(group.seq, group)]
            at = group.position + group.bytes
            seq, boot = group.seq + 1, group.boot
        if before is not None:
            if seq == before and pending and pending[-1].group is None:
                pending.pop()
            known, pending = known + pending, []
        return known, pending, seq

    def believed(self, segment, data, at, limit, seq, boot):
        """The group at a position, if it can be believed there."""
        group = group_of(data, at)
        ours = group and (
            group.ring_id == self.ring_id and group.segment == segment.seq
            and group.position == at and group.seq >= seq and group.boot >= boot
            and group.bytes > 0 and group.bytes % SECTOR == 0 and at + group.bytes <= limit
        )
        return group if ours else None

    def directory(self, segment, group):
        """The runs (handle, records, offset, bytes), or None if the directory does not hold."""
        at = group.position + GROUP_HEADER_BYTES
        part = self.data[segment.file][at : at + group.runs * RUN_BYTES]
        runs = [struct.unpack_from("<IIqI", part, at) for at in range(0, len(part), RUN_BYTES)]
        kept = [struct.unpack_from("<I", part, at + 20)[0] for at in range(0, len(part), RUN_BYTES)]
        carried = group.flags & FLAG_CARRIED
        whole = crc32c(part) == group.directory_crc and all(bool(carried) == bool(k) for k in kept)
        return runs if whole and sum(run[3] for run in runs) == group.payload_bytes else None

    def meta(self, segment, group):
        """The metadata, or None if it does not hold."""
        at = group.position + GROUP_HEADER_BYTES + group.runs * RUN_BYTES
        part = self.data[segment.file][at : at + group.meta_bytes]
        return part if crc32c(part) == group.meta_crc else None

    def batches(self, segment, group, runs):
        """(handle, first offset, last offset, CRC, whether it is good) of each batch, and of what
        stands where batches should."""
        data, carried = self.data[segment.file], group.flags & FLAG_CARRIED
        at = group.position + group.contents_bytes - group.payload_bytes
        for handle, count, offset, length in runs:
            end, limit = at + length, offset + count
            while at < end:
                batch = self.batch(data, at, end, offset, limit, carried)
                if batch:
                    size, base, delta, crc = batch
                    offset = base if carried else offset
                    yield handle, offset, offset + delta, crc, base == offset
                    offset, at = offset + delta + 1, at + size
                    continue
                found = self.batch_again(data, at + 1, end, offset, limit)
                at, following = found or (end, limit)
                yield handle, offset, following - 1, 0, False
                offset = following
            if offset < limit and not carried:
                yield handle, offset, limit - 1, 0, False

    @staticmethod
    def batch(data, at, end, offset, limit, carried=False):
        """(size, base offset, delta, CRC) of the batch that takes the offsets from one on, if one
        stands there."""
        if at + BATCH_HEADER_BYTES > end:
            return None
        base, rest, _epoch, magic, crc, _, delta = struct.unpack_from(">qiibIhi", data, at)
        size = rest + BATCH_LENGTH_END
        fits = BATCH_HEADER_BYTES <= size <= end - at and magic == 2
        if carried:
            fits, offset = fits and base >= offset, base
        if not fits or delta < 0 or offset + delta >= limit:
            return None
        return (size, base, delta, crc) if crc32c(data[at + BATCH_CRC_END : at + size]) == crc else None

    def batch_again(self, data, at, end, offset, limit):
        """(position, base offset) of the next batch behind damage, or None."""
        while at + BATCH_HEADER_BYTES <= end:
            base = struct.unpack_from(">q", data, at)[0]
            if offset < base < limit and self.batch(data, at, end, base, limit):
                return at, base
            at += 1
        return None

    def whole(self, segment, slot):
        """Whether all of a group's CRCs hold."""
        if slot.group is None or self.meta(segment, slot.group) is None:
            return False
        runs = self.directory(segment, slot.group)
        if runs is None:
            return False
        return all(batch[4] for batch in self.batches(segment, slot.group, runs))

    def take(self, segment, slot):
        """A group that is part of the log, into the state: what of it holds."""
        runs = slot.group and self.directory(segment, slot.group)
        if runs is None:
            self.lose(slot.bytes)
        else:
            segment.taken.append((slot.group, runs))
        carried = slot.group and slot.group.flags & FLAG_CARRIED
        for handle, count, offset, _length in runs or ():
            if not carried:
                self.seen.add(handle)
            partition = self.state.partition(self.index, handle)
            if partition:
                partition.next = max(partition.next, offset + count)
        for name, record in self.records(slot.group and self.meta(segment, slot.group) or b""):
            if name == "evict":
                self.evicted = max(self.evicted, record["segment"])
            if name == "partition":
                self.seen.add(record["handle"])
            self.state.apply(self.index, name, record)

    def find(self, live):
        """The batches in the live segments, by partition."""
        for segment in live:
            if segment.taken is None:
                end = max(segment.end, segment.groups_at)
                slots, _, _ = self.walk(segment, end, 1, 0, NEVER)
                groups = [slot.group for slot in slots if slot.group]
                segment.taken = [(group, self.directory(segment, group)) for group in groups]
            for group, runs in segment.taken:
                if runs is None:
                    continue
                if group.flags & FLAG_CARRIED:
                    self.find_carried(segment, group, runs)
                    continue
                for handle, _count, offset, _length in runs:
                    partition = self.state.partitions.get(handle)
                    if partition and (partition.first is None or partition.segment == segment.seq):
                        first = offset if partition.first is None else partition.first
                        partition.first, partition.segment = min(first, offset), segment.seq
                for batch in self.batches(segment, group, runs):
                    partition = self.state.partitions.get(batch[0])
                    if partition:
                        partition.found.append(batch[1:])

    def find_carried(self, segment, group, runs):
        """The stretches of a carried group, of partitions that are still there."""
        batches = list(self.batches(segment, group, runs))
        for handle, count, offset, _length in runs:
            partition = self.state.partitions.get(handle)
            if partition:
                own = [batch[1:] for batch in batches if batch[0] == handle]
                partition.carry(offset, offset + count, own)


# ---- the directory --------------------------------------------------------------------------


def read(directory):
    """The state of all rings."""
    state, directory = State(), pathlib.Path(directory)
    skips_shared = False
    if (folder := directory / "metadata").is_dir():
        metadata = Ring("metadata", folder, state)
        metadata.read()
        skips_shared = metadata.begun
    folders = [directory / f"ring-{index}" for index in range(RINGS_MAX)]
    for index, folder in enumerate(folders):
        if folder.is_dir():
            Ring(index, folder, state, skips_shared).read()
    for topic in state.topics.values():
        policy = settings(topic["configs"]).get("cleanup.policy", "")
        for handle in topic["handles"]:
            state.partitions[handle].compacted = "compact" in policy
    if not any(folder.is_dir() for folder in folders):
        raise Refused(f"there is no ring in {directory}")
    return state


def batches(state):
    """(topic, partition, base offset, records, CRC) of everything that a consumer gets."""
    for name in sorted(state.topics):
        for index, handle in enumerate(state.topics[name]["handles"]):
            for base, count, crc in state.partitions[handle].batches():
                yield name, index, base, count, crc


def as_json(state):
    """Everything as one object."""
    topics = {
        name: {
            "settings": settings(topic["configs"]),
            "partitions": [
                {
                    "log_start": min((batch[0] for batch in found), default=partition.next),
                    "next": partition.next,
                    "batches": [[base, count, f"{crc:08x}"] for base, count, crc in found],
                }
                for partition in (state.partitions[handle] for handle in topic["handles"])
                for found in (partition.batches(),)
            ],
        }
        for name, topic in sorted(state.topics.items())
    }
    offsets = [
        {"group": group, "topic": partition.topic, "partition": partition.index,
         "offset": offset, "metadata": metadata}
        for (group, handle), (offset, metadata) in sorted(state.offsets.items())
        for partition in (state.partitions.get(handle),) if partition
    ]
    mirrored = [
        {"mirror": mirror, "topic": partition.topic, "partition": partition.index,
         "offset": offset}
        for (mirror, handle), offset in sorted(state.mirrored.items())
        for partition in (state.partitions.get(handle),) if partition
    ]
    return {"topics": topics, "offsets": offsets, "mirrored": mirrored}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--json", action="store_true", help="one object instead of lines")
    args = parser.parse_args()
    try:
        state = read(args.directory)
    except (Refused, OSError) as error:
        print(f"ring_reader: {error}", file=sys.stderr)
        return 1
    if args.json:
        json.dump(as_json(state), sys.stdout, indent=1)
        print()
        return 0
    for name, index, base, count, crc in batches(state):
        print(name, index, base, count, f"{crc:08x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
