"""Clients at work on a broker that may lose its power at any moment; what they were promised is in the
ledger."""

import collections
import random
import struct
import threading
import time

import rawkafka
from batches import Sent, encode, encode_keyed
from ledger import KEYED, NOT_ENOUGH_REPLICAS
from rings import COMPACTED, METADATA, PLACES, TOPICS

GROUP = "powercut"
# Whose offsets `Load.commit` commits, and how long what goes with them may be.
COMMITTED = [("plain", 0), ("plain", 1), ("plain", 2), ("alarms", 0), ("held", 0), ("keyed", 0)]
NOTE_BYTES, NOTE_BYTES_MAX = 20, 3900
# The producer of `produce_in_turn`.
IN_TURN = 9
# How long producers of `Load` let a request wait.
PRODUCE_MS_MAX = 1000
VALUE_BYTES = (18, 120, 1000, 6000, 60_000)
# Keys live for long, and few of their bytes are to be written once more.
KEYED_VALUE_BYTES = (18, 120, 1000)
RECORDS_MAX = 6
# How long who writes to another ring than the one that a cut is meant for rests after each batch.
ELSEWHERE_PAUSE = 0.05
# What a client meets when the broker goes away in the middle of a sentence.
GONE = (OSError, rawkafka.Closed, ValueError, IndexError, struct.error)


class Load:
    """Clients at work on a broker, until `stop` or until the broker is gone. `busy`: the ring that most is
    written to; `holds`: nobody commits for a held ring, until `release`."""

    def __init__(self, host, port, ledger, seed, busy=None, holds=False):
        self.host, self.port, self.ledger, self.seed = host, port, ledger, seed
        self.busy = busy
        self.stopping, self.full = threading.Event(), threading.Event()
        self.released = threading.Event()
        if not holds:
            self.released.set()
        self.threads = []

    def start(self):
        """Starts the clients; the topics are there."""
        jobs = [
            (self.produce, 1, [("plain", 0), ("plain", 1)], 1, 1),
            (self.produce, 2, [("plain", 1), ("plain", 2), ("plain", 0)], 8, -1),
            (self.produce, 3, [("relaxed", 0)], 4, -1),
            (self.produce_once, 4, ("once", 0), 5),
            (self.produce_once, 5, ("once", 1), 1),
            (self.produce, KEYED, [("keyed", 0), ("keyed", 1)], 4, -1),
            (self.produce, 7, [("alarms", 0)], 4, -1),
            (self.produce_once, 8, ("alarms", 1), 3),
            (self.produce, 10, [("held", 0)], 4, -1),
            (self.produce_once, 11, ("held", 1), 3),
            (self.produce, 12, [("held-not", 0)], 3, -1),
            (self.consume,),
            (self.commit,),
            (self.hold,),
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
        sizes = KEYED_VALUE_BYTES if producer == KEYED else VALUE_BYTES
        return first, tuple(chance.choice(sizes) for _ in range(count))

    def _rest(self, place):
        """Leaves the machine to those who write to the ring that is aimed at."""
        if self.busy is not None and self.ledger.rings.of(place[0]).name != self.busy:
            self.stopping.wait(ELSEWHERE_PAUSE)

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
                    data = encode_keyed(sent) if place[0] in COMPACTED else encode(sent)
                    entry = self.ledger.sending(sent, len(data))
                    body = broker.produce_body(*place, data, acks, PRODUCE_MS_MAX)
                    waiting.append((broker.send(rawkafka.PRODUCE, 3, body), place, sent, entry))
                correlation, place, sent, entry = waiting.popleft()
                error, offset = broker.produce_answer(broker.receive(correlation))
                if error == 0:
                    self.ledger.acknowledged(sent, offset, entry)
                elif not self.ledger.may_wait(error, place):
                    self.ledger.fail(f"error {error} for a batch to {place}", place[0])
                if error == NOT_ENOUGH_REPLICAS:
                    self.full.set()
                self._rest(place)

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
                if self.ledger.may_wait(error, place):
                    # From this batch on, all of them again, over a new connection.
                    raise rawkafka.Closed("to be sent again")
                if error != 0:
                    text = f"error {error} for idempotent batch {sent.first} to {place}"
                    self.ledger.fail(text, place[0])
                    raise rawkafka.Closed("given up")
                self.ledger.acknowledged(sent, offset, entry)
                unanswered.popleft()
                self._rest(place)

    def _send_once(self, broker, sent):
        data = encode(sent)
        entry = self.ledger.sending(sent, len(data))
        body = broker.produce_body(*sent.place, data, -1, PRODUCE_MS_MAX)
        return broker.send(rawkafka.PRODUCE, 3, body), entry

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
                            text = f"{place}: {batch.next_offset} is shown, the end is {end}"
                            self.ledger.fail(text, place[0])
                        self.ledger.seen(place, batch)
                        at[place] = max(at[place], batch.next_offset)

    def commit(self):
        """Commits rising offsets of some partitions at once."""
        busy = self.busy == METADATA
        with self.connect() as broker:
            while not self.stopping.is_set():
                commit_next(broker, self.ledger, NOTE_BYTES_MAX if busy else NOTE_BYTES)
                self.stopping.wait(0 if busy else 0.02)

    def hold(self):
        """The holder of a held ring, which commits a part of what is there, or all of it."""
        places, chance = self.ledger.rings.held_places, random.Random(f"{self.seed} {time.monotonic()}")
        with self.connect() as broker:
            while places and not self.stopping.is_set():
                if self.released.wait(0.1):
                    release(broker, self.ledger, chance.choice((0.5, 1)))
                    self.stopping.wait(0.05)

    def administer(self):
        """Creates topics, and deletes all but a few of them again."""
        with self.connect() as broker:
            while not self.stopping.is_set():
                with self.ledger.lock:
                    number = self.ledger.numbers["topic"]
                    self.ledger.numbers["topic"] += 1
                    self.ledger.topics[f"made-{number}"] = "asked"
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


def produce_in_turn(broker, ledger, place, count):
    """So many batches, each sent once the one before is acknowledged: so many syncs at the least."""
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


# ---- committed offsets ----


def note_of(offset, length):
    """What is committed with an offset."""
    return (f"{offset}|" * length)[:length]


def commit_next(broker, ledger, note_bytes=NOTE_BYTES):
    """Commits the next offset of each partition of `COMMITTED`."""
    wanted = {}
    with ledger.lock:
        for place in COMMITTED:
            entry = ledger.commits.setdefault((GROUP, *place), [0, 0])
            entry[1] += 1
            wanted[place] = entry[1]
    commit_offsets(broker, GROUP, wanted, note_bytes)
    with ledger.lock:
        for place, offset in wanted.items():
            entry = ledger.commits[(GROUP, *place)]
            entry[0] = max(entry[0], offset)


def release(broker, ledger, share=1):
    """The holder of a held ring commits past what is there, or a part of that."""
    for topic, index in ledger.rings.held_places:
        error, _, end = broker.list_offset(topic, index, rawkafka.LATEST)
        rawkafka.check(error, f"ListOffsets {topic}-{index}")
        with ledger.lock:
            before = ledger.released[topic, index]
            offset = before + int((end - before) * share)
            ledger.released[topic, index] = offset
            entry = ledger.commits.setdefault((ledger.rings.of(topic).holder, topic, index), [0, 0])
            entry[1] = offset
        commit_offsets(broker, ledger.rings.of(topic).holder, {(topic, index): offset}, NOTE_BYTES)
        with ledger.lock:
            entry[0] = max(entry[0], offset)


def commit_offsets(broker, group, offsets, note_bytes):
    """OffsetCommit 2 by no member of the group, of {partition: offset}."""
    topics = [
        rawkafka.string(topic) + rawkafka.array(
            [struct.pack(">iq", index, offset) + rawkafka.string(note_of(offset, note_bytes))]
        )
        for (topic, index), offset in offsets.items()
    ]
    body = rawkafka.string(group) + struct.pack(">i", -1) + rawkafka.string("")
    body += struct.pack(">q", -1) + rawkafka.array(topics)
    reader = broker.request(rawkafka.OFFSET_COMMIT, 2, body)
    answer = reader.array(lambda: (reader.string(), reader.array(lambda: reader.unpack("ih"))))
    for _, partitions in answer:
        for _, error in partitions:
            rawkafka.check(error, "OffsetCommit")


def committed_offset(broker, group, topic, partition):
    """OffsetFetch 1: (offset, −1 for none, what goes with it)."""
    topics = rawkafka.array([rawkafka.string(topic) + rawkafka.array([struct.pack(">i", partition)])])
    reader = broker.request(rawkafka.OFFSET_FETCH, 1, rawkafka.string(group) + topics)

    def answer():
        _index, offset, note, error = (
            reader.unpack("i"), reader.unpack("q"), reader.string(), reader.unpack("h"),
        )
        rawkafka.check(error, "OffsetFetch")
        return offset, note

    return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]
