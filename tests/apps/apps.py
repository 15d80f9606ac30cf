"""The applications: how each is configured, started, and asked.

What a reader pastes stands in docs/apps.md alone: a program here takes that text, and adds what
makes it look more often and miss its own death sooner, so that a case takes seconds.
"""

import json
import os
import re
import shutil
import urllib.request

import brokers
import build
import programs
from programs import BROKER

PAGE = "apps.md"
# A consumer's member that was killed is missed after this long, the least that brokers allow.
SESSION_MS = 6000


class Application(programs.Program):
    """A program that has a directory for its state."""

    def __init__(self, home, broker):
        self.broker = broker
        folder = home / self.name
        folder.mkdir()
        super().__init__(directory=folder)
        self.state = self.home / "state"
        self.configure()

    def configure(self):
        """Writes what the program reads."""

    def documented(self, block, replaced):
        """A block of the page, for this broker."""
        return programs.documented(PAGE, block, {BROKER: self.broker.bootstrap, **replaced})

    def write(self, name, text):
        """A file in its folder."""
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def check(self):
        """Fails if it has ended."""
        if not self.alive():
            raise AssertionError(f"{self.name} ended with {self.process.returncode}")

    def lose_state(self):
        """Killed; what it kept on disk is gone."""
        self.stop("kill")
        if not any(self.state.iterdir()):
            raise AssertionError(f"{self.name} kept nothing in {self.state}")
        shutil.rmtree(self.state)


# ---- Connect -----------------------------------------------------------------------------


class Connect(Application):
    """A distributed worker."""

    name = "connect"
    start_seconds_max = 120
    TOPICS = ("connect-configs", "connect-offsets", "connect-status")

    def configure(self):
        (plugin,) = build.CONNECT.glob("connect-file-*.jar")
        text = self.documented("connect-distributed.properties", {
            "127.0.0.1:8083": f"127.0.0.1:{self.port}",
            f"/opt/kafka/libs/{plugin.name}": plugin,
        })
        self.properties = self.write("connect.properties", text + f"""
offset.flush.interval.ms=1000
scheduled.rebalance.max.delay.ms=0
session.timeout.ms=10000
consumer.session.timeout.ms={SESSION_MS}
""")

    def command(self):
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return programs.jvm(f"{build.CONNECT}/*", main, self.properties)

    def answers(self):
        return self.ask("GET", "/connectors") is not None

    def ask(self, method, path, body=None):
        """What it says; None while it cannot."""
        return ask(self.port, method, path, body)

    def connector(self, kind, replaced):
        """The configuration of a connector."""
        return json.loads(programs.documented(PAGE, f"connect-{kind}.json", replaced))


def ask(port, method, path, body=None):
    """The answer of a program to a request in JSON; None while it has none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except (OSError, ValueError):
        return None


# ---- what counts words -------------------------------------------------------------------


class WordCount(Application):
    """A program that counts words: lines in one topic, how often there was each so far in another."""

    GROUP = "wordcount"
    # How many lines: before the first kill, before the second, in all.
    LINES = (2_000, 4_000, 12_000)

    # Whether it deletes what it has processed of the repartition topic.
    purges = False
    # Whether it ends by itself when the broker was killed, and has to be started again.
    ends_with_broker = False

    def restored(self):
        """How many records it says to have restored since it was started last; None: it does not."""
        return None


class Streams(WordCount):
    """Kafka Streams, in streams/WordCount.java."""

    name = "streams"
    LINES = (5_000, 10_000, 30_000)
    purges = True

    def configure(self):
        text = self.documented("streams.properties", {"/var/lib/wordcount": self.state})
        self.properties = self.write("streams.properties", text + f"""
commit.interval.ms=1000
repartition.purge.interval.ms=1000
consumer.session.timeout.ms={SESSION_MS}
""")

    def command(self):
        libs = f"{build.STREAMS}/*{os.pathsep}{build.WORD_COUNT}"
        return programs.jvm(libs, "WordCount", self.properties)

    def restored(self):
        return sum(map(int, re.findall(r"^restored (\d+)", self.log.read_text(), re.M)))


class Quix(WordCount):
    """Quix Streams, in count_quix.py."""

    name = "quix"
    # A commit that is refused is the end of it.
    ends_with_broker = True

    def configure(self):
        fast = f'consumer_extra_config={{"session.timeout.ms": {SESSION_MS}}}, commit_interval=1.0'
        text = self.documented("quix.py", {
            "/var/lib/wordcount": self.state,
            'auto_offset_reset="earliest"': f'auto_offset_reset="earliest", {fast}',
        })
        self.program = self.write("quix_app.py", text + (build.HERE / "count_quix.py").read_text())

    def command(self):
        return [build.PYTHON, "-u", self.program]


# ---- the registry ------------------------------------------------------------------------


class Registry(Application):
    """Apicurio, which keeps what it is told in a topic."""

    name = "registry"
    start_seconds_max = 180

    def configure(self):
        text = self.documented("apicurio.properties", {
            "quarkus.http.port=8080": f"quarkus.http.port={self.port}",
            "quarkus.management.port=9000": f"quarkus.management.port={brokers.free_port()}",
        })
        self.write("config/application.properties", text)

    def command(self):
        options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")
        return ["env", "-C", self.home, build.java(), *options, "-jar",
                build.REGISTRY / "quarkus-run.jar"]

    def answers(self):
        return self.ask("GET", "/subjects") is not None

    def ask(self, method, path, body=None):
        """What it says, as a client of Confluent's registry hears it; None while it cannot."""
        return ask(self.port, method, f"/apis/ccompat/v7{path}", body)
