"""Record batches whose whole contents follow from a few numbers, and back.

Their CRC-32C is known without a walk over their bytes: Python would take most of a run for those.
"""

import collections
import random
import struct

import rawkafka
from rings import PLACES

STAMP = 1_700_000_000_000
# What is wrong with bytes that are none of ours.
MALFORMED = (ValueError, IndexError, struct.error, MemoryError, OverflowError)
# Of a compacted topic's records every hundredth has one of the keys that are seldom written.
OFTEN_KEYS, RARE_KEYS, RARE_EVERY = 8, 24, 100
# Of those, so many of each seven delete their key.
RARE_DELETES = 2


def _shift_tables():
    """For each power of two, the 32 columns of "feed that many zero bytes" over a CRC-32C."""
    columns = [rawkafka._CRC_TABLE[bit] if bit < 256 else bit >> 8 for bit in (1 << n for n in range(32))]
    tables = [columns]
    for _ in range(20):
        columns = [_apply(columns, column) for column in columns]
        tables.append(columns)
    return tables


def _apply(columns, value):
    out = bit = 0
    while value:
        if value & 1:
            out ^= columns[bit]
        value >>= 1
        bit += 1
    return out


_SHIFT = _shift_tables()
_SHIFT_BY = {}


def crc_join(first, second, second_bytes):
    """The CRC of two pieces behind each other, of their CRCs."""
    columns = _SHIFT_BY.get(second_bytes)
    if columns is None:
        columns = [1 << bit for bit in range(32)]
        for power, table in enumerate(_SHIFT):
            if second_bytes >> power & 1:
                columns = [_apply(table, column) for column in columns]
        _SHIFT_BY[second_bytes] = columns
    return _apply(columns, first) ^ second


FILLERS = {}


def filler(number, count):
    """`count` bytes that follow from a record's number, and their CRC."""
    key = (number % 61, count)
    if key not in FILLERS:
        data = random.Random(key[0] * 1_000_003 + count).randbytes(count)
        FILLERS[key] = (data, rawkafka.crc32c(data))
    return FILLERS[key]


# One batch: who sent it, to which of `PLACES`, the number of its first record, its records' lengths,
# and (producer id, epoch, sequence) as the protocol has them.
Sent = collections.namedtuple("Sent", "producer place first lengths identity")
VALUE_HEAD = struct.Struct(">HHQI")


def encode(sent):
    """The record batch of a `Sent`: numbers from `first` on, one record for each length."""
    producer_id, epoch, sequence = sent.identity
    stamp = STAMP + sent.first
    count = len(sent.lengths)
    head = struct.pack(">hiqqqhii", 0, count - 1, stamp, stamp, producer_id, epoch, sequence, count)
    pieces, crc = [], None
    for delta, length in enumerate(sent.lengths):
        number = sent.first + delta
        value_head = VALUE_HEAD.pack(sent.producer, PLACES.index(sent.place), number, length)
        rest, rest_crc = filler(number, length - len(value_head))
        body = b"\0\0" + rawkafka.varint(delta) + b"\x01" + rawkafka.varint(length)
        start = rawkafka.varint(len(body) + length + 1) + body + value_head
        if crc is None:
            crc = rawkafka.crc32c(head + start)
        else:
            start = b"\0" + start
            crc = crc_join(crc, rawkafka.crc32c(start), len(start))
        crc = crc_join(crc, rest_crc, len(rest))
        pieces += [start, rest]
    pieces.append(b"\0")
    crc = crc_join(crc, rawkafka.crc32c(b"\0"), 1)
    tail = head + b"".join(pieces)
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, 2, crc) + tail


def decode(batch):
    """The `Sent` that a stored batch claims to be."""
    identity = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
    reader = rawkafka.Reader(batch.payload)
    producer = place = first = None
    lengths = []
    for _ in range(batch.count):
        end = reader.varint()
        end += reader.at
        reader.take(2)
        reader.varint()
        reader.varint()
        reader.varint()
        claimed = VALUE_HEAD.unpack(reader.take(VALUE_HEAD.size))
        if first is None:
            producer, place, first, _ = claimed
        length = claimed[3]
        lengths.append(length)
        reader.take(end - reader.at)
    return Sent(producer, PLACES[place], first, tuple(lengths), identity)




# ---- batches of a compacted topic ----


def key_of(number):
    """The key of a record, and whether the record deletes it."""
    if number % RARE_EVERY:
        return b"often-%d" % (number % OFTEN_KEYS), False
    rare = number // RARE_EVERY
    return b"rare-%d" % (rare % RARE_KEYS), rare % 7 < RARE_DELETES


def keyed_value(producer, place, number, length):
    """The value of a record with a key."""
    head = VALUE_HEAD.pack(producer, PLACES.index(place), number, length)
    return head + filler(number, length - len(head))[0]


def encode_keyed(sent):
    """The record batch of a `Sent` for a compacted topic: timestamps say the records' numbers."""
    records = []
    for delta, length in enumerate(sent.lengths):
        number = sent.first + delta
        key, deletes = key_of(number)
        value = None if deletes else keyed_value(sent.producer, sent.place, number, length)
        records.append(rawkafka.record(key, value, timestamp_delta=delta))
    return rawkafka.batch(records, timestamp=STAMP + sent.first, producer=sent.identity)


def decode_keyed(batch, producer, place):
    """(offset, number) of each record of a batch, as it was sent or with records left out."""
    if not batch.crc_ok:
        raise ValueError("the CRC does not hold")
    out = []
    for record in batch.records():
        number = record.timestamp - STAMP
        key, deletes = key_of(number)
        wanted = None
        if not deletes:
            length = VALUE_HEAD.unpack((record.value or b"")[: VALUE_HEAD.size])[3]
            wanted = keyed_value(producer, place, number, length)
        if (record.key, record.value) != (key, wanted):
            raise ValueError(f"{record.key!r} with {record.value!r:.40} is not record {number}")
        out.append((record.offset, number))
    return out
