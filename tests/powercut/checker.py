"""Load for a broker that will lose its power, and the ledger that says what it owed afterwards.

`Load` runs clients in threads: producers with and without idempotence, a consumer, one that commits
offsets, one that creates and deletes topics. Each writes down in the `Ledger` what it was promised.
`verify` reads everything back and gives the broken promises, as text:

- what was acknowledged is there, and what a consumer saw stays there, below nothing but eviction;
- eviction takes nothing while the ring has room for it, and of a held ring nothing at all that its
  holder has not committed past;
- no offset ever has two contents, and every content is byte for byte what was sent;
- each producer's batches stand in the order in which it sent them, an idempotent one's only once;
- committed offsets, leader epochs, log starts and ends never go back; topics that were made or deleted
  stay so.

The standard library and `tests/clients/rawkafka.py` only.
"""

import collections
import pathlib
import random
import re
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients"))

import rawkafka

GROUP = "powercut"
# The group that a held ring is held for; it commits when a test says so.
HOLDER = "keeper"
# Topic, partitions, settings; the relaxed one is acknowledged before its sync, so its
# acknowledgements promise nothing, and what was seen of it does.
TOPICS = (
    ("plain", 3, {}),
    ("once", 2, {}),
    ("relaxed", 1, {"flush.ms": "20"}),
)
# The producer of `produce_in_turn`.
IN_TURN = 9
# How long producers of `Load` let a request wait.
PRODUCE_MS_MAX = 1000
VALUE_BYTES = (18, 120, 1000, 6000, 60_000)
RECORDS_MAX = 6
PLACES = [(topic, index) for topic, count, _ in TOPICS for index in range(count)]
# What a client meets when the broker goes away in the middle of a sentence.
GONE = (OSError, rawkafka.Closed, ValueError, IndexError, struct.error)
# Errors that say "not now" and promise nothing: KAFKA_STORAGE_ERROR, and the same to a consumer.
RETRIABLE = (56, 16)
# A held ring is full, and the request has waited for as long as it may.
NOT_ENOUGH_REPLICAS = 19


# ---- batches whose CRC-32C is known without a walk over their bytes ----


def _shift_tables():
    """For each power of two, the 32 columns of "feed that many zero bytes" over a CRC-32C."""
    columns = [rawkafka._CRC_TABLE[bit] if bit < 256 else bit >> 8 for bit in (1 << n for n in range(32))]
    tables = [columns]
    for _ in range(20):
        columns = [_apply(columns, column) for column in columns]
        tables.append(columns)
    return tables


def _apply(columns, value):
    out = bit = 0
    while value:
        if value & 1:
            out ^= columns[bit]
        value >>= 1
        bit += 1
    return out


_SHIFT = _shift_tables()
_SHIFT_BY = {}


def crc_join(first, second, second_bytes):
    """The CRC of two pieces behind each other, of their CRCs."""
    columns = _SHIFT_BY.get(second_bytes)
    if columns is None:
        columns = [1 << bit for bit in range(32)]
        for power, table in enumerate(_SHIFT):
            if second_bytes >> power & 1:
                columns = [_apply(table, column) for column in columns]
        _SHIFT_BY[second_bytes] = columns
    return _apply(columns, first) ^ second


FILLERS = {}


def filler(number, count):
    """`count` bytes that follow from a record's number, and their CRC."""
    key = (number % 61, count)
    if key not in FILLERS:
        data = random.Random(key[0] * 1_000_003 + count).randbytes(count)
        FILLERS[key] = (data, rawkafka.crc32c(data))
    return FILLERS[key]


# One batch: who sent it, to which of `PLACES`, the number of its first record, its records' lengths,
# and (producer id, epoch, sequence) as the protocol has them.
Sent = collections.namedtuple("Sent", "producer place first lengths identity")
VALUE_HEAD = struct.Struct(">HHQI")


def encode(sent):
    """The record batch of a `Sent`: numbers from `first` on, one record for each length."""
    producer_id, epoch, sequence = sent.identity
    stamp = 1_700_000_000_000 + sent.first
    count = len(sent.lengths)
    head = struct.pack(">hiqqqhii", 0, count - 1, stamp, stamp, producer_id, epoch, sequence, count)
    pieces, crc = [], None
    for delta, length in enumerate(sent.lengths):
        number = sent.first + delta
        value_head = VALUE_HEAD.pack(sent.producer, PLACES.index(sent.place), number, length)
        rest, rest_crc = filler(number, length - len(value_head))
        body = b"\0\0" + rawkafka.varint(delta) + b"\x01" + rawkafka.varint(length)
        start = rawkafka.varint(len(body) + length + 1) + body + value_head
        if crc is None:
            crc = rawkafka.crc32c(head + start)
        else:
            start = b"\0" + start
            crc = crc_join(crc, rawkafka.crc32c(start), len(start))
        crc = crc_join(crc, rest_crc, len(rest))
        pieces += [start, rest]
    pieces.append(b"\0")
    crc = crc_join(crc, rawkafka.crc32c(b"\0"), 1)
    tail = head + b"".join(pieces)
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, 2, crc) + tail


def decode(batch):
    """The `Sent` that a stored batch claims to be."""
    identity = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
    reader = rawkafka.Reader(batch.payload)
    producer = place = first = None
    lengths = []
    for _ in range(batch.count):
        end = reader.varint()
        end += reader.at
        reader.take(2)
        reader.varint()
        reader.varint()
        reader.varint()
        claimed = VALUE_HEAD.unpack(reader.take(VALUE_HEAD.size))
        if first is None:
            producer, place, first, _ = claimed
        length = claimed[3]
        lengths.append(length)
        reader.take(end - reader.at)
    return Sent(producer, PLACES[place], first, tuple(lengths), identity)


# ---- the ledger ----


class Ledger:
    """What was sent and what was promised. One for the whole life of a data directory."""

    def __init__(self, capacity_bytes=0, held=False):
        self.lock = threading.Lock()
        # How many bytes of groups the ring holds at the least before it evicts; 0: not checked.
        self.capacity_bytes = capacity_bytes
        self.content = collections.defaultdict(dict)
        self.must = collections.defaultdict(dict)
        # Of a held ring, how far its holder committed in each partition, or was about to.
        self.released = collections.Counter() if held else None
        self.bounds, self.epochs = {}, {}
        # Everything that took room, oldest first: [bytes at most, partition, offset or None].
        self.room = collections.deque()
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

    def fail(self, text):
        """A promise was broken."""
        if len(self.broken) < 50:
            self.broken.append(text)
        self.counts["broken"] += 1

    def take_room(self, payload_bytes, place=None):
        """Something is about to be written: what it takes in a group of its own, and an `Evict`."""
        entry = [-(-(payload_bytes + 128 + 32) // 4096) * 4096, place, None]
        self.room.append(entry)
        while len(self.room) > 200_000:
            self.room.popleft()
        return entry

    def sending(self, sent, bytes_):
        """A batch leaves."""
        with self.lock:
            self.counts["sent"] += len(sent.lengths)
            return self.take_room(bytes_, sent.place)

    def acknowledged(self, sent, offset, entry):
        """A batch was acknowledged at this offset."""
        with self.lock:
            self.counts["acknowledged"] += len(sent.lengths)
            entry[2] = offset
            if sent.place[0] == "relaxed":
                # It was written and not synced: neither the record nor its offset is promised.
                return
            for delta in range(len(sent.lengths)):
                key = (sent.producer, sent.first + delta)
                self._hold(sent.place, offset + delta, key, "acknowledged")

    def seen(self, place, batch):
        """A consumer was given a batch."""
        if batch.is_control:
            # It stands for offsets without records.
            return []
        try:
            sent = decode(batch)
            whole = encode(sent)
        except GONE + (MemoryError, OverflowError) as error:
            self.fail(f"{place} at {batch.base_offset}: not one of ours: {error!r}")
            return []
        if whole[17:] != batch.raw[17:]:
            self.fail(f"{place} at {batch.base_offset}: contents differ from what was sent")
            return []
        keys = []
        with self.lock:
            self.counts["seen"] += len(sent.lengths)
            if sent.place != place or sent.first >= self.numbers[sent.producer]:
                self.fail(f"{place} at {batch.base_offset}: {sent} was not sent here")
            for delta in range(len(sent.lengths)):
                key = (sent.producer, sent.first + delta)
                keys.append(key)
                self._hold(place, batch.base_offset + delta, key, "seen")
        return keys

    def _hold(self, place, offset, key, why):
        known = self.content[place].setdefault(offset, key)
        if known != key:
            self.fail(f"{place} at {offset}: {why} {key}, was {known}: an offset with two contents")
        self.must[place].setdefault(offset, why)

    def evicted(self, place, log_start):
        """Forgets what is below the log start; gives the newest offset that must not be there."""
        for table in (self.content[place], self.must[place]):
            for offset in [offset for offset in table if offset < log_start]:
                del table[offset]

    def may_wait(self, error):
        """Whether an error promises nothing, and may come."""
        return error in RETRIABLE or (error == NOT_ENOUGH_REPLICAS and self.released is not None)

    def retained(self):
        """The lowest offset of each partition that the ring has had no reason to evict."""
        total, lowest = 0, {}
        for bytes_, place, offset in reversed(self.room):
            total += bytes_
            if total > self.capacity_bytes:
                break
            if offset is not None:
                lowest[place] = offset
        return lowest


# ---- the load ----


class Load:
    """Clients at work on a broker, until `stop` or until the broker is gone."""

    def __init__(self, host, port, ledger, seed, sizes=VALUE_BYTES, pause=0.0):
        self.host, self.port, self.ledger, self.seed = host, port, ledger, seed
        self.sizes, self.pause = sizes, pause
        self.stopping, self.full = threading.Event(), threading.Event()
        self.threads = []

    def start(self):
        """Makes the topics and starts the clients."""
        jobs = [
            (self.produce, 1, [("plain", 0), ("plain", 1)], 1, 1),
            (self.produce, 2, [("plain", 1), ("plain", 2), ("plain", 0)], 8, -1),
            (self.produce, 3, [("relaxed", 0)], 4, -1),
            (self.produce_once, 4, ("once", 0), 5),
            (self.produce_once, 5, ("once", 1), 1),
            (self.consume,),
            (self.commit,),
            (self.administer,),
        ]
        for function, *arguments in jobs:
            thread = threading.Thread(target=self._guard, args=(function, arguments), daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self, seconds=20):
        """Lets the clients finish, or give up on a broker that does not answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(seconds)
            if thread.is_alive():
                self.ledger.fail("a client did not end: an answer never came")

    def connect(self):
        return rawkafka.Connection(self.host, self.port, timeout=10)

    def _guard(self, function, arguments):
        while not self.stopping.is_set():
            try:
                function(*arguments)
            except GONE:
                # The broker was killed, or is not there yet.
                self.stopping.wait(0.02)
            except rawkafka.KafkaError as error:
                if not self.ledger.may_wait(error.code):
                    self.ledger.fail(f"{function.__name__}: {error}")
                self.stopping.wait(0.02)

    def _next(self, chance, producer, count):
        with self.ledger.lock:
            first = self.ledger.numbers[producer]
            self.ledger.numbers[producer] += count
        return first, tuple(chance.choice(self.sizes) for _ in range(count))

    def produce(self, producer, places, depth, acks):
        """Pipelines `depth` batches; what fails is not tried again."""
        chance = random.Random(f"{self.seed} {producer} {time.monotonic()}")
        waiting = collections.deque()
        with self.connect() as broker:
            while not self.stopping.is_set() or waiting:
                while len(waiting) < depth and not self.stopping.is_set():
                    place = chance.choice(places)
                    numbers = self._next(chance, producer, chance.randint(1, RECORDS_MAX))
                    sent = Sent(producer, place, *numbers, (-1, -1, -1))
                    data = encode(sent)
                    entry = self.ledger.sending(sent, len(data))
                    body = broker.produce_body(*place, data, acks, PRODUCE_MS_MAX)
                    waiting.append((broker.send(rawkafka.PRODUCE, 3, body), place, sent, entry))
                correlation, place, sent, entry = waiting.popleft()
                error, offset = broker.produce_answer(broker.receive(correlation))
                if error == 0:
                    self.ledger.acknowledged(sent, offset, entry)
                elif not self.ledger.may_wait(error):
                    self.ledger.fail(f"error {error} for a batch to {place}")
                if error == NOT_ENOUGH_REPLICAS:
                    self.full.set()
                if self.pause:
                    self.stopping.wait(self.pause)

    def produce_once(self, producer, place, depth):
        """An idempotent producer: what was not acknowledged is sent again, in its order."""
        chance = random.Random(f"{self.seed} {producer} {time.monotonic()}")
        with self.ledger.lock:
            mine = self.ledger.identities.setdefault(
                producer, {"id": None, "sequence": 0, "unanswered": collections.deque()}
            )
        with self.connect() as broker:
            if mine["id"] is None:
                error, mine["id"], mine["epoch"] = broker.init_producer_id()
                rawkafka.check(error, "InitProducerId")
            unanswered = mine["unanswered"]
            waiting = collections.deque(
                [self._send_once(broker, sent), sent] for sent in list(unanswered)
            )
            while not self.stopping.is_set() or waiting:
                while len(waiting) < depth and not self.stopping.is_set():
                    count = chance.randint(1, RECORDS_MAX)
                    numbers = self._next(chance, producer, count)
                    identity = (mine["id"], mine["epoch"], mine["sequence"])
                    sent = Sent(producer, place, *numbers, identity)
                    mine["sequence"] += count
                    unanswered.append(sent)
                    waiting.append([self._send_once(broker, sent), sent])
                (correlation, entry), sent = waiting.popleft()
                error, offset = broker.produce_answer(broker.receive(correlation))
                if self.ledger.may_wait(error):
                    # From this batch on, all of them again, over a new connection.
                    raise rawkafka.Closed("to be sent again")
                if error != 0:
                    self.ledger.fail(f"error {error} for idempotent batch {sent.first} to {place}")
                    raise rawkafka.Closed("given up")
                self.ledger.acknowledged(sent, offset, entry)
                unanswered.popleft()
                if self.pause:
                    self.stopping.wait(self.pause)

    def _send_once(self, broker, sent):
        data = encode(sent)
        entry = self.ledger.sending(sent, len(data))
        return broker.send(rawkafka.PRODUCE, 3, broker.produce_body(*sent.place, data)), entry

    def consume(self):
        """Follows all partitions from their ends as they are now."""
        at = {}
        with self.connect() as broker:
            while not self.stopping.is_set():
                for place in PLACES:
                    if place not in at:
                        error, _, at[place] = broker.list_offset(*place, rawkafka.LATEST)
                        rawkafka.check(error, "ListOffsets")
                    error, end, data = broker.fetch(*place, at[place], 1 << 20, wait_ms=5)
                    if error == 1:
                        del at[place]
                        continue
                    rawkafka.check(error, f"Fetch {place}")
                    for batch in rawkafka.parse_batches(data):
                        if batch.next_offset > end:
                            self.ledger.fail(f"{place}: {batch.next_offset} is shown, the end is {end}")
                        self.ledger.seen(place, batch)
                        at[place] = max(at[place], batch.next_offset)

    def commit(self):
        """Commits a rising offset for each partition of one topic."""
        with self.connect() as broker:
            while not self.stopping.is_set():
                for index in range(3):
                    with self.ledger.lock:
                        entry = self.ledger.commits.setdefault(("plain", index), [0, 0])
                        entry[1] += 1
                        wanted = entry[1]
                        self.ledger.take_room(8192)
                    commit_offset(broker, GROUP, "plain", index, wanted)
                    with self.ledger.lock:
                        entry[0] = wanted
                self.stopping.wait(0.02)

    def administer(self):
        """Creates topics, and deletes all but a few of them again."""
        with self.connect() as broker:
            while not self.stopping.is_set():
                with self.ledger.lock:
                    number = self.ledger.numbers["topic"]
                    self.ledger.numbers["topic"] += 1
                    self.ledger.topics[f"made-{number}"] = "asked"
                    self.ledger.take_room(16384)
                broker.create_topic(f"made-{number}", partitions=1 + number % 3)
                with self.ledger.lock:
                    self.ledger.topics[f"made-{number}"] = "made"
                    old = [name for name, state in self.ledger.topics.items() if state == "made"][:-3]
                for name in old:
                    with self.ledger.lock:
                        self.ledger.topics[name] = "asked"
                    broker.delete_topic(name)
                    with self.ledger.lock:
                        self.ledger.topics[name] = "deleted"
                self.stopping.wait(0.05)


def make_topics(host, port):
    """The topics that the load needs, once."""
    with rawkafka.Connection(host, port, timeout=10) as broker:
        for topic, partitions, settings in TOPICS:
            try:
                broker.create_topic(topic, partitions, configs=settings)
            except rawkafka.KafkaError as error:
                if error.code != 36:
                    raise


def release(host, port, ledger):
    """The holder commits past all that is there."""
    with rawkafka.Connection(host, port, timeout=30) as broker:
        for topic, index in PLACES:
            error, _, end = broker.list_offset(topic, index, rawkafka.LATEST)
            rawkafka.check(error, f"ListOffsets {topic}-{index}")
            ledger.released[topic, index] = end
            commit_offset(broker, HOLDER, topic, index, end)


def commit_offset(broker, group, topic, partition, offset):
    """OffsetCommit 2 by no member of the group."""
    entry = struct.pack(">iq", partition, offset) + rawkafka.string("")
    topics = rawkafka.array([rawkafka.string(topic) + rawkafka.array([entry])])
    body = rawkafka.string(group) + struct.pack(">i", -1) + rawkafka.string("")
    reader = broker.request(rawkafka.OFFSET_COMMIT, 2, body + struct.pack(">q", -1) + topics)
    answer = reader.array(lambda: (reader.string(), reader.array(lambda: reader.unpack("ih"))))
    rawkafka.check(answer[0][1][0][1], "OffsetCommit")


def committed_offset(broker, group, topic, partition):
    """OffsetFetch 1: the offset, −1 for none."""
    topics = rawkafka.array([rawkafka.string(topic) + rawkafka.array([struct.pack(">i", partition)])])
    reader = broker.request(rawkafka.OFFSET_FETCH, 1, rawkafka.string(group) + topics)

    def answer():
        _index, offset, _metadata, error = (
            reader.unpack("i"), reader.unpack("q"), reader.string(), reader.unpack("h"),
        )
        rawkafka.check(error, "OffsetFetch")
        return offset

    return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]


# ---- reading everything back ----


def produce_in_turn(host, port, ledger, count):
    """So many batches, each sent once the one before is acknowledged: so many syncs at the least."""
    place = TOPICS[0][0], 0
    with rawkafka.Connection(host, port, timeout=10) as broker:
        for _ in range(count):
            with ledger.lock:
                first = ledger.numbers[IN_TURN]
                ledger.numbers[IN_TURN] += 1
            sent = Sent(IN_TURN, place, first, (100,), (-1, -1, -1))
            data = encode(sent)
            entry = ledger.sending(sent, len(data))
            body = broker.produce_body(*place, data, -1, PRODUCE_MS_MAX)
            error, offset = broker.produce_answer(broker.receive(broker.send(rawkafka.PRODUCE, 3, body)))
            rawkafka.check(error, "Produce")
            ledger.acknowledged(sent, offset, entry)


def verify(host, port, ledger, said=None):
    """Reads everything back from a broker that nobody writes to; breaches go into the ledger. `said`: its
    disk failed since it started, so that it may be about to overwrite a segment, and this is its log."""
    overwriting = None if said is None else overwritten_in(said)
    with rawkafka.Connection(host, port, timeout=30) as broker:
        _, _, topics = broker.metadata(None)
        verify_topics(topics, ledger)
        retained = ledger.retained() if ledger.capacity_bytes else {}
        for topic, partitions, _ in TOPICS:
            if topic not in topics:
                if any(place[0] == topic for place in ledger.must):
                    ledger.fail(f"topic {topic} is gone")
                continue
            for index in range(partitions):
                verify_partition(broker, (topic, index), ledger, retained, overwriting)
        for (topic, index), (acknowledged, sent) in ledger.commits.items():
            found = committed_offset(broker, GROUP, topic, index)
            if not acknowledged <= found <= sent and (found, acknowledged) != (-1, 0):
                ledger.fail(f"committed {found} for {topic}-{index}, not {acknowledged} to {sent}")
            ledger.commits[topic, index][0] = max(found, acknowledged)
    ledger.counts["verified"] += 1


def verify_topics(topics, ledger):
    for name, state in list(ledger.topics.items()):
        if state == "made" and name not in topics:
            ledger.fail(f"topic {name} was made and is gone")
        if state == "deleted" and name in topics:
            ledger.fail(f"topic {name} was deleted and is back")
        if state == "asked":
            # Either is right, and whichever it is, it stays.
            ledger.topics[name] = "made" if name in topics else "deleted"
        if ledger.topics[name] == "deleted":
            del ledger.topics[name]


def overwritten_in(said):
    """What a broker's log names as overwritten: {place: the last offset}."""
    lines = "".join(line for line in said.splitlines() if " is overwritten: " in line)
    named = re.findall(r", (\S+)-(\d+) from \d+ to (\d+)", lines)
    return {(topic, int(index)): int(last) for topic, index, last in named}


def verify_partition(broker, place, ledger, retained, overwriting):
    error, _, start = broker.list_offset(*place, rawkafka.EARLIEST)
    rawkafka.check(error, f"ListOffsets {place}")
    error, _, end = broker.list_offset(*place, rawkafka.LATEST)
    rawkafka.check(error, f"ListOffsets {place}")
    start_before, end_before = ledger.bounds.get(place, (0, 0))
    if start < start_before or end < end_before:
        ledger.fail(f"{place}: {start}..{end} after {start_before}..{end_before}")
    ledger.bounds[place] = (start, end)
    owed = ledger.must[place]
    if owed and max(owed) >= end:
        ledger.fail(f"{place}: {max(owed)} was {owed[max(owed)]}, the end is {end}")
    found, offset, epoch = {}, start, 0
    # Where all of it is being overwritten there is nothing to be led to, and nothing is lost yet.
    waits = overwriting is not None and overwriting.get(place, -1) >= end - 1
    while offset < end:
        error, _, data = broker.fetch(*place, offset, 4 << 20, wait_ms=0)
        rawkafka.check(error, f"Fetch {place} at {offset}")
        batches = rawkafka.parse_batches(data)
        if not batches and waits:
            return
        if not batches:
            ledger.fail(f"{place}: a reader comes no further than {offset} of {end}")
            break
        for batch in batches:
            for delta, key in enumerate(ledger.seen(place, batch)):
                found[batch.base_offset + delta] = key
            if batch.leader_epoch < epoch:
                ledger.fail(f"{place} at {batch.base_offset}: epoch {batch.leader_epoch} after {epoch}")
            epoch = max(epoch, batch.leader_epoch)
        offset = batches[-1].next_offset
    ledger.evicted(place, start)
    # Readers are led past what is being overwritten before the log start moves.
    first = start if overwriting is None else min(found, default=start)
    if place in retained and first > retained[place]:
        ledger.fail(f"{place}: the log starts at {first}, and the ring had room from {retained[place]}")
    if ledger.released is not None:
        gone = [offset for offset in owed if ledger.released[place] <= offset < first]
        if gone:
            ledger.fail(f"{place}: {len(gone)} records from {min(gone)} on were held, and are evicted")
    lost = [offset for offset in owed if offset not in found and offset >= first]
    if lost:
        which = ", ".join(f"{offset} ({owed[offset]})" for offset in sorted(lost)[:5])
        ledger.fail(f"{place}: lost {len(lost)} records of {start}..{end}: {which}")
        for offset in lost:
            del owed[offset]
    verify_order(place, found, ledger)


def verify_order(place, found, ledger):
    newest = {}
    for offset in sorted(found):
        producer, number = found[offset]
        before = newest.get(producer, -1)
        if number <= before:
            ledger.fail(f"{place} at {offset}: {producer}/{number} behind {producer}/{before}")
        elif place[0] == "once" and before >= 0 and number != before + 1:
            ledger.fail(f"{place} at {offset}: {producer}/{number} follows {producer}/{before}")
        newest[producer] = number
