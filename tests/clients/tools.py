"""Command-line programs as clients: kcat, and Kafka's own tools."""

import json
import re
import subprocess
import threading

import brokers
from client import SECONDS_MAX, Client, Got
from harness import run

NO_ADMIN = "kcat administers nothing"


class ToolMember:
    """A program that consumes as a member, commits by itself and leaves on SIGTERM."""

    def __init__(self, command):
        self.records, self.assigned, self.changes = [], None, 0
        command = [str(part) for part in command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for read in (self._read_records, self._read_errors):
            threading.Thread(target=read, daemon=True).start()

    def record(self, line):
        """A record from a line of the standard output."""
        raise NotImplementedError

    def _read_records(self):
        for line in self.process.stdout:
            self.records.append(self.record(line.decode()))

    def error(self, line):
        """What a line of the standard error says."""

    def _read_errors(self):
        for line in self.process.stderr:
            self.error(line.decode())

    def leave(self):
        """SIGTERM: it closes its consumer, which leaves."""
        self.process.terminate()
        self.process.wait(20)

    def kill(self):
        """SIGKILL: the broker is told nothing."""
        self.process.kill()
        self.process.wait()


class KcatMember(ToolMember):
    """`kcat -G`: it says on its standard error what it holds."""

    def __init__(self, bootstrap, group, topic, options):
        # -E: a broker that is away for a moment is no reason to end.
        command = ["kcat", "-b", bootstrap, "-G", group, "-J", "-u", "-E"]
        command += ["-X", "auto.offset.reset=earliest"]
        if options.get("session_ms"):
            command += ["-X", f"session.timeout.ms={options['session_ms']}"]
        if options.get("instance"):
            command += ["-X", f"group.instance.id={options['instance']}"]
        super().__init__([*command, topic])

    def record(self, line):
        return kcat_record(json.loads(line))

    def error(self, line):
        if "rebalanced" in line:
            held = line.rsplit("assigned:", 1)[1] if "assigned:" in line else ""
            held = sorted(int(index) for index in re.findall(r"\[(\d+)\]", held))
            self.changes += held != self.assigned
            self.assigned = held


class ConsoleMember(ToolMember):
    """kafka-console-consumer with a group."""

    def __init__(self, bootstrap, group, topic, options):
        where = ("--bootstrap-server", bootstrap, "--topic", topic, "--group", group)
        settings = []
        for name, key in (
            ("session.timeout.ms", "session_ms"),
            ("group.instance.id", "instance"),
            ("group.protocol", "protocol"),
        ):
            if options.get(key):
                settings += ["--command-property", f"{name}={options[key]}"]
        shown = console_shows("timestamp", "partition", "offset", "headers", "key")
        command = [*where, "--from-beginning", *settings, *shown]
        super().__init__(brokers.java("kafka-console-consumer", *command))

    def record(self, line):
        stamp, partition, *rest = line.rstrip("\n").split("\t")
        return console_record(stamp, *rest, partition=int(partition.split(":")[1]))


def console_shows(*names):
    """Options that make kafka-console-consumer print these before the value."""
    out = ["--formatter-property", "null.literal=NULL"]
    for name in names:
        out += ["--formatter-property", f"print.{name}=true"]
    return out


def console_record(stamp, offset, headers, key, value, partition=0):
    """A record from the columns of kafka-console-consumer."""
    data = lambda part: None if part == "NULL" else part.encode()
    pairs = ()
    if headers != "NO_HEADERS":
        pairs = (pair.split(":") for pair in headers.split(","))
        pairs = tuple((name, data(text)) for name, text in pairs)
    stamp, offset = int(stamp.split(":")[1]), int(offset.split(":")[1])
    return Got(offset, stamp, data(key), data(value), pairs, partition)


def kcat_record(got):
    """A record from kcat's JSON."""
    names = got.get("headers", [])
    headers = tuple((names[at], names[at + 1].encode()) for at in range(0, len(names), 2))
    key, value = (None if part is None else part.encode() for part in (got["key"], got["payload"]))
    return Got(got["offset"], got["ts"], key, value, headers, got["partition"])


class Kcat(Client):
    """kcat: librdkafka from Debian, older than the one in confluent-kafka."""

    name = "kcat"
    need = "kcat"
    text_only = True
    sets_timestamp = False
    null_headers = False
    too_large = "Messagesizetoolarge"
    lacks = {
        **dict.fromkeys(
            ("create_topic", "delete_topic", "create_partitions", "configs", "set_config"),
            NO_ADMIN,
        ),
        **dict.fromkeys(("delete_records", "commit", "committed", "delete_offset"), NO_ADMIN),
        **dict.fromkeys(("list_groups", "describe_group", "delete_group"), NO_ADMIN),
        "max_timestamp": "kcat has no such question",
        "explicit_commit": "kcat commits by itself only",
        "stream": "kcat tells nobody what was acknowledged",
        "consumer_protocol": "Debian's kcat has a librdkafka from before it",
        "commits_end": "kcat commits behind the last record only",
    }

    def _kcat(self, *arguments, stdin=b"", ok=True):
        return run(["kcat", "-b", self.t.bootstrap, *arguments], stdin, SECONDS_MAX, ok)

    def _kcat_both(self, *arguments):
        """Standard output and standard error of a run that must end by itself."""
        command = ["kcat", "-b", self.t.bootstrap, *arguments]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS_MAX, check=True)
        return done.stdout.decode(), done.stderr.decode()

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        options = ["-X", f"acks={acks}", "-z", codec, "-X", "linger.ms=5"]
        if idempotent:
            options += ["-X", "enable.idempotence=true"]
        if bytes_max:
            options += ["-X", f"message.max.bytes={bytes_max}"]
        # One run of kcat gives all its records the same headers and partition.
        while records:
            first, count = records[0], 1
            kind = (first.headers, first.partition)
            while (
                count < len(records) and (records[count].headers, records[count].partition) == kind
            ):
                count += 1
            lines = b"".join(
                (entry.key or b"") + b"\t" + (entry.value or b"") + b"\n"
                for entry in records[:count]
            )
            headers = []
            for name, value in first.headers:
                headers += ["-H", f"{name}={value.decode()}"]
            where = ["-P", "-t", topic, "-p", str(first.partition), "-K", "\t", "-Z"]
            self._kcat(*where, *options, *headers, stdin=lines)
            records = records[count:]

    def consume(self, topic, start, count, partition=0):
        start = f"s@{start[1]}" if isinstance(start, tuple) else start
        start = {"earliest": "beginning", "latest": "end"}.get(start, start)
        where = ["-C", "-t", topic, "-p", str(partition), "-o", str(start), "-c", str(count)]
        told = self._kcat(*where, "-J", "-q").decode()
        return [kcat_record(json.loads(line)) for line in told.splitlines()]

    def read_to_end(self, topic, group):
        start = "beginning"
        while True:
            # Without -q it says on its standard error at which end it exits.
            where = ["-C", "-t", topic, "-p", "0", "-o", start, "-J", "-e"]
            told, errors = self._kcat_both(*where)
            (end,) = re.findall(r"Reached end of topic \S+ \[0\] at offset (\d+)", errors)
            yield int(end), [kcat_record(json.loads(line)) for line in told.splitlines()]
            start = end

    def member(self, group, topic, **options):
        return KcatMember(self.t.bootstrap, group, topic, options)

    def offset(self, topic, what, partition=0):
        time = {"earliest": -2, "latest": -1}.get(what, what)
        out = self._kcat("-Q", "-t", f"{topic}:{partition}:{time}").decode()
        return int(out.rsplit("offset", 1)[1])

    def list_topics(self):
        listed = json.loads(self._kcat("-L", "-J"))
        return [topic["topic"] for topic in listed["topics"]]

    def partitions(self, topic):
        listed = json.loads(self._kcat("-L", "-J", "-t", topic))
        return len(listed["topics"][0]["partitions"])


class JavaTools(Client):
    """Kafka's own command-line tools."""

    name = "java-tools"
    need = "java"
    tells_assignment = False
    text_only = True
    picks_partition = False
    sets_timestamp = False
    null_headers = False
    too_large = "RecordTooLarge"
    lacks = {
        "explicit_commit": "kafka-console-consumer commits by itself only",
        "stream": "kafka-verifiable-producer has a case of its own",
        "consumer_protocol": "it shows no assignment to check; java does",
    }

    def _tool(self, tool, *arguments, stdin=b"", ok=True):
        command = brokers.java(tool, "--bootstrap-server", self.t.bootstrap, *arguments)
        return run(command, stdin, SECONDS_MAX + 30, ok).decode()

    def _tool_any(self, tool, *arguments):
        """All that a tool says, whatever its exit code."""
        command = brokers.java(tool, "--bootstrap-server", self.t.bootstrap, *arguments)
        command = [str(part) for part in command]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS_MAX + 30)
        return (done.stdout + done.stderr).decode(errors="replace")

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        reader = {
            "parse.key": "true",
            "parse.headers": "true",
            "key.separator": "\t",
            "headers.delimiter": "\t",
            "null.marker": "NULL",
        }
        options = ["--compression-codec", codec, "--request-required-acks", acks]
        options += ["--command-property", f"enable.idempotence={str(idempotent).lower()}"]
        options += ["--command-property", "linger.ms=5"]
        if bytes_max:
            options += ["--command-property", f"max.request.size={bytes_max}"]
            options += ["--command-property", "batch.size=16384"]
        for name, value in reader.items():
            options += ["--reader-property", f"{name}={value}"]
        text = lambda part: "NULL" if part is None else part.decode()
        lines = [
            ",".join(f"{name}:{text(value)}" for name, value in entry.headers)
            + f"\t{text(entry.key)}\t{text(entry.value)}\n"
            if entry.headers
            else f"NULL\t{text(entry.key)}\t{text(entry.value)}\n"
            for entry in records
        ]
        command = brokers.java(
            "kafka-console-producer",
            "--bootstrap-server",
            self.t.bootstrap,
            "--topic",
            topic,
            *options,
        )
        # The tool ends with 0 when a record was refused, and says so on its standard error.
        done = subprocess.run(
            command, input="".join(lines).encode(), capture_output=True, timeout=SECONDS_MAX + 30
        )
        if done.returncode or b" ERROR " in done.stderr:
            raise AssertionError(f"{done.returncode}: {done.stderr.decode()[-2000:]}")

    def consume(self, topic, start, count, partition=0):
        if isinstance(start, tuple):
            start = self.offset(topic, start[1], partition)
        options = ["--partition", partition, "--offset", start, "--max-messages", count]
        options += ["--timeout-ms", SECONDS_MAX * 1000]
        options += console_shows("timestamp", "offset", "headers", "key")
        told = self._tool("kafka-console-consumer", "--topic", topic, *options)
        out = [console_record(*line.split("\t")) for line in told.splitlines()]
        if len(out) != count:
            raise AssertionError(f"{len(out)} of {count} records within {SECONDS_MAX} s")
        return out

    def offset(self, topic, what, partition=0):
        time = {"max_timestamp": "max-timestamp"}.get(what, what)
        asked = ["--topic-partitions", f"{topic}:{partition}", "--time", time]
        return int(self._tool("kafka-get-offsets", *asked).strip().rsplit(":", 1)[1] or -1)

    def create_topic(self, topic, partitions, configs):
        options = [part for pair in configs.items() for part in ("--config", "=".join(pair))]
        self._tool(
            "kafka-topics", "--create", "--topic", topic, "--partitions", partitions, *options
        )

    def delete_topic(self, topic):
        self._tool("kafka-topics", "--delete", "--topic", topic)

    def create_partitions(self, topic, total):
        self._tool("kafka-topics", "--alter", "--topic", topic, "--partitions", total)

    def list_topics(self):
        return self._tool("kafka-topics", "--list").split()

    def partitions(self, topic):
        told = self._tool("kafka-topics", "--describe", "--topic", topic)
        return int(told.split("PartitionCount:")[1].split()[0])

    def configs(self, topic):
        told = self._tool("kafka-configs", "--describe", "--all", "--topic", topic)
        pairs = (line.split()[0] for line in told.splitlines() if line.startswith("  "))
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def set_config(self, topic, name, value):
        self._tool("kafka-configs", "--alter", "--topic", topic, "--add-config", f"{name}={value}")

    def delete_records(self, topic, offset, partition=0):
        wanted = {"topic": topic, "partition": partition, "offset": offset}
        path = self.t.scratch / f"{topic}.json"
        path.write_text(json.dumps({"version": 1, "partitions": [wanted]}))
        told = self._tool("kafka-delete-records", "--offset-json-file", path)
        path.unlink()
        if "error" in told:
            raise AssertionError(told)

    def _groups(self, *arguments, ok=True):
        return self._tool("kafka-consumer-groups", *arguments, ok=ok)

    def list_groups(self):
        return self._groups("--list").split()

    def _offsets(self, group):
        """The rows of --describe: [GROUP, TOPIC, PARTITION, CURRENT, END, LAG, …]."""
        told = self._groups("--describe", "--group", group).splitlines()
        return [row.split() for row in told if row.startswith(group)]

    def describe_group(self, group, topic):
        told = self._groups("--describe", "--group", group, "--state").splitlines()
        (row,) = [row.split() for row in told if row.startswith(group)]
        members = []
        if int(row[-1]):
            told = self._groups("--describe", "--group", group, "--members", "--verbose")
            for line in told.splitlines():
                if line.startswith(group):
                    held = re.findall(rf"{re.escape(topic)}\(([\d,]*)\)|{re.escape(topic)}:([\d,]+)", line)
                    indexes = ",".join(part for pair in held for part in pair if part)
                    members.append([int(index) for index in indexes.split(",") if index])
        return {"state": row[-2], "members": members}

    def delete_group(self, group):
        told = self._groups("--delete", "--group", group)
        if "successful" not in told:
            raise AssertionError(told)

    def commit(self, group, topic, offset, partition=0):
        where = ("--group", group, "--topic", f"{topic}:{partition}")
        told = self._groups(
            "--reset-offsets", *where, "--to-offset", offset, "--execute"
        )
        if not re.search(rf"{re.escape(topic)}\s+{partition}\s+{offset}\b", told):
            raise AssertionError(told)

    def committed(self, group, topic, partition=0):
        if group not in self.list_groups():
            return None
        for row in self._offsets(group):
            if row[1:3] == [topic, str(partition)]:
                return None if row[3] == "-" else int(row[3])
        return None

    def delete_offset(self, group, topic, partition=0):
        where = ("--group", group, "--topic", f"{topic}:{partition}")
        told = self._groups("--delete-offsets", *where)
        if "Successful" not in told:
            raise AssertionError(told)

    def member(self, group, topic, **options):
        return ConsoleMember(self.t.bootstrap, group, topic, options)

    def read_to_end(self, topic, group):
        # The end of a group's member is that kafka-consumer-groups shows no lag.
        member, seen = self.member(group, topic), 0
        while True:
            end = self.t.end_offset(topic)
            at_end = lambda: [row[3:6] for row in self._offsets(group)] == [[str(end)] * 2 + ["0"]]
            self.t.wait_until("a lag of 0", at_end, SECONDS_MAX)
            out = member.records[seen:]
            yield end, out
            seen += len(out)
