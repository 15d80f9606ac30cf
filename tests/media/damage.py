"""Data rings whose files rot, or are not as they were; and files of one ring in another's place."""

import collections
import random
import re
import shutil

from setting import (
    COMPACTED, DATA_RINGS, RINGS, SEGMENT_BYTES, Ledger, case, checker, folders_of, laps, load,
    read_all, served, unbroken, wanted, with_segments,
)


# ---- rot ----


@case
def rot(setting):
    """Bits flipped and sectors zeroed at random."""
    data, ledger, batches, before = setting.full_rings()
    counts = collections.Counter()
    for trial in range(setting.trials):
        chance = random.Random(f"{setting.seed} {trial}")
        damaged = setting.home / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(data, damaged)
        # Half of them have rot in one ring only.
        names = chance.choice((DATA_RINGS, *([name] for name in DATA_RINGS)))
        places = spoil(damaged, chance, [folders_of(damaged)[name] for name in names])
        try:
            rot_trial(setting, damaged, ledger, before, lost_by(batches, places), counts)
            counts["places"] += len(places)
        except AssertionError as error:
            raise AssertionError(f"trial {trial}, damage {places[:6]}: {error}") from error
    return (
        f"{setting.trials} times, {counts['places']} damaged places, {counts['lost']} records lost, "
        f"each named; {counts['kept']:,} kept"
    )


def spoil(data, chance, folders):
    """Flips bits and zeroes sectors; gives (file, from, to) of what was changed."""
    files, places = sorted(path for folder in folders for path in folder.iterdir()), []
    for _ in range(chance.choice((1, 2, 5, 20))):
        file = chance.choice(files)
        name = str(file.relative_to(data))
        with open(file, "r+b") as opened:
            if chance.random() < 0.5:
                at = chance.randrange(SEGMENT_BYTES)
                opened.seek(at)
                byte = opened.read(1)[0]
                opened.seek(at)
                opened.write(bytes([byte ^ 1 << chance.randrange(8)]))
                places.append((name, at, at + 1))
            else:
                at = chance.randrange(SEGMENT_BYTES // 512) * 512
                opened.seek(at)
                if any(opened.read(512)):
                    opened.seek(at)
                    opened.write(bytes(512))
                    places.append((name, at, at + 512))
    return places


def lost_by(batches, places):
    """(must be gone, may be gone): (partition, offset) of batches that the damage touched itself,
    and of those whose group can no longer be told. Of a compacted topic nothing must be gone: what was
    damaged may not have been what a consumer gets."""
    gone, may = set(), set()
    for batch in batches:
        offsets = [(batch.place, offset) for offset in range(batch.first, batch.last + 1)]
        for file, low, high in places:
            if file != batch.file:
                continue
            # The leader epoch is under no CRC.
            touches = [(batch.at, batch.at + 12), (batch.at + 16, batch.end)]
            if any(low < end and high > start for start, end in touches):
                compacted = batch.place is None or batch.place[0] in COMPACTED
                (may if compacted else gone).update(offsets)
            if any(low < end and high > start for start, end in (batch.group, batch.directory)):
                may.update(offsets)
    return gone, may | gone


def rot_trial(setting, data, ledger, before, lost, counts):
    gone, may = lost
    code, said = setting.run("check", "--data", data)
    wanted(code in (0, 1), f"check ends with {code}: {said[-500:]}")
    wanted(code == 1 or not gone, f"check finds nothing: {said[-500:]}")
    named = named_by(said)
    broker = setting.start(setting.broker(data))
    found = read_all(broker, ledger)
    evicted = "is overwritten" in said_by(broker)
    served(broker)
    broker.stop("term")
    broker.log.unlink()
    for place, offsets in before.items():
        start = min(found[place], default=0)
        for offset in offsets:
            key = (place, offset)
            if offset in found[place]:
                wanted(key not in gone, f"{place} at {offset} is damaged and is served")
                counts["kept"] += 1
            elif not (evicted and offset < start):
                wanted(key in may, f"{place} at {offset} is lost, and nothing of it was damaged")
                wanted(names(named, place, offset), f"{place} at {offset} is lost and not named:\n{said}")
                counts["lost"] += 1


def named_by(said):
    """What `check` says is lost: {partition as text: [(from, to)]}."""
    out = collections.defaultdict(list)
    for name, first, last in re.findall(r"(\S+) has lost offsets (?:among )?(\d+) to (\d+)", said):
        out[name].append((int(first), int(last)))
    return out


def names(named, place, offset):
    return any(low <= offset <= high for low, high in named[f"{place[0]}-{place[1]}"])


# ---- files that are not as they were ----


def a_file(setting, data, batches, ring):
    """One of the files of a ring that hold records."""
    folder = folders_of(data)[ring]
    files = {batch.file for batch in batches if batch.file.startswith(f"{folder.name}/")}
    return data / setting.chance.choice(sorted(files))


def lost_with(batches, data, *files):
    """What files took with them."""
    places = [(str(file.relative_to(data)), 0, SEGMENT_BYTES) for file in files]
    return lost_by(batches, places)[1]


def expect(setting, data, ledger, before, may, rings=RINGS, settings=()):
    """Starts over the directory: everything but `may` is there, and it serves. Gives how much was lost."""
    broker = setting.start(setting.broker(data, rings, settings))
    found = read_all(broker, ledger)
    served(broker)
    log = said_by(broker)
    broker.stop("term")
    missing = missing_of(before, found)
    other = [key for key in missing if key not in may]
    # What is older than what was lost may be below the log start.
    told = set(re.findall(r"ring (\S+): segment \d+ is overwritten", log))
    other = [key for key in other if RINGS.of(key[0][0]).name not in told]
    wanted(not other, f"{len(other)} records are lost beside it: {other[:3]}\n{log[-1500:]}")
    return len(missing)


def said_by(broker):
    """What it has said since it was started."""
    return broker.log.read_bytes()[broker.marks :].decode()


def missing_of(before, found):
    """(partition, offset) of what is not there any more."""
    return [
        (place, offset) for place, offsets in before.items() for offset in offsets
        if offset not in found[place]
    ]


def in_each_ring(setting, spoil_file):
    """Does something to a file of one ring after the other: it costs what is in the file, and nothing in
    another ring."""
    told = []
    for ring in DATA_RINGS:
        data, ledger, batches, before = setting.full_rings()
        file = a_file(setting, data, batches, ring)
        spoil_file(file)
        lost = expect(setting, data, ledger, before, lost_with(batches, data, file))
        told.append(f"{file.name} of {ring}: {lost} records lost")
    return "; ".join(told)


@case
def a_segment_file_is_missing(setting):
    return in_each_ring(setting, lambda file: file.unlink()) + ", all of them in it"


@case
def a_segment_file_is_cut_short(setting):
    def cut(file):
        with open(file, "r+b") as opened:
            opened.truncate(SEGMENT_BYTES // 2 + 100)

    return in_each_ring(setting, cut) + ", all of them in it"


@case
def a_file_is_of_another_directory(setting):
    other = setting.start(setting.broker(setting.home / "other"))
    load(other, Ledger(RINGS), setting.seed + 1, until=lambda: laps(other) > 0.3)
    other.stop("term")
    strange = folders_of(other.data)["main"] / "segment-0000"
    return in_each_ring(setting, lambda file: shutil.copy(strange, file)) + ", none believed of it"


@case
def a_file_is_of_another_ring(setting):
    """One that is as long, over each ring's file in turn."""
    told = []
    for ring, other in (DATA_RINGS, reversed(DATA_RINGS)):
        data, ledger, batches, before = setting.full_rings()
        file = a_file(setting, data, batches, ring)
        shutil.copy(a_file(setting, data, batches, other), file)
        lost = expect(setting, data, ledger, before, lost_with(batches, data, file))
        told.append(f"{file.name} of {ring} was overwritten with one of {other}: {lost} records lost")
    return "; ".join(told)


@case
def two_files_have_changed_places(setting):
    """Within a ring, and between two."""
    told = []
    for ring, other in [*zip(DATA_RINGS, DATA_RINGS), tuple(DATA_RINGS)]:
        data, ledger, batches, before = setting.full_rings()
        one = two = a_file(setting, data, batches, ring)
        while one == two:
            two = a_file(setting, data, batches, other)
        swap(one, two)
        lost = expect(setting, data, ledger, before, lost_with(batches, data, one, two))
        told.append(f"{one.name} of {ring} and {two.name} of {other}: {lost} records lost at the most")
    return "; ".join(told)


def swap(one, two):
    """Each has what the other had."""
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)


@case
def fewer_and_more_segments_are_configured(setting):
    data, ledger, _, before = setting.full_rings()
    folder = folders_of(data)["main"]
    files = len(list(folder.iterdir()))
    fewer, shrinks = with_segments("main", 3), ["ring.main.shrink=true"]
    lost = expect(setting, data, ledger, before, set(), fewer, shrinks)
    broker = setting.start(setting.broker(data, with_segments("main", 8)))
    load(broker, ledger, setting.seed + 1, until=lambda: laps(broker, "main") > 0.7)
    grown = len(list(folder.iterdir()))
    broker.stop("term")
    wanted(grown == 9, f"{grown} files for 8 segments and a spare")
    # A file goes at the first start that finds nothing alive in it: after a lap each has had its turn.
    turns = 0
    while True:
        broker = setting.start(setting.broker(data, fewer, shrinks))
        checker.verify(broker.host, broker.port, ledger)
        unbroken(ledger)
        shrunk = len(list(folder.iterdir()))
        if shrunk == 4 or turns == 4:
            break
        turns += 1
        target = laps(broker, "main") + 1.2
        load(broker, ledger, turns, until=lambda: laps(broker, "main") > target)
        broker.stop("term")
    served(broker)
    broker.stop("term")
    wanted(shrunk == 4, f"{shrunk} files for 3 segments and a spare, after {turns} laps")
    told = f"{files} files, {grown}, after {turns} laps {shrunk}"
    return f"{told}; {lost} records lost by the smaller ring at its start"
