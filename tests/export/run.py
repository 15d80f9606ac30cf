#!/usr/bin/env python3
"""An export, read by Kafka's own tools and served by a real Kafka broker.

    run.py [--binary PATH]    `brooklet export` of what clients produced into brooklet
    run.py --kafka            the same with a Kafka as the source, whose log files are copied:
                              proves the procedure, and what an export must consist of

1. Clients produce into the source, until its ring came round several times over compacted topics,
   deleted records and idempotent producers (laps.py); then every kind of batch. Every stored batch
   is fetched and kept, and every record that a consumer gets.
2. The source is stopped and exported (README.md says what an export is).
3. `kafka-dump-log --deep-iteration` must find every record of every file valid, with its offset,
   time and sizes, and every batch with its producer.
4. A real Kafka gets topics of the same names, is stopped, gets the exported files in place of its
   own, is started again, and must serve the same batches, byte for byte, and the same records, and
   know the idempotent producers.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers
import install
import laps
import rawkafka
from laps import CODECS

# topic: (partitions, configs)
TOPICS = {
    "plain": (1, {}),
    "codecs": (3, {}),
    "stamped": (1, {"message.timestamp.type": "LogAppendTime"}),
    "trimmed": (1, {}),
    "empty": (2, {}),
    **laps.TOPICS,
}
SEGMENTS, SEGMENT_BYTES = 4, 4 << 20
# What a round of laps.py puts into the ring: more than it holds; where none comes round, a little.
LAP_BYTES = {"brooklet": (SEGMENTS + 1) * SEGMENT_BYTES, "kafka": 1 << 20}
# The offset below which the records of `trimmed` are deleted: a batch's first.
TRIMMED_AT = 3
# Where an empty partition goes on, in the files made from Kafka's.
EMPTY_AT = 100

# A record as a consumer gets it; `time` is its kind and the milliseconds.
Record = namedtuple("Record", "offset time key value headers")
# What the source serves of a partition.
Part = namedtuple("Part", "start end batches records")


def main():
    """Produces, exports, checks, sums up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    parser.add_argument("--kafka", action="store_true", help="export from a real Kafka")
    parser.add_argument("--keep", action="store_true", help="keep all directories")
    options = parser.parse_args()
    install.install({"java"})
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        run_in_venv()
    home = pathlib.Path(tempfile.mkdtemp(prefix="export-"))
    try:
        return check(options, home)
    finally:
        if options.keep:
            print(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def run_in_venv():
    """Starts this program again, with the Python that has the clients."""
    raise SystemExit(subprocess.call([install.VENV_PYTHON, *sys.argv]))


def check(options, home):
    """All steps; the first that fails ends it, because the later ones stand on it."""
    (home / "source").mkdir()
    if options.kafka:
        source = brokers.Kafka(directory=home / "source")
        export = export_kafka
    else:
        settings = [f"ring.segments={SEGMENTS}", f"ring.segment_bytes={SEGMENT_BYTES}"]
        source = brokers.Brooklet(options.binary, 0, home / "source", settings)
        export = export_brooklet
    out = home / "exported"
    steps = (
        ("the source takes and serves records", lambda: fill(source)),
        ("the source is exported", lambda: export(source, out, kept)),
        ("kafka-dump-log finds every record valid", lambda: dump(out, kept)),
        ("a real Kafka serves the same batches", lambda: serve(out, home / "target", kept)),
    )
    kept, passed = None, 0
    for name, step in steps:
        started = time.monotonic()
        try:
            told = step()
        except Exception as error:
            print(f"failed  {name}: {type(error).__name__}: {error}")
            break
        finally:
            source.stop("kill")
        said = f": {told}" if isinstance(told, str) else ""
        kept = kept or told
        passed += 1
        print(f"passed  {name} {time.monotonic() - started:.1f} s{said}", flush=True)
    print(f"{passed} passed, {min(1, len(steps) - passed)} failed")
    return 0 if passed == len(steps) else 1


def fill(source):
    """Produces into the source over several runs of it; gives {(topic, partition): Part}."""
    source.start()
    lapping = laps.Laps(source, LAP_BYTES[source.name])
    lapping.fill()
    with rawkafka.Connection(source.host, source.port) as broker:
        for topic, (partitions, configs) in TOPICS.items():
            if topic not in laps.TOPICS:
                broker.create_topic(topic, partitions, configs=configs)
    # Each run of the source is a leader epoch of its own, in Kafka as in brooklet.
    for round_number in range(3):
        wait_for_topics(source)
        produce(source, round_number)
        if round_number == 1:
            trim(source)
        source.restart("term")
    wait_for_topics(source)
    kept = fetch_all(source)
    source.stop("term")
    lapping.check(kept, source.name == "brooklet")
    epochs = {found.leader_epoch for part in kept.values() for found in part.batches}
    codecs = {found.codec_name for found in kept["codecs", 0].batches}
    if len(epochs) < 3 or codecs != set(CODECS):
        raise AssertionError(f"not all cases are in it: epochs {epochs}, codecs {codecs}")
    return kept


def wait_for_topics(broker):
    """Waits until all partitions have a leader: Kafka's metadata runs ahead and behind."""
    with rawkafka.Connection(broker.host, broker.port) as connection:
        for topic, (partitions, _) in TOPICS.items():
            for partition in range(partitions):
                until = time.monotonic() + 30
                while connection.list_offset(topic, partition, rawkafka.EARLIEST)[0]:
                    if time.monotonic() > until:
                        raise AssertionError(f"{topic}-{partition} has no leader")
                    time.sleep(0.1)


def produce(source, round_number):
    """Batches of every kind: codecs, idempotent, headers, tombstones, old timestamps."""
    from confluent_kafka import Producer

    stamp = 1_700_000_000_000 + round_number * 60_000
    for codec in CODECS:
        producer = Producer(
            {
                "bootstrap.servers": source.bootstrap,
                "compression.type": codec,
                "enable.idempotence": codec in ("gzip", "lz4"),
                "linger.ms": 20,
            }
        )
        failed = []
        for number in range(60):
            producer.produce(
                "codecs",
                b"value %d " % number * 30,
                b"key %d" % number,
                partition=number % 3,
                headers=[("h", b"%d" % number), ("null", None)],
                timestamp=stamp + number,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        if producer.flush(30) or failed:
            raise AssertionError(f"not delivered: {failed[:3]}")
    with rawkafka.Connection(source.host, source.port) as broker:
        for topic in ("plain", "stamped", "trimmed"):
            records = [
                rawkafka.record(b"k", b"v", [("empty", b"")]),
                rawkafka.record(b"tombstone", None),
                rawkafka.record(None, bytes(range(256))),
            ]
            for data in (rawkafka.batch(records, timestamp=stamp), rawkafka.batch(records[:1])):
                error, _ = broker.produce(topic, 0, data)
                rawkafka.check(error, f"Produce {topic}")


def trim(source):
    """Deletes the first records of `trimmed`."""
    with rawkafka.Connection(source.host, source.port) as broker:
        error, low = broker.delete_records("trimmed", 0, TRIMMED_AT)
        if (error, low) != (0, TRIMMED_AT):
            raise AssertionError(f"DeleteRecords: error {error}, low watermark {low}")


def fetch_all(broker):
    """{(topic, partition): what is served of it from the log start}."""
    out = {}
    with rawkafka.Connection(broker.host, broker.port) as connection:
        for topic, (partitions, _) in TOPICS.items():
            for partition in range(partitions):
                _, _, start = connection.list_offset(topic, partition, rawkafka.EARLIEST)
                _, _, end = connection.list_offset(topic, partition, rawkafka.LATEST)
                batches = connection.fetch_batches(topic, partition, start)
                batches = [found for found in batches if found.next_offset > start]
                records = read_all(broker, topic, partition, start)
                out[topic, partition] = Part(start, end, batches, records)
    return out


def read_all(broker, topic, partition, start):
    """All records that a consumer gets of a partition."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "export",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # The end is told with the first fetch that is empty.
            "fetch.wait.max.ms": 10,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, start)])
    out = []
    while True:
        message = consumer.poll(20)
        if message is None:
            raise AssertionError(f"{topic}-{partition}: nothing after {len(out)} records")
        if not message.error():
            key, value, headers = message.key(), message.value(), message.headers() or []
            out.append(Record(message.offset(), message.timestamp(), key, value, headers))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            consumer.close()
            return out
        else:
            raise AssertionError(f"{topic}-{partition}: {message.error()}")


# ---- exporting ---------------------------------------------------------------------------


def export_brooklet(source, out, _kept):
    """`brooklet export`, one topic at a time into one directory."""
    for topic in TOPICS:
        command = [source.binary, "export", "--data", source.home / "data"]
        command += ["--topic", topic, "--out", out]
        command = [str(part) for part in command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")


def export_kafka(source, out, kept):
    """What an export must have and no more, from a Kafka that was stopped: the log files. One
    begins above offset 0, one has a gap, one is empty and says where it goes on, as they are when
    a ring has lapped or was damaged."""
    plain = kept["plain", 0]
    gone = plain.batches.pop(2)
    plain.records[:] = [r for r in plain.records
                        if not gone.base_offset <= r.offset < gone.next_offset]
    for (topic, partition), part in kept.items():
        directory = out / f"{topic}-{partition}"
        directory.mkdir(parents=True)
        if (topic, partition) in (("plain", 0), ("trimmed", 0), ("deleted", 0)):
            data = b"".join(found.raw for found in part.batches)
            (directory / f"{part.batches[0].base_offset:020}.log").write_bytes(data)
            continue
        for log in (source.logs / directory.name).glob("*.log"):
            shutil.copy(log, directory)
    (out / "empty-1" / f"{0:020}.log").rename(out / "empty-1" / f"{EMPTY_AT:020}.log")
    if kept["trimmed", 0].batches[0].base_offset == 0:
        raise AssertionError("the trimmed topic begins at 0")


# ---- checking ----------------------------------------------------------------------------


BATCH_LINE = re.compile(
    r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) baseSequence: (-?\d+) lastSequence: -?\d+ "
    r"producerId: (-?\d+) producerEpoch: (-?\d+) .*?"
    r"compresscodec: (\w+) crc: (\d+) isvalid: (\w+)$",
    re.M,
)
RECORD_LINE = re.compile(
    r"^\| offset: (\d+) (\w+): (\d+) keySize: (-?\d+) valueSize: (-?\d+) sequence: -?\d+ "
    r"headerKeys: \[(.*?)\]",
    re.M,
)
# The kinds of a record's time, in a client's numbers.
TIMES = {"CreateTime": 1, "LogAppendTime": 2}


def dump(out, kept):
    """`kafka-dump-log --deep-iteration`: every batch valid, every record there, and no other."""
    batches = records = 0
    texts = dumped([out / f"{topic}-{partition}" for topic, partition in kept])
    for (topic, partition), part in kept.items():
        text = texts[f"{topic}-{partition}"]
        have = {}
        for line in BATCH_LINE.findall(text):
            base, last, *numbers = map(int, line[:6])
            have[base] = (last + 1, *numbers, line[6], int(line[7]), line[8])
        want = {
            found.base_offset: (
                found.next_offset, found.count, found.base_sequence, found.producer_id,
                found.producer_epoch, found.codec_name, found.crc, "true",
            )
            for found in part.batches
        }
        same(f"{topic}-{partition}, batch", have, want)
        have = {}
        for offset, kind, stamp, key, value, headers in RECORD_LINE.findall(text):
            if int(offset) >= part.start:
                headers = headers.split(",") if headers else []
                time_of = (TIMES[kind], int(stamp))
                have[int(offset)] = (time_of, int(key), int(value), headers)
        sized = lambda data: -1 if data is None else len(data)
        want = {
            record.offset: (
                record.time, sized(record.key), sized(record.value),
                [name for name, _ in record.headers],
            )
            for record in part.records
        }
        same(f"{topic}-{partition}, record", have, want)
        batches, records = batches + len(part.batches), records + len(want)
    return f"{batches} batches, {records} records"


def dumped(directories):
    """What `kafka-dump-log` says of the logs in these directories, by their names."""
    logs = [log for directory in directories for log in sorted(directory.glob("*.log"))]
    command = ["--deep-iteration", "--files", ",".join(map(str, logs))]
    command = brokers.java("kafka-dump-log", *command)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    if done.returncode or "rror" in done.stderr or "Found invalid" in done.stdout:
        raise AssertionError(f"{done.returncode} {done.stderr}{done.stdout[-500:]}")
    out = {directory.name: "" for directory in directories}
    pieces = re.split(r"^Dumping (.*)$", done.stdout, flags=re.M)
    for log, text in zip(pieces[1::2], pieces[2::2]):
        out[pathlib.Path(log).parent.name] += text
    if not all(out.values()):
        raise AssertionError(f"no log file of {[name for name, text in out.items() if not text]}")
    return out


def same(what, have, want):
    """The same by offset."""
    for offset in sorted(have.keys() | want.keys()):
        if have.get(offset) != want.get(offset):
            found = f"{have.get(offset)!r:.300} instead of {want.get(offset)!r:.300}"
            raise AssertionError(f"{what} at {offset}: {found}")


def serve(out, home, kept):
    """A real Kafka over the exported files serves what the source served."""
    home.mkdir()
    target = brokers.Kafka(directory=home)
    target.start()
    try:
        with rawkafka.Connection(target.host, target.port) as broker:
            for topic, (partitions, configs) in TOPICS.items():
                broker.create_topic(topic, partitions, configs=configs)
        wait_for_topics(target)
        target.stop("term")
        replace(out, target.logs)
        target.start()
        wait_for_topics(target)
        compare(fetch_all(target), kept)
        append(target, out, kept)
        return f"{laps.producers_go_on(target, kept)} idempotent producers known"
    except Exception:
        print(target.tail(25))
        raise
    finally:
        target.stop("kill")


def replace(out, logs):
    """Puts the exported log files in place of the broker's own (README.md says why each step)."""
    for topic, (partitions, _) in TOPICS.items():
        for partition in range(partitions):
            directory = logs / f"{topic}-{partition}"
            for old in directory.iterdir():
                if old.name != "partition.metadata":
                    old.unlink()
            for log in (out / directory.name).glob("*.log"):
                shutil.copy(log, directory)
    for name in (
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
    ):
        (logs / name).unlink(missing_ok=True)


def compare(have, want):
    """The same batches in each partition, byte for byte, and the same records for a consumer."""
    for where, part in want.items():
        got, wanted = ({b.base_offset: b.raw for b in side.batches} for side in (have[where], part))
        same(f"{where}, batch", got, wanted)
        got, wanted = ({r.offset: r for r in side.records if r.offset >= part.start}
                       for side in (have[where], part))
        same(f"{where}, record", got, wanted)


def append(target, out, kept):
    """The broker goes on behind the exported records."""
    with rawkafka.Connection(target.host, target.port) as broker:
        for (topic, partition), part in kept.items():
            data = rawkafka.batch([rawkafka.record(b"k", b"appended")])
            got = broker.produce(topic, partition, data)
            if part.batches:
                wanted = part.end
            else:
                (log,) = (out / f"{topic}-{partition}").glob("*.log")
                wanted = int(log.stem)
            if got != (0, wanted):
                raise AssertionError(f"{topic}-{partition}: appended {got}, not at {wanted}")


if __name__ == "__main__":
    sys.exit(main())
