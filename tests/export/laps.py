"""Topics over which the ring comes round before it is exported: compacted ones, one that is deleted
from as well, and what fills the ring. All kinds of producers that are idempotent write them."""

import time
import types

import rawkafka
from client import Rec
from workers import Java

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COMPACTED = ("compacted", "deleted")
# topic: (partitions, configs)
TOPICS = {
    "compacted": (2, {"cleanup.policy": "compact"}),
    "deleted": (1, {"cleanup.policy": "compact,delete"}),
    "lapped": (1, {}),
}
ROUNDS = 2
# Keys that are written in every round, again and again; those of one round are never written again.
KEYS, KEYS_ONCE = 12, 4
# Records of one producer in a partition of a round.
RECORDS = 30
FILLER_BYTES = 40_000
# What Kafka's cleaner sets in a batch that keeps a tombstone; brooklet does as well.
DELETE_HORIZON = 1 << 6


class Laps:
    """What is sent, by partition: of the n-th record, which has offset n, key and value."""

    def __init__(self, source, lap_bytes):
        self.source, self.lap_bytes = source, lap_bytes
        self.sent = {}
        self.java = None

    def fill(self):
        """All rounds, with a lap of the ring in each. The source is killed after each."""
        with rawkafka.Connection(self.source.host, self.source.port) as broker:
            for topic, (partitions, configs) in TOPICS.items():
                broker.create_topic(topic, partitions, configs=configs)
        for number in range(ROUNDS):
            self.java = Java(types.SimpleNamespace(bootstrap=self.source.bootstrap))
            try:
                self.round(number)
            finally:
                if self.java._process is not None:
                    self.java._process.kill()
            self.source.restart("kill")

    def round(self, number):
        """Batches of each codec by librdkafka and Java; then the ring is filled once more."""
        for topic in COMPACTED:
            for partition in range(TOPICS[topic][0]):
                for place, codec in enumerate(CODECS):
                    records = self.keyed(f"{number}-{place}")
                    if (number + place) % 2:
                        self.java_producer(topic, partition, records, codec)
                    else:
                        self.librdkafka(topic, partition, records, codec, place < 4)
        if number == 1:
            self.delete()
        filler = [(b"filler", b"%d " % n + b"x" * FILLER_BYTES)
                  for n in range(self.lap_bytes // FILLER_BYTES)]
        half = len(filler) // 2
        self.librdkafka("lapped", 0, filler[:half], "none", True)
        self.java_producer("lapped", 0, filler[half:], "none")

    @staticmethod
    def keyed(how):
        """Keys and values of one producer: some only here, and some values are tombstones."""
        out = []
        for n in range(RECORDS):
            key = f"once {how} {n}" if n < KEYS_ONCE else f"key {n % KEYS}"
            value = None if n % 8 == 3 else f"{how} {n} ".encode() * 20
            out.append((key.encode(), value))
        return out

    def librdkafka(self, topic, partition, records, codec, idempotent):
        """Sends them with librdkafka, in a batch or some."""
        from confluent_kafka import Producer

        failed = []
        settings = {"compression.type": codec, "enable.idempotence": idempotent, "linger.ms": 20}
        producer = Producer({"bootstrap.servers": self.source.bootstrap, **settings})
        for key, value in records:
            producer.produce(
                topic, value, key, partition, headers=[("by", codec.encode())],
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        if producer.flush(60) or failed:
            raise AssertionError(f"not delivered: {failed[:3]}")
        self.sent.setdefault((topic, partition), []).extend(records)

    def java_producer(self, topic, partition, records, codec):
        """The same with Kafka's own producer, idempotent."""
        wire = [Rec(key, value, (), None, partition) for key, value in records]
        self.java.produce(topic, wire, idempotent=True, codec=codec)
        self.sent.setdefault((topic, partition), []).extend(records)

    def delete(self):
        """Deletes records of `deleted`: not between two batches."""
        before = len(self.sent["deleted", 0]) // 4 + 3
        with rawkafka.Connection(self.source.host, self.source.port) as broker:
            got = broker.delete_records("deleted", 0, before)
            if got != (0, before):
                raise AssertionError(f"DeleteRecords up to {before}: {got}")

    def check(self, kept, compacted):
        """What the source serves is what was sent, without what had to go; `compacted`: and without
        most that compaction may drop. All cases are in it, then."""
        for where, sent in self.sent.items():
            part = kept[where]
            records = {record.offset: (record.key, record.value) for record in part.records}
            if part.end != len(sent):
                raise AssertionError(f"{where} ends at {part.end}, not {len(sent)}")
            for offset, record in records.items():
                if record != sent[offset]:
                    raise AssertionError(f"{where} at {offset}: {record!r:.200}")
            wanted = range(len(sent))
            if where[0] in COMPACTED:
                wanted = {key: offset for offset, (key, _) in enumerate(sent)}.values()
            missing = [o for o in wanted if o >= part.start and o not in records]
            if missing:
                raise AssertionError(f"{where} from {part.start} lacks {missing[:9]}")
        if compacted:
            self.check_cases(kept)

    def check_cases(self, kept):
        """The ring came round, records were dropped, others carried, tombstones among them."""
        for where in (("compacted", 0), ("compacted", 1), ("deleted", 0)):
            part, sent = kept[where], len(self.sent[where])
            last_round = sent - sent // ROUNDS
            old = [record for record in part.records if record.offset < last_round]
            horizons = [b for b in part.batches if b.attributes & DELETE_HORIZON]
            thinned = [b for b in part.batches if b.count <= b.last_offset_delta]
            idempotent = {b.producer_id for b in part.batches if b.producer_id >= 0}
            found = (len(old), len(horizons), len(thinned), len(idempotent))
            if not all(found) or len(old) > last_round // 2:
                raise AssertionError(f"{where} of {sent}: carried, horizons, thinned, ids {found}")
        if not kept["deleted", 0].start or not kept["lapped", 0].start:
            raise AssertionError("nothing was deleted, or the ring never came round")


def producers_go_on(target, kept):
    """Of each idempotent producer the last batch is known in each partition: it is a duplicate, and
    what follows it is next. Gives how many there are."""
    count = 0
    with rawkafka.Connection(target.host, target.port) as broker:
        for (topic, partition), part in kept.items():
            last = {b.producer_id: b for b in part.batches if b.producer_id >= 0}
            for found in last.values():
                if found.max_timestamp < time.time() * 1000 - 3_600_000:
                    # Kafka forgets a producer a day after its last record.
                    continue
                where = f"{topic}-{partition}, producer {found.producer_id}"
                _, _, end = broker.list_offset(topic, partition, rawkafka.LATEST)
                records = [rawkafka.record(b"k", b"v")] * (found.last_offset_delta + 1)
                asked = (
                    (records, found.base_sequence, (0, found.base_offset)),
                    (records[:1], found.base_sequence + len(records) + 5, (OUT_OF_ORDER, -1)),
                    (records[:1], found.base_sequence + len(records), (0, end)),
                )
                for sent, sequence, expected in asked:
                    producer = (found.producer_id, found.producer_epoch, sequence)
                    data = rawkafka.batch(sent, producer=producer)
                    got = broker.produce(topic, partition, data)
                    if got != expected:
                        raise AssertionError(f"{where} at {sequence}: {got}, not {expected}")
                count += 1
    if not count:
        raise AssertionError("no idempotent producer")
    return count


# OUT_OF_ORDER_SEQUENCE_NUMBER.
OUT_OF_ORDER = 45
