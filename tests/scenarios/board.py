"""A board: one broker over an empty ring, and the clients of a scenario."""

import json
import os
import random
import subprocess
import threading
import time

import brokers
import rawkafka

WAIT_SECONDS_MAX = 90
# 64 MiB: zero-filled in a moment, and not lapped by what a scenario produces.
RING = ("ring.segments=16", "ring.segment_bytes=4 MiB", "group_initial_rebalance_delay_ms=0")


class Board:
    """The broker, and everything that must end with it."""

    def __init__(self, options, name, home):
        # Of its own for each scenario: one alone makes the choices that it makes among all.
        self.random = random.Random(f"{options.seed} {name}")
        directory = home / name
        directory.mkdir()
        self.broker = brokers.Brooklet(options.binary, directory=directory, settings=RING)
        self.closing = []

    def start(self, *settings, environment=None):
        """Starts the broker, with these settings beside RING's."""
        self.broker.settings += settings
        if environment:
            self.broker.environment = lambda: {**os.environ, "RUST_LOG": "info", **environment}
        self.broker.start()
        return self

    def processes(self):
        """What runs for this scenario and has a log."""
        return [self.broker]

    def close(self):
        """Ends all processes and threads."""
        for close in reversed(self.closing):
            try:
                close()
            except Exception:
                pass
        self.broker.stop("kill")

    def raw(self):
        """A raw connection."""
        return rawkafka.Connection(self.broker.host, self.broker.port)

    def topic(self, name, partitions=1, **configs):
        """A new topic; configs are written with underscores for dots."""
        with self.raw() as raw:
            configs = {key.replace("_", "."): value for key, value in configs.items()}
            raw.create_topic(name, partitions, configs=configs)
        return name

    def end(self, topic, partition=0):
        """The end of a partition."""
        with self.raw() as raw:
            error, _, offset = raw.list_offset(topic, partition, rawkafka.LATEST)
            rawkafka.check(error, "ListOffsets")
            return offset

    def stored(self, topic, partition=0):
        """All records of a partition, as they are stored."""
        with self.raw() as raw:
            batches = raw.fetch_batches(topic, partition)
        return [record for found in batches for record in found.records()]

    def committed(self, group, topic, partition=0):
        """The committed offset, −1 for none."""
        with self.raw() as raw:
            error, offset = raw.committed(group, topic, partition)
            rawkafka.check(error, "OffsetFetch")
            return offset

    def status(self):
        """`brooklet status --json`."""
        command = [self.broker.binary, "status", "--json", "--data", self.broker.home / "data"]
        command = [str(part) for part in command]
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
        return json.loads(done.stdout)

    def wear(self):
        """What the ring says it has written."""
        return self.status()["rings"]["main"]["wear"]

    def producer(self, **options):
        """A librdkafka producer; options are written with underscores for dots."""
        from confluent_kafka import Producer

        options = {key.replace("_", "."): value for key, value in options.items()}
        options.setdefault("reconnect.backoff.max.ms", 200)
        # Brokers that are killed are no news here.
        options.setdefault("log_level", 2)
        return Producer({"bootstrap.servers": self.broker.bootstrap, **options})

    def consumer(self, group="none", **options):
        """A librdkafka consumer that commits when told to."""
        from confluent_kafka import Consumer

        consumer = Consumer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 200,
                "log_level": 2,
                **{key.replace("_", "."): value for key, value in options.items()},
            }
        )
        self.closing.append(consumer.close)
        return consumer


class Thread:
    """A function in a thread that ends when it is told to, and hands on what it raised."""

    def __init__(self, body, *arguments, **options):
        self.ended, self._failed = threading.Event(), []
        self.result = None

        def run():
            try:
                self.result = body(self, *arguments, **options)
            except BaseException as error:  # raised again by `end`
                self._failed.append(error)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def going_on(self):
        """Whether nobody has asked it to end."""
        return not self.ended.is_set()

    def alive(self):
        """Whether it runs; raises what it raised."""
        if self._failed:
            raise self._failed[0]
        return self._thread.is_alive()

    def join(self, seconds=WAIT_SECONDS_MAX):
        """Waits for its own end, and gives what it returned."""
        self._thread.join(seconds)
        if self.alive():
            raise AssertionError(f"no end within {seconds} s")
        return self.result

    def end(self):
        """Asks it to end, and waits."""
        self.ended.set()
        return self.join()


def wait_until(what, condition, seconds=WAIT_SECONDS_MAX):
    """Asks until `condition()` is true, for at most some seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def expect(true, what):
    """Fails with the text unless the condition holds."""
    if not true:
        raise AssertionError(what)


def missing(wanted, have):
    """What is wanted and not there, as a short text."""
    left = sorted(set(wanted) - set(have))
    return f"{len(left)} are missing: {left[:10]}" if left else ""
