#!/usr/bin/env python3
"""The tools that people point at such a broker, with what docs/tools.md tells them to paste.

    run.py [--binary PATH] [--kafka] [--keep] [CASE...]    parts of the names of the tools

Each tool carries 10,000 records. It is started before the broker is there; the broker is killed in
the middle and started again on the same ring. In the end every record must be there, or received.
"""

import argparse
import functools
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers
import in_use
import install
import programs
import rawkafka
from brokers import wait
from programs import Feed

RECORDS = 10_000
PARTITIONS = 4
# How many are fed before there is a broker; before it is killed, and while it is away; how many
# must be stored, or received, before it is killed.
EARLY, BEFORE_KILL, WHILE_AWAY, STORED_AT_KILL = 2_000, 6_000, 8_000, 3_000
BROOKLET = ["ring.segments=4", "ring.segment_bytes=4 MiB", f"num_partitions={PARTITIONS}"]
KAFKA = [f"num.partitions={PARTITIONS}"]


class Bench:
    """A broker of its own, not started, and one tool."""

    def __init__(self, options, home, tool):
        self.home = home / tool.name
        self.home.mkdir()
        data = self.home / "broker"
        data.mkdir()
        if options.kafka:
            self.broker = brokers.Kafka(0, data, KAFKA)
        else:
            self.broker = brokers.Brooklet(options.binary, 0, data, BROOKLET)
        self.tool, self.feed = tool(self.home, self.broker), None

    def ends(self):
        """{partition: number of records}; nothing while there is no topic."""
        try:
            with rawkafka.Connection(self.broker.host, self.broker.port, timeout=5) as broker:
                _, _, topics = broker.metadata()
                found = topics.get(in_use.TOPIC, (0, {}))[1]
                end = lambda at: broker.list_offset(in_use.TOPIC, at, rawkafka.LATEST)[2]
                return {at: end(at) for at in found}
        except (OSError, rawkafka.Closed):
            return {}

    def stored(self):
        """How many records there are."""
        return sum(max(end, 0) for end in self.ends().values())

    def records(self):
        """{partition: [(source, number)]} of what is stored, in its order."""
        out = {}
        with rawkafka.Connection(self.broker.host, self.broker.port) as broker:
            for at in self.ends():
                batches = broker.fetch_batches(in_use.TOPIC, at)
                values = [record.value for batch in batches for record in batch.records()]
                out[at] = [self.place(value) for value in values]
        return out

    def place(self, value):
        """Source and number of a stored value."""
        found = self.tool.pattern.search(value)
        if not found:
            raise AssertionError(f"{self.tool.name} stored {value[:200]!r}")
        named = found.groupdict()
        source, number = (named["source"], named["n"]) if named else found.groups()
        return source.decode(), int(number)

    def processes(self):
        """What runs for this case."""
        return self.tool, self.broker

    def close(self):
        if self.feed is not None:
            self.feed.stop()
        self.tool.stop()
        self.broker.stop("kill")


# ---- cases -------------------------------------------------------------------------------


def sends(bench):
    """A tool that produces: nothing is lost while the broker is away, first and in the middle."""
    tool = bench.tool
    tool.start()
    bench.feed = feed = Feed(tool.send, RECORDS)
    if tool.takes_early:
        feed.through(EARLY)
    else:
        tool.gave_up()
    bench.broker.start()
    tool.broker_is_there()
    feed.up_to(BEFORE_KILL)
    at = wait(lambda: bench.stored() >= STORED_AT_KILL and bench.stored(), "the first records")
    bench.broker.stop("kill")
    feed.through(WHILE_AWAY)
    bench.broker.start()
    feed.through(RECORDS)
    wait(lambda: bench.stored() >= RECORDS, f"{RECORDS} records; {bench.stored()} are there")
    found = wait(lambda: whole(bench.records()), "every record")
    places = [place for placed in found.values() for place in placed]
    late = disorder(found)
    if tool.keeps_order and late:
        raise AssertionError(f"the order of a source's records was lost: {late}")
    return f"killed at {at}; {len(places) - RECORDS} twice; " + (
        "not in order" if late else "in order")


def whole(found):
    """What was found, if every record is in it."""
    numbers = {number for placed in found.values() for _, number in placed}
    return found if numbers == set(range(RECORDS)) else None


def disorder(found):
    """The first record that comes too late."""
    for at, placed in found.items():
        last = {}
        for source, number in once(placed):
            if number <= last.get(source, -1):
                return f"partition {at}: {source} {number} after {last[source]}"
            last[source] = number
    return None


def once(records):
    """Each record where it comes first."""
    return list(dict.fromkeys(records))


def receives(bench):
    """A tool that consumes: every record reaches it over a kill of the broker."""
    tool = bench.tool
    tool.start()
    bench.broker.start()
    create_topic(bench)
    bench.feed = feed = Feed(lambda numbers: produce(bench, numbers), RECORDS)
    feed.through(BEFORE_KILL)
    at = wait(lambda: len(tool.received()) >= STORED_AT_KILL and len(tool.received()), "the first")
    bench.broker.restart("kill")
    feed.through(RECORDS)

    def complete():
        tool.check()
        return whole({0: tool.received()})

    found = wait(complete, "every record")[0]
    return f"killed at {at}; {len(found) - RECORDS} twice"


def produce(bench, numbers):
    """Stores records; each source has a partition."""
    with rawkafka.Connection(bench.broker.host, bench.broker.port) as broker:
        for at, source in enumerate(in_use.SOURCES):
            values = [bench.tool.value(number) for number in numbers
                      if in_use.source_of(number) == source]
            records = [rawkafka.record(source.encode(), value)
                       for value in values]
            batch = rawkafka.batch(records)
            # A Kafka's partition has its leader a moment after it was created.
            wait(lambda: broker.produce(in_use.TOPIC, at, batch)[0] == 0, "a batch stored")


def shows(bench):
    """A terminal interface shows topics, again after a kill of the broker, and records."""
    tool = bench.tool
    bench.broker.start()
    create_topic(bench)
    bench.feed = feed = Feed(lambda numbers: produce(bench, numbers), RECORDS)
    feed.through(RECORDS)
    screen = tool.open_in("kaskade-admin.sh")
    # What all partitions hold is shown with a sign for "about".
    told = (in_use.TOPIC, f"≈{RECORDS}")
    on_screen = lambda: all(part in screen.text() for part in told)
    wait(on_screen, f"{told} on the screen")
    screen.press("d")
    wait(lambda: "Replicas" in screen.text(), "the partitions on the screen")
    screen.press("\x1b")
    bench.broker.restart("kill")
    screen.forget()
    # Control and R: it asks again.
    wait(lambda: screen.press("\x12") or on_screen(), f"{told} on the screen after a kill")
    tool.close()
    screen = tool.open_in("kaskade-consumer.sh")
    before = wait(lambda: len(tool.numbers()), "records on the screen")
    wait(lambda: screen.press("n") or len(tool.numbers()) > before, "more of them")
    tool.close()
    return "topics, partitions and records shown"


def create_topic(bench):
    """Makes the topic, unless the tool that is there already asked for it."""
    with rawkafka.Connection(bench.broker.host, bench.broker.port) as broker:
        if in_use.TOPIC not in broker.metadata()[2]:
            broker.create_topic(in_use.TOPIC, PARTITIONS)


CASES = {
    **{tool: sends for tool in in_use.SENDERS},
    **{tool: receives for tool in in_use.RECEIVERS},
    in_use.Kaskade: shows,
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
    if options.kafka:
        install.install({"java"})
    cases = {
        tool.name: (case, functools.partial(bench_of, options, tool)) for tool, case in CASES.items()
    }
    return programs.run_cases(cases, options, "tools")


def bench_of(options, tool, home):
    """The bench of a tool in a folder."""
    return Bench(options, home, tool)


if __name__ == "__main__":
    sys.exit(main())
