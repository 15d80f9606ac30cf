"""The broker under test: brooklet's release binary, a real Kafka, or one that runs already."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import install

# Kafka's tools by the names of their scripts.
TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-server": "kafka.Kafka",
}
# A JVM that lives for a second gains nothing from the second compiler or from parallel collection.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")

# How long a silent member of the new protocol is missed. A JVM that takes the place of a static
# member starts within it, also on a machine that is busy with other things.
CONSUMER_SESSION_MS = 20_000

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# For something that a case waits for.
WAIT_SECONDS_MAX = 180


def java(tool, *arguments, options=SHORT_LIVED, level="WARN"):
    """The command that runs one of Kafka's tools."""
    logging = f"-Dlog4j2.configurationFile={install.HERE / 'java' / 'log4j2.xml'}"
    command = ["java", *options, logging, f"-Dtests.level={level}", "-cp", f"{install.JARS}/*"]
    return command + [TOOLS[tool], *map(str, arguments)]


def free_port():
    """A loopback port that nobody holds right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(look, what, seconds=WAIT_SECONDS_MAX):
    """Waits until `look` gives something that is true, and gives that."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.2)


class Broker:
    """A broker process over one data directory: start, stop, kill, start again."""

    name = "broker"
    can_restart = True
    # Whether `spoil` knows where records are kept.
    can_spoil = False

    # Whether signals for whoever started it are none for the broker.
    own_session = True
    start_seconds_max = START_SECONDS_MAX

    def __init__(self, port=0, directory=None):
        self.host, self.port = "127.0.0.1", port or free_port()
        self.home = pathlib.Path(directory or tempfile.mkdtemp(prefix="clients-"))
        self.owns_home = directory is None
        self.process = None
        self.log = self.home / "broker.log"

    @property
    def bootstrap(self):
        """HOST:PORT."""
        return f"{self.host}:{self.port}"

    def command(self):
        """The command that starts the broker."""
        raise NotImplementedError

    def prepare(self):
        """What must be done once, before the first start."""

    def start(self):
        """Starts the broker and waits until it accepts connections."""
        self.prepare()
        if self.answers():
            raise RuntimeError(f"a broker is at {self.bootstrap} already")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.own_session,
                env=self.environment(),
            )
        until = time.monotonic() + self.start_seconds_max
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.process.returncode}\n{self.tail()}")
            if self.answers():
                return
            time.sleep(0.05)
        raise RuntimeError(f"no answer on {self.bootstrap}\n{self.tail()}")

    def environment(self):
        """The broker's environment: the caller's, unless more is wanted."""
        return None

    def answers(self):
        """Whether the broker answers Metadata with itself in it."""
        import rawkafka

        try:
            with rawkafka.Connection(self.host, self.port, timeout=5) as connection:
                return bool(connection.metadata([])[0])
        except (OSError, rawkafka.Closed, IndexError):
            return False

    def stop(self, how="term"):
        """Ends the broker: "term" waits for its own end, "kill" gives it no chance."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"no end within {STOP_SECONDS_MAX} s of SIGTERM") from None

    def restart(self, how, spoil=None):
        """Ends the broker as told and starts it over the same data, in which the text `spoil` is
        spoilt."""
        self.stop(how)
        if how == "term" and self.process.returncode not in self.exit_codes:
            raise RuntimeError(f"exit code {self.process.returncode} after SIGTERM")
        if spoil is not None:
            self.spoil(spoil.encode())
        self.start()

    def another(self, settings):
        """A broker like this one, elsewhere, with brooklet's settings besides."""
        raise NotImplementedError

    def spoil(self, wanted):
        """Flips a bit of these bytes, which are in the data once."""
        raise NotImplementedError

    # What a clean stop by SIGTERM may exit with.
    exit_codes = (0,)

    def alive(self):
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def tail(self, lines=15):
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join("    | " + line for line in text[-lines:])

    def remove(self):
        """Removes the data directory, unless the caller named it."""
        if self.owns_home:
            shutil.rmtree(self.home, ignore_errors=True)


class Brooklet(Broker):
    """brooklet, with a ring that is small enough to be zero-filled in no time."""

    name = "brooklet"
    can_spoil = True

    def __init__(self, binary, port=0, directory=None, settings=()):
        super().__init__(port, directory)
        self.binary = pathlib.Path(binary).resolve()
        self.settings = list(settings)

    def command(self):
        command = [self.binary, "serve", "--listen", self.bootstrap, "--data", self.home / "data"]
        for setting in self.settings:
            command += ["--set", setting]
        return command

    def environment(self):
        return dict(os.environ, RUST_LOG=os.environ.get("RUST_LOG", "info"))

    def another(self, settings):
        changed = dict(setting.split("=", 1) for setting in [*self.settings, *settings])
        return Brooklet(self.binary, settings=[f"{key}={value}" for key, value in changed.items()])

    def spoil(self, wanted):
        found = []
        for path in (self.home / "data" / "ring-0").glob("segment-*"):
            data = path.read_bytes()
            found += [(path, hit.start(), data[hit.start()]) for hit in re.finditer(wanted, data)]
        if len(found) != 1:
            raise RuntimeError(f"{wanted} is at {len(found)} places")
        ((path, at, byte),) = found
        with open(path, "r+b") as segment:
            segment.seek(at)
            segment.write(bytes([byte ^ 1]))
            # The broker reads past the page cache.
            segment.flush()
            os.fsync(segment.fileno())


class Kafka(Broker):
    """One KRaft node of the real thing: what the expectations here were proved against."""

    name = "kafka"
    # The JVM's own code for a shutdown by signal.
    exit_codes = (0, 143)

    def __init__(self, port=0, directory=None, settings=()):
        super().__init__(port, directory)
        self.controller_port = free_port()
        self.properties = self.home / "server.properties"
        self.logs = self.home / "logs"
        self.settings = list(settings)

    def another(self, settings):
        # What has no other name there; a Kafka has no rings.
        named = [setting.replace("_", ".") for setting in settings if "ring." not in setting]
        return Kafka(settings=[*self.settings, *named])

    def prepare(self):
        if self.properties.exists():
            return
        lines = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{self.controller_port}",
            f"listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners=PLAINTEXT://{self.bootstrap}",
            "controller.listener.names=CONTROLLER",
            f"log.dirs={self.logs}",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=1",
            "group.initial.rebalance.delay.ms=0",
            # Of the new protocol it is the broker that says how long a killed member is missed.
            f"group.consumer.min.session.timeout.ms={CONSUMER_SESSION_MS}",
            f"group.consumer.session.timeout.ms={CONSUMER_SESSION_MS}",
            "group.consumer.min.heartbeat.interval.ms=1000",
            "group.consumer.heartbeat.interval.ms=1000",
            # Batches are stored as sent, also those that were stamped long ago.
            "log.retention.ms=-1",
            *self.settings,
        ]
        self.properties.write_text("\n".join(lines) + "\n")
        format_it = ("format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", self.properties)
        subprocess.run(
            java("kafka-storage", *format_it), check=True, capture_output=True, timeout=60
        )

    def command(self):
        options = ("-Xmx512m", "-Xms256m", "-XX:+UseSerialGC")
        return java("kafka-server", self.properties, options=options, level="INFO")


class External(Broker):
    """A broker that somebody else started: it cannot be restarted."""

    name = "external"
    can_restart = False

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        super().__init__(int(port))
        self.host = host

    def start(self):
        if not self.answers():
            raise RuntimeError(f"no broker at {self.bootstrap}")

    def stop(self, how="term"):
        pass

    def alive(self):
        return True
