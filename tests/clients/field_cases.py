"""Cases out of other people's fault reports about brokers like this one, and about their clients.
Registered beside `extras.py`'s; docs/clients.md says what each found."""

import asyncio
import socket
import struct
import time

import rawkafka
from clients import (
    Aiokafka, Confluent, Franz, Java, Kafkajs, KafkaGo, KafkaPython, Rdkafka, Sarama,
)
from extras import case, one
from features import numbered
from group_features import settled
from harness import Skip, background, equal
from rawkafka import array, compact_string, string, unsigned_varint

DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS = 32, 35
TOPIC_RESOURCE = 2
TOPIC_ALREADY_EXISTS = 36
# A broker's whole answer takes no longer than this.
ANSWER_SECONDS_MAX = 1.0


def brooklet_only(t, why):
    """The case is about a setting that a Kafka has not."""
    if t.broker_name != "brooklet":
        raise Skip(why)


# ---- senders that send rarely -----------------------------------------------------------

IDLE = ("connections_max_idle_ms=1000",)
RARE_RECORDS, RARE_SECONDS = 5, 2.5


def _rarely(client, send_all):
    def function(t):
        with t.another_broker(*IDLE) as own:
            topic = own.topic()
            failed = send_all(own, client, topic)
            equal(failed, [], "errors at the sender")
            values = [r.value for found in own.stored(topic) for r in found.records()]
            numbers = [int(value) for value in values]
            equal(numbers[:RARE_RECORDS], list(range(RARE_RECORDS)), "what is stored")

    function.__name__ = "sends_rarely_to_a_broker_that_closes_idle_connections"
    function.nightly = True
    case(client.name, client.need)(function)


def _worker_rarely(t, client, topic):
    stream = client(t).stream(topic, pause_ms=int(RARE_SECONDS * 1000))
    seconds = RARE_RECORDS * RARE_SECONDS + 30
    t.wait_until("the records", lambda: t.end_offset(topic) >= RARE_RECORDS, seconds)
    stream.stop()
    return stream.failures


def _confluent_rarely(t, client, topic):
    producer, failed = client(t)._producer(acks="all"), []
    for number in range(RARE_RECORDS):
        told = lambda error, _: failed.append(str(error)) if error else None
        producer.produce(topic, b"%d" % number, partition=0, on_delivery=told)
        equal(producer.flush(30), 0, "records left")
        time.sleep(RARE_SECONDS)
    return failed


def _kafka_python_rarely(t, client, topic):
    from kafka import KafkaProducer

    producer, failed = KafkaProducer(bootstrap_servers=t.bootstrap), []
    for number in range(RARE_RECORDS):
        try:
            producer.send(topic, b"%d" % number, partition=0).get(30)
        except Exception as error:
            failed.append(repr(error))
        time.sleep(RARE_SECONDS)
    producer.close(5)
    return failed


def _aiokafka_rarely(t, client, topic):
    async def send():
        from aiokafka import AIOKafkaProducer

        producer, failed = AIOKafkaProducer(bootstrap_servers=t.bootstrap), []
        await producer.start()
        for number in range(RARE_RECORDS):
            try:
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
            except Exception as error:
                failed.append(repr(error))
            await asyncio.sleep(RARE_SECONDS)
        await producer.stop()
        return failed

    return asyncio.run(send())


_rarely(Confluent, _confluent_rarely)
_rarely(KafkaPython, _kafka_python_rarely)
_rarely(Aiokafka, _aiokafka_rarely)
for _client in (Franz, Sarama, KafkaGo):
    _rarely(_client, _worker_rarely)


@case("confluent")
def senders_share_fewer_connections_than_they_are(t):
    brooklet_only(t, "a Kafka's max.connections refuses newcomers instead")
    with t.another_broker("max_connections=8", "max_connections_per_ip=7") as own:
        topic, failed = own.topic(), []
        told = lambda error, _: failed.append(str(error)) if error else None
        producers = [Confluent(own)._producer(acks="all") for _ in range(9)]
        for number in range(3 * len(producers)):
            producer = producers[number % len(producers)]
            producer.produce(topic, b"%d" % number, partition=0, on_delivery=told)
            equal(producer.flush(30), 0, "records left")
        equal(failed, [], "errors at the senders")
        values = {int(r.value) for found in own.stored(topic) for r in found.records()}
        equal(values, set(range(27)), "what is stored")


senders_share_fewer_connections_than_they_are.nightly = True

# ---- a topic that is deleted and created again -------------------------------------------


def leader_epoch(broker, topic):
    """The leader epoch of a topic's first partition: Metadata 7."""
    reader = broker.request(rawkafka.METADATA, 7, array([string(topic)]) + b"\0")
    reader.unpack("i")
    reader.array(lambda: (reader.unpack("i"), reader.string(), reader.unpack("i"), reader.string()))
    reader.string(), reader.unpack("i")
    numbers = lambda: reader.array(lambda: reader.unpack("i"))
    partition = lambda: (reader.unpack("hiii"), numbers(), numbers(), numbers())
    topics = reader.array(
        lambda: (reader.unpack("h"), reader.string(), reader.unpack("b"), reader.array(partition))
    )
    return topics[0][3][0][0][3]


def create_again(t, topic, partitions=1, meanwhile=lambda: None):
    """Deletes a topic, and makes one of the same name."""
    with t.raw() as broker:
        broker.delete_topic(topic)
    meanwhile()

    def created():
        with t.raw() as broker:
            try:
                broker.create_topic(topic, partitions)
            except rawkafka.KafkaError as error:
                # Who produces to it may have created it meanwhile.
                return error.code == TOPIC_ALREADY_EXISTS
        return True

    t.wait_until("the topic again", created)
    with t.raw() as broker:
        t.wait_until("a leader", lambda: broker.list_offset(topic, 0, rawkafka.LATEST)[0] == 0)


def _begins_anew(name, meanwhile):
    def function(t):
        topic, group = t.topic(partitions=2), t.group_name()
        client = Confluent(t)
        client.produce(topic, numbered(5))
        client.commit(group, topic, 4)
        with t.raw() as broker:
            before = leader_epoch(broker, topic)
        create_again(t, topic, 1, lambda: meanwhile(t))
        with t.raw() as broker:
            t.wait_until("no offset", lambda: broker.committed(group, topic, 0) == (0, -1))
            equal(broker.list_offset(topic, 0, rawkafka.LATEST)[2], 0, "end")
            epoch = leader_epoch(broker, topic)
            if epoch < before:
                raise AssertionError(f"leader epoch {epoch} after {before}")
        member = client.member(group, topic)
        client.produce(topic, numbered(2))
        t.wait_until("the records", lambda: [got.offset for got in member.records] == [0, 1])
        member.leave()

    function.__name__ = name
    case("confluent")(function)


def killed_meanwhile(t):
    """The broker is killed while there is no such topic."""
    brooklet_only(t, "a Kafka that is killed then has not forgotten the offsets yet")
    t.restart("kill")


_begins_anew("topic_created_again_has_no_committed_offsets", lambda t: None)
_begins_anew("topic_created_again_after_a_kill_has_none_either", killed_meanwhile)


def _goes_on_in_the_new_topic(client):
    def function(t):
        topic = t.topic()
        stream = client(t).stream(topic)
        if not stream.started.wait(30):
            raise AssertionError("nothing was acknowledged within 30 s")
        create_again(t, topic)
        end = lambda: t.end_offset(topic)
        t.wait_until("records in the new topic", lambda: end() > 20, 60)

    function.__name__ = "producer_goes_on_when_its_topic_is_created_again"
    function.nightly = True
    case(client.name, client.need)(function)


# franz-go keeps the id of the topic that is gone, and goes on asking for it, at a Kafka too.
for _client in (Confluent, Java, Sarama, KafkaGo, KafkaPython, Aiokafka, Kafkajs, Rdkafka):
    _goes_on_in_the_new_topic(_client)

# ---- a quiet partition whose records are all gone ----------------------------------------

SMALL_RING = ("ring.segments=3", "ring.segment_bytes=4 MiB")
QUIET_RECORDS = 3


def evict(t, topic):
    """Others' records take the room of all that a topic has; a Kafka is told to delete them."""
    with t.raw() as broker:
        if t.broker_name != "brooklet":
            equal(broker.delete_records(topic, 0, QUIET_RECORDS)[0], 0, "DeleteRecords")
            return
        loud = t.topic()
        start = lambda: broker.list_offset(topic, 0, rawkafka.EARLIEST)[2]
        full = lambda: broker.produce(loud, 0, one(b"x" * 500_000))[0] == 0 and start()
        t.wait_until("the last record is evicted", lambda: full() == QUIET_RECORDS)


def _goes_on_where_all_was_evicted(client):
    def function(t):
        with t.another_broker(*SMALL_RING) as own:
            topic, group = own.topic(), own.group_name()
            with own.raw() as broker:
                for number in range(QUIET_RECORDS):
                    equal(broker.produce(topic, 0, one(b"%d" % number)), (0, number), "produce")
            Confluent(own).commit(group, topic, 1)
            evict(own, topic)
            # A Kafka may have what was deleted again after a kill.
            if client is Confluent and t.broker_name == "brooklet":
                own.restart("kill")
            for how in ("latest", "earliest"):
                equal(Confluent(own).offset(topic, how), QUIET_RECORDS, how)
            member = client(own).member(group, topic)
            settled(own, group, 1, 1)
            for number in (QUIET_RECORDS, QUIET_RECORDS + 1):
                with own.raw() as broker:
                    equal(broker.produce(topic, 0, one(b"v")), (0, number), "produce")
                have = lambda: [got.offset for got in member.records]
                arrived = lambda: number in have()
                own.wait_until(f"offset {number} at the member", arrived, 30)
            member.leave()

    function.__name__ = "member_goes_on_where_all_records_were_evicted"
    function.nightly = True
    case(client.name, client.need)(function)


for _client in (Confluent, Java, Franz, Sarama, KafkaGo, KafkaPython, Aiokafka, Kafkajs, Rdkafka):
    _goes_on_where_all_was_evicted(_client)

# ---- what is no Kafka client at all ------------------------------------------------------

# A ClientHello begins so: a handshake of TLS, then its length.
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 500
PROBES = (b"", b"\n", b"GET /metrics HTTP/1.1\r\nHost: edge\r\n\r\n", TLS_HELLO)
PROBE_ROUNDS = 50


def probe(t, data):
    """Connects, says something, and waits until the broker hangs up, if it does."""
    with socket.create_connection((t.host, t.port), 5) as connection:
        connection.sendall(data)
        connection.settimeout(0.2)
        try:
            connection.recv(100)
        except (TimeoutError, ConnectionResetError):
            pass


@case("raw")
def probes_disturb_no_client(t):
    topic = t.topic()
    with t.raw(timeout=2) as broker:
        for _ in range(PROBE_ROUNDS):
            # They say something, and wait a moment; then the next does.
            probes = [background(probe, t, data) for data in PROBES]
            equal(broker.produce(topic, 0, one())[0], 0, "a client meanwhile")
            for ended in probes:
                ended(10)


probes_disturb_no_client.nightly = True

# ---- everything at once ------------------------------------------------------------------

TOPICS, PARTITIONS, GROUPS, OFFSETS = 120, 4, 60, 20


@case("raw")
def answers_what_asks_for_everything_at_once(t):
    with t.another_broker() as own, own.raw() as broker:
        topics = [f"topic-{number:03}" for number in range(TOPICS)]
        groups = [f"group-{number:03}" for number in range(GROUPS)]
        for topic in topics:
            broker.create_topic(topic, PARTITIONS)
        own.wait_until("a coordinator", lambda: broker.find_coordinator(groups[0]) == 0)
        own.wait_until("the offsets", lambda: broker.describe_group(groups[0])[0] == 0)
        for group in groups:
            commit_many(broker, group, topics[:OFFSETS])
        for what, ask in questions(topics, groups).items():
            started = time.monotonic()
            equal(ask(broker), None, what)
            took = time.monotonic() - started
            # A Kafka here is no measure of time.
            if took > ANSWER_SECONDS_MAX and t.broker_name == "brooklet":
                raise AssertionError(f"{what}: {took:.1f} s")


answers_what_asks_for_everything_at_once.nightly = True


def commit_many(broker, group, topics):
    """OffsetCommit 2 of one offset in each topic, by no member."""
    entries = [
        string(topic) + array([struct.pack(">iq", 0, 7) + string("")]) for topic in topics
    ]
    body = string(group) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1)
    reader = broker.request(rawkafka.OFFSET_COMMIT, 2, body + array(entries))
    codes = reader.array(lambda: (reader.string(), reader.array(lambda: reader.unpack("ih"))))
    equal({code for _, parts in codes for _, code in parts}, {0}, f"commit of {group}")


def questions(topics, groups):
    """By name, functions that ask for everything of a kind and return None when all is told."""

    def configs(broker):
        resources = [struct.pack(">b", TOPIC_RESOURCE) + string(topic) + array(None)
                     for topic in topics]
        reader = broker.request(DESCRIBE_CONFIGS, 2, array(resources) + b"\1")
        reader.unpack("i")
        synonym = lambda: (reader.string(), reader.string(), reader.unpack("b"))
        shown = lambda: (reader.string(), reader.string(), reader.unpack("bbb"))
        entry = lambda: (shown(), reader.array(synonym))
        found = reader.array(lambda: (reader.unpack("h"), reader.string(), reader.unpack("b"),
                                      reader.string(), reader.array(entry)))
        equal(len(found), len(topics), "topics")
        equal({code for code, *_ in found}, {0}, "codes")
        fewest = min(len(entries) for *_, entries in found)
        return None if fewest > 20 else f"{fewest} configs of a topic"

    def metadata(broker):
        _, _, found = broker.metadata()
        count = sum(len(parts) for name, (_, parts) in found.items() if name in topics)
        equal(count, TOPICS * PARTITIONS, "partitions")

    def described(broker):
        reader = broker.request(rawkafka.DESCRIBE_GROUPS, 0, array(map_list(string, groups)))
        found = reader.array(lambda: (reader.unpack("h"), reader.string(), reader.string(),
                                      reader.string(), reader.string(), reader.array(lambda: None)))
        equal([(code, name) for code, name, *_ in found], [(0, name) for name in groups], "groups")

    def offsets(broker):
        wanted = [compact_string(group) + b"\0" + b"\0" for group in groups]
        body = unsigned_varint(len(wanted) + 1) + b"".join(wanted) + b"\0" + b"\0"
        reader = broker.request(rawkafka.OFFSET_FETCH, 8, body, flexible=True)
        reader.unsigned_varint(), reader.unpack("i")
        equal(reader.unsigned_varint() - 1, len(groups), "groups")
        at_end = len(groups) * OFFSETS
        equal(reader.data.count(struct.pack(">q", 7)), at_end, "offsets in the answer")

    def by_time(broker):
        entries = [string(topic) + array([struct.pack(">iq", number, 1) for number in
                                          range(PARTITIONS)]) for topic in topics]
        reader = broker.request(rawkafka.LIST_OFFSETS, 1, struct.pack(">i", -1) + array(entries))
        found = reader.array(lambda: (reader.string(), reader.array(lambda: reader.unpack("ihqq"))))
        codes = [code for _, parts in found for _, code, _, _ in parts]
        equal(codes, [0] * TOPICS * PARTITIONS, "codes")

    def log_dirs(broker):
        reader = broker.request(DESCRIBE_LOG_DIRS, 1, array(None))
        reader.unpack("i")
        partition = lambda: reader.unpack("iqqb")
        topic = lambda: (reader.string(), reader.array(partition))
        found = reader.array(lambda: (reader.unpack("h"), reader.string(), reader.array(topic)))
        named = {name for _, _, entries in found for name, _ in entries}
        equal(named >= set(topics), True, "all topics")

    return {"configs of all topics": configs, "all partitions": metadata, "all groups": described,
            "offsets of all groups": offsets, "offsets by time": by_time, "log dirs": log_dirs}


def map_list(function, items):
    return [function(item) for item in items]


# ---- starts ------------------------------------------------------------------------------


@case("raw")
def is_there_within_a_second_of_a_kill(t):
    brooklet_only(t, "a Kafka takes several seconds")
    with t.another_broker() as own:
        topic = own.topic()
        with own.raw() as broker:
            # The ring is full: 16 segments of 4 MiB.
            for _ in range(140):
                equal(broker.produce(topic, 0, one(b"x" * 500_000))[0], 0, "produce")
        for how in ("kill", "term"):
            own.broker.stop(how)
            started = time.monotonic()
            own.broker.start()
            took = time.monotonic() - started
            print(f"{how}: answers after {took:.3f} s")
            if took > 1:
                raise AssertionError(f"{took:.1f} s after {how}")


is_there_within_a_second_of_a_kill.nightly = True

# ---- versions ----------------------------------------------------------------------------

# What a Kafka 4.3.1 does not serve either to who asks in these versions, and asks for no others.
# Without a producer there is nothing to fetch.
REFUSED = {
    "0.10.2.1": {"produce", "fetch", "group", "list topics", "describe configs", "log dirs"},
    "0.11.0.0": {"list topics", "describe configs", "log dirs"},
    "1.0.0": {"list topics", "describe configs", "log dirs"},
    "1.1.0": {"log dirs"},
    "2.0.0": set(),
    "2.1.0": set(),
    "2.4.0": set(),
    "2.8.0": set(),
    "3.6.0": set(),
    "4.0.0": set(),
    "4.1.0": set(),
}


@case("sarama", "go")
def works_with_versions_of_many_kafkas_unasked(t):
    for version, refused in REFUSED.items():
        topic, group = t.topic(), t.group_name()
        told = Sarama(t)._call("pinned", topic=topic, group=group, start=version)
        print(version, told, flush=True)
        failed = {name for name, text in told.items() if text != "ok"}
        equal(failed, refused, f"what fails with the versions of {version}")


works_with_versions_of_many_kafkas_unasked.nightly = True


@case("franz-go", "go")
def demands_the_versions_of_a_kafka_4_0(t):
    for version in ("v3.6", "v3.9", "v4.0"):
        topic, group = t.topic(), t.group_name()
        told = Franz(t)._call("newest", topic=topic, group=group, start=version)
        equal({name: text for name, text in told.items() if text != "ok"}, {}, version)
