"""Clients that send garbage, lie, stall, do not read, or come in crowds.

What is asserted is what both Kafka and brooklet owe everybody else: bad input is answered with a
code or a closed connection within seconds, and a well-behaved client notices nothing.
"""

import random
import socket
import struct
import time

import rawkafka
from clients import Confluent
from extras import case, one
from features import numbered
from harness import background, equal

# A crowd that is larger than a small broker's table of connections.
CROWD = 300
# Senders that stall: several times what a small broker has buffers for, and not so many that
# cutting them off one buffer after the other takes longer than a request may wait.
STALLED = 100
# The versions from which a request's header is flexible, by key; others are flexible never here.
FLEXIBLE_FROM = {0: 9, 1: 12, 2: 6, 3: 9, 8: 8, 9: 6, 10: 3, 18: 3, 19: 5, 20: 4, 21: 2, 22: 2}
# What no request with garbage in it may do: change the state of the test's own cluster.
HARMLESS = (0, 1, 2, 3, 9, 10, 18, 22, 23, 32, 35, 60, 61)


def answered_or_closed(broker, what):
    """The next frame, or None when the broker closed; a silence is a failure."""
    try:
        return broker.receive_frame()
    except rawkafka.Closed:
        return None
    except TimeoutError:
        raise AssertionError(f"neither an answer nor a closed connection: {what}") from None


def still_served(t, topic):
    """Others can produce and fetch."""
    with t.raw() as broker:
        error, offset = broker.produce(topic, 0, one())
        equal(error, 0, "error of a produce meanwhile")
        error, _, data = broker.fetch(topic, 0, offset)
        equal((error, len(rawkafka.parse_batches(data))), (0, 1), "a fetch meanwhile")


@case("hostile")
def garbage_of_other_protocols_is_cut_off(t):
    topic = t.topic()
    for data in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("16030100c8010000c40303") + bytes(200),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        struct.pack(">i", 3) + b"abc",
        struct.pack(">i", 0),
    ):
        with t.raw(timeout=10) as broker:
            broker.send_bytes(data)
            equal(answered_or_closed(broker, data[:20]), None, f"the answer to {data[:20]}")
    still_served(t, topic)


@case("hostile")
def truncated_and_random_bodies_are_answered_or_cut_off(t):
    topic = t.topic()
    chance = random.Random(7)
    with t.raw() as broker:
        keys = broker.api_versions()
    for key in sorted(set(keys) & set(HARMLESS)):
        low, high = keys[key]
        for version in {low, high}:
            flexible = version >= FLEXIBLE_FROM.get(key, 99)
            for body in (b"", b"\x7f" * 9, b"\xff" * 40, chance.randbytes(60)):
                with t.raw(timeout=10) as broker:
                    broker.send(key, version, body, flexible)
                    if key == rawkafka.PRODUCE:
                        # May look like acks=0, which has no answer.
                        broker.socket.shutdown(socket.SHUT_WR)
                    answered_or_closed(broker, (key, version, body))
    still_served(t, topic)


@case("hostile")
def absurd_counts_are_cut_off(t):
    topic = t.topic()
    many = struct.pack(">i", 0x7FFFFFFF)
    name = rawkafka.string(topic)
    for what, key, version, body in (
        ("topics in Metadata", rawkafka.METADATA, 1, many),
        ("topics in Produce", rawkafka.PRODUCE, 3, b"\xff\xff\xff\xff\0\0\1\0" + many),
        (
            "partitions in ListOffsets",
            rawkafka.LIST_OFFSETS,
            1,
            b"\xff" * 4 + b"\0\0\0\1" + name + many,
        ),
        ("a string's length", rawkafka.METADATA, 1, b"\0\0\0\1\x7f\xff"),
        ("a batch's length", rawkafka.PRODUCE, 3, rawkafka.produce_prefix(topic) + many),
    ):
        with t.raw(timeout=10) as broker:
            broker.send(key, version, body)
            equal(answered_or_closed(broker, what), None, f"the answer to absurd {what}")
    still_served(t, topic)


@case("hostile")
def every_cut_of_a_batch_is_refused(t):
    topic = t.topic()
    whole = rawkafka.batch([rawkafka.record(b"key", b"value", [("h", b"v")])] * 3)
    with t.raw() as broker:
        for length in [*range(1, len(whole), 7), len(whole) - 1]:
            error, _ = broker.produce(topic, 0, whole[:length])
            if error == 0:
                raise AssertionError(f"{length} of {len(whole)} bytes were taken")
        equal(broker.produce(topic, 0, whole), (0, 0), "the whole batch")


@case("hostile")
def every_flipped_byte_of_a_batch_is_refused(t):
    topic = t.topic()
    whole = rawkafka.batch([rawkafka.record(b"key", b"value", [("h", b"v")])] * 3)
    # Base offset and leader epoch are the broker's to fill in, and lie outside of the CRC.
    outside = set(range(0, 8)) | set(range(12, 16))
    with t.raw() as broker:
        for position in sorted(set(range(len(whole))) - outside):
            bad = bytearray(whole)
            bad[position] ^= 0x20
            error, _ = broker.produce(topic, 0, bytes(bad))
            if error == 0:
                raise AssertionError(f"a flip of byte {position} was taken")
        equal(broker.produce(topic, 0, whole), (0, 0), "the whole batch")


@case("hostile")
def senders_that_stall_hold_up_nobody(t):
    topic = t.topic()
    stalled = []
    for number in range(STALLED):
        stalled.append(t.raw())
        # A frame of a megabyte is announced, and none, little or much of it comes.
        stalled[-1].send_bytes(struct.pack(">i", 1_000_000) + bytes((0, 3000, 90_000)[number % 3]))
    for _ in range(5):
        still_served(t, topic)
    client = Confluent(t)
    client.produce(topic, numbered(500, size=1000), idempotent=True)
    equal(t.end_offset(topic), 505, "end offset")
    for broker in stalled:
        broker.close()


@case("hostile")
def readers_that_do_not_read_hold_up_nobody(t):
    topic = t.topic()
    with t.raw() as broker:
        for _ in range(8):
            equal(broker.produce(topic, 0, one(b"x" * 1_000_000))[0], 0, "produce")
    lazy = []
    for _ in range(20):
        broker = t.raw()
        lazy.append(broker)
        for _ in range(10):
            entry = struct.pack(">iqi", 0, 0, 1 << 25)
            topics = rawkafka.array([rawkafka.string(topic) + rawkafka.array([entry])])
            body = struct.pack(">iiiib", -1, 100, 1, 1 << 25, 0) + topics
            broker.send(rawkafka.FETCH, 4, body)
    for _ in range(5):
        still_served(t, topic)
    got = Confluent(t).consume(topic, "earliest", 8)
    equal([len(entry.value) for entry in got], [1_000_000] * 8, "sizes")
    for broker in lazy:
        broker.close()


@case("hostile")
def a_crowd_of_idle_connections_keeps_nobody_out(t):
    topic = t.topic()
    crowd = []
    for _ in range(CROWD):
        crowd.append(socket.create_connection((t.host, t.port), 10))
    until = time.monotonic() + 30
    while True:
        try:
            still_served(t, topic)
            break
        except (OSError, rawkafka.Closed):
            if time.monotonic() > until:
                raise
    for connection in crowd:
        connection.close()


@case("hostile")
def connections_that_come_and_go_leave_nothing_behind(t):
    topic = t.topic()
    for number in range(1000):
        connection = socket.create_connection((t.host, t.port), 10)
        if number % 2:
            connection.sendall(struct.pack(">i", 500)[: number % 5])
        connection.close()
    still_served(t, topic)


@case("hostile")
def a_flood_of_produces_and_fetches_is_served_in_order(t):
    topic = t.topic(partitions=4)

    def produce(partition):
        with t.raw(timeout=60) as broker:
            payload = one(b"y" * 20_000)
            correlations = []
            for _ in range(100):
                body = broker.produce_body(topic, partition, payload)
                correlations.append(broker.send(rawkafka.PRODUCE, 3, body))
            return [broker.produce_answer(broker.receive(c)) for c in correlations]

    producers = [background(produce, partition) for partition in range(4)]
    for producer in producers:
        equal(producer(), [(0, number) for number in range(100)], "answers")
    for partition in range(4):
        equal(len(t.stored(topic, partition)), 100, "batches")
