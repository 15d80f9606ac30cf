"""The Kafka protocol, as bytes, with nothing but the standard library.

What a client library would hide is what the tests here must see: the codec bits of a stored
batch, the offset and the CRC it was given, the exact error code, the frame that never came.
Only the versions named below are spoken, all of them without tagged fields (except ApiVersions 3
and ConsumerGroupDescribe 0), so that a reader can check each line against Kafka's own message tables.

    with Connection("127.0.0.1", 9092) as broker:
        broker.create_topic("t", partitions=2)
        error, base_offset = broker.produce("t", 0, batch([record(b"key", b"value")]))
        for stored in broker.fetch_batches("t", 0, offset=0):
            print(stored.base_offset, CODECS[stored.codec], stored.crc_ok)

For hostile input, `send_frame` and `send_bytes` take anything, and `receive_frame` raises
`Closed` when the broker hung up and `TimeoutError` when it said nothing.
"""

import gzip
import socket
import struct
import time

# API keys.
PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS = 18, 19, 20, 21
INIT_PRODUCER_ID = 22
DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS = 15, 16, 42
CONSUMER_GROUP_HEARTBEAT, CONSUMER_GROUP_DESCRIBE = 68, 69

# The codec bits (0-2) of a batch's attributes, by number.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ATTRIBUTE_LOG_APPEND_TIME = 0x08
ATTRIBUTE_TRANSACTIONAL = 0x10
ATTRIBUTE_CONTROL = 0x20

# ListOffsets' special timestamps.
LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3

# What a batch's header takes, up to and with the number of records.
CONTROL = 1 << 5
BATCH_HEADER_BYTES = 61
# From a batch's first byte to the first byte that its length and its CRC count.
BATCH_LENGTH_FROM, BATCH_CRC_FROM = 12, 21


class Closed(Exception):
    """The broker closed the connection."""


class KafkaError(Exception):
    """The broker answered with an error code."""

    def __init__(self, code, where):
        super().__init__(f"error {code} from {where}")
        self.code = code


# ---- CRC-32C -----------------------------------------------------------------------------


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data):
    """The CRC-32C (Castagnoli) that record batches carry."""
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# ---- primitive types ---------------------------------------------------------------------


def string(text):
    """A nullable string: 16-bit length, −1 for null."""
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">h", len(data)) + data


def nullable_bytes(data):
    """Nullable bytes: 32-bit length, −1 for null."""
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def array(items):
    """An array of encoded items; None is the null array."""
    if items is None:
        return struct.pack(">i", -1)
    return struct.pack(">i", len(items)) + b"".join(items)


def unsigned_varint(value):
    """An unsigned variable-length integer, as compact strings and tags use."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(value):
    """A zigzag variable-length integer, as records use (also for 64 bits)."""
    return unsigned_varint((value << 1) ^ (value >> 63))


def compact_string(text):
    """A non-null string of the flexible versions."""
    data = text.encode()
    return unsigned_varint(len(data) + 1) + data


class Reader:
    """Reads primitive types from one frame; raises IndexError beyond its end."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, count):
        """The next `count` bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise IndexError(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def left(self):
        """How many bytes have not been read yet."""
        return len(self.data) - self.at

    def unpack(self, form):
        """Big-endian values by `struct`'s letters: one alone, or a tuple."""
        values = struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))
        return values[0] if len(values) == 1 else values

    def string(self):
        """A nullable string."""
        length = self.unpack("h")
        return None if length < 0 else self.take(length).decode()

    def bytes(self):
        """Nullable bytes."""
        length = self.unpack("i")
        return None if length < 0 else self.take(length)

    def array(self, item):
        """A list of what `item()` reads, or None for the null array."""
        count = self.unpack("i")
        return None if count < 0 else [item() for _ in range(count)]

    def unsigned_varint(self):
        """An unsigned variable-length integer."""
        value = shift = 0
        while True:
            byte = self.unpack("B")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def compact_string(self):
        """A nullable string of the flexible versions."""
        length = self.unsigned_varint()
        return None if length == 0 else self.take(length - 1).decode()

    def compact_array(self, item):
        """A list of what `item()` reads, in the flexible versions."""
        return [item() for _ in range(self.unsigned_varint() - 1)]

    def varint(self):
        """A zigzag variable-length integer."""
        value = self.unsigned_varint()
        return (value >> 1) ^ -(value & 1)

    def varint_bytes(self):
        """Bytes after a zigzag length, −1 for null."""
        length = self.varint()
        return None if length < 0 else self.take(length)


# ---- record batches ----------------------------------------------------------------------


def record(key=None, value=None, headers=(), timestamp_delta=0):
    """One record, for `batch`; headers are (name, value or None) pairs."""
    return (key, value, tuple(headers), timestamp_delta)


def encode_records(records):
    """The records part of a batch, not compressed."""
    out = []
    for offset_delta, (key, value, headers, timestamp_delta) in enumerate(records):
        body = bytearray(b"\0" + varint(timestamp_delta) + varint(offset_delta))
        for part in (key, value):
            body += varint(-1) if part is None else varint(len(part)) + part
        body += varint(len(headers))
        for name, content in headers:
            name = name.encode()
            body += varint(len(name)) + name
            body += varint(-1) if content is None else varint(len(content)) + content
        out.append(varint(len(body)) + bytes(body))
    return b"".join(out)


def batch(
    records,
    codec=0,
    timestamp=None,
    producer=(-1, -1, -1),
    base_offset=0,
    attributes=0,
    magic=2,
    leader_epoch=-1,
    count=None,
    last_offset_delta=None,
    payload=None,
    crc=None,
):
    """A v2 record batch. What follows `producer` exists to tell lies: the header says what it is
    told to, the CRC is right for it unless `crc` is given, and `payload` replaces the records.
    Only gzip is compressed here; for another codec pass its `payload`."""
    now = int(time.time() * 1000) if timestamp is None else timestamp
    if payload is None:
        payload = encode_records(records)
        if codec == 1:
            payload = gzip.compress(payload)
        elif codec != 0:
            raise ValueError(f"no {CODECS[codec]} in the standard library: give the payload")
    newest = now + max((entry[3] for entry in records), default=0)
    tail = struct.pack(
        ">hiqqqhii",
        attributes | codec,
        len(records) - 1 if last_offset_delta is None else last_offset_delta,
        now,
        newest,
        *producer,
        len(records) if count is None else count,
    )
    tail += payload
    crc = crc32c(tail) if crc is None else crc
    length = BATCH_CRC_FROM - BATCH_LENGTH_FROM + len(tail)
    return struct.pack(">qiibI", base_offset, length, leader_epoch, magic, crc) + tail


class Record:
    """One record as stored: offset and timestamp are the absolute ones."""

    def __init__(self, offset, timestamp, key, value, headers):
        self.offset, self.timestamp, self.key = offset, timestamp, key
        self.value, self.headers = value, headers

    def __repr__(self):
        return f"Record({self.offset}, {self.timestamp}, {self.key!r}, {self.value!r:.60})"


class Batch:
    """One record batch as stored, byte for byte in `raw`."""

    def __init__(self, raw):
        reader = Reader(raw)
        self.raw = raw
        self.base_offset, self.length, self.leader_epoch, self.magic, self.crc = reader.unpack(
            "qiibI"
        )
        (
            self.attributes,
            self.last_offset_delta,
            self.base_timestamp,
            self.max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            self.count,
        ) = reader.unpack("hiqqqhii")
        self.payload = raw[BATCH_HEADER_BYTES:]

    @property
    def is_control(self):
        """Whether what is in it is for clients themselves, as where offsets have no records."""
        return bool(self.attributes & CONTROL)

    @property
    def codec(self):
        """The codec's number: an index of `CODECS`."""
        return self.attributes & 7

    @property
    def codec_name(self):
        """The codec's name."""
        return CODECS[self.codec]

    @property
    def next_offset(self):
        """The first offset after this batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def crc_ok(self):
        """Whether the CRC-32C holds."""
        return crc32c(self.raw[BATCH_CRC_FROM:]) == self.crc

    def records(self):
        """The records, where the standard library can read the codec (none, gzip)."""
        if self.codec == 0:
            payload = self.payload
        elif self.codec == 1:
            payload = gzip.decompress(self.payload)
        else:
            raise ValueError(f"no {self.codec_name} in the standard library")
        reader, out = Reader(payload), []
        append_time = self.attributes & ATTRIBUTE_LOG_APPEND_TIME
        for _ in range(self.count):
            end = reader.varint()
            end += reader.at
            reader.take(1)
            timestamp = self.base_timestamp + reader.varint()
            offset = self.base_offset + reader.varint()
            key, value = reader.varint_bytes(), reader.varint_bytes()
            headers = []
            for _ in range(reader.varint()):
                headers.append((reader.varint_bytes().decode(), reader.varint_bytes()))
            if reader.at != end:
                raise ValueError(f"record at offset {offset} ends at {reader.at}, not {end}")
            timestamp = self.max_timestamp if append_time else timestamp
            out.append(Record(offset, timestamp, key, value, headers))
        return out


def parse_batches(data):
    """The whole batches in a fetched record set; a part of one at the end is left out."""
    out, at = [], 0
    while at + BATCH_LENGTH_FROM <= len(data):
        length = struct.unpack_from(">i", data, at + 8)[0]
        end = at + BATCH_LENGTH_FROM + length
        if end > len(data):
            break
        out.append(Batch(data[at:end]))
        at = end
    return out


# ---- the connection ----------------------------------------------------------------------


class Connection:
    """One connection to one broker, one request after the other unless `send` is used."""

    def __init__(self, host, port, timeout=20, client_id="raw"):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_id, self.correlation = client_id, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connection."""
        self.socket.close()

    def send_bytes(self, data):
        """Sends bytes as they are: no frame, no check."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def send_frame(self, payload):
        """Sends one frame: its size, then the payload as it is."""
        self.send_bytes(struct.pack(">i", len(payload)) + payload)

    def receive_bytes(self, count):
        """Exactly `count` bytes, or `Closed`."""
        out = bytearray()
        while len(out) < count:
            try:
                part = self.socket.recv(min(count - len(out), 1 << 20))
            except ConnectionResetError as error:
                raise Closed(str(error)) from error
            if not part:
                raise Closed(f"after {len(out)} of {count} bytes")
            out += part
        return bytes(out)

    def receive_frame(self):
        """The payload of the next frame."""
        return self.receive_bytes(struct.unpack(">i", self.receive_bytes(4))[0])

    def header(self, key, version, flexible=False):
        """A request header with the next correlation id."""
        self.correlation += 1
        out = struct.pack(">hhi", key, version, self.correlation) + string(self.client_id)
        return out + b"\0" if flexible else out

    def send(self, key, version, body, flexible=False):
        """Sends a request and gives its correlation id, without waiting for an answer."""
        self.send_frame(self.header(key, version, flexible) + body)
        return self.correlation

    def receive(self, correlation):
        """The answer to the oldest open request, which must have this correlation id."""
        reader = Reader(self.receive_frame())
        got = reader.unpack("i")
        if got != correlation:
            raise ValueError(f"correlation id {got} answers, {correlation} was asked")
        return reader

    def request(self, key, version, body, flexible=False):
        """Sends a request and gives a reader of the answer's body."""
        return self.receive(self.send(key, version, body, flexible))

    # Each method from here on is one request of one version.

    def api_versions(self):
        """ApiVersions 0: {key: (min, max)}."""
        reader = self.request(API_VERSIONS, 0, b"")
        check(reader.unpack("h"), "ApiVersions")
        return {key: (low, high) for key, low, high in reader.array(lambda: reader.unpack("hhh"))}

    def metadata(self, topics=None):
        """Metadata 1: (brokers {id: (host, port)}, controller, {topic: (error, {index: error})}).
        None asks for all topics."""
        body = array(None if topics is None else [string(name) for name in topics])
        reader = self.request(METADATA, 1, body)

        def broker():
            node, host, port = reader.unpack("i"), reader.string(), reader.unpack("i")
            reader.string()
            return node, (host, port)

        def partition():
            error, index, _leader = reader.unpack("hii")
            reader.array(lambda: reader.unpack("i"))
            reader.array(lambda: reader.unpack("i"))
            return index, error

        def topic():
            error, name, _internal = reader.unpack("h"), reader.string(), reader.unpack("b")
            return name, (error, dict(reader.array(partition)))

        brokers = dict(reader.array(broker))
        return brokers, reader.unpack("i"), dict(reader.array(topic))

    def create_topic(self, name, partitions=1, replicas=1, configs=(), timeout_ms=10000):
        """CreateTopics 2."""
        entries = [string(key) + string(value) for key, value in dict(configs).items()]
        topic = string(name) + struct.pack(">ih", partitions, replicas) + array([]) + array(entries)
        body = array([topic]) + struct.pack(">ib", timeout_ms, 0)
        reader = self.request(CREATE_TOPICS, 2, body)
        reader.unpack("i")
        for _, error, _ in reader.array(
            lambda: (reader.string(), reader.unpack("h"), reader.string())
        ):
            check(error, f"CreateTopics {name}")

    def delete_topic(self, name, timeout_ms=10000):
        """DeleteTopics 1."""
        reader = self.request(
            DELETE_TOPICS, 1, array([string(name)]) + struct.pack(">i", timeout_ms)
        )
        reader.unpack("i")
        for _, error in reader.array(lambda: (reader.string(), reader.unpack("h"))):
            check(error, f"DeleteTopics {name}")

    def delete_records(self, topic, partition, offset, timeout_ms=10000):
        """DeleteRecords 0: (error, low watermark)."""
        entry = struct.pack(">iq", partition, offset)
        body = array([string(topic) + array([entry])]) + struct.pack(">i", timeout_ms)
        reader = self.request(DELETE_RECORDS, 0, body)
        reader.unpack("i")

        def answer():
            _index, low_watermark, error = reader.unpack("iqh")
            return error, low_watermark

        return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]

    def init_producer_id(self, transactional_id=None):
        """InitProducerId 0: (error, producer id, epoch)."""
        reader = self.request(
            INIT_PRODUCER_ID, 0, string(transactional_id) + struct.pack(">i", 60000)
        )
        reader.unpack("i")
        return reader.unpack("hqh")

    @staticmethod
    def produce_body(topic, partition, records, acks=-1, timeout_ms=10000):
        """The body of Produce 3–8 for one partition."""
        entry = struct.pack(">i", partition) + nullable_bytes(records)
        topics = array([string(topic) + array([entry])])
        return string(None) + struct.pack(">hi", acks, timeout_ms) + topics

    @staticmethod
    def produce_answer(reader, version=3):
        """(error, base offset) of the one partition of a produce answer of version 3–8."""
        reader.unpack("i")
        reader.string()
        if reader.unpack("i") != 1:
            raise ValueError("one partition was asked")
        _index, error, base_offset, _append_time = reader.unpack("ihqq")
        if version >= 5:
            reader.unpack("q")
        return error, base_offset

    def produce(self, topic, partition, records, acks=-1, version=3, timeout_ms=10000):
        """Produce 3–7: (error, base offset); None with acks=0, which is never answered."""
        body = self.produce_body(topic, partition, records, acks, timeout_ms)
        correlation = self.send(PRODUCE, version, body)
        return None if acks == 0 else self.produce_answer(self.receive(correlation), version)

    def fetch(self, topic, partition, offset, max_bytes=1 << 25, wait_ms=500, min_bytes=1):
        """Fetch 4: (error, high watermark, record set)."""
        entry = struct.pack(">iqi", partition, offset, max_bytes)
        topics = array([string(topic) + array([entry])])
        body = struct.pack(">iiiib", -1, wait_ms, min_bytes, max_bytes, 0) + topics
        reader = self.request(FETCH, 4, body)
        reader.unpack("i")

        def answer():
            _index, error, high_watermark, _stable = reader.unpack("ihqq")
            reader.array(lambda: reader.unpack("qq"))
            return error, high_watermark, reader.bytes() or b""

        entries = reader.array(lambda: (reader.string(), reader.array(answer)))
        return entries[0][1][0]

    def fetch_batches(self, topic, partition, offset=0, end=None):
        """Every stored batch from an offset to the end (by default the high watermark)."""
        out = []
        while True:
            error, high_watermark, data = self.fetch(topic, partition, offset)
            check(error, f"Fetch {topic}-{partition} at {offset}")
            end = high_watermark if end is None else end
            batches = parse_batches(data)
            out += batches
            if batches:
                offset = batches[-1].next_offset
            if offset >= end:
                return out
            if not batches:
                raise ValueError(f"no batch at {offset} of {topic}-{partition}, end {end}")

    def list_offset(self, topic, partition, timestamp):
        """ListOffsets 1: (error, timestamp, offset)."""
        entry = struct.pack(">iq", partition, timestamp)
        reader = self.request(
            LIST_OFFSETS, 1, struct.pack(">i", -1) + array([string(topic) + array([entry])])
        )
        answer = lambda: reader.unpack("ihqq")[1:]
        return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]

    def describe_group(self, group):
        """DescribeGroups 0: (error, state, {member id: {topic: [partition]}})."""
        reader = self.request(DESCRIBE_GROUPS, 0, array([string(group)]))

        def member():
            name, _, _ = reader.string(), reader.string(), reader.string()
            reader.bytes()
            return name, assigned(reader.bytes())

        def one():
            error, _, state = reader.unpack("h"), reader.string(), reader.string()
            reader.string(), reader.string()
            return error, state, dict(reader.array(member))

        return reader.array(one)[0]

    def describe_consumer_group(self, group):
        """ConsumerGroupDescribe 0: (error, state, {member id: {topic: [partition]}})."""
        body = b"\x02" + compact_string(group) + b"\0\0"
        reader = self.request(CONSUMER_GROUP_DESCRIBE, 0, body, flexible=True)
        # The answer's header ends with tags.
        reader.unsigned_varint(), reader.unpack("i")

        def topic():
            reader.take(16)
            name = reader.compact_string()
            partitions = reader.compact_array(lambda: reader.unpack("i"))
            reader.unsigned_varint()
            return name, partitions

        def assignment():
            topics = dict(reader.compact_array(topic))
            reader.unsigned_varint()
            return topics

        def member():
            name, _, _ = (reader.compact_string() for _ in range(3))
            reader.unpack("i"), reader.compact_string(), reader.compact_string()
            reader.compact_array(reader.compact_string), reader.compact_string()
            held, _ = assignment(), assignment()
            reader.unsigned_varint()
            return name, held

        def one():
            error, _, _ = reader.unpack("h"), reader.compact_string(), reader.compact_string()
            state, _, _ = reader.compact_string(), reader.unpack("ii"), reader.compact_string()
            return error, state, dict(reader.compact_array(member))

        return reader.compact_array(one)[0]

    def list_groups(self):
        """ListGroups 0: (error, {group: protocol type})."""
        reader = self.request(LIST_GROUPS, 0, b"")
        error = reader.unpack("h")
        return error, dict(reader.array(lambda: (reader.string(), reader.string())))

    def delete_group(self, group):
        """DeleteGroups 0: the error."""
        reader = self.request(DELETE_GROUPS, 0, array([string(group)]))
        reader.unpack("i")
        return reader.array(lambda: (reader.string(), reader.unpack("h")))[0][1]

    def find_coordinator(self, group):
        """FindCoordinator 0: the error."""
        return self.request(FIND_COORDINATOR, 0, string(group)).unpack("h")

    def send_commit(self, group, topic, partition, offset):
        """OffsetCommit 2 of no member, not waited for: the correlation id."""
        entry = struct.pack(">iq", partition, offset) + string(None)
        body = string(group) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1)
        return self.send(OFFSET_COMMIT, 2, body + array([string(topic) + array([entry])]))

    @staticmethod
    def commit_answer(reader):
        """The error of the one partition of a commit."""
        answer = lambda: reader.unpack("ih")[1]
        return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]

    def committed(self, group, topic, partition):
        """OffsetFetch 1: (error, offset or -1)."""
        body = string(group) + array([string(topic) + array([struct.pack(">i", partition)])])
        reader = self.request(OFFSET_FETCH, 1, body)

        def answer():
            _, offset = reader.unpack("iq")
            reader.string()
            return reader.unpack("h"), offset

        return reader.array(lambda: (reader.string(), reader.array(answer)))[0][1][0]


def assigned(data):
    """{topic: [partition]} of a member's assignment; empty when it has none yet."""
    if not data:
        return {}
    reader = Reader(data)
    reader.unpack("h")
    topic = lambda: (reader.string(), reader.array(lambda: reader.unpack("i")))
    return dict(reader.array(topic))


def produce_prefix(topic, partition=0, acks=-1):
    """A body of Produce 3–8 up to the length of the record set, which is left out."""
    whole = Connection.produce_body(topic, partition, b"", acks)
    return whole[:-4]


def check(error, where):
    """Raises `KafkaError` unless the code is 0."""
    if error != 0:
        raise KafkaError(error, where)


def api_versions_3(connection):
    """ApiVersions 3, the flexible one: (error, {key: (min, max)}). Its answer has header v0."""
    body = compact_string("rawkafka") + compact_string("1") + b"\0"
    reader = connection.request(API_VERSIONS, 3, body, flexible=True)
    error, keys = reader.unpack("h"), {}
    for _ in range(reader.unsigned_varint() - 1):
        key, low, high = reader.unpack("hhh")
        reader.unsigned_varint()
        keys[key] = (low, high)
    return error, keys


if crc32c(b"123456789") != 0xE3069283:
    raise AssertionError("the CRC-32C table is wrong")
