"""Cases of one client alone, and of the bare protocol."""

import struct
import time

import rawkafka
from clients import Confluent, Java, KafkaPython, Kcat
from features import numbered
from group_features import Feed, settled
from harness import background, equal

CASES = []

# Kafka's error codes that are met here.
OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 1, 2, 3
MESSAGE_TOO_LARGE, OFFSET_METADATA_TOO_LARGE, UNSUPPORTED_VERSION = 10, 12, 35
COORDINATOR_LOAD_IN_PROGRESS = 14
OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH, INVALID_RECORD = 45, 47, 87


def case(group, need="python"):
    """Registers a case under `group.its_name`."""

    def register(function):
        CASES.append((f"{group}.{function.__name__}", need, function))
        return function

    return register


def one(value=b"v", **lies):
    """A batch of one record."""
    return rawkafka.batch([rawkafka.record(b"k", value)], **lies)


# ---- the bare protocol -------------------------------------------------------------------


@case("raw")
def tells_its_versions(t):
    with t.raw() as broker:
        keys = broker.api_versions()
        equal(rawkafka.api_versions_3(broker), (0, keys), "ApiVersions 3 and 0")
        for key in (rawkafka.PRODUCE, rawkafka.FETCH, rawkafka.METADATA, rawkafka.FIND_COORDINATOR):
            if key not in keys:
                raise AssertionError(f"key {key} is missing")
        # librdkafka before 2.11 compresses only if Produce 0 is there.
        equal(keys[rawkafka.PRODUCE][0], 0, "lowest version of Produce")


@case("raw")
def answers_an_unknown_version_of_api_versions(t):
    with t.raw() as broker:
        reader = broker.request(rawkafka.API_VERSIONS, 99, b"\x01\x01\x00", flexible=True)
        equal(reader.unpack("h"), UNSUPPORTED_VERSION, "error")
        offered = {
            key: (low, high) for key, low, high in reader.array(lambda: reader.unpack("hhh"))
        }
        if rawkafka.API_VERSIONS not in offered:
            raise AssertionError(f"ApiVersions itself is not in {offered}")
        # The connection goes on.
        broker.metadata([])


@case("raw")
def takes_librdkafkas_metadata_with_bytes_too_many(t):
    with t.raw() as broker:
        # All topics (null), no creation, no operations, no tags; then what does not belong there.
        correlation = broker.send(rawkafka.METADATA, 12, b"\0\0\0\0" + b"\1\0\0", flexible=True)
        broker.receive(correlation)
        broker.metadata([])


@case("raw")
def answers_a_thousand_pipelined_produces_in_order(t):
    topic = t.topic()
    with t.raw() as broker:

        def receive():
            return [
                broker.produce_answer(broker.receive(number), version=3)
                for number in range(1, 1001)
            ]

        answers = background(receive)
        for number in range(1000):
            body = broker.produce_body(topic, 0, one(b"%d" % number))
            broker.send(rawkafka.PRODUCE, 3, body)
        equal(answers(), [(0, number) for number in range(1000)], "answers")
    values = [r.value for found in t.stored(topic) for r in found.records()]
    equal(values, [b"%d" % number for number in range(1000)], "stored values")


@case("raw")
def never_answers_acks_0(t):
    topic = t.topic()
    with t.raw() as broker:
        equal(broker.produce(topic, 0, one(), acks=0), None, "answer")
        broker.metadata([topic])
    t.wait_until("the record", lambda: t.end_offset(topic) == 1)


@case("raw")
def closes_on_a_refused_acks_0(t):
    topic = t.topic()
    with t.raw() as broker:
        broker.produce(topic, 99, one(), acks=0)
        try:
            broker.receive_frame()
        except rawkafka.Closed:
            return
        raise AssertionError("an answer to acks=0")


@case("raw")
def refuses_bad_batches_with_the_right_code(t):
    topic = t.topic()
    with t.raw() as broker:
        bad = {
            "wrong CRC": (one(crc=1), CORRUPT_MESSAGE),
            "old magic": (one(magic=1), INVALID_RECORD),
            "fewer records than said": (one(count=2, last_offset_delta=1), INVALID_RECORD),
            "lying last offset": (one(last_offset_delta=5), INVALID_RECORD),
            "no record": (rawkafka.batch([]), INVALID_RECORD),
            "too large": (one(b"x" * 1_048_600), MESSAGE_TOO_LARGE),
        }
        for what, (data, code) in bad.items():
            equal(broker.produce(topic, 0, data), (code, -1), what)
        equal(broker.produce(topic, 7, one()), (UNKNOWN_TOPIC_OR_PARTITION, -1), "partition")
        equal(broker.produce("none-" + topic, 0, one())[0], UNKNOWN_TOPIC_OR_PARTITION, "topic")
        equal(broker.produce(topic, 0, one()), (0, 0), "a good batch afterwards")


def _producer_id(t, broker):
    """A new producer id and its epoch; Kafka may still be loading its own."""
    answer = []

    def asked():
        answer[:] = broker.init_producer_id()
        return answer[0] != COORDINATOR_LOAD_IN_PROGRESS

    t.wait_until("a producer id", asked)
    error, producer, epoch = answer
    equal((error, epoch), (0, 0), "InitProducerId")
    return producer, epoch


@case("raw")
def checks_the_sequences_of_a_producer(t):
    topic = t.topic()
    with t.raw() as broker:
        producer, epoch = _producer_id(t, broker)

        def send(sequence, at=epoch, count=1):
            records = [rawkafka.record(None, b"%d" % sequence)] * count
            data = rawkafka.batch(records, producer=(producer, at, sequence))
            return broker.produce(topic, 0, data)

        equal(send(0, count=3), (0, 0), "the first batch")
        equal(send(3), (0, 3), "the second batch")
        equal(send(0, count=3), (0, 0), "the first batch again")
        equal(send(3), (0, 3), "the second batch again")
        equal(send(9), (OUT_OF_ORDER_SEQUENCE, -1), "a gap")
        equal(send(0, at=1), (0, 4), "the next epoch")
        equal(send(4), (INVALID_PRODUCER_EPOCH, -1), "the old epoch")
        equal(t.end_offset(topic), 5, "end offset")


@case("raw")
def keeps_sequences_over_a_kill(t):
    topic = t.topic()
    with t.raw() as broker:
        producer, epoch = _producer_id(t, broker)
        batches = [one(b"%d" % n, producer=(producer, epoch, n)) for n in range(3)]
        equal(
            [broker.produce(topic, 0, data) for data in batches],
            [(0, 0), (0, 1), (0, 2)],
            "produce",
        )
    t.restart("kill")
    with t.raw() as broker:
        equal(broker.produce(topic, 0, batches[2]), (0, 2), "the last batch again")
        gap = one(producer=(producer, epoch, 9))
        equal(broker.produce(topic, 0, gap), (OUT_OF_ORDER_SEQUENCE, -1), "a gap")
        following = one(producer=(producer, epoch, 3))
        equal(broker.produce(topic, 0, following), (0, 3), "the following batch")


@case("raw")
def fetches_at_least_one_whole_batch(t):
    topic = t.topic()
    with t.raw() as broker:
        big = one(b"x" * 100_000)
        equal(broker.produce(topic, 0, big), (0, 0), "produce")
        _, _, data = broker.fetch(topic, 0, 0, max_bytes=10)
        (found,) = rawkafka.parse_batches(data)
        # Offset and leader epoch are the broker's, everything else is as it was sent.
        equal(found.raw[16:], big[16:], "the batch")


@case("raw")
def says_when_an_offset_is_out_of_range(t):
    topic = t.topic()
    with t.raw() as broker:
        equal(broker.produce(topic, 0, one()), (0, 0), "produce")
        equal(broker.fetch(topic, 0, 1, wait_ms=0), (0, 1, b""), "at the end")
        equal(broker.fetch(topic, 0, 2, wait_ms=0)[0], OFFSET_OUT_OF_RANGE, "beyond the end")


@case("raw")
def waits_for_records_no_longer_than_asked(t):
    topic = t.topic()
    with t.raw() as broker:
        before = time.monotonic()
        equal(broker.fetch(topic, 0, 0, wait_ms=400), (0, 0, b""), "an empty long poll")
        if time.monotonic() - before < 0.39:
            raise AssertionError("answered before its time")
        waiting = background(broker.fetch, topic, 0, 0, 1 << 20, 30_000)
        with t.raw() as other:
            equal(other.produce(topic, 0, one()), (0, 0), "produce")
        error, _, data = waiting(20)
        equal((error, len(rawkafka.parse_batches(data))), (0, 1), "the long poll that was woken")


@case("raw")
def closes_on_a_frame_that_cannot_be(t):
    frames = {
        "a negative size": struct.pack(">i", -5),
        "a huge size": struct.pack(">i", 0x7FFFFFFF),
        "an unknown key": struct.pack(">i", 10) + struct.pack(">hhih", 999, 0, 1, -1),
    }
    for what, data in frames.items():
        with t.raw() as broker:
            broker.send_bytes(data)
            try:
                broker.receive_frame()
            except rawkafka.Closed:
                continue
            raise AssertionError(f"an answer to {what}")
    with t.raw() as broker:
        broker.metadata([])


# ---- librdkafka and kafka-python alone ---------------------------------------------------


@case("confluent")
def consumer_lives_through_a_kill(t):
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition

    topic = t.topic()
    client = Confluent(t)
    client.produce(topic, numbered(5))
    consumer = client._consumer(**{"reconnect.backoff.max.ms": 500})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    seen = []

    def poll_until(count):
        until = time.monotonic() + 60
        while len(seen) < count:
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                seen.append(message.offset())
            if time.monotonic() > until:
                raise AssertionError(f"{len(seen)} of {count} records")

    poll_until(5)
    t.restart("kill")
    client.produce(topic, numbered(5))
    poll_until(10)
    equal(seen, list(range(10)), "offsets")


def _members_go_on(kind):
    @case(kind.name, need=kind.need)
    def members_commit_and_join_again_after_a_kill_of_the_broker(t):
        """They commit by themselves, at the latest before they join: no record comes twice."""
        topic, group = t.topic(partitions=4), t.group_name()
        client = kind(t)
        members, feed = [client.member(group, topic, auto_commit=True) for _ in range(2)], Feed(t, topic, 4)
        settled(t, group, 2, 4)
        for _ in range(3):
            feed.produce(5)
            feed.arrived(members)
            t.restart("kill")
            feed.produce(5)
            feed.arrived(members)
            settled(t, group, 2, 4)
        feed.check(members, once=True)
        for one in members:
            one.leave()

    members_commit_and_join_again_after_a_kill_of_the_broker.nightly = kind is not KafkaPython


for _kind in (Confluent, KafkaPython, Java):
    _members_go_on(_kind)


@case("confluent")
def commits_metadata_of_kilobytes(t):
    from confluent_kafka import KafkaException, TopicPartition

    topic = t.topic(partitions=3)
    consumer = Confluent(t)._consumer(**{"group.id": t.group_name()})
    commit = lambda *offsets: consumer.commit(
        offsets=[TopicPartition(topic, index, 5, metadata=text) for index, text in offsets],
        asynchronous=False,
    )
    # This client appends a zero byte to what is not empty.
    texts = {0: "m" * 65, 1: "é" * 4095, 2: ""}
    commit(*texts.items())
    try:
        answer = commit((0, "é" * 4096), (1, texts[1]))
        codes = {of.partition: of.error.code() for of in answer if of.error}
    except KafkaException as error:
        codes = {0: error.args[0].code()}
    equal(codes, {0: OFFSET_METADATA_TOO_LARGE}, "what is too long")
    t.restart("kill")
    found = consumer.committed([TopicPartition(topic, index) for index in texts], timeout=30)
    equal({of.partition: of.metadata or "" for of in found}, texts, "metadata after a kill")
    consumer.close()


@case("confluent")
def alters_configs_the_old_way(t):
    from confluent_kafka.admin import ConfigResource

    topic, client = t.topic(retention_ms="1000000", max_message_bytes="2000"), Confluent(t)
    resource = ConfigResource("topic", topic, set_config={"retention.ms": "2000000"})
    client._result(client._admin().alter_configs([resource]))
    shown = lambda: client.configs(topic)
    # The old request replaces all of a topic's configs.
    t.wait_until("the new value", lambda: shown()["retention.ms"] == "2000000")
    equal(shown()["max.message.bytes"], "1048588", "max.message.bytes is the default again")


@case("confluent")
def describes_the_cluster(t):
    client = Confluent(t)
    cluster = client._admin().describe_cluster().result(30)
    equal([(node.host, node.port) for node in cluster.nodes], [(t.host, t.port)], "nodes")
    equal(cluster.controller.id, cluster.nodes[0].id, "controller")
    if not cluster.cluster_id:
        raise AssertionError("no cluster id")


@case("confluent")
def resets_when_out_of_range(t):
    from confluent_kafka import TopicPartition

    topic, client = t.topic(), Confluent(t)
    client.produce(topic, numbered(3))
    consumer = client._consumer(**{"auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 1000)])
    message = consumer.poll(30)
    equal(message and message.offset(), 0, "offset after the reset")


@case("confluent")
def uses_the_lz4_and_zstd_of_all_levels(t):
    client = Confluent(t)
    for codec, level in (("gzip", 9), ("lz4", 12), ("zstd", 9)):
        topic = t.topic()
        producer = client._producer(compression_type=codec, compression_level=level, linger_ms=20)
        for entry in numbered(200, size=500):
            producer.produce(topic, entry.value, entry.key, partition=0)
        equal(producer.flush(30), 0, "left")
        equal({found.codec_name for found in t.stored(topic)}, {codec}, "codec")
        got = client.consume(topic, "earliest", 200)
        equal([entry.value for entry in got], [entry.value for entry in numbered(200, 500)], codec)


@case("kafka-python")
def describes_cluster_producers_and_log_dirs(t):
    from kafka import TopicPartition

    topic, client = t.topic(), KafkaPython(t)
    client.produce(topic, numbered(3), idempotent=True)
    admin = client._admin()
    (broker,) = admin.describe_cluster()["brokers"]
    equal((broker["host"], broker["port"]), (t.host, t.port), "the broker")
    where = TopicPartition(topic, 0)
    (producer,) = admin.describe_producers([where])[where].active_producers
    equal((producer.producer_epoch, producer.last_sequence), (0, 2), "epoch and last sequence")
    if f"'{topic}'" not in str(admin.describe_log_dirs([topic])):
        raise AssertionError("the topic is in no log directory")


@case("kafka-python")
def resets_a_config(t):
    topic, client = t.topic(retention_ms="1000000", max_message_bytes="2000"), KafkaPython(t)
    client._admin().reset_configs([client._resource(topic, ["max.message.bytes"])])
    shown = lambda: client.configs(topic)
    t.wait_until("the default", lambda: str(shown()["max.message.bytes"]) == "1048588")
    equal(str(shown()["retention.ms"]), "1000000", "the other config")


# ---- kcat --------------------------------------------------------------------------------


@case("kcat", "kcat")
def consumes_all_partitions_to_their_ends(t):
    topic, client = t.topic(partitions=3), Kcat(t)
    for partition in range(3):
        client.produce(topic, numbered(4, partition=partition))
    told = client._kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %k\n")
    wanted = sorted(f"{p} {o} k{o}" for p in range(3) for o in range(4))
    equal(sorted(told.decode().splitlines()), wanted, "partition, offset, key")


@case("kcat", "kcat")
def tails(t):
    topic, client = t.topic(), Kcat(t)
    client.produce(topic, numbered(10))
    told = client._kcat("-C", "-t", topic, "-p", "0", "-o", "-3", "-e", "-q", "-f", "%o\n")
    equal(told.split(), [b"7", b"8", b"9"], "offsets")


@case("kcat", "kcat")
def produces_a_file_per_message(t):
    topic, client = t.topic(), Kcat(t)
    paths = [t.scratch / f"{topic}-{number}" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 70_000)
    client._kcat("-P", "-t", topic, "-p", "0", *paths)
    values = [r.value for found in t.stored(topic) for r in found.records()]
    equal(values, [path.read_bytes() for path in paths], "values")
    for path in paths:
        path.unlink()
