#!/usr/bin/env python3
"""MirrorMaker 2, from brooklet into a real Kafka.

    run.py [--binary PATH] [--keep] [CASE...]    parts of the names of the cases below

Each case has a broker of its own as the source; one Kafka is the target of all. What arrives there
is compared with what clients produced: keys, values, headers, timestamps, order, partitions.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers
import install
import programs
import rawkafka
import workers
from brokers import WAIT_SECONDS_MAX, wait

LIBS = install.CACHE / "mirror" / "libs"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# When records say they are from.
STAMP = 1_700_000_000_000

# The target is a single broker, and topics are those of the case.
HERE_ONLY = """
replication.factor = 1
checkpoints.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
heartbeats.topic.replication.factor = 1
edge->up.topics = {topics}
"""
# The rest makes it look more often, so that a case takes seconds instead of minutes.
IMPATIENT = """
refresh.topics.interval.seconds = 3
refresh.groups.interval.seconds = 3
emit.checkpoints.interval.seconds = 2
sync.group.offsets.interval.seconds = 2
up.offset.flush.interval.ms = 2000
up.scheduled.rebalance.max.delay.ms = 0
up.session.timeout.ms = 10000
"""
# Committed offsets are translated and committed there.
GROUPS = """
sync.group.offsets.enabled = true
"""
# The mirror reports at the latest after so many records of a partition: its default.
OFFSET_LAG_MAX = 100
NOT_ENOUGH_REPLICAS = 19
# What is on unless docs/mirror.md switches it off.
HEARTBEATS = """
emit.heartbeats.enabled = true
"""
# Nothing is written to the source: nothing releases a ring that is held for the mirror.
TARGET_SYNCS = """
offset-syncs.topic.location = target
sync.topic.acls.enabled = false
"""
# Records alone.
MINIMAL = """
emit.checkpoints.enabled = false
emit.offset-syncs.enabled = false
sync.topic.configs.enabled = false
sync.topic.acls.enabled = false
refresh.groups.enabled = false
"""


class Mirror(programs.Program):
    """MirrorMaker 2 as a process of its own. It listens nowhere."""

    name = "mirror"

    def __init__(self, directory, alias, source, target, topics, extra=""):
        super().__init__(directory=directory)
        self.properties = self.home / "mirror.properties"
        text = documented() + HERE_ONLY + IMPATIENT + extra
        lines = text.replace("edge", alias).splitlines()
        if "emit.offset-syncs.enabled = false" in lines:
            # MirrorMaker refuses settings of what is switched off.
            lines = [line for line in lines if not line.startswith("offset-syncs.")]
        text = "\n".join(lines).replace("{topics}", topics)
        text = text.replace(f"{alias}.example:9092", source.bootstrap)
        text = text.replace("kafka.example:9092", target.bootstrap)
        self.properties.write_text(text)

    def command(self):
        main = "org.apache.kafka.connect.mirror.MirrorMaker"
        return programs.jvm(f"{LIBS}/*", main, self.properties)


def documented():
    """The shortest configuration of docs/mirror.md."""
    text = (HERE.parents[1] / "docs" / "mirror.md").read_text()
    return re.search("```properties\n(.*?)```", text, re.S).group(1)


class Bench:
    """A source, the target, and what was produced: {(topic, partition): {offset: record}}."""

    def __init__(self, options, home, target, name, settings=()):
        self.prefix, self.home, self.target = name, home / name, target
        # MirrorMaker keeps its state by this name, in topics of the target.
        self.alias = name
        self.home.mkdir()
        (self.home / "source").mkdir()
        settings = ["ring.segment_bytes=4 MiB", *settings]
        self.source = brokers.Brooklet(options.binary, 0, self.home / "source", settings)
        self.binary = options.binary
        self.mirror, self.streams = None, {}
        self.sent, self.lock, self.failed = {}, threading.Lock(), []

    def topic(self, name, partitions=1, configs=()):
        """Makes a topic of this case."""
        topic = f"{self.prefix}.{name}"
        with rawkafka.Connection(self.source.host, self.source.port) as broker:
            broker.create_topic(topic, partitions, configs=dict(configs))
        return topic

    def start_mirror(self, extra=""):
        """Starts MirrorMaker for the topics of this case."""
        (self.home / "mirror").mkdir(exist_ok=True)
        self.mirror = Mirror(
            self.home / "mirror", self.alias, self.source, self.target,
            f"{self.prefix}\\\\..*", extra,
        )
        self.mirror.start()

    def producer(self, **settings):
        """A producer that notes what was acknowledged."""
        from confluent_kafka import Producer

        return Producer({"bootstrap.servers": self.source.bootstrap, "linger.ms": 5, **settings})

    def send(self, producer, topic, partition, key, value, headers=(), timestamp=0):
        """Produces one record."""

        def delivered(error, message):
            with self.lock:
                if error:
                    self.failed.append(error)
                    return
                place = self.sent.setdefault((topic, partition), {})
                place[message.offset()] = (timestamp, key, value, list(headers))

        while True:
            try:
                return producer.produce(
                    topic, value, key, partition, on_delivery=delivered,
                    headers=list(headers), timestamp=timestamp,
                )
            except BufferError:
                producer.poll(0.1)

    def flush(self, producer, seconds=WAIT_SECONDS_MAX):
        """Waits until all of it is acknowledged."""
        left = producer.flush(seconds)
        if left or self.failed:
            raise AssertionError(f"{left} not delivered; {self.failed[:3]}")

    def arrived(self, topic, partition):
        """The records of a topic's partition in the target, in their order."""
        with rawkafka.Connection(self.target.host, self.target.port) as broker:
            batches = broker.fetch_batches(f"{self.alias}.{topic}", partition, 0)
        return [
            (record.timestamp, record.key, record.value, record.headers)
            for batch in batches
            for record in batch.records()
        ]

    def wait_for_all(self, twice=False):
        """Waits until everything that was acknowledged is in the target, and compares. `twice`:
        what a mirror did again after it was killed may be there again."""
        for (topic, partition), sent in sorted(self.sent.items()):
            expected = [sent[offset] for offset in sorted(sent)]

            def complete():
                try:
                    found = self.arrived(topic, partition)
                except (rawkafka.KafkaError, rawkafka.Closed, OSError):
                    return None
                there = once(found) if twice else found
                return found if len(there) >= len(expected) else None

            found = wait(complete, f"{len(expected)} records of {topic}-{partition}")
            compare(once(found) if twice else found, expected, f"{topic}-{partition}")

    def status(self):
        """What `brooklet status` says."""
        command = [self.binary, "status", "--json", "--data", self.source.home / "data"]
        done = subprocess.run([str(part) for part in command], capture_output=True, timeout=20)
        return json.loads(done.stdout)

    def hold(self):
        """What it says of the ring's hold."""
        return self.status()["rings"]["main"]["hold"]

    def processes(self):
        """What runs for this case alone."""
        return [process for process in (self.mirror, self.source) if process is not None]

    def close(self):
        """Ends all."""
        for stream in self.streams.values():
            stream.kill()
        for process in self.processes():
            process.stop("kill")


def once(records):
    """Each record where it comes first. They are told apart by their values."""
    seen, out = set(), []
    for record in records:
        if record[2] not in seen:
            seen.add(record[2])
            out.append(record)
    return out


def compare(found, expected, where):
    """The same records in the same order."""
    for place, (have, want) in enumerate(zip(found, expected)):
        if have != want:
            raise AssertionError(f"{where}, record {place}: {have!r:.300} instead of {want!r:.300}")
    if len(found) != len(expected):
        raise AssertionError(f"{where}: {len(found)} records instead of {len(expected)}")


# ---- cases -------------------------------------------------------------------------------


def default_flags(bench):
    """Every record, key, header and timestamp; new partitions; translated offsets."""
    everything_arrives(bench, GROUPS + HEARTBEATS)
    topics = topics_of(bench.source)
    if "mm2-offset-syncs.up.internal" not in topics or "heartbeats" not in topics:
        raise AssertionError(f"MirrorMaker wrote nothing to the source: {topics}")


def target_syncs(bench):
    """The same, and nothing is written to the source."""
    everything_arrives(bench, GROUPS + TARGET_SYNCS)
    nothing_was_written(bench)


def minimal(bench):
    """Records alone: no offsets, no settings."""
    everything_arrives(bench, MINIMAL, groups=False)
    nothing_was_written(bench)


def everything_arrives(bench, extra, groups=True):
    """Records of every kind, of before and after the mirror began."""
    bench.source.start()
    kinds = bench.topic("kinds", 2)
    codecs = bench.topic("codecs", 3)
    every_kind(bench, kinds)
    every_codec(bench, codecs, "before")
    bench.start_mirror(extra)
    bench.wait_for_all()
    every_codec(bench, codecs, "after")
    late = bench.topic("late", 4)
    every_kind(bench, late)
    more_partitions(bench, codecs, 5)
    every_codec(bench, codecs, "with more partitions", 5)
    bench.wait_for_all()
    for topic, partitions in ((kinds, 2), (codecs, 5), (late, 4)):
        have = topics_of(bench.target).get(f"{bench.alias}.{topic}")
        if have != partitions:
            raise AssertionError(f"{topic} has {have} partitions, not {partitions}")
    if groups:
        offsets_are_translated(bench, codecs)


def every_kind(bench, topic):
    """Keys, no keys, headers, tombstones, empty and large values, and all timestamps."""
    producer = bench.producer()
    records = (
        (b"key", b"value", ()),
        (None, b"no key", ()),
        (b"tombstone", None, ()),
        (b"", b"", ()),
        (b"headers", b"v", (("h", b"1"), ("h", b"2"), ("null", None), ("\u00e4", b""))),
        (b"bytes", bytes(range(256)) * 300, ()),
        (b"large", b"x" * 900_000, ()),
    )
    for partition in (0, 1):
        for number, (key, value, headers) in enumerate(records):
            bench.send(producer, topic, partition, key, value, headers, STAMP - 9_999_999 * number)
    bench.flush(producer)


def every_codec(bench, topic, mark, partitions=3):
    """Batches of each codec, idempotent and not."""
    for number, codec in enumerate(CODECS):
        idempotent = {"enable.idempotence": number % 2 == 0}
        producer = bench.producer(**{"compression.type": codec, **idempotent})
        for count in range(60):
            text = f"{mark} {codec} {count} ".encode()
            bench.send(
                producer, topic, count % partitions, b"k%d" % count, text * 20,
                [("codec", codec.encode())], STAMP + count,
            )
        bench.flush(producer)


def more_partitions(bench, topic, count):
    """CreatePartitions, and waits until the mirror has seen it."""
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient({"bootstrap.servers": bench.source.bootstrap})
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(20)


def offsets_are_translated(bench, topic):
    """What a group committed here is committed there, for the same records."""
    from confluent_kafka import Consumer, TopicPartition

    def consumer(broker):
        return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"{bench.prefix}-g"})

    ends = {partition: max(sent) + 1 for (name, partition), sent in bench.sent.items()
            if name == topic}
    here = consumer(bench.source)
    here.commit(
        offsets=[TopicPartition(topic, partition, end) for partition, end in ends.items()],
        asynchronous=False,
    )
    there = consumer(bench.target)
    wanted = [TopicPartition(f"{bench.alias}.{topic}", partition) for partition in ends]

    def translated():
        found = there.committed(wanted, timeout=20)
        have = {entry.partition: entry.offset for entry in found}
        counts = {partition: len(bench.sent[topic, partition]) for partition in ends}
        return have == counts

    wait(translated, f"translated offsets of {topic}")
    here.close()
    there.close()


def group_fails_over(bench):
    """A group that has stopped here goes on there: it misses nothing, and what it gets twice lies
    between two reports of the mirror."""
    topic, had = group_begins(bench)
    for number in range(1, 10):
        group_records(bench, topic, 100 * number)
        bench.wait_for_all()
    stops = {partition: 1_000 - 20 * (partition + 1) for partition in range(3)}
    had |= group_reads(bench, bench.source, topic, stops)
    wait(lambda: checkpoints(bench, topic) == stops, "the last commits, translated")
    bench.source.stop("kill")
    starts = translated(bench, topic)
    for partition, stop in stops.items():
        # Of what lies further back the mirror remembers ever fewer reports, with distances that
        # double: four times as far as it is to the newest one at the most.
        most = OFFSET_LAG_MAX + 4 * (1_000 - stop)
        if not 0 <= stop - starts[partition] <= most:
            raise AssertionError(f"{topic}-{partition}: {starts[partition]} instead of {stop}")
    return group_goes_on(bench, topic, had, starts)


def group_loses_its_broker(bench):
    """The broker is killed before the last records and commits are mirrored: the group goes on
    there with what has arrived, and misses none of it."""
    topic, had = group_begins(bench)
    group_records(bench, topic, 100, 900)
    # What the group has had may be further than what has been mirrored, and than its offsets there.
    had |= group_reads(bench, bench.source, topic, {partition: 900 for partition in range(3)})
    bench.source.stop("kill")
    return group_goes_on(bench, topic, had, translated(bench, topic))


def group_begins(bench):
    """A topic with three partitions, a group that has read all that is there, and a mirror that has
    translated this: of what was committed before it began to it translates nothing. Gives the topic
    and what the group had."""
    bench.source.start()
    topic = bench.topic("group", 3)
    bench.start_mirror(GROUPS)
    group_records(bench, topic, 0)
    bench.wait_for_all()
    stops = {partition: 100 for partition in range(3)}
    had = group_reads(bench, bench.source, topic, stops)
    wait(lambda: checkpoints(bench, topic) == stops, "the first commits, translated")
    return topic, had


def group_records(bench, topic, first, count=100):
    """So many records for each of the three partitions."""
    producer = bench.producer()
    for number in range(3 * first, 3 * (first + count)):
        bench.send(producer, topic, number % 3, b"k", b"%d" % number, (), STAMP + number)
        producer.poll(0)
    bench.flush(producer)


def group_reads(bench, broker, topic, stops):
    """Two members read up to these offsets, {partition: offset}, and commit them. Gives what they
    had: {(partition, offset): value}."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": f"{bench.prefix}-g",
        # Here it begins with the oldest, there with what is committed and never with anything else.
        "auto.offset.reset": "earliest" if broker is bench.source else "error",
        "enable.auto.commit": False,
        "session.timeout.ms": 10_000,
    }
    members = [Consumer(settings) for _ in range(2)]
    had, reached = {}, {}
    for member in members:
        member.subscribe([topic])

    def read():
        for member in members:
            for message in member.consume(500, 0.2):
                if message.error():
                    raise AssertionError(f"{topic}: {message.error()}")
                partition, offset = message.partition(), message.offset()
                if offset < stops.get(partition, 0):
                    had[partition, offset] = message.value()
                    reached[partition] = max(reached.get(partition, 0), offset + 1)
        return reached == stops and all(member.assignment() for member in members)

    wait(read, f"{topic} read up to {stops}")
    ends = [TopicPartition(topic, partition, offset) for partition, offset in stops.items()]
    # Each commits what it was assigned.
    for member in members:
        mine = {where.partition for where in member.assignment()}
        member.commit(offsets=[end for end in ends if end.partition in mine], asynchronous=False)
    for member in members:
        member.close()
    return had


def group_goes_on(bench, topic, had, starts):
    """The same group reads all that arrived, from where it was; nothing is missing then."""
    wanted = {
        (partition, offset): record[2]
        for partition in range(3)
        for offset, record in enumerate(bench.arrived(topic, partition))
    }
    ends = {partition: max(o for p, o in wanted if p == partition) + 1 for partition in range(3)}
    left = {partition: end for partition, end in ends.items() if starts[partition] < end}
    there = group_reads(bench, bench.target, f"{bench.alias}.{topic}", left)
    for partition in left:
        first = min(offset for where, offset in there if where == partition)
        if first != starts[partition]:
            raise AssertionError(f"{topic}-{partition} went on at {first}, not {starts[partition]}")
    missing = sorted(wanted.keys() - had.keys() - there.keys())
    if missing:
        raise AssertionError(f"{topic}: the group never got {len(missing)}: {missing[:9]}")
    for where, value in (had | there).items():
        if where in wanted and value != wanted[where]:
            raise AssertionError(f"{topic} at {where}: {value}, not {wanted[where]}")
    twice = len(had.keys() & there.keys())
    return f"{len(had)} records here, {len(there)} there, {twice} of them twice"


def translated(bench, topic):
    """What is committed for the group there: {partition: offset}."""
    found = {}
    with rawkafka.Connection(bench.target.host, bench.target.port) as broker:
        for partition in range(3):
            where = (f"{bench.prefix}-g", f"{bench.alias}.{topic}", partition)
            error, offset = broker.committed(*where)
            if not error and offset >= 0:
                found[partition] = offset
    return found


def checkpoints(bench, topic):
    """Which commits of the group are translated and committed there: {partition: offset here}."""
    committed, found = translated(bench, topic), {}
    with rawkafka.Connection(bench.target.host, bench.target.port) as broker:
        batches = broker.fetch_batches(f"{bench.alias}.checkpoints.internal", 0, 0)
    for record in (record for batch in batches for record in batch.records()):
        key = rawkafka.Reader(record.key)
        _, where, partition = key.string(), key.string(), key.unpack("i")
        _, here, there = struct.unpack_from(">hqq", record.value)
        if where == f"{bench.alias}.{topic}" and committed.get(partition) == there:
            found[partition] = here
    return found


def nothing_was_written(bench):
    """Only the case's own topics are in the source."""
    others = [topic for topic in topics_of(bench.source) if not topic.startswith(bench.prefix)]
    if others:
        raise AssertionError(f"the mirror wrote {others} to the source")


def topics_of(broker):
    """{topic: number of partitions}."""
    with rawkafka.Connection(broker.host, broker.port) as connection:
        _, _, topics = connection.metadata()
    return {name: len(partitions) for name, (_, partitions) in topics.items()}


def brooklet_killed(bench):
    """The source is killed again and again under load: every record arrives once."""
    load_and_kill(bench, lambda: bench.source.restart("kill"))
    bench.wait_for_all()


def mirror_killed(bench):
    """The mirror is killed again and again under load: nothing is lost, nothing is invented."""
    load_and_kill(bench, lambda: bench.mirror.restart("kill"))
    bench.wait_for_all(twice=True)


def load_and_kill(bench, kill):
    """Produces while something is killed and started three times."""
    bench.source.start()
    topic = bench.topic("load", 3)
    bench.start_mirror()
    producer = bench.producer(**{"enable.idempotence": True, "acks": "all"})
    stop = threading.Event()

    def load():
        number = 0
        while not stop.is_set():
            value = b"%d" % number + b" " * 300
            bench.send(producer, topic, number % 3, b"k", value, (), STAMP + number)
            number += 1
            producer.poll(0.002)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        for _ in range(3):
            before = sum(len(sent) for sent in bench.sent.values())
            wait(lambda: sum(map(len, bench.sent.values())) > before + 300, "more records")
            wait(lambda: len(arrived_quietly(bench, topic)) > 0, "the first records")
            kill()
    finally:
        stop.set()
        loading.join()
    bench.flush(producer)


def arrived_quietly(bench, topic):
    try:
        return bench.arrived(topic, 0)
    except (rawkafka.KafkaError, rawkafka.Closed, OSError):
        return []


def over_a_hole(bench):
    """Records that a power cut took, or that are damaged, stop no mirror: it goes on behind them."""
    bench.source.start()
    bench.start_mirror()
    torn, damaged, other = (bench.topic(name) for name in ("torn", "damaged", "other"))
    for topic, how, mark in ((torn, "kill", "0" * 32), (damaged, "term", "1" * 32)):
        numbered(bench, topic, "before")
        bench.wait_for_all(twice=True)
        # The mirror waits behind these, and shall never see them.
        bench.mirror.stop("kill")
        lose(bench, topic, other, mark, how)
        bench.mirror.start()
        numbered(bench, topic, "behind")
        bench.wait_for_all(twice=True)


def numbered(bench, topic, mark, count=10):
    """Some records, one by one."""
    producer = bench.producer()
    for number in range(count):
        bench.send(producer, topic, 0, b"k", f"{mark} {number}".encode(), (), STAMP)
        bench.flush(producer)


def lose(bench, topic, other, mark, how):
    """Three records of a topic are lost in a restart; when stopped by "term", ones that others
    prove to have been acknowledged."""
    with rawkafka.Connection(bench.source.host, bench.source.port) as broker:
        _, _, end = broker.list_offset(topic, 0, rawkafka.LATEST)
        records = [rawkafka.record(b"k", value) for value in (mark.encode(), b"lost", b"lost")]
        rawkafka.check(broker.produce(topic, 0, rawkafka.batch(records))[0], "Produce")
        if how == "term":
            proof = rawkafka.batch([rawkafka.record(b"k", b"proof")], timestamp=STAMP)
            rawkafka.check(broker.produce(other, 0, proof)[0], "Produce")
            bench.sent[other, 0] = {0: (STAMP, b"k", b"proof", [])}
    bench.source.restart(how, spoil=mark)
    with rawkafka.Connection(bench.source.host, bench.source.port) as broker:
        _, _, behind = broker.list_offset(topic, 0, rawkafka.LATEST)
        if behind != end + 3:
            raise AssertionError(f"{topic} ends at {behind}, not {end + 3}: nothing was lost")


def held_ring(bench):
    """A full ring keeps all records, and its producers wait, until the mirror comes."""
    bench.source.start()
    topic = bench.topic("held", 2)
    producer = bench.producer(**{"message.timeout.ms": 600_000})
    # Three times what the ring can hold.
    total = 3 * 3 * 4 * 1024 * 1024 // 50_000

    def load():
        for number in range(total):
            value = b"%d" % number + b" " * 50_000
            bench.send(producer, topic, number % 2, b"k", value, (), STAMP + number)
            producer.poll(0)

    loading = threading.Thread(target=load)
    loading.start()
    wait(lambda: bench.hold()["is_full"] and bench.hold()["producers_waiting"], "a full ring")
    hold = bench.hold()
    if hold["full_percent"] < 80 or hold["for"]["mirror:up"]["never_reported_partitions"] != 2:
        raise AssertionError(f"status: {hold}")
    sent = sum(map(len, bench.sent.values()))
    if sent >= total:
        raise AssertionError("the ring was never full")
    # Killed while it is full: nothing goes, and the producer comes back by itself.
    bench.source.restart("kill")
    wait(lambda: bench.hold()["is_full"] and bench.hold()["producers_waiting"], "full again")
    # Its reports are read whatever they are compressed with.
    bench.start_mirror("edge.producer.compression.type = zstd")
    loading.join(WAIT_SECONDS_MAX)
    bench.flush(producer)
    bench.wait_for_all()
    wait(lambda: bench.hold()["for"]["mirror:up"]["lag_records"] == 0, "a lag of 0")
    hold = bench.hold()
    if hold["is_full"] or hold["producers_waiting"]:
        raise AssertionError(f"status: {hold}")
    written = bench.status()["rings"]["main"]["wear"]
    if written["segments_overwritten_total"] < 4:
        raise AssertionError(f"the ring never came round: {written}")


def held_clients(bench):
    """Producers of each kind wait while a held ring is full, are answered and ask again, and go on
    by themselves once the mirror reports."""
    bench.source.start()
    fill = bench.topic("fill", 1)
    clients = {client.name: bench.topic(client.name) for client in STREAMING}
    bench.start_mirror()
    numbered(bench, fill, "before")
    bench.wait_for_all()
    # It stands still, as behind an uplink that is away, and need not be started then.
    bench.mirror.process.send_signal(signal.SIGSTOP)
    producer = bench.producer(**{"message.timeout.ms": 0})
    for number in range(3 * 4 * 1024 * 1024 // 50_000 + 60):
        bench.send(producer, fill, 0, b"k", b"%d" % number + b" " * 50_000, (), STAMP + number)
        producer.poll(0)
    wait(lambda: bench.hold()["is_full"] and bench.hold()["producers_waiting"], "a full ring")
    fill_up(bench, fill)
    before = bench.status()["waiting"]["producers_total"]
    for client in STREAMING:
        worker = client(types.SimpleNamespace(bootstrap=bench.source.bootstrap))
        bench.streams[client.name] = worker.stream(clients[client.name])
    wait(lambda: bench.hold()["producers_waiting"] > len(STREAMING), "all producers that wait")
    # The more impatient ones have been answered meanwhile, and wait once more.
    again = lambda: bench.status()["waiting"]["producers_total"] - before
    wait(lambda: again() >= len(STREAMING) + 2, "producers that ask again")
    early = [name for name, stream in bench.streams.items() if stream.started.is_set()]
    if early or not bench.hold()["is_full"]:
        raise AssertionError(f"acknowledged though the ring is full: {early}")
    asked = again()
    bench.mirror.process.send_signal(signal.SIGCONT)
    for name, stream in bench.streams.items():
        if not stream.started.wait(WAIT_SECONDS_MAX):
            raise AssertionError(f"{name} does not go on: {stream.failures[:3]}")
    for name in bench.streams:
        wait(lambda: end_of(bench.source, clients[name]) >= 10, f"ten records of {name}")
    sent = {name: stream.stop() for name, stream in bench.streams.items()}
    bench.flush(producer)
    failures = {name: stream.failures for name, stream in bench.streams.items() if stream.failures}
    if failures:
        raise AssertionError(f"programs were told of failures: {failures}")
    bench.wait_for_all()
    for name, numbers in sent.items():
        wanted = [b"%d" % number for number in numbers]
        there = lambda: [record[2] for record in bench.arrived(clients[name], 0)]
        wait(lambda: len(there()) >= len(wanted), f"{len(wanted)} records of {name}")
        if there() != wanted or numbers != list(range(len(numbers))):
            raise AssertionError(f"{name}: {len(there())} records arrived of {len(wanted)}")
    counted = ", ".join(f"{name} {len(numbers)}" for name, numbers in sent.items())
    return f"{asked} requests waited; then {counted}"


def end_of(broker, topic):
    """The offset behind the last record."""
    with rawkafka.Connection(broker.host, broker.port) as connection:
        return connection.list_offset(topic, 0, rawkafka.LATEST)[2]


def fill_up(bench, topic):
    """What is left beside a large batch that waits is filled by small ones, until one is refused."""
    with rawkafka.Connection(bench.source.host, bench.source.port) as broker:
        for number in range(2_000):
            value = b"small %d" % number
            data = rawkafka.batch([rawkafka.record(b"k", value)], timestamp=STAMP)
            error, offset = broker.produce(topic, 0, data, timeout_ms=1_000)
            if error == NOT_ENOUGH_REPLICAS:
                return
            rawkafka.check(error, "Produce")
            bench.sent[topic, 0][offset] = (STAMP, b"k", value, [])
    raise AssertionError("the ring is never full")


def held_without_reports(bench):
    """A held ring stays full of what a mirror has had that reports elsewhere."""
    bench.source.start()
    topic = bench.topic("elsewhere", 1)
    producer = bench.producer(**{"message.timeout.ms": 30_000})
    for number in range(3 * 4 * 1024 * 1024 // 50_000 + 200):
        bench.send(producer, topic, 0, b"k", b"%d" % number + b" " * 50_000, (), STAMP + number)
        producer.poll(0)
    wait(lambda: bench.hold()["is_full"], "a full ring")
    bench.start_mirror(TARGET_SYNCS)
    producer.flush(60)
    if not bench.failed:
        raise AssertionError("the ring was released though nothing was reported to it")
    bench.failed.clear()
    bench.wait_for_all()
    if not bench.hold()["is_full"]:
        raise AssertionError(f"status: {bench.hold()}")


def away_too_long(bench):
    """A mirror that was away for longer than the ring lasts goes on at its start, and what it missed is
    counted."""
    bench.source.start()
    topic = bench.topic("away", 1)
    bench.start_mirror()
    numbered(bench, topic, "before")
    bench.wait_for_all()
    watch = lambda: bench.status()["rings"]["main"]["watch"]["mirror:up"]
    wait(lambda: watch()["lag_records"] == 0, "all reports")
    bench.mirror.stop("term")
    producer = bench.producer()
    for number in range(3 * 3 * 4 * 1024 * 1024 // 50_000):
        bench.send(producer, topic, 0, b"k", b"%d" % number + b" " * 50_000, (), STAMP + number)
        producer.poll(0)
    bench.flush(producer)
    with rawkafka.Connection(bench.source.host, bench.source.port) as broker:
        _, _, start = broker.list_offset(topic, 0, rawkafka.EARLIEST)
    missed = range(10, start)
    if not missed or watch()["overwritten_records_total"] != len(missed):
        raise AssertionError(f"from 10 to {start} is gone; status: {watch()}")
    bench.mirror.start()
    numbered(bench, topic, "behind")
    for offset in missed:
        del bench.sent[topic, 0][offset]
    bench.wait_for_all()


def new_device(bench):
    """The device is replaced by an empty one: the mirror reads it from its start."""
    bench.source.start()
    topic = bench.topic("device", 1)
    bench.start_mirror()
    numbered(bench, topic, "the old one", 50)
    bench.wait_for_all()
    bench.source.stop("term")
    shutil.rmtree(bench.source.home / "data")
    bench.source.start()
    before = bench.sent.pop((topic, 0))
    numbered(bench, topic, "the new one", 20)
    behind = {len(before) + offset: record for offset, record in bench.sent[topic, 0].items()}
    bench.sent[topic, 0] = before | behind
    bench.wait_for_all()


STREAMING = (workers.Java, workers.Sarama, workers.Franz, workers.Kafkajs)
HELD = ("ring.segments=4", "ring.spares=2", "ring.hold_for=mirror:up")
CASES = {
    default_flags: ("ring.segments=4",),
    target_syncs: ("ring.segments=4",),
    minimal: ("ring.segments=4",),
    brooklet_killed: ("ring.segments=8",),
    mirror_killed: ("ring.segments=8",),
    over_a_hole: ("ring.segments=4",),
    group_fails_over: ("ring.segments=4",),
    group_loses_its_broker: ("ring.segments=4",),
    held_ring: HELD,
    held_clients: HELD,
    held_without_reports: HELD,
    away_too_long: ("ring.segments=3", "ring.watch_for=mirror:up"),
    new_device: ("ring.segments=4",),
}


def main():
    """Runs the cases, sums up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    parser.add_argument("--keep", action="store_true", help="keep all directories")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    install.install({"java", "go", "node"})
    programs.jars("mirror", HERE / "pom.xml", LIBS)
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        raise SystemExit(subprocess.call([install.VENV_PYTHON, *sys.argv]))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="mirror-target-"))
    target = brokers.Kafka(directory=directory, settings=["auto.create.topics.enable=false"])
    try:
        target.start()
        cases = {case.__name__: (case, bench_of(case, options, target)) for case in CASES}
        return programs.run_cases(cases, options, "mirror")
    finally:
        target.stop("kill")
        shutil.rmtree(directory, ignore_errors=True)


def bench_of(case, options, target):
    """What makes the bench of a case in a folder."""
    name = case.__name__.replace("_", "-")
    return lambda home: Bench(options, home, target, name, CASES[case])


if __name__ == "__main__":
    sys.exit(main())
