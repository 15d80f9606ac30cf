"""What a client does at offsets that have no records any more, at the end of a partition: a *hole*.
Registered beside `features.py`'s.

The broker answers a fetch there with a control batch up to the end. A client that does not go on
behind it never comes to the end. For clients that say when they are at the end,
`read_to_end` is a generator of (offset of the end, records): what one consumer of a group got until
it said so, and what it got since. Each time it commits its position.
"""

import secrets
import time

import rawkafka
from features import feature
from harness import background, equal

# The records that stay, and the end behind the hole.
KEPT, END = 5, 8


def value(number):
    """What the record at an offset holds."""
    return b"value %d" % number


def produce(t, topic, number, *values):
    """One batch, whose first record gets this offset."""
    with t.raw() as broker:
        records = [rawkafka.record(b"k", one) for one in values or [value(number)]]
        equal(broker.produce(topic, 0, rawkafka.batch(records)), (0, number), "produce")


def expect(got, numbers):
    """These are the records with these offsets."""
    have = [(entry.offset, entry.value) for entry in got]
    equal(have, [(number, value(number)) for number in numbers], "records")


def torn(t):
    """The newest batch was cut short: nothing proves that it was acknowledged."""
    return _holed(t, "kill", False, "1 torn ones dropped")


def damaged(t):
    """The newest batch of the topic is damaged, and what follows it elsewhere proves it."""
    return _holed(t, "term", True, f"offsets {KEPT} to {END - 1} of partition handle")


def _holed(t, how, proven, logged):
    """A topic whose last offsets lost their records in a restart."""
    topic, other, mark = t.topic(), t.topic(), secrets.token_hex(16)
    for number in range(KEPT):
        produce(t, topic, number)
    produce(t, topic, KEPT, mark.encode(), *[b"lost"] * (END - KEPT - 1))
    if proven:
        produce(t, other, 0)
    t.restart(how, spoil=mark)
    if logged not in t.log_of_start():
        raise AssertionError(f"not logged: {logged}")
    with t.raw() as broker:
        for offset in range(KEPT, END):
            error, end, data = broker.fetch(topic, 0, offset)
            equal((error, end), (0, END), "answer in the hole")
            (marker,) = rawkafka.parse_batches(data)
            first, behind = marker.base_offset, marker.next_offset
            equal((first, behind, marker.crc_ok), (offset, END, True), "the marker")
            equal(marker.is_control, True, "whether it is a control batch")
    return topic


def _reads_to_the_end(name, holed):
    def function(t, client):
        topic = holed(t)
        reading = client.read_to_end(topic, t.group_name())
        end, records = next(reading)
        equal(end, END, "end")
        expect(records, range(KEPT))
        produce(t, topic, END)
        end, records = next(reading)
        equal(end, END + 1, "end behind a new record")
        expect(records, [END])

    function.__name__ = f"reads_to_the_end_over_what_{name}"
    feature("read_to_end")(function)


_reads_to_the_end("a_cut_took", torn)
_reads_to_the_end("is_damaged", damaged)


@feature("read_to_end", "commits_end")
def has_no_lag_when_it_read_to_such_an_end(t, client):
    for holed in (torn, damaged):
        topic, group = holed(t), t.group_name()
        reading = client.read_to_end(topic, group)
        for end in (END, END + 1):
            next(reading)
            with t.raw() as broker:
                equal(broker.committed(group, topic, 0), (0, end), "committed offset")
            produce(t, topic, end)


@feature("consume", "passes_control_batches")
def goes_on_behind_such_an_end(t, client):
    for holed in (torn, damaged):
        topic, member = holed(t), None
        if "read_to_end" in client.lacks and "member" not in client.lacks:
            # What a member has got shows that it is at the hole.
            member = client.member(t.group_name(), topic)
            got = lambda: list(member.records)
            t.wait_until("the records before the hole", lambda: len(got()) >= KEPT)
        else:
            consumed = background(client.consume, topic, "earliest", KEPT + 1)
            got = lambda: consumed() if consumed.done() else []
        # Nothing tells how often it has asked there since; a second is enough for many fetches.
        time.sleep(1)
        produce(t, topic, END)
        t.wait_until("the record behind the hole", lambda: len(got()) > KEPT)
        expect(got(), [*range(KEPT), END])
        if member:
            member.leave()
