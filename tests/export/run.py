#!/usr/bin/env python3
"""An export, read by Kafka's own tools and served by a real Kafka broker.

    run.py [--binary PATH]    `brooklet export` of what clients produced into brooklet
    run.py --kafka            the same with a Kafka as the source, whose log files are copied:
                              proves the procedure, and what an export must consist of

1. Clients produce into the source; every stored batch is fetched and kept.
2. The source is stopped and exported (README.md says what an export is).
3. `kafka-dump-log --deep-iteration` must find every record of every file valid.
4. A real Kafka gets topics of the same names, is stopped, gets the exported files in place of its
   own, is started again, and must serve the same batches, byte for byte, and the same records.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers
import install
import rawkafka

# topic: (partitions, configs)
TOPICS = {
    "plain": (1, {}),
    "codecs": (3, {}),
    "stamped": (1, {"message.timestamp.type": "LogAppendTime"}),
    "trimmed": (1, {}),
    "empty": (2, {}),
}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# The offset below which the records of `trimmed` are deleted: a batch's first.
TRIMMED_AT = 3
# Where an empty partition goes on, in the files made from Kafka's.
EMPTY_AT = 100


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
        settings = ["ring.segments=8", "ring.segment_bytes=4 MiB"]
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
        kept = kept or told
        passed += 1
        print(f"passed  {name} {time.monotonic() - started:.1f} s", flush=True)
    print(f"{passed} passed, {min(1, len(steps) - passed)} failed")
    return 0 if passed == len(steps) else 1


def fill(source):
    """Produces into the source over several runs of it; gives {(topic, partition): batches}."""
    source.start()
    with rawkafka.Connection(source.host, source.port) as broker:
        for topic, (partitions, configs) in TOPICS.items():
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
    epochs = {found.leader_epoch for batches in kept.values() for found in batches}
    codecs = {found.codec_name for found in kept["codecs", 0]}
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
    """{(topic, partition): its stored batches from the log start}."""
    out = {}
    with rawkafka.Connection(broker.host, broker.port) as connection:
        for topic, (partitions, _) in TOPICS.items():
            for partition in range(partitions):
                _, _, start = connection.list_offset(topic, partition, rawkafka.EARLIEST)
                batches = connection.fetch_batches(topic, partition, start)
                out[topic, partition] = [found for found in batches if found.next_offset > start]
    return out


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
    del kept["plain", 0][2]
    for (topic, partition), batches in kept.items():
        directory = out / f"{topic}-{partition}"
        directory.mkdir(parents=True)
        if (topic, partition) in (("plain", 0), ("trimmed", 0)):
            data = b"".join(found.raw for found in batches)
            (directory / f"{batches[0].base_offset:020}.log").write_bytes(data)
            continue
        for log in (source.logs / directory.name).glob("*.log"):
            shutil.copy(log, directory)
    (out / "empty-1" / f"{0:020}.log").rename(out / "empty-1" / f"{EMPTY_AT:020}.log")
    if kept["trimmed", 0][0].base_offset == 0:
        raise AssertionError("the trimmed topic begins at 0")


# ---- checking ----------------------------------------------------------------------------


def dump(out, kept):
    """`kafka-dump-log --deep-iteration`: every batch valid, every record there."""
    for (topic, partition), batches in kept.items():
        logs = sorted((out / f"{topic}-{partition}").glob("*.log"))
        if not logs:
            raise AssertionError(f"no log file of {topic}-{partition}")
        text = ""
        for log in logs:
            command = ["--deep-iteration", "--skip-record-metadata", "--files", log]
            command = brokers.java("kafka-dump-log", *command)
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode or "rror" in done.stderr or "Found invalid" in done.stdout:
                raise AssertionError(f"{log}: {done.returncode} {done.stderr}{done.stdout[-500:]}")
            text += done.stdout
        dumped = re.findall(
            r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .*?"
            r"compresscodec: (\w+) crc: (\d+) isvalid: (\w+)$",
            text,
            re.M,
        )
        have = {}
        for base, last, count, codec, crc, valid in dumped:
            have[int(base)] = (int(last) + 1, int(count), codec, int(crc), valid)
        for found in batches:
            want = (found.next_offset, found.count, found.codec_name, found.crc, "true")
            if have.get(found.base_offset) != want:
                where = f"{topic}-{partition} at {found.base_offset}"
                raise AssertionError(f"{where}: {have.get(found.base_offset)} instead of {want}")


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
        compare_records(target, kept)
        append(target, out, kept)
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
    """The same batches in each partition, byte for byte."""
    for where, batches in want.items():
        got, wanted = ([found.raw for found in side] for side in (have[where], batches))
        if got != wanted:
            offsets = [[found.base_offset for found in side] for side in (have[where], batches)]
            raise AssertionError(f"{where}: offsets {offsets[0]} instead of {offsets[1]}")


def compare_records(target, kept):
    """A client reads as many records as the batches say, with their keys, values and headers."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": target.bootstrap,
            "group.id": "export",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
        }
    )
    for (topic, partition), batches in kept.items():
        wanted = sum(found.count for found in batches)
        if not wanted:
            continue
        consumer.assign([TopicPartition(topic, partition, batches[0].base_offset)])
        got = []
        while len(got) < wanted:
            message = consumer.poll(20)
            if message is None or message.error():
                raise AssertionError(f"{topic}-{partition}: {len(got)} of {wanted} records")
            got.append(message)
        readable = [r for found in batches if found.codec in (0, 1) for r in found.records()]
        by_offset = {message.offset(): message for message in got}
        for want in readable:
            have = by_offset[want.offset]
            got = (have.timestamp()[1], have.key(), have.value(), have.headers() or [])
            if got != (want.timestamp, want.key, want.value, want.headers):
                raise AssertionError(f"{topic}-{partition} at {want.offset}: {got!r:.300}")


def append(target, out, kept):
    """The broker goes on behind the exported records."""
    with rawkafka.Connection(target.host, target.port) as broker:
        for (topic, partition), batches in kept.items():
            data = rawkafka.batch([rawkafka.record(None, b"appended")])
            got = broker.produce(topic, partition, data)
            if batches:
                wanted = batches[-1].next_offset
            else:
                (log,) = (out / f"{topic}-{partition}").glob("*.log")
                wanted = int(log.stem)
            if got != (0, wanted):
                raise AssertionError(f"{topic}-{partition}: appended {got}, not at {wanted}")


if __name__ == "__main__":
    sys.exit(main())
