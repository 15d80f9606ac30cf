"""What all clients have in common, so that each feature is written once (`features.py`).

A client implements what it has. What it lacks it names in `lacks`, with the reason, which becomes
the cell in the table; a feature that needs anything else a class has not is a mistake of the tests.
Starts of consumption are "earliest", "latest", an offset, or ("timestamp", ms); offsets are asked
for by "earliest", "latest", "max_timestamp" or a number of milliseconds.
"""

import base64
import json
import queue
import subprocess
import threading
from collections import namedtuple

# A record to be produced; the timestamp is in milliseconds, None for now.
Rec = namedtuple("Rec", "key value headers timestamp partition", defaults=((), None, 0))
# A record as it was consumed.
Got = namedtuple("Got", "offset timestamp key value headers partition", defaults=(0,))

SECONDS_MAX = 40
# What features may need beyond methods.
TRAITS = {
    "acks_0",
    "acks_1",
    "auto_create",
    "codec_gzip",
    "codec_snappy",
    "codec_lz4",
    "codec_zstd",
    "idempotence",
    "max_timestamp",
    "assignment",
    "append_time",
    "sets_configs",
    "explicit_commit",
    "static_member",
    "static_leave",
    "consumer_protocol",
    "commits_end",
    "passes_control_batches",
}


class Client:
    """What every client says of itself."""

    name = "client"
    # What must be installed for it.
    need = "python"
    # Method or trait: why the client has it not.
    lacks = {}
    # Keys, values and headers are printable text without separators.
    text_only = False
    # A partition can be named when producing.
    picks_partition = True
    # Records can be given a timestamp.
    sets_timestamp = True
    # Null headers can be told from empty ones.
    null_headers = True
    # Empty keys and values can be told from null ones.
    tells_empty = True
    # Several headers may have one name.
    repeats_headers = True
    # What the client calls a record that is too large, here or at the broker.
    too_large = "TOOLARGE"
    # Members tell what they were assigned.
    tells_assignment = True
    # Whether a stream of `stream()` has each record once, also over a crash of the broker.
    stream_once = True

    def __init__(self, context):
        self.t, self.admin = context, None

    @classmethod
    def missing(cls, needs):
        """Why the client cannot do what needs all of these; None if it can."""
        for need in needs:
            if need in cls.lacks:
                return cls.lacks[need]
            if need not in TRAITS and not hasattr(cls, need):
                raise TypeError(f"{cls.name} neither has nor lacks {need}")
        return None


class Process:
    """A worker process: one JSON line in, one answer out, events in between."""

    def __init__(self, command, environment=None):
        command = [str(part) for part in command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self.answers, self.command = queue.Queue(), command
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.event(message)
            else:
                self.answers.put(message)
        self.answers.put({"error": f"the worker ended: {' '.join(self.command)[-200:]}"})

    def event(self, message):
        """What the worker says by itself."""

    def call(self, operation, seconds=SECONDS_MAX + 60, **arguments):
        """One operation and its answer."""
        line = json.dumps({"op": operation, **arguments}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
            answer = self.answers.get(timeout=seconds)
        except BrokenPipeError:
            answer = self.answers.get(timeout=1)
        except queue.Empty:
            raise AssertionError(f"no answer to {operation} within {seconds} s") from None
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["ok"]

    def kill(self):
        """SIGKILL: the broker is told nothing."""
        self.process.kill()
        self.process.wait()


class WorkerError(Exception):
    """An operation failed in the worker; the text is the client library's."""


class Member(Process):
    """A member of a group in a process of its own, which keeps all that it receives."""

    def __init__(self, command, environment=None):
        self.records, self.assigned, self.changes = [], None, 0
        super().__init__(command, environment)

    def event(self, message):
        if message["event"] == "record":
            self.records.append(got_of(message["record"]))
        elif message["event"] == "assigned":
            held = sorted(message["partitions"])
            self.changes += held != self.assigned
            self.assigned = held

    def commit(self):
        """Commits what was received so far, and waits for it."""
        self.call("member_commit")

    def leave(self):
        """Leaves the group in good order."""
        self.call("member_leave")
        self.process.stdin.close()
        self.process.wait(20)


class Stream(Process):
    """Numbered records that are sent until they are acknowledged."""

    def __init__(self, command, environment=None):
        self.started, self.failures = threading.Event(), []
        super().__init__(command, environment)

    def event(self, message):
        if message["event"] == "started":
            self.started.set()
        elif message["event"] == "failed":
            self.failures.append(message["text"])

    def stop(self):
        """Ends the stream; gives the numbers that were acknowledged."""
        acknowledged = self.call("stream_stop")
        self.process.stdin.close()
        self.process.wait(20)
        return acknowledged


def encoded(data):
    """Bytes on a worker's line."""
    return None if data is None else base64.b64encode(data).decode()


def decoded(text):
    """Bytes from a worker's line."""
    return None if text is None else base64.b64decode(text)


def got_of(wire):
    """A record from a worker's line."""
    return Got(
        wire["offset"],
        wire["timestamp"],
        decoded(wire["key"]),
        decoded(wire["value"]),
        tuple((header["name"], decoded(header["value"])) for header in wire["headers"] or ()),
        wire["partition"],
    )


def wire_of(record):
    """A record for a worker's line."""
    return {
        "partition": record.partition,
        "timestamp": record.timestamp or 0,
        "key": encoded(record.key),
        "value": encoded(record.value),
        "headers": [{"name": name, "value": encoded(value)} for name, value in record.headers],
    }
