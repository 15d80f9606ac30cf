#!/usr/bin/env python3
"""Programs that keep their state in the broker: Connect, Streams, Quix Streams, a schema registry.

    run.py [--binary PATH] [--kafka] [--keep] [CASE...]    parts of the names of the cases

Each case has a broker of its own. The program and the broker are killed (SIGKILL) and started
again, and what the program keeps on disk is deleted; what comes out is compared, by numbers, with
what went in. The line of a case says the numbers.
"""

import argparse
import collections
import functools
import json
import pathlib
import re
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import apps
import brokers
import build
import install
import programs
import rawkafka
from brokers import wait
from programs import Feed

BROOKLET = ["ring.segments=16", "ring.segment_bytes=4 MiB"]
PARTITIONS = 3


class Bench:
    """A broker of its own, and the program of the case."""

    def __init__(self, options, program, home):
        self.home = home / program.name
        self.home.mkdir()
        data = self.home / "broker"
        data.mkdir()
        if options.kafka:
            self.broker = brokers.Kafka(0, data)
        else:
            self.broker = brokers.Brooklet(options.binary, 0, data, BROOKLET)
        self.program = program(self.home, self.broker)
        self.feed, self.kills = None, 0

    def raw(self):
        """A raw connection to the broker."""
        return rawkafka.Connection(self.broker.host, self.broker.port)

    def end(self, topic, partition=0):
        """The end of a partition."""
        with self.raw() as broker:
            error, _, offset = broker.list_offset(topic, partition, rawkafka.LATEST)
            rawkafka.check(error, f"ListOffsets {topic}-{partition}")
            return offset

    def processes(self):
        """What runs for this case."""
        return self.broker, self.program

    def close(self):
        """Ends all."""
        if self.feed is not None:
            self.feed.stop()
        for process in (self.program, self.broker):
            process.stop("kill")


# ---- Connect -----------------------------------------------------------------------------

LINES = 20_000
# How many lines are in the file before the worker is killed, and while it is away; before the
# broker is killed.
WORKER_KILLED, WORKER_AWAY, BROKER_KILLED = 8_000, 10_000, 16_000


def connect(bench):
    """A file through a topic into a file, over a kill of the worker and of the broker."""
    worker, source, sink = bench.program, bench.home / "source.txt", bench.home / "sink.txt"
    bench.broker.start()
    worker.start()
    with open(source, "ab", buffering=0) as file:
        send = lambda numbers: file.write(b"".join(b"line=%07d;\n" % n for n in numbers))
        bench.feed = feed = Feed(send, LINES)
        configs = {
            "source": worker.connector("source", {"/var/log/sensors.txt": source}),
            "sink": worker.connector("sink", {"/var/lib/sensors.txt": sink}),
        }
        for name, config in configs.items():
            wait(lambda: worker.ask("PUT", f"/connectors/{name}/config", config), f"{name} taken")
        feed.up_to(WORKER_KILLED)
        wait(lambda: sink_committed(bench) > LINES // 10, "the first lines committed")
        worker_at = len(found_in(sink))
        worker.stop("kill")
        feed.through(WORKER_AWAY)
        worker.start()
        feed.up_to(BROKER_KILLED)
        wait(lambda: sink_committed(bench) > WORKER_AWAY, "more lines committed")
        broker_at = len(found_in(sink))
        bench.broker.restart("kill")
        feed.through(LINES)
    whole = lambda: set(found_in(sink)) == set(range(LINES))
    wait(whole, "every line in the sink")
    for name, config in configs.items():
        have = worker.ask("GET", f"/connectors/{name}/config")
        expect(have == {**config, "name": name}, f"the configuration of {name}: {have}")
    policies = {topic: policy_of(bench, topic) for topic in worker.TOPICS}
    expect(set(policies.values()) == {"compact"}, f"the topics of the worker: {policies}")
    # What was committed is all of it, and a worker that begins again finds nothing to do.
    committed(bench, source)
    arrived = len(found_in(sink))
    worker.stop("kill")
    bench.broker.restart("term")
    worker.start()
    runs = lambda name: states(worker, name) == ["RUNNING", "RUNNING"]
    for name in configs:
        wait(lambda: runs(name), f"{name} running")
    committed(bench, source)
    again = len(found_in(sink))
    expect(again == arrived, f"{again - arrived} lines came again though all was committed")
    return (f"{LINES} lines sent, {arrived} arrived, {arrived - LINES} twice, 0 missing; worker "
            f"killed at {worker_at}, broker at {broker_at}")


def found_in(path):
    """The numbers of the lines in a file; a line that a kill tore is none."""
    try:
        return [int(one) for one in re.findall(rb"line=(\d{7});", path.read_bytes())]
    except FileNotFoundError:
        return []


def policy_of(bench, topic):
    """How a topic is cleaned up."""
    from confluent_kafka.admin import AdminClient, ConfigResource

    admin = AdminClient({"bootstrap.servers": bench.broker.bootstrap})
    (answer,) = admin.describe_configs([ConfigResource("topic", topic)]).values()
    return answer.result(30)["cleanup.policy"].value


def sink_committed(bench):
    """What the sink has committed of its topic."""
    with bench.raw() as broker:
        return broker.committed("connect-sink", "sensors", 0)[1]


def committed(bench, source):
    """Waits until Connect has kept where the file and the topic end."""
    worker, size = bench.program, source.stat().st_size

    def offset_of(name, key):
        answer = worker.ask("GET", f"/connectors/{name}/offsets")
        found = answer and answer["offsets"]
        return found and found[0]["offset"][key]

    wait(lambda: offset_of("source", "position") == size, f"{size} bytes of the source committed")
    end = bench.end("sensors")
    wait(lambda: offset_of("sink", "kafka_offset") == end, f"{end} records of the sink committed")


def states(worker, name):
    """The states of a connector and its tasks."""
    answer = worker.ask("GET", f"/connectors/{name}/status")
    return answer and [part["state"] for part in (answer["connector"], *answer["tasks"])]


# ---- counting words ----------------------------------------------------------------------

WORDS, WORDS_OF_LINE = 500, 5


def words_of(number):
    """The words of a line."""
    return [f"w{(number * (2 * k + 1) + 7 * k) % WORDS:03}" for k in range(WORDS_OF_LINE)]


def expected(lines):
    """How often each word is in so many lines."""
    return collections.Counter(word for number in range(lines) for word in words_of(number))


class Counts:
    """Reads on in the topic of the counts: the newest of each word."""

    def __init__(self, bench):
        from confluent_kafka import Consumer, OFFSET_BEGINNING, TopicPartition

        self.bench, self.newest, self.read = bench, {}, [0] * PARTITIONS
        self.consumer = Consumer({
            "bootstrap.servers": bench.broker.bootstrap, "group.id": "reader",
            "enable.auto.commit": False, "reconnect.backoff.max.ms": 200, "log_level": 2,
        })
        places = [TopicPartition("counts", at, OFFSET_BEGINNING) for at in range(PARTITIONS)]
        self.consumer.assign(places)

    def look(self):
        """Reads what comes within a moment; how many were read by now."""
        found = [one for one in self.consumer.consume(5000, 0.1) if not one.error()]
        for one in found:
            self.newest[one.key().decode()] = int(one.value())
            self.read[one.partition()] = one.offset() + 1
        return sum(self.read)

    def all(self):
        """The newest of each word, of all that is there by now."""
        ends = [self.bench.end("counts", at) for at in range(PARTITIONS)]
        wait(lambda: self.look() >= sum(ends), f"all counts up to {ends}")
        return self.newest


def word_count(bench):
    """Exact where the program is killed with nothing under way; and at least once under load."""
    program, (first, second, total) = bench.program, bench.program.LINES
    bench.broker.start()
    with bench.raw() as broker:
        for topic in ("lines", "counts"):
            broker.create_topic(topic, PARTITIONS)
    counts = Counts(bench)
    producer = producer_of(bench)
    bench.feed = feed = Feed(lambda numbers: send_lines(bench, producer, numbers), total)
    program.start()
    for lines in (first, second):
        feed.through(lines)
        everything_committed(bench)
        compare(counts.all(), expected(lines))
        program.lose_state()
        program.start()
    feed.up_to(total)
    more_committed(bench, (total - second) // 5, total)
    program.lose_state()
    program.start()
    more_committed(bench, (total - second) // 5, total)
    bench.broker.restart("kill")
    feed.through(total)
    ended = ended_with_broker(bench)
    everything_committed(bench)
    want, have = expected(total), counts.all()
    for word, count in want.items():
        expect(have.get(word, 0) >= count, f"{word} was counted {have.get(word)} times, not {count}")
    twice = sum(have.values()) - sum(want.values())
    # Of the lines of this part some are counted again, and not those that were committed before.
    expect(twice <= (total - second) * WORDS_OF_LINE, f"{twice} words were counted again")
    restored, deleted = program.restored(), purged(bench)
    expect(restored is None or restored > 0, "nothing was restored")
    expect(deleted > 0 or not program.purges, "nothing of the repartition topic was deleted")
    restored = "" if restored is None else f"; {restored} records restored"
    return (f"{total} lines, {sum(want.values())} words: exact after {first} and {second} lines and "
            f"the loss of the state; killed under load 0 missing, {twice} twice{restored}; "
            f"{deleted} of the repartition topic deleted{ended}")


def ended_with_broker(bench):
    """Starts a program again that ended since the broker was killed, if it is one that does; says
    so."""
    program = bench.program
    if not program.ends_with_broker:
        return ""
    gone = lambda: not program.alive()
    wait(lambda: gone() or all_committed(bench, {}), "its end, or everything committed")
    if not gone():
        return ""
    program.start()
    return "; ended with the broker and started again"


def more_committed(bench, number, total):
    """Waits until the program has committed so many more lines, of those that come."""

    def lines():
        bench.program.check()
        with bench.raw() as broker:
            committed = [broker.committed(bench.program.GROUP, "lines", at)[1]
                         for at in range(PARTITIONS)]
        return sum(max(one, 0) for one in committed)

    reached = min(lines() + number, total)
    wait(lambda: lines() >= reached, f"{reached} lines committed")


def producer_of(bench):
    """A producer that waits for a broker that is away."""
    from confluent_kafka import Producer

    return Producer({
        "bootstrap.servers": bench.broker.bootstrap, "enable.idempotence": True, "linger.ms": 1,
        "reconnect.backoff.max.ms": 200, "log_level": 2,
    })


def send_lines(bench, producer, numbers):
    """Stores lines, and waits until they are acknowledged."""
    for number in numbers:
        line = " ".join(words_of(number)).encode()
        producer.produce("lines", line, b"%d" % number, number % PARTITIONS)
    left = producer.flush(brokers.WAIT_SECONDS_MAX)
    expect(not left, f"{left} lines were not acknowledged")


def repartition_topics(broker):
    """{topic: its partitions} of those that the program made to sort words."""
    _, _, topics = broker.metadata()
    return {name: list(found) for name, (_, found) in topics.items()
            if "repartition" in name and "changelog" not in name}


def everything_committed(bench):
    """Waits until the program has committed the end of all that it reads: what it counted and
    wrote was acknowledged before that."""
    left = {}

    def done():
        bench.program.check()
        return all_committed(bench, left)

    try:
        wait(done, "everything committed")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None


def all_committed(bench, left):
    """Whether it has; `left` becomes {(topic, partition): (committed, end)} where not."""
    left.clear()
    with bench.raw() as broker:
        # In this order: nothing comes into the second that was not in the first.
        consumed = {"lines": list(range(PARTITIONS)), **repartition_topics(broker)}
        for topic, partitions in consumed.items():
            for at in partitions:
                _, _, end = broker.list_offset(topic, at, rawkafka.LATEST)
                _, have = broker.committed(bench.program.GROUP, topic, at)
                if end > max(have, 0):
                    left[topic, at] = (have, end)
    return not left and len(consumed) > 1


def purged(bench):
    """How many records of the repartition topic the program deleted."""
    deleted = 0
    with bench.raw() as broker:
        for topic, partitions in repartition_topics(broker).items():
            for at in partitions:
                deleted += broker.list_offset(topic, at, rawkafka.EARLIEST)[2]
    return deleted


def compare(have, want):
    """The same words as often."""
    wrong = {word: (have.get(word), count) for word, count in want.items()
             if have.get(word) != count}
    expect(not wrong, f"{len(wrong)} words are not as often there: {list(wrong.items())[:5]}")
    expect(len(have) == len(want), f"{len(have)} words instead of {len(want)}")


# ---- the registry ------------------------------------------------------------------------

SUBJECTS, VERSIONS = 10, 6


def registry(bench):
    """Schemas and their ids are there after kills, and the next ids are new."""
    program = bench.program
    rings(bench)
    bench.broker.start()
    program.start()
    ids = {}
    for version in range(VERSIONS):
        register(program, ids, version)
        if version == VERSIONS // 3:
            # Right behind the last answer.
            bench.broker.restart("kill")
            restart(program)
            check_schemas(program, ids)
    check_schemas(program, ids)
    program.stop("kill")
    bench.broker.restart("term")
    program.start()
    check_schemas(program, ids)
    bytes_sent = overwrite(bench)
    restart(program)
    check_schemas(program, ids)
    count = SUBJECTS * VERSIONS
    expect(len(set(ids.values())) == count, f"{count} schemas have {len(set(ids.values()))} ids")
    groups = groups_with_offsets(bench)
    return (f"{count} schemas of {SUBJECTS} subjects registered, {count} there with their ids, also "
            f"behind {bytes_sent >> 20} MiB of other records; {len(groups)} groups left behind")


def rings(bench):
    """A ring for what the registry is told, and one for the rest."""
    path = bench.home / "brooklet.toml"
    path.write_text(programs.documented(apps.PAGE, "registry-rings.toml", {}))
    if bench.broker.name == "brooklet":
        bench.broker.settings = []
        environment = {**bench.broker.environment(), "BROOKLET_CONFIG": str(path)}
        bench.broker.environment = lambda: environment


def schema(subject, version):
    """A schema; each is compatible with those before."""
    fields = [{"name": f"f{one}", "type": "long", "default": subject} for one in range(version + 1)]
    return json.dumps({"type": "record", "name": f"S{subject}", "fields": fields})


def register(program, ids, version):
    """Registers a version of each subject, and notes the ids."""
    for subject in range(SUBJECTS):
        body = {"schema": schema(subject, version)}
        path = f"/subjects/s{subject}/versions"
        answer = wait(lambda: program.ask("POST", path, body), f"schema {version} of s{subject}")
        ids[subject, version] = answer["id"]


def restart(program):
    """Killed, and started again."""
    program.stop("kill")
    program.start()


def check_schemas(program, ids):
    """Every schema is there by its subject and version, and by its id, once it has read them."""
    newest = max(ids.values())
    wait(lambda: program.ask("GET", f"/schemas/ids/{newest}"), f"id {newest}")
    for (subject, version), at in ids.items():
        found = program.ask("GET", f"/subjects/s{subject}/versions/{version + 1}")
        expect(found is not None, f"version {version + 1} of s{subject} is not there")
        want = json.loads(schema(subject, version))
        expect(found["id"] == at, f"s{subject}, {version + 1}: id {found['id']}, not {at}")
        expect(json.loads(found["schema"]) == want, f"s{subject}, {version + 1}: {found['schema']}")
        found = program.ask("GET", f"/schemas/ids/{at}")
        expect(found and json.loads(found["schema"]) == want, f"id {at}: {found}")


def overwrite(bench):
    """Fills the ring of the other records twice; how many bytes that took."""
    record, count = rawkafka.record(None, b"x" * 900_000), 2 * 8 * 4 + 8
    with bench.raw() as broker:
        broker.create_topic("sensors")
        batch = rawkafka.batch([record])
        for _ in range(count):
            wait(lambda: broker.produce("sensors", 0, batch)[0] == 0, "a record stored")
        start = broker.list_offset("sensors", 0, rawkafka.EARLIEST)[2]
    expect(start > 0 or bench.broker.name != "brooklet", "nothing was overwritten")
    return count * 900_000


def groups_with_offsets(bench):
    """Groups that have committed something of the registry's topics."""
    with bench.raw() as broker:
        groups = broker.list_groups()[1]
        topics = ("kafkasql-journal", "kafkasql-snapshots", "registry-events")
        has = lambda one: any(broker.committed(one, topic, 0)[1] >= 0 for topic in topics)
        return [one for one in groups if has(one)]


# ---- all of them -------------------------------------------------------------------------


def expect(true, what):
    """Fails with the text unless the condition holds."""
    if not true:
        raise AssertionError(what)


CASES = {
    apps.Connect: connect,
    apps.Streams: word_count,
    apps.Quix: word_count,
    apps.Registry: registry,
}


def main():
    """Runs the cases, sums up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    parser.add_argument("--kafka", action="store_true", help="against a real Kafka, started here")
    parser.add_argument("--keep", action="store_true", help="keep all directories")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    install.install({"java"} if options.kafka else set())
    wanted = [one.name for one in CASES
              if not options.cases or any(part in one.name for part in options.cases)]
    build.build(wanted)
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        raise SystemExit(subprocess.call([install.VENV_PYTHON, *sys.argv]))
    cases = {
        program.name: (case, functools.partial(Bench, options, program))
        for program, case in CASES.items()
    }
    return programs.run_cases(cases, options, "apps")


if __name__ == "__main__":
    sys.exit(main())
