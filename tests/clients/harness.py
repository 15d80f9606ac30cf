"""What a case is, and the process that each one runs in.

A case is a function of one argument, the `Context`. It passes when it returns, fails when it
raises, and is not counted when it raises `Skip`: the client or the broker has not what it is about. Each runs in a process of its own, so that a
client library that hangs or crashes takes one case with it; the broker belongs to the parent,
which restarts it when a case asks.
"""

import contextlib
import json
import os
import pathlib
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

import rawkafka

CASE_SECONDS_MAX = 300
# UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER.
NO_LEADER_YET = (3, 5, 6)


class Skip(Exception):
    """The case does not apply here; the text says why."""


class Context:
    """What a case works with: the broker's address, topics that vanish afterwards, assertions."""

    def __init__(self, name, broker, control):
        self.name, self.control, self.broker = name, control, broker
        self.host, self.port, self.bootstrap = broker.host, broker.port, broker.bootstrap
        self.broker_name, self.can_restart = broker.name, broker.can_restart
        self.can_spoil, self.scratch = broker.can_spoil, broker.home
        self.topics, self.groups = [], []

    def raw(self, timeout=20):
        """A raw connection to the broker."""
        return rawkafka.Connection(self.host, self.port, timeout)

    def topic_name(self):
        """A name that no other case has; the topic is deleted when the case ends."""
        name = f"{self.name}-{secrets.token_hex(3)}"
        self.topics.append(name)
        return name

    def group_name(self):
        """A group that no other case has, with a coordinator; deleted when the case ends."""
        name = f"{self.name}-{secrets.token_hex(3)}"
        self.groups.append(name)
        with self.raw() as broker:
            # A Kafka's first group waits until the topic of the offsets is there.
            self.wait_until("a coordinator", lambda: broker.find_coordinator(name) == 0)
            self.wait_until("the offsets", lambda: broker.describe_group(name)[0] == 0)
        return name

    def topic(self, partitions=1, **configs):
        """A new topic; configs are written with underscores for dots."""
        name = self.topic_name()
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        with self.raw() as broker:
            broker.create_topic(name, partitions, configs=configs)
            for partition in range(partitions):
                self._start_offset(broker, name, partition)
        return name

    def stored(self, topic, partition=0):
        """The batches of a partition, as they are stored."""
        with self.raw() as broker:
            start = self._start_offset(broker, topic, partition)
            return broker.fetch_batches(topic, partition, start)

    def _start_offset(self, broker, topic, partition):
        """The log start, as soon as the partition has a leader: Kafka creates topics, and comes
        back from a restart, a moment later than it says."""
        found = []

        def has_leader():
            found[:] = broker.list_offset(topic, partition, rawkafka.EARLIEST)
            return found[0] not in NO_LEADER_YET

        self.wait_until("a leader", has_leader)
        rawkafka.check(found[0], f"ListOffsets {topic}-{partition}")
        return found[2]

    def end_offset(self, topic, partition=0):
        """The high watermark of a partition."""
        with self.raw() as broker:
            error, _, offset = broker.list_offset(topic, partition, rawkafka.LATEST)
            rawkafka.check(error, "ListOffsets")
            return offset

    def wait_until(self, what, condition, seconds=30):
        """Asks until `condition()` is true, for at most some seconds."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s: {what}")
            time.sleep(0.05)

    def restart(self, how, spoil=None):
        """Restarts the broker by "term" or "kill". While it is down, a bit is flipped in its data
        where the text `spoil` is, which must be there once."""
        if not self.can_restart:
            raise Skip("the broker under test is not ours to restart")
        if spoil is not None and not self.can_spoil:
            raise Skip("only brooklet's data is spoilt here")
        self.control.sendall(json.dumps({"restart": how, "spoil": spoil}).encode() + b"\n")
        answer = json.loads(read_line(self.control))
        if "error" in answer:
            raise AssertionError(f"restart by {how}: {answer['error']}")

    @contextlib.contextmanager
    def another_broker(self, *settings):
        """The context of a broker of the case's own, which has these settings of brooklet's."""
        if not self.can_restart:
            raise Skip("the broker under test is not ours to start")
        broker = self.broker.another(settings)
        # It ends with the case, however that ends.
        broker.own_session = False
        try:
            broker.start()
            yield OwnContext(self.name, broker, None)
        finally:
            broker.stop("kill")
            broker.remove()

    def log_of_start(self):
        """What the broker has logged since it was started last."""
        return (self.scratch / "broker.log").read_text().rsplit("INFO  brooklet ", 1)[-1]

    def clean(self):
        """Deletes the case's topics: the broker's tables are bounded, and many cases follow."""
        try:
            with self.raw(timeout=5) as broker:
                for topic in self.topics:
                    try:
                        broker.delete_topic(topic)
                    except rawkafka.KafkaError:
                        pass
                for group in self.groups:
                    broker.delete_group(group)
        except (OSError, rawkafka.Closed, IndexError, ValueError):
            pass


class OwnContext(Context):
    """What a case works with when the broker is its own."""

    def restart(self, how, spoil=None):
        self.broker.restart(how, spoil)


def equal(got, wanted, what):
    """Fails unless both are the same; long values are shortened in the message."""
    if got != wanted:
        raise AssertionError(f"{what}: {got!r:.400} instead of {wanted!r:.400}")


def run(command, stdin=b"", timeout=60, ok=True):
    """Runs a program to its end and gives its standard output; both its outputs are in the
    failure's text. With `ok=False` it must fail, and its standard error is given too."""
    command = [str(part) for part in command]
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout)
    if (done.returncode == 0) != ok:
        raise AssertionError(
            f"exit code {done.returncode} of {' '.join(command)[-300:]}\n"
            f"{done.stderr.decode(errors='replace')[-1500:]}\n"
            f"{done.stdout.decode(errors='replace')[-500:]}"
        )
    return done.stdout if ok else done.stdout + done.stderr


def background(function, *arguments):
    """Runs a function in a thread; the result is a call that waits for what it returned."""
    box = {}

    def body():
        try:
            box["value"] = function(*arguments)
        except BaseException as error:  # handed to whoever asks
            box["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def result(seconds=CASE_SECONDS_MAX):
        thread.join(seconds)
        if thread.is_alive():
            raise AssertionError(f"no result within {seconds} s")
        if "error" in box:
            raise box["error"]
        return box["value"]

    result.done = lambda: not thread.is_alive()
    return result


def read_line(control):
    """One line from a socket."""
    out = b""
    while not out.endswith(b"\n"):
        part = control.recv(1)
        if not part:
            raise EOFError("the other side is gone")
        out += part
    return out


# ---- parent: one case in one process -----------------------------------------------------


def run_case(name, function, broker, log_path):
    """Runs one case; gives ("passed" | "failed" | "without", text)."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        ours.close()
        _child(name, function, broker, theirs, log_path)
    theirs.close()
    try:
        return _supervise(child, ours, broker)
    finally:
        ours.close()
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            pass


def _child(name, function, broker, control, log_path):
    os.setsid()
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    context = Context(name, broker, control)
    try:
        function(context)
        outcome = ("passed", "")
    except Skip as reason:
        outcome = ("without", str(reason))
    except BaseException as error:
        traceback.print_exc()
        outcome = ("failed", f"{type(error).__name__}: {error}")
    context.clean()
    control.sendall(json.dumps({"outcome": outcome}).encode() + b"\n")
    # No destructor of a client library may hold up a case that is over.
    sys.stdout.flush()
    os._exit(0)


def _supervise(child, control, broker):
    until, received = time.monotonic() + CASE_SECONDS_MAX, b""
    while True:
        ready, _, _ = select.select([control], [], [], max(0, until - time.monotonic()))
        if not ready:
            return "failed", f"not finished within {CASE_SECONDS_MAX} s"
        try:
            part = control.recv(1 << 16)
        except ConnectionResetError:
            part = b""
        if not part:
            return "failed", f"its process ended: {os.waitpid(child, 0)[1]}"
        received += part
        if not received.endswith(b"\n"):
            continue
        message, received = json.loads(received), b""
        if "outcome" in message:
            return tuple(message["outcome"])
        try:
            broker.restart(message["restart"], message["spoil"])
            control.sendall(b"{}\n")
        except Exception as error:
            control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")


def log_tail(path, lines=8):
    """The last lines of a case's output, indented."""
    text = pathlib.Path(path).read_text(errors="replace").splitlines()
    return "\n".join("    " + line for line in text[-lines:])
