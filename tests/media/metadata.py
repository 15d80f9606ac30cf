"""Damage to the metadata ring: it costs no record, and of the rest what FORMAT.md says."""

import collections
import random
import shutil

from damage import a_file, lost_with, spoil, swap
from setting import (
    DATA_RINGS, METADATA, METADATA_FILES, batches_from, case, commits_of, metadata_of, ring_reader,
    served, wanted,
)
from batches import STAMP, VALUE_HEAD
from ledger import KEYED


@case
def rot_of_the_metadata_ring(setting):
    data, ledger, _, before = setting.full_rings()
    counts = collections.Counter()
    for trial in range(max(1, setting.trials // 3)):
        chance = random.Random(f"{setting.seed} {trial}")
        damaged = setting.home / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(data, damaged)
        places = spoil(damaged, chance, [damaged / METADATA])
        if trial % 2:
            places += spoil_newest(damaged / METADATA, chance)
        try:
            expect_records(setting, damaged, ledger, before, counts)
        except AssertionError as error:
            raise AssertionError(f"trial {trial}, damage {places[:6]}: {error}") from error
        counts["places"] += len(places)
    return (
        f"{counts['places']} damaged places, {counts['kept']:,} records kept, none lost; committed offsets "
        f"gone back {counts['back']}, topics gone {counts['gone']}"
    )


@case
def a_file_of_the_metadata_ring_is_missing(setting):
    """Each one in turn, the newest among them."""
    counts = collections.Counter()
    for number in range(METADATA_FILES):
        data, ledger, _, before = setting.full_rings()
        (data / METADATA / f"segment-{number:04}").unlink()
        expect_records(setting, data, ledger, before, counts)
    return (
        f"{counts['kept']:,} records kept, none lost; committed offsets gone back {counts['back']}, topics "
        f"gone {counts['gone']}"
    )


@case
def the_metadata_ring_is_missing(setting):
    data, ledger, _, before = setting.full_rings()
    shutil.rmtree(data / METADATA)
    (data / METADATA).mkdir()
    counts = collections.Counter()
    expect_records(setting, data, ledger, before, counts)
    wanted(counts["gone"], "no topic is called lost-HANDLE")
    return f"{counts['kept']:,} records are in {counts['gone']} topics that are called lost-HANDLE"


@case
def a_file_of_the_metadata_ring_is_swapped_for_one_of_records(setting):
    """They are equally long: each is alien where it is, and costs what it held."""
    told = []
    for ring in DATA_RINGS:
        data, ledger, batches, before = setting.full_rings()
        file = a_file(setting, data, batches, ring)
        may, counts = lost_with(batches, data, file), collections.Counter()
        swap(file, newest_of(data / METADATA)[0])
        expect_records(setting, data, ledger, before, counts, may)
        told.append(f"{file.name} of {ring}: {counts['lost']} records lost, all of them in it")
    return "; ".join(told)


def newest_of(folder):
    """The file with the newest segment, and its head."""
    heads = {
        path: ring_reader.anchor_of(path.read_bytes()[: ring_reader.PAGE]) for path in folder.iterdir()
    }
    return max(((path, head) for path, head in heads.items() if head), key=lambda entry: entry[1].seq)


def spoil_newest(folder, chance):
    """Zeroes a sector of the groups of the newest segment, or of its head."""
    path, head = newest_of(folder)
    contents = path.read_bytes()
    groups, at = [], head.groups_at
    while (group := ring_reader.group_of(contents, at)) and group.segment == head.seq:
        groups.append(at)
        at += group.bytes
    at = chance.choice([0, *groups[-20:-1], *groups[:-1]])
    with open(path, "r+b") as opened:
        opened.seek(at)
        opened.write(bytes(512))
    return [(f"{folder.name}/{path.name}", at, at + 512)]


def expect_records(setting, data, ledger, before, counts, may=()):
    """Starts over the directory: each record, but for those of `may`, is in its topic, or, where that is
    lost, in one that is called lost-HANDLE; topics and committed offsets are those that FORMAT.md gives; it
    serves."""
    state = ring_reader.State()
    ring_reader.Ring(METADATA, data / METADATA, state).read()
    broker = setting.start(setting.broker(data))
    _, _, topics = metadata_of(broker)
    expect_topics(state, topics, counts)
    expect_commits(state, commits_of(broker, ledger), ledger, counts)
    lost = set()
    for topic in topics:
        if topic.startswith("lost-"):
            lost |= records_in(broker, (topic, 0))
    for place, offsets in before.items():
        here = records_in(broker, place) if place[0] in topics else set()
        missing = set(offsets.values()) - here - lost
        counts["lost"] += len(missing)
        missing -= {key for offset, key in offsets.items() if (place, offset) in may}
        wanted(not missing, f"{place}: {len(missing)} records are lost: {sorted(missing)[:3]}")
        counts["kept"] += len(offsets)
    served(broker)
    broker.stop("term")
    broker.log.unlink()


def expect_topics(state, topics, counts):
    wrong = {topic for topic in topics if not topic.startswith("lost-")} ^ set(state.topics)
    wanted(not wrong, f"topics are not those that FORMAT.md gives: {sorted(wrong)[:5]}")
    counts["gone"] += sum(topic.startswith("lost-") for topic in topics)


def expect_commits(state, found, ledger, counts):
    offsets = {
        (group, state.partitions[handle].topic, state.partitions[handle].index): offset
        for (group, handle), (offset, _) in state.offsets.items() if handle in state.partitions
    }
    for place, offset in found.items():
        given = offsets.get(place, -1)
        wanted(offset == given, f"committed {offset} for {place}; FORMAT.md gives {given}")
        counts["back"] += offset < ledger.commits[place][0]


def records_in(broker, place):
    """(producer, number) of all records of a partition, whatever it is called now."""
    found = set()
    for batch in batches_from(broker, place):
        for record in () if batch.is_control else batch.records():
            if record.value is None:
                found.add((KEYED, record.timestamp - STAMP))
            else:
                producer, _, number, _ = VALUE_HEAD.unpack(record.value[: VALUE_HEAD.size])
                found.add((producer, number))
    return found
