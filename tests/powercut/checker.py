"""Reads everything back from a broker that lost its power, and gives the broken promises, as text:

- what was acknowledged is there, and what a consumer saw stays there, below nothing but eviction;
- eviction takes nothing while the ring has room for it, whatever is written to other rings;
- of a held ring it takes nothing at all that its holder has not committed past;
- of a compacted topic the newest record of each key is there for ever, and the log start stays;
- no offset ever has two contents, and every content is byte for byte what was sent;
- each producer's batches stand in the order in which it sent them, an idempotent one's only once;
- committed offsets and what goes with them, leader epochs, log starts and ends never go back; topics that
  were made or deleted stay so.

The standard library and `tests/clients/rawkafka.py` only.
"""

import re

import rawkafka
from batches import key_of
from load import committed_offset, note_of
from rings import COMPACTED, ONCE, TOPICS

OFFSET_OUT_OF_RANGE = 1
# How often the log start may move while a partition is read.
TRIES_MAX = 4


def verify(host, port, ledger, said=None):
    """Reads everything back from a broker that nobody writes to; breaches go into the ledger. `said`: its
    disk failed since it started, so that it may be about to overwrite a segment, and this is its log."""
    overwriting = None if said is None else overwritten_in(said)
    with rawkafka.Connection(host, port, timeout=30) as broker:
        _, _, topics = broker.metadata(None)
        verify_topics(topics, ledger)
        retained = ledger.retained()
        for topic, partitions, _ in TOPICS:
            if topic not in topics:
                if any(place[0] == topic for place in [*ledger.must, *ledger.newest]):
                    ledger.fail(f"topic {topic} is gone")
                continue
            for index in range(partitions):
                verify_partition((host, port), (topic, index), ledger, retained, overwriting)
        for place in ledger.commits:
            verify_commit(broker, place, ledger)
    ledger.counts["verified"] += 1


def verify_topics(topics, ledger):
    for name, state in list(ledger.topics.items()):
        if state == "made" and name not in topics:
            ledger.fail(f"topic {name} was made and is gone")
        if state == "deleted" and name in topics:
            ledger.fail(f"topic {name} was deleted and is back")
        if state == "asked":
            # Either is right, and whichever it is, it stays.
            ledger.topics[name] = "made" if name in topics else "deleted"
        if ledger.topics[name] == "deleted":
            del ledger.topics[name]


def verify_commit(broker, place, ledger):
    acknowledged, sent = ledger.commits[place]
    found, note = committed_offset(broker, *place)
    if not acknowledged <= found <= sent and (found, acknowledged) != (-1, 0):
        ledger.fail(f"committed {found} for {place}, not {acknowledged} to {sent}")
    if found >= 0 and note != note_of(found, len(note)):
        ledger.fail(f"committed {found} for {place} with {note[:40]!r}")
    ledger.commits[place][0] = max(found, acknowledged)


def overwritten_in(said):
    """What a broker's log names as overwritten: {place: the last offset}."""
    lines = "".join(line for line in said.splitlines() if " is overwritten: " in line)
    named = re.findall(r", (\S+)-(\d+) from \d+ to (\d+)", lines)
    return {(topic, int(index)): int(last) for topic, index, last in named}


def verify_partition(address, place, ledger, retained, overwriting):
    for tries in range(TRIES_MAX):
        try:
            with rawkafka.Connection(*address, timeout=30) as broker:
                start, end = verify_bounds(broker, place, ledger)
                found, complete = read_partition(broker, place, start, end, ledger, overwriting)
            break
        except (rawkafka.KafkaError, rawkafka.Closed) as error:
            # A start may have a segment overwritten that was due before it, also while that is read.
            code = getattr(error, "code", OFFSET_OUT_OF_RANGE)
            if code != OFFSET_OUT_OF_RANGE or tries + 1 == TRIES_MAX:
                raise
    if not complete:
        return
    if place[0] in COMPACTED:
        verify_keys(place, found, ledger)
    else:
        # Readers are led past what is being overwritten before the log start moves.
        first = start if overwriting is None else min(found, default=start)
        verify_owed(place, found, (start, first, end), ledger, retained)
    verify_order(place, found, ledger)


def verify_bounds(broker, place, ledger):
    """The log's start and end, which never go back."""
    error, _, start = broker.list_offset(*place, rawkafka.EARLIEST)
    rawkafka.check(error, f"ListOffsets {place}")
    error, _, end = broker.list_offset(*place, rawkafka.LATEST)
    rawkafka.check(error, f"ListOffsets {place}")
    start_before, end_before = ledger.bounds.get(place, (0, 0))
    if start < start_before or end < end_before:
        ledger.fail(f"{place}: {start}..{end} after {start_before}..{end_before}", place[0])
    if place[0] in COMPACTED and start != 0:
        ledger.fail(f"{place}: compacted, and its log starts at {start}", place[0])
    ledger.bounds[place] = (start, end)
    owed = ledger.owed_up_to(place)
    if owed is not None and owed[0] >= end:
        ledger.fail(f"{place}: {owed[0]} was {owed[1]}, the end is {end}", place[0])
    return start, end


def read_partition(broker, place, start, end, ledger, overwriting):
    """({offset: (producer, number)}, whether there is nothing to be waited for)."""
    found, offset, epoch = {}, start, 0
    # Where all of it is being overwritten there is nothing to be led to, and nothing is lost yet.
    waits = overwriting is not None and overwriting.get(place, -1) >= end - 1
    while offset < end:
        error, _, data = broker.fetch(*place, offset, 4 << 20, wait_ms=0)
        rawkafka.check(error, f"Fetch {place} at {offset}")
        batches = rawkafka.parse_batches(data)
        if not batches and waits:
            return found, False
        if not batches:
            ledger.fail(f"{place}: a reader comes no further than {offset} of {end}", place[0])
            break
        for batch in batches:
            found.update(ledger.seen(place, batch))
            if batch.leader_epoch < epoch:
                text = f"{place} at {batch.base_offset}: epoch {batch.leader_epoch} after {epoch}"
                ledger.fail(text, place[0])
            epoch = max(epoch, batch.leader_epoch)
        offset = batches[-1].next_offset
    return found, True


def verify_owed(place, found, bounds, ledger, retained):
    """All is there that was promised and that the ring has not evicted, which it may."""
    start, first, end = bounds
    owed = ledger.must[place]
    if ledger.rings.is_kept(place[0]):
        held = [offset for offset in owed if ledger.released[place] <= offset < first]
        if held:
            text = f"{place}: {len(held)} records from {min(held)} on were held, and are evicted"
            ledger.fail(text, place[0])
    ledger.evicted(place, start)
    if place in retained and first > retained[place]:
        text = f"{place}: the log starts at {first}, and the ring had room from {retained[place]}"
        ledger.fail(text, place[0])
    lost = [offset for offset in owed if offset not in found and offset >= first]
    if ledger.rings.gives_way(place[0]):
        # In a full ring what nobody holds has two segments in turn, and the older goes when one begins.
        for offset in lost:
            del owed[offset]
        lost = []
    if lost:
        which = ", ".join(f"{offset} ({owed[offset]})" for offset in sorted(lost)[:5])
        ledger.fail(f"{place}: lost {len(lost)} records of {start}..{end}: {which}", place[0])
        for offset in lost:
            del owed[offset]


def verify_keys(place, found, ledger):
    """The newest record of each key is there, or one that is newer still."""
    newest = {}
    for offset in sorted(found):
        newest[key_of(found[offset][1])[0]] = offset
    for key, promised in list(ledger.newest[place].items()):
        if newest.get(key, -1) < promised.offset:
            text = f"{place}: key {key.decode()} is at {newest.get(key)}, and {promised} is lost"
            ledger.fail(text, place[0])
            del ledger.newest[place][key]
    ledger.counts["keys"] += len(newest)


def verify_order(place, found, ledger):
    newest = {}
    for offset in sorted(found):
        producer, number = found[offset]
        before = newest.get(producer, -1)
        if number <= before:
            ledger.fail(f"{place} at {offset}: {producer}/{number} behind {producer}/{before}", place[0])
        elif place in ONCE and before >= 0 and number != before + 1:
            ledger.fail(f"{place} at {offset}: {producer}/{number} follows {producer}/{before}", place[0])
        newest[producer] = number
