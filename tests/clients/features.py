"""What every client must be able to do, each feature once, run for all clients that have it.

Expectations are Kafka's: `run.py --kafka` proves them against the real thing. What was stored
is looked at with a raw fetch, because clients fall back silently (no codec, no idempotence).
"""

import re
import time

import rawkafka
from client import Rec
from clients import Confluent
from harness import Skip, background, equal

FEATURES = []

# The largest batch that Kafka takes by default, and a value that just fits with its overhead.
BATCH_BYTES_MAX = 1_048_588
VALUE_BYTES_LARGE = 1_048_000


def feature(*needs):
    """Registers a feature; it is run for the clients that have all the named methods."""

    def register(function):
        FEATURES.append((function.__name__, needs, function))
        return function

    return register


def plain(error):
    """An error's name and text, as far as clients agree on how to write them."""
    return re.sub(r"[^a-z0-9]", "", f"{type(error).__name__} {error}".lower())


def numbered(count, size=20, **more):
    """Records that say which one they are, in values that compress."""
    return [
        Rec(b"k%d" % number, (b"%08d " % number).ljust(size, b"v"), **more)
        for number in range(count)
    ]


def expect(got, records, first_offset=0):
    """What was consumed is what was produced, in order, without a gap."""
    equal(len(got), len(records), "records")
    for number, (have, want) in enumerate(zip(got, records)):
        equal(have.offset, first_offset + number, "offset")
        equal((have.key, have.value), (want.key, want.value), f"record {number}")
        equal(have.headers, tuple(want.headers), f"headers of record {number}")
        if want.timestamp is not None:
            equal(have.timestamp, want.timestamp, f"timestamp of record {number}")


# ---- topics ------------------------------------------------------------------------------


@feature("create_topic")
def creates_a_topic(t, client):
    topic = t.topic_name()
    client.create_topic(topic, 3, {})
    with t.raw() as broker:
        partitions = lambda: broker.metadata([topic])[2].get(topic, (3, {}))
        t.wait_until("the topic", lambda: partitions() == (0, {0: 0, 1: 0, 2: 0}))


@feature("create_topic", "sets_configs")
def creates_a_topic_with_configs(t, client):
    topic = t.topic_name()
    client.create_topic(topic, 1, {"retention.ms": "86400000", "max.message.bytes": "654321"})
    t.wait_until("the topic", lambda: topic in Confluent(t).list_topics())
    configs = Confluent(t).configs(topic)
    equal(configs["retention.ms"], "86400000", "retention.ms")
    equal(configs["max.message.bytes"], "654321", "max.message.bytes")


@feature("create_topic")
def is_told_that_a_topic_exists(t, client):
    topic = t.topic()
    try:
        client.create_topic(topic, 1, {})
    except Exception as error:
        if "alreadyexists" not in plain(error):
            raise
        return
    raise AssertionError("a second topic of the same name was created")


@feature("produce", "auto_create")
def creates_a_topic_by_producing(t, client):
    topic = t.topic_name()
    client.produce(topic, numbered(3))
    equal(t.end_offset(topic), 3, "end offset")


@feature("list_topics", "partitions")
def lists_and_describes_topics(t, client):
    topic, other = t.topic(partitions=4), t.topic()
    listed = client.list_topics()
    if topic not in listed or other not in listed:
        raise AssertionError(f"{topic} and {other} are not both in {listed}")
    equal(client.partitions(topic), 4, "partitions")


@feature("configs")
def describes_configs(t, client):
    topic = t.topic(retention_ms="3600000", max_message_bytes="500000")
    configs = client.configs(topic)
    equal(configs["retention.ms"], "3600000", "retention.ms")
    equal(configs["max.message.bytes"], "500000", "max.message.bytes")
    equal(configs["cleanup.policy"], "delete", "cleanup.policy")


@feature("configs", "set_config")
def alters_configs(t, client):
    topic = t.topic(max_message_bytes="500000")
    client.set_config(topic, "retention.ms", "7200000")

    def altered():
        configs = client.configs(topic)
        return configs["retention.ms"] == "7200000" and configs["max.message.bytes"] == "500000"

    t.wait_until("the altered config is shown, the other is kept", altered)


@feature("create_partitions", "partitions")
def adds_partitions(t, client):
    topic = t.topic(partitions=2)
    client.create_partitions(topic, 5)
    t.wait_until("five partitions", lambda: client.partitions(topic) == 5)
    with t.raw() as broker:
        t.wait_until(
            "a record in the last one",
            lambda: (
                broker.produce(topic, 4, rawkafka.batch([rawkafka.record(None, b"v")])) == (0, 0)
            ),
        )


@feature("delete_topic")
def deletes_a_topic(t, client):
    topic = t.topic()
    client.delete_topic(topic)
    with t.raw() as broker:
        t.wait_until("the topic is unknown", lambda: topic not in broker.metadata(None)[2])
        error, _, _ = broker.fetch(topic, 0, 0)
        equal(error, 3, "error of a fetch")


@feature("delete_records", "offset", "consume")
def deletes_records(t, client):
    topic = t.topic()
    with t.raw() as broker:
        for number in range(10):
            record = rawkafka.record(None, b"%d" % number)
            equal(broker.produce(topic, 0, rawkafka.batch([record])), (0, number), "produce")
    client.delete_records(topic, 4)
    equal(client.offset(topic, "earliest"), 4, "earliest offset")
    equal(client.offset(topic, "latest"), 10, "latest offset")
    got = client.consume(topic, "earliest", 6)
    equal([entry.offset for entry in got], list(range(4, 10)), "offsets")
    with t.raw() as broker:
        equal(broker.fetch(topic, 0, 3)[0], 1, "error of a fetch below the start")


# ---- producing ---------------------------------------------------------------------------


def _produces_with_acks(acks):
    def function(t, client):
        topic, records = t.topic(), numbered(20)
        client.produce(topic, records, acks=acks)
        t.wait_until("all records are visible", lambda: t.end_offset(topic) == 20)
        stored = [entry for found in t.stored(topic) for entry in found.records()]
        got = [(entry.offset, entry.key, entry.value) for entry in stored]
        equal(got, [(n, r.key, r.value) for n, r in enumerate(records)], "stored records")
        for found in t.stored(topic):
            equal((found.producer_id, found.crc_ok), (-1, True), "producer id, CRC")

    function.__name__ = f"produces_with_acks_{acks}"
    return function


for _acks, _needs in (("0", ("acks_0",)), ("1", ("acks_1",)), ("all", ())):
    feature("produce", *_needs)(_produces_with_acks(_acks))


@feature("produce", "idempotence")
def produces_idempotently(t, client):
    topic = t.topic()
    client.produce(topic, numbered(30), idempotent=True)
    sequence = 0
    for found in t.stored(topic):
        if found.producer_id < 0:
            raise AssertionError("a batch without a producer id")
        equal(found.producer_epoch, 0, "producer epoch")
        equal(found.base_sequence, sequence, "sequence")
        sequence += found.count
    equal(sequence, 30, "records")


def _stores_codec(codec):
    def function(t, client):
        topic, records = t.topic(), numbered(50, size=400)
        client.produce(topic, records, codec=codec)
        stored = t.stored(topic)
        # A batch of one small record may not shrink, and is then sent as it is by some.
        codecs = {found.codec_name for found in stored if found.count > 1}
        equal(codecs, {codec}, "codecs of the stored batches")
        equal([found.crc_ok for found in stored], [True] * len(stored), "CRC")
        expect(client.consume(topic, "earliest", len(records)), records)
        expect(Confluent(t).consume(topic, "earliest", len(records)), records)
        # The same the other way round: what librdkafka compressed.
        other = t.topic()
        Confluent(t).produce(other, records, codec=codec)
        expect(client.consume(other, "earliest", len(records)), records)

    function.__name__ = f"stores_and_reads_codec_{codec}"
    return function


for _codec in rawkafka.CODECS:
    _needs = () if _codec == "none" else (f"codec_{_codec}",)
    feature("produce", "consume", *_needs)(_stores_codec(_codec))


@feature("produce", "consume")
def keeps_keys_headers_and_tombstones(t, client):
    topic = t.topic()
    records = [
        Rec(b"key", b"value", (("first", b"1"), ("second", b"2"))),
        Rec(b"deleted", None),
        Rec(None, b"no key"),
    ]
    if client.repeats_headers:
        records.append(Rec(b"again", b"x", (("same", b"1"), ("same", b"2"))))
    if not client.text_only:
        records += [
            Rec(b"", b"") if client.tells_empty else Rec(b" ", b" "),
            Rec(bytes(range(256)), bytes(reversed(range(256))), (("bytes", bytes(range(256))),)),
        ]
        if client.tells_empty:
            records.append(Rec(b"empty header", b"x", (("empty", b""),)))
    if client.null_headers:
        records.append(Rec(b"null header", b"x", (("null", None),)))
    client.produce(topic, records)
    expect(client.consume(topic, "earliest", len(records)), records)
    stored = [entry for found in t.stored(topic) for entry in found.records()]
    equal([entry.key for entry in stored], [entry.key for entry in records], "stored keys")
    equal([entry.value for entry in stored], [entry.value for entry in records], "stored values")


@feature("produce", "consume")
def keeps_timestamps(t, client):
    if not client.sets_timestamp:
        raise Skip("the client cannot set a timestamp")
    topic = t.topic()
    now = int(time.time() * 1000)
    records = [Rec(b"k", b"v", (), now - 5000 + number * 1000) for number in range(5)]
    client.produce(topic, records)
    expect(client.consume(topic, "earliest", 5), records)


@feature("produce", "consume", "append_time")
def sees_append_times(t, client):
    topic = t.topic(message_timestamp_type="LogAppendTime")
    old = 1_600_000_000_000
    stamp = old if client.sets_timestamp else None
    client.produce(topic, [Rec(b"k", b"v", (), stamp)])
    (found,) = t.stored(topic)
    equal(found.attributes & rawkafka.ATTRIBUTE_LOG_APPEND_TIME, 8, "the append-time bit")
    equal(found.crc_ok, True, "the CRC after the broker stamped the batch")
    (got,) = client.consume(topic, "earliest", 1)
    equal(got.timestamp, found.max_timestamp, "timestamp")
    if got.timestamp <= old:
        raise AssertionError(f"the broker did not stamp: {got.timestamp}")


@feature("produce", "consume")
def produces_to_each_partition(t, client):
    if not client.picks_partition:
        raise Skip("the client cannot name a partition")
    topic = t.topic(partitions=3)
    for partition in range(3):
        client.produce(topic, numbered(5 + partition, partition=partition))
    for partition in range(3):
        records = numbered(5 + partition)
        expect(client.consume(topic, "earliest", len(records), partition), records)
        equal(t.end_offset(topic, partition), len(records), "end offset")


@feature("produce", "consume")
def carries_a_large_record(t, client):
    topic = t.topic()
    records = [Rec(b"k", b"x" * VALUE_BYTES_LARGE), Rec(b"after", b"small")]
    client.produce(topic, records, bytes_max=2_000_000)
    expect(client.consume(topic, "earliest", 2), records)


@feature("produce")
def is_refused_a_record_too_large(t, client):
    topic = t.topic()
    try:
        client.produce(topic, [Rec(b"k", b"x" * (BATCH_BYTES_MAX + 100))], bytes_max=3_000_000)
    except Exception as error:
        if client.too_large.lower() not in plain(error):
            raise
    else:
        raise AssertionError("nothing refused the record")
    equal(t.end_offset(topic), 0, "end offset")
    client.produce(topic, numbered(1))
    equal(t.end_offset(topic), 1, "end offset after a small record")


@feature("produce")
def goes_on_after_a_record_of_5_MB(t, client):
    """It is told at once: a client whose connection is cut instead tries again for minutes."""
    topic = t.topic()
    try:
        client.produce(topic, [Rec(b"k", b"x" * 5_000_000)], bytes_max=8_000_000)
    except Exception as error:
        if client.too_large.lower() not in plain(error):
            raise
    else:
        raise AssertionError("nothing refused the record")
    client.produce(topic, numbered(10), bytes_max=8_000_000)
    equal(t.end_offset(topic), 10, "end offset after small records")


@feature("produce")
def sends_a_backlog_to_eight_partitions(t, client):
    """Some send all that they have for a broker in one request, however long it gets."""
    if not client.picks_partition:
        raise Skip("the client cannot name a partition")
    topic, partitions = t.topic(partitions=8), range(8)
    backlog = [numbered(9, size=100_000, partition=partition) for partition in partitions]
    client.produce(topic, [entry for records in backlog for entry in records])
    for partition, records in zip(partitions, backlog):
        stored = [entry for found in t.stored(topic, partition) for entry in found.records()]
        got = [(entry.offset, entry.value) for entry in stored]
        want = [(offset, entry.value) for offset, entry in enumerate(records)]
        if got != want:
            raise AssertionError(f"{len(got)} records in partition {partition}, or in disorder")


@feature("produce", "consume")
def carries_thousands_in_order(t, client):
    topic, records = t.topic(), numbered(5000, size=100)
    client.produce(topic, records, idempotent=True)
    expect(client.consume(topic, "earliest", 5000), records)


# ---- consuming ---------------------------------------------------------------------------


def _fill(t, topic, count, timestamp=1_700_000_000_000):
    """One batch per record, a second apart."""
    with t.raw() as broker:
        for number in range(count):
            record = rawkafka.record(b"k%d" % number, b"v%d" % number)
            data = rawkafka.batch([record], timestamp=timestamp + number * 1000)
            equal(broker.produce(topic, 0, data), (0, number), "produce")


def _fill_at_once(t, topic, count, partition=0):
    """One batch of numbered records."""
    records = [rawkafka.record(None, b"v%d" % number) for number in range(count)]
    with t.raw() as broker:
        equal(broker.produce(topic, partition, rawkafka.batch(records)), (0, 0), "produce")


@feature("consume")
def consumes_from_an_offset(t, client):
    topic = t.topic()
    _fill(t, topic, 10)
    got = client.consume(topic, 7, 3)
    equal([(r.offset, r.value) for r in got], [(n, b"v%d" % n) for n in (7, 8, 9)], "records")


@feature("consume")
def consumes_from_the_middle_of_a_batch(t, client):
    topic = t.topic()
    _fill_at_once(t, topic, 10)
    got = client.consume(topic, 6, 4)
    equal([(r.offset, r.value) for r in got], [(n, b"v%d" % n) for n in (6, 7, 8, 9)], "records")


@feature("consume")
def consumes_from_a_timestamp(t, client):
    topic = t.topic()
    _fill(t, topic, 10)
    got = client.consume(topic, ("timestamp", 1_700_000_004_500), 5)
    equal([entry.offset for entry in got], [5, 6, 7, 8, 9], "offsets")
    equal(got[0].timestamp, 1_700_000_005_000, "timestamp")


@feature("consume")
def consumes_from_the_end(t, client):
    topic = t.topic()
    _fill(t, topic, 5)
    consumed = background(client.consume, topic, "latest", 1)
    with t.raw() as broker:
        number = 5
        while not consumed.done():
            data = rawkafka.batch([rawkafka.record(None, b"v%d" % number)])
            equal(broker.produce(topic, 0, data), (0, number), "produce")
            number += 1
            time.sleep(0.1)
    (got,) = consumed()
    if got.offset < 5:
        raise AssertionError(f"offset {got.offset} was there before")
    equal(got.value, b"v%d" % got.offset, "value")


@feature("offset")
def finds_offsets(t, client):
    topic = t.topic()
    _fill(t, topic, 10)
    equal(client.offset(topic, "earliest"), 0, "earliest")
    equal(client.offset(topic, "latest"), 10, "latest")
    equal(client.offset(topic, 1_700_000_003_000), 3, "at a timestamp")
    equal(client.offset(topic, 1_700_000_003_001), 4, "after a timestamp")
    equal(client.offset(topic, 1_600_000_000_000), 0, "long before")


@feature("offset", "max_timestamp")
def finds_the_newest_timestamp(t, client):
    topic = t.topic()
    with t.raw() as broker:
        for stamp in (1_700_000_000_000, 1_700_000_009_000, 1_700_000_004_000):
            data = rawkafka.batch([rawkafka.record(None, b"v")], timestamp=stamp)
            equal(broker.produce(topic, 0, data)[0], 0, "produce")
    equal(client.offset(topic, "max_timestamp"), 1, "offset of the newest timestamp")


@feature("commit", "committed")
def commits_without_membership(t, client):
    topic, group = t.topic(partitions=2), t.group_name()
    _fill_at_once(t, topic, 50, partition=1)
    equal(client.committed(group, topic, 1), None, "offset before any commit")
    client.commit(group, topic, 42, 1)
    equal(client.committed(group, topic, 1), 42, "committed offset")
    client.commit(group, topic, 17, 1)
    equal(client.committed(group, topic, 1), 17, "committed offset, moved back")
    equal(client.committed(group, topic, 0), None, "the other partition")
    with t.raw() as broker:
        equal(broker.committed(group, topic, 1), (0, 17), "what the broker says")


@feature("commit", "committed", "delete_offset")
def forgets_a_committed_offset(t, client):
    topic, group = t.topic(partitions=2), t.group_name()
    for partition in (0, 1):
        _fill_at_once(t, topic, 50, partition)
        client.commit(group, topic, 42, partition)
    client.delete_offset(group, topic, 0)
    equal(client.committed(group, topic, 0), None, "the offset that was deleted")
    equal(client.committed(group, topic, 1), 42, "the other")


# ---- restarts ----------------------------------------------------------------------------


def _loses_nothing(how):
    def function(t, client):
        topic, records = t.topic(retention_ms="86400000"), numbered(300, size=200)
        client.produce(topic, records[:200], idempotent=True)
        before = [(found.base_offset, found.crc) for found in t.stored(topic)]
        t.restart(how)
        after = [(found.base_offset, found.crc) for found in t.stored(topic)]
        equal(after, before, "batches after the restart")
        client.produce(topic, records[200:], idempotent=True)
        expect(client.consume(topic, "earliest", 300), records)

    function.__name__ = f"loses_nothing_when_the_broker_gets_sig{how}"
    return function


for _how in ("term", "kill"):
    feature("produce", "consume")(_loses_nothing(_how))


@feature("commit", "committed", "configs")
def keeps_offsets_and_configs_over_a_kill(t, client):
    topic, group = t.topic(partitions=2, retention_ms="12345678"), t.group_name()
    _fill_at_once(t, topic, 50, partition=1)
    client.commit(group, topic, 7, 1)
    t.restart("kill")
    equal(client.committed(group, topic, 1), 7, "committed offset")
    equal(client.configs(topic)["retention.ms"], "12345678", "retention.ms")
    with t.raw() as broker:
        equal(len(broker.metadata([topic])[2][topic][1]), 2, "partitions")


@feature("stream")
def producer_lives_through_a_kill(t, client):
    topic = t.topic()
    stream = client.stream(topic)
    if not stream.started.wait(30):
        raise AssertionError("nothing was acknowledged within 30 s")
    t.restart("kill")
    reached = t.end_offset(topic)
    t.wait_until("the stream goes on", lambda: t.end_offset(topic) > reached + 20, 60)
    acknowledged = stream.stop()
    values = [int(r.value) for found in t.stored(topic) for r in found.records()]
    missing = sorted(set(acknowledged) - set(values))
    if missing:
        raise AssertionError(f"{len(missing)} acknowledged numbers are lost: {missing[:10]}")
    # A client that is not idempotent may send a record twice.
    if client.stream_once:
        equal(values, sorted(set(values)), "numbers: in order and each once")
    if len(acknowledged) < 20:
        raise AssertionError(f"only {len(acknowledged)} were acknowledged")
