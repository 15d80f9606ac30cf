"""The clients that are driven by a worker program of their language, with lines of JSON.

A worker is started as `WORKER CLIENT BROKER`. Each line on its standard input is an operation,
{"op": NAME, …}, each answer a line {"ok": value} or {"error": text}.

| operation | arguments | answer |
| --- | --- | --- |
| produce | topic, records, acks, idempotent, codec, linger_ms, bytes_max (0: default) | when all are acknowledged |
| consume | topic, partition, start ("offset", "timestamp", "earliest", "latest"), at, count | records |
| read_to_end | group, topic, partition | {end, records} of the consumer that the first of these began; commits its position, where there is one |
| offset | topic, partition, start (also "max_timestamp"), at | an offset, −1 for none |
| create_topic, delete_topic, create_partitions, list_topics, partitions | topic, partitions, configs | |
| configs, set_config | topic, configs | {name: value} |
| delete_records | topic, partition, at | |
| commit, committed, delete_offset | group, topic, partition, at | an offset, −1 for none |
| list_groups, describe_group, delete_group | group, topic | names; {state, members: [[partition]]} |
| member | group, topic, session_ms, auto_commit, instance, protocol | events {"event": "record"} and, where the library tells, {"event": "assigned"} |
| member_commit, member_leave | | |
| stream | topic, partition, produce's options, Go's also pause_ms between records | event "started" at the first acknowledgement, Go's {"event": "failed"} for each that is sent again |
| stream_stop | | the numbers that were acknowledged |

A record is {partition, offset, timestamp, key, value, headers: [{name, value}]}, bytes in base64.
What an operation leaves open is the client's own default.
"""

import os
from threading import Lock

import brokers
import install
from client import SECONDS_MAX, Client, Member, Process, Stream, got_of, wire_of

PRODUCE_OPTIONS = {"acks": "all", "idempotent": False, "codec": "none", "linger_ms": 5, "bytes_max": 0}


class Worker(Client):
    """A client behind a worker; one process serves all operations of a case."""

    def __init__(self, context):
        super().__init__(context)
        self._process, self._lock = None, Lock()

    def command(self):
        """The worker's program, to which client and broker are added."""
        raise NotImplementedError

    def environment(self):
        """The worker's environment."""
        return None

    def _start(self, kind):
        return kind([*self.command(), self.name, self.t.bootstrap], self.environment())

    def _call(self, operation, **arguments):
        with self._lock:
            if self._process is None:
                self._process = self._start(Process)
        return self._process.call(operation, **arguments)

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        options = {"acks": acks, "idempotent": idempotent, "codec": codec}
        options["bytes_max"] = bytes_max or 0
        wire = [wire_of(entry) for entry in records]
        self._call("produce", topic=topic, records=wire, **{**PRODUCE_OPTIONS, **options})

    def stream(self, topic, **more):
        process = self._start(Stream)
        options = {**PRODUCE_OPTIONS, "idempotent": "idempotence" not in self.lacks, **more}
        process.call("stream", topic=topic, partition=0, **options)
        return process

    @staticmethod
    def _asked(what):
        """`start` and `at` of a start or an offset that is asked for."""
        if isinstance(what, tuple):
            return {"start": what[0], "at": what[1]}
        if isinstance(what, int):
            return {"start": "offset", "at": what}
        return {"start": what, "at": 0}

    def consume(self, topic, start, count, partition=0):
        where = {"topic": topic, "partition": partition, "count": count}
        return [got_of(wire) for wire in self._call("consume", **where, **self._asked(start))]

    def read_to_end(self, topic, group):
        process = self._start(Process)
        while True:
            told = process.call("read_to_end", group=group, topic=topic, partition=0)
            yield told["end"], [got_of(wire) for wire in told["records"]]

    def offset(self, topic, what, partition=0):
        what = ("timestamp", what) if isinstance(what, int) else what
        return self._call("offset", topic=topic, partition=partition, **self._asked(what))

    def commit(self, group, topic, offset, partition=0):
        self._call("commit", group=group, topic=topic, partition=partition, at=offset)

    def committed(self, group, topic, partition=0):
        found = self._call("committed", group=group, topic=topic, partition=partition)
        return None if found < 0 else found

    def delete_offset(self, group, topic, partition=0):
        self._call("delete_offset", group=group, topic=topic, partition=partition)

    def create_topic(self, topic, partitions, configs):
        self._call("create_topic", topic=topic, partitions=partitions, configs=configs)

    def delete_topic(self, topic):
        self._call("delete_topic", topic=topic)

    def create_partitions(self, topic, total):
        self._call("create_partitions", topic=topic, partitions=total)

    def list_topics(self):
        return self._call("list_topics")

    def partitions(self, topic):
        return self._call("partitions", topic=topic)

    def configs(self, topic):
        return self._call("configs", topic=topic)

    def set_config(self, topic, name, value):
        self._call("set_config", topic=topic, configs={name: value})

    def delete_records(self, topic, offset, partition=0):
        self._call("delete_records", topic=topic, partition=partition, at=offset)

    def list_groups(self):
        return self._call("list_groups")

    def describe_group(self, group, topic):
        return self._call("describe_group", group=group, topic=topic)

    def delete_group(self, group):
        self._call("delete_group", group=group)

    def member(self, group, topic, **options):
        process = self._start(Member)
        process.call("member", seconds=SECONDS_MAX, group=group, topic=topic, **options)
        return process


POSITION_OF_RECORDS = "the client shows the offsets of records only, not where it is behind them"
CLASSIC_ONLY = "the client has the classic protocol only"


class Java(Worker):
    """Kafka's own clients: KafkaProducer, KafkaConsumer, Admin."""

    need = "java"
    name = "java"
    too_large = "RecordTooLarge"

    def command(self):
        logging = f"-Dlog4j2.configurationFile={install.HERE / 'java' / 'log4j2.xml'}"
        path = f"{install.JAVA_CLASSES}:{install.JARS}/*"
        return ["java", *brokers.SHORT_LIVED, logging, "-cp", path, "Worker"]


class GoWorker(Worker):
    """A client of the program in go/."""

    need = "go"

    def command(self):
        return [install.GO_WORKER]


class Franz(GoWorker):
    """franz-go, with kadm."""

    name = "franz-go"
    lacks = {
        # It asks with epoch -2 and no instance id, and Kafka answers INVALID_REQUEST as well.
        "static_leave": "franz-go gives up its instance id without naming it, which is refused",
        "read_to_end": POSITION_OF_RECORDS,
    }


class Sarama(GoWorker):
    """sarama, with its ClusterAdmin."""

    name = "sarama"
    lacks = {
        "max_timestamp": "sarama's GetOffset has no such question",
        "read_to_end": POSITION_OF_RECORDS,
        "consumer_protocol": CLASSIC_ONLY,
    }


class KafkaGo(GoWorker):
    """segmentio/kafka-go."""

    name = "kafka-go"
    too_large = "MessageSizeTooLarge"
    tells_empty = False
    stream_once = False
    lacks = {
        "idempotence": "kafka-go has no idempotent producer",
        "delete_records": "kafka-go has no DeleteRecords",
        "passes_control_batches": "kafka-go shows what is in a control batch as a record",
        "max_timestamp": "kafka-go has no such question",
        "read_to_end": POSITION_OF_RECORDS,
        "append_time": "kafka-go's Reader shows the producer's timestamps only",
        "static_member": "kafka-go's Reader has no instance id",
        "consumer_protocol": CLASSIC_ONLY,
    }


class Kafkajs(Worker):
    """kafkajs, by node/worker.js."""

    need = "node"
    name = "kafkajs"
    null_headers = False
    lacks = {
        "codec_lz4": "kafkajs has no lz4 of its own",
        "codec_zstd": "kafkajs has no zstd of its own",
        "max_timestamp": "kafkajs has no such question",
        "read_to_end": POSITION_OF_RECORDS,
        "delete_offset": "kafkajs has no OffsetDelete",
        "static_member": "kafkajs has no instance id",
        "consumer_protocol": CLASSIC_ONLY,
    }

    def command(self):
        return [install.node(), install.HERE / "node" / "worker.js"]

    def environment(self):
        modules = install.CACHE / "node" / "node_modules"
        return dict(os.environ, NODE_PATH=str(modules), KAFKAJS_NO_PARTITIONER_WARNING="1")


class RustWorker(Worker):
    """A client of the program in rust/."""

    need = "rust"

    def command(self):
        return [install.RUST_WORKER]


class Rdkafka(RustWorker):
    """The rdkafka crate: librdkafka from Rust."""

    name = "rdkafka"
    lacks = {
        "max_timestamp": "the rdkafka crate has no such question",
        "read_to_end": "not tried: it is librdkafka, as confluent is",
        "delete_offset": "the rdkafka crate has no OffsetDelete",
    }


NO_GROUPS = "rskafka has no consumer groups"


class Rskafka(RustWorker):
    """rskafka."""

    name = "rskafka"
    null_headers = False
    repeats_headers = False
    stream_once = False
    lacks = {
        "idempotence": "rskafka has no idempotent producer",
        "acks_0": "rskafka always asks for acks=all",
        "acks_1": "rskafka always asks for acks=all",
        "append_time": "rskafka shows the producer's timestamps only",
        "auto_create": "rskafka does not ask for a topic's creation",
        "configs": "rskafka has no DescribeConfigs",
        "set_config": "rskafka has no AlterConfigs",
        "sets_configs": "rskafka gives a new topic no configs",
        "create_partitions": "rskafka has no CreatePartitions",
        "max_timestamp": "rskafka has no such question",
        "read_to_end": POSITION_OF_RECORDS,
        "passes_control_batches": "rskafka cannot read Kafka's control batches",
        "commit": NO_GROUPS,
        "committed": NO_GROUPS,
        "delete_offset": NO_GROUPS,
        "list_groups": NO_GROUPS,
        "describe_group": NO_GROUPS,
        "delete_group": NO_GROUPS,
        "member": NO_GROUPS,
        "static_member": NO_GROUPS,
        "consumer_protocol": NO_GROUPS,
    }
