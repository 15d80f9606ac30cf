"""What was sent to a broker and what it promised, over the whole life of a data directory."""

import collections
import threading

from batches import MALFORMED, decode, decode_keyed, encode, key_of
from rings import COMPACTED, METADATA

# The producer of compacted topics.
KEYED = 6
# Errors that say "not now" and promise nothing: KAFKA_STORAGE_ERROR, and the same to a consumer.
RETRIABLE = (56, 16)
# A held ring is full, and the request has waited for as long as it may.
NOT_ENOUGH_REPLICAS = 19
# The newest record of a key that was promised.
Newest = collections.namedtuple("Newest", "offset number why")


class Ledger:
    """One for each data directory. `checks_room`: eviction takes nothing while there is room."""

    def __init__(self, rings, checks_room=False):
        self.lock = threading.Lock()
        self.rings, self.checks_room = rings, checks_room
        self.content = collections.defaultdict(dict)
        self.must = collections.defaultdict(dict)
        # Of compacted partitions: {place: {key: Newest}}.
        self.newest = collections.defaultdict(dict)
        # How far the holder of a held ring committed in each partition, or was about to.
        self.released = collections.Counter()
        self.bounds = {}
        # Everything that took room in each ring, oldest first: [bytes at most, partition, offset or None].
        self.room = {ring.name: collections.deque() for ring in rings if ring.capacity_bytes}
        # {(group, topic, partition): [acknowledged, sent]}
        self.commits, self.topics = {}, {}
        self.numbers = collections.Counter()
        self.identities = {}
        self.broken = []
        self.counts = collections.Counter()

    def __getstate__(self):
        """Copies and files of it have a lock of their own."""
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state):
        vars(self).update(state, lock=threading.Lock())

    def fail(self, text, topic=None):
        """A promise was broken, of a topic's ring or, by default, of no ring's or the metadata ring's."""
        if len(self.broken) < 50:
            self.broken.append(text)
        self.counts["broken"] += 1
        self.counts["broken", METADATA if topic is None else self.rings.of(topic).name] += 1

    def take_room(self, ring, payload_bytes, place=None):
        """Something is about to be written: what it takes in a group of its own, and an `Evict`."""
        entry = [-(-(payload_bytes + 128 + 32) // 4096) * 4096, place, None]
        room = self.room.get(ring)
        if room is not None:
            room.append(entry)
            while len(room) > 200_000:
                room.popleft()
        return entry

    def take_room_everywhere(self, payload_bytes):
        """A start takes room in each ring, and so does a failure."""
        with self.lock:
            for ring in self.room:
                self.take_room(ring, payload_bytes)

    def sending(self, sent, bytes_):
        """A batch leaves."""
        with self.lock:
            self.counts["sent"] += len(sent.lengths)
            return self.take_room(self.rings.of(sent.place[0]).name, bytes_, sent.place)

    def acknowledged(self, sent, offset, entry):
        """A batch was acknowledged at this offset."""
        with self.lock:
            self.counts["acknowledged"] += len(sent.lengths)
            self.counts["acknowledged", self.rings.of(sent.place[0]).name] += len(sent.lengths)
            entry[2] = offset
            if sent.place[0] == "relaxed":
                # It was written and not synced: neither the record nor its offset is promised.
                return
            for delta in range(len(sent.lengths)):
                key = (sent.producer, sent.first + delta)
                self._hold(sent.place, offset + delta, key, "acknowledged")

    def seen(self, place, batch):
        """A consumer was given a batch: {offset: (producer, number)}."""
        if batch.is_control:
            # It stands for offsets without records.
            return {}
        try:
            numbered = self._numbered(place, batch)
        except MALFORMED as error:
            self.fail(f"{place} at {batch.base_offset}: not one of ours: {error!r}", place[0])
            return {}
        with self.lock:
            self.counts["seen"] += len(numbered)
            for offset, (producer, number) in numbered.items():
                if number >= self.numbers[producer]:
                    self.fail(f"{place} at {offset}: {producer}/{number} was not sent", place[0])
                self._hold(place, offset, (producer, number), "seen")
        return numbered

    @staticmethod
    def _numbered(place, batch):
        """Which records a batch has, all of them as they were sent."""
        if place[0] in COMPACTED:
            found = decode_keyed(batch, KEYED, place)
            return {offset: (KEYED, number) for offset, number in found}
        sent = decode(batch)
        if encode(sent)[17:] != batch.raw[17:]:
            raise ValueError("contents differ from what was sent")
        if sent.place != place:
            raise ValueError(f"{sent} was not sent here")
        return {
            batch.base_offset + delta: (sent.producer, sent.first + delta)
            for delta in range(len(sent.lengths))
        }

    def _hold(self, place, offset, key, why):
        known = self.content[place].setdefault(offset, key)
        if known != key:
            text = f"{place} at {offset}: {why} {key}, was {known}: an offset with two contents"
            self.fail(text, place[0])
        if place[0] not in COMPACTED:
            self.must[place].setdefault(offset, why)
            return
        name, _ = key_of(key[1])
        newest = self.newest[place].get(name)
        if newest is None or newest.offset < offset:
            self.newest[place][name] = Newest(offset, key[1], why)

    def owed_up_to(self, place):
        """(offset, why) of the newest record that a partition must have; None: it need not have any."""
        if place[0] in COMPACTED:
            return max(((newest.offset, newest.why) for newest in self.newest[place].values()), default=None)
        owed = self.must[place]
        return (max(owed), owed[max(owed)]) if owed else None

    def evicted(self, place, log_start):
        """Forgets what is below the log start."""
        for table in (self.content[place], self.must[place]):
            for offset in [offset for offset in table if offset < log_start]:
                del table[offset]

    def may_wait(self, error, place=None):
        """Whether an error promises nothing, and may come."""
        waits = place is not None and self.rings.is_kept(place[0])
        return error in RETRIABLE or (error == NOT_ENOUGH_REPLICAS and waits)

    def retained(self):
        """The lowest offset of each partition that its ring has had no reason to evict."""
        lowest = {}
        for ring in self.rings if self.checks_room else ():
            total = 0
            for bytes_, place, offset in reversed(self.room.get(ring.name, ())):
                total += bytes_
                if total > ring.capacity_bytes:
                    break
                if offset is not None:
                    lowest[place] = offset
        return lowest
