"""What the cases of `run` work with: brokers, rings that have gone round, and what must be in them."""

import collections
import copy
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
for folder in ("powercut", "clients", "format"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

import checker
import rawkafka
import ring_reader
import stack
from batches import key_of
from ledger import Ledger
from load import GROUP, NOTE_BYTES_MAX, Load, commit_next, committed_offset, make_topics
from rings import COMPACTED, METADATA, METADATA_FILES, PLACES, Ring, Rings

SEGMENT_MIB = 4
SEGMENT_BYTES = SEGMENT_MIB << 20
RINGS = Rings((
    Ring("alarms", ("alarm*",), segments=3, segment_mib=SEGMENT_MIB, spares=1),
    Ring("main", ("*",), segments=4, segment_mib=SEGMENT_MIB, spares=1),
))
DATA_RINGS = [ring.name for ring in RINGS]
SETTINGS = ["seal_after_ms=100", "metadata_linger_ms=1"]
START_SECONDS_MAX = 30
# How often full rings have gone round, and the metadata ring.
LAPS, METADATA_LAPS = 1.5, 1.2
# So many commits, each a group, between two looks at how often that was.
COMMITS = 50
CASES = {}


def case(function):
    """Enters a function into the table of cases."""
    CASES[function.__name__] = function
    return function


def with_segments(name, count):
    """The rings, one of them with so many segments."""
    return Rings(ring._replace(segments=count) if ring.name == name else ring for ring in RINGS)


class Setting:
    """A place to work, the binary, and random numbers that repeat."""

    processes, full, kept = [], None, None

    def __init__(self, args, home, made):
        self.binary, self.home, self.trials = args.binary.resolve(), home, args.trials
        self.made = made
        self.chance = random.Random(args.seed)
        self.seed = args.seed

    def broker(self, data, rings=RINGS, settings=()):
        """A broker over a directory, not started."""
        return stack.Broker(self.binary, self.home, data, rings, [*SETTINGS, *settings])

    def start(self, broker):
        """Starts it; a refusal fails the case."""
        broker.spawn()
        self.processes.append(broker.process)
        until = time.monotonic() + START_SECONDS_MAX
        while not broker.listens():
            wanted(broker.process.poll() is None, f"it refuses to start:\n{broker.tail()}")
            wanted(time.monotonic() < until, f"no start in {START_SECONDS_MAX} s:\n{broker.tail()}")
            time.sleep(0.01)
        return broker

    def refused(self, broker):
        """Starts it, and gives what it says when it refuses."""
        at = broker.log.stat().st_size if broker.log.exists() else 0
        broker.spawn()
        self.processes.append(broker.process)
        try:
            code = broker.process.wait(START_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not refuse to start") from None
        wanted(code in (1, 2), f"exit code {code}")
        return broker.log.read_text()[at:]

    def run(self, *arguments):
        """Runs a command of the binary: (exit code, output)."""
        command = [self.binary, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def full_rings(self, name="full"):
        """A directory with rings that have gone round, stopped in good order; their ledger, where their
        batches lie, and what they give before anything is damaged."""
        if not Setting.full:
            data, ledger = self.made / "full", Setting.kept or self._make_full()
            batches = batches_of(data)
            other = self.made / "copy"
            shutil.copytree(data, other)
            broker = self.start(self.broker(other))
            checker.verify(broker.host, broker.port, ledger)
            Setting.full = (ledger, batches, read_all(broker, ledger))
            unbroken(ledger)
            broker.stop("term")
        data = self.home / name
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.made / "full", data)
        # What a case adds to the ledger is no other case's.
        return data, *copy.deepcopy(Setting.full)

    def _make_full(self):
        broker, ledger = self.start(self.broker(self.made / "full")), Ledger(RINGS)
        make_topics(broker.host, broker.port)
        with rawkafka.Connection(broker.host, broker.port) as client:
            while laps(broker, METADATA) < METADATA_LAPS:
                for _ in range(COMMITS):
                    commit_next(client, ledger, NOTE_BYTES_MAX)
        load(broker, ledger, self.seed, lambda: laps(broker) > LAPS)
        broker.stop("term")
        return ledger


def load(broker, ledger, seed, until, seconds=60):
    """Clients at work until a condition holds."""
    make_topics(broker.host, broker.port)
    clients = Load(broker.host, broker.port, ledger, seed)
    clients.start()
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            clients.stop()
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.05)
    clients.stop()


def laps(broker, *names):
    """How often those rings have gone round, the one that has least; by default the data rings."""
    command = [str(broker.binary), "status", "--data", str(broker.data)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    found = dict(re.findall(r"^  (\S+):\n(?:    .*\n)*?    laps: ([\d.]+)", text, re.MULTILINE))
    return min(float(found.get(name, 0)) for name in names or DATA_RINGS)


def wanted(holds, otherwise):
    """An assertion."""
    if not holds:
        raise AssertionError(otherwise)


def unbroken(ledger):
    """Fails with the promises that were broken."""
    wanted(not ledger.broken, "; ".join(ledger.broken[:4]))


def served(broker):
    """Produces and fetches one record in each data ring."""
    for topic in ("after", "alarm-after"):
        with rawkafka.Connection(broker.host, broker.port, timeout=20) as client:
            batch = rawkafka.batch([rawkafka.record(None, b"after")])
            error, offset = client.produce(topic, 0, batch)
            if error == 3:
                client.create_topic(topic)
                error, offset = client.produce(topic, 0, batch)
            wanted(error == 0, f"a produce is answered with {error}")
            error, _, data = client.fetch(topic, 0, offset)
            wanted(error == 0 and data, f"a fetch is answered with {error}")


def read_all(broker, ledger):
    """Everything that can be read: {partition: {offset: (producer, number)}}, of compacted ones the newest
    record of each key; contents are checked."""
    found = {}
    _, _, topics = metadata_of(broker)
    for place in PLACES:
        found[place] = {}
        for batch in batches_from(broker, place) if place[0] in topics else ():
            found[place].update(ledger.seen(place, batch))
        if place[0] in COMPACTED:
            newest = {key_of(found[place][offset][1])[0]: offset for offset in sorted(found[place])}
            found[place] = {offset: found[place][offset] for offset in newest.values()}
    unbroken(ledger)
    return found


def metadata_of(broker):
    with rawkafka.Connection(broker.host, broker.port, timeout=30) as client:
        return client.metadata(None)


def batches_from(broker, place):
    """All batches of a partition that can be read."""
    client = rawkafka.Connection(broker.host, broker.port, timeout=30)
    _, _, at = client.list_offset(*place, rawkafka.EARLIEST)
    _, _, end = client.list_offset(*place, rawkafka.LATEST)
    while at < end:
        try:
            error, _, data = client.fetch(*place, at, 4 << 20, wait_ms=0)
        except rawkafka.Closed:
            # Damage is found on the way: the next plan goes round it.
            client = rawkafka.Connection(broker.host, broker.port, timeout=30)
            continue
        if error == checker.OFFSET_OUT_OF_RANGE:
            # What was due to be overwritten has been.
            _, _, start = client.list_offset(*place, rawkafka.EARLIEST)
            wanted(start > at, f"a fetch of {place} from {at} is out of range, from {start} on")
            at = start
            continue
        wanted(error == 0, f"a fetch of {place} from {at} is answered with {error}")
        batches = rawkafka.parse_batches(data)
        if not batches:
            break
        yield from batches
        at = batches[-1].next_offset
    client.close()


def commits_of(broker, ledger):
    """{(group, topic, partition): committed offset} of those that the ledger knows, −1 for none."""
    with rawkafka.Connection(broker.host, broker.port, timeout=30) as client:
        _, _, topics = client.metadata(None)
        return {
            place: committed_offset(client, *place)[0] if place[1] in topics else -1
            for place in ledger.commits if place[0] == GROUP
        }


# ---- what lies where ----


# `file` is below the data directory; a group's header and its directory are [from, to].
Batch = collections.namedtuple("Batch", "place first last file group directory at end")


def folders_of(data):
    """{ring's name: its folder}, by what their anchors say; a folder without any is left out."""
    found = {}
    for folder in sorted([*data.glob("ring-*"), data / METADATA]):
        names = {
            anchor.name
            for path in sorted(folder.iterdir())
            for anchor in anchors_of(path.read_bytes()) if anchor
        }
        for name in names:
            found[name] = folder
    return found


def anchors_of(contents):
    page = ring_reader.PAGE
    return tuple(ring_reader.anchor_of(part) for part in (contents[:page], contents[-page:]))


def batches_of(data):
    """Where each batch that a consumer gets lies on flash: group header, directory, batch."""
    state, out = ring_reader.State(), []
    ring_reader.Ring(METADATA, data / METADATA, state).read()
    for folder in sorted(data.glob("ring-*")):
        ring = ring_reader.Ring(int(folder.name[5:]), folder, state, skips_shared=True)
        for path in ring.paths:
            contents, file = path.read_bytes(), int(path.name[8:])
            ring.data[file], ring.anchors[file] = contents, anchors_of(contents)
        # All topics are older than the newest snapshot: the groups behind it need not be replayed.
        ring.newest()
        names = {
            handle: (partition.topic, partition.index)
            for handle, partition in state.partitions.items()
        }
        for path in ring.paths:
            out += batches_in(path, names)
    return out


def batches_in(path, names):
    """The batches of one file, in the groups of its newest segment."""
    contents, file, out = path.read_bytes(), f"{path.parent.name}/{path.name}", []
    head = ring_reader.anchor_of(contents[: ring_reader.PAGE])
    if head is None:
        return out
    at = head.groups_at
    while (group := ring_reader.group_of(contents, at)) and group.segment == head.seq:
        runs_at = at + ring_reader.GROUP_HEADER_BYTES
        batch_at = runs_at + group.runs * ring_reader.RUN_BYTES + group.meta_bytes
        directory = (runs_at, runs_at + group.runs * ring_reader.RUN_BYTES)
        for handle, run_bytes in run_handles(contents, runs_at, group.runs):
            run_end = batch_at + run_bytes
            for batch in rawkafka.parse_batches(contents[batch_at:run_end]):
                size = len(batch.raw)
                out.append(Batch(names.get(handle), batch.base_offset, batch.next_offset - 1, file,
                                 (at, at + ring_reader.GROUP_HEADER_BYTES), directory,
                                 batch_at, batch_at + size))
                batch_at += size
        wanted(batch_at == at + group.contents_bytes, "the reader of FORMAT.md does not find its batches")
        at += group.bytes
    return out


def run_handles(contents, at, runs):
    """(handle, bytes) of each run in a directory."""
    for number in range(runs):
        place = at + number * ring_reader.RUN_BYTES
        handle, _records, _offset, size = struct.unpack_from("<IIqI", contents, place)
        yield handle, size
