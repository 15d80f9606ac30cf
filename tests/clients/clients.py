"""The clients behind one interface, so that each feature is written once (`features.py`).

A client implements what it has; what it lacks is missing from its class, and the features that
need it are not run for it. Starts of consumption are "earliest", "latest", an offset, or
("timestamp", ms); offsets are asked for by "earliest", "latest", "max_timestamp" or a number of
milliseconds.
"""

import base64
import json
import subprocess
from collections import namedtuple

import brokers
import install
from harness import run

# A record to be produced; the timestamp is in milliseconds, None for now.
Rec = namedtuple("Rec", "key value headers timestamp partition", defaults=((), None, 0))
# A record as it was consumed.
Got = namedtuple("Got", "offset timestamp key value headers")

SECONDS_MAX = 40


class Client:
    """What every client says of itself."""

    name = "client"
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    # Keys, values and headers are printable text without separators.
    text_only = False
    # A partition can be named when producing.
    picks_partition = True
    # Records can be given a timestamp.
    sets_timestamp = True
    # Null headers can be told from empty ones.
    null_headers = True
    # What the client calls a record that is too large, here or at the broker.
    too_large = "TOO_LARGE"

    def __init__(self, context):
        self.t, self.admin = context, None


class Kcat(Client):
    """kcat: librdkafka from Debian, older than the one in confluent-kafka."""

    name = "kcat"
    text_only = True
    sets_timestamp = False
    null_headers = False
    too_large = "Message size too large"

    def _kcat(self, *arguments, stdin=b"", ok=True):
        return run(["kcat", "-b", self.t.bootstrap, *arguments], stdin, SECONDS_MAX, ok)

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        options = ["-X", f"acks={acks}", "-z", codec, "-X", "linger.ms=5"]
        if idempotent:
            options += ["-X", "enable.idempotence=true"]
        if bytes_max:
            options += ["-X", f"message.max.bytes={bytes_max}"]
        # One run of kcat gives all its records the same headers and partition.
        while records:
            first, count = records[0], 1
            kind = (first.headers, first.partition)
            while (
                count < len(records) and (records[count].headers, records[count].partition) == kind
            ):
                count += 1
            lines = b"".join(
                (entry.key or b"") + b"\t" + (entry.value or b"") + b"\n"
                for entry in records[:count]
            )
            headers = []
            for name, value in first.headers:
                headers += ["-H", f"{name}={value.decode()}"]
            where = ["-P", "-t", topic, "-p", str(first.partition), "-K", "\t", "-Z"]
            self._kcat(*where, *options, *headers, stdin=lines)
            records = records[count:]

    def consume(self, topic, start, count, partition=0):
        start = f"s@{start[1]}" if isinstance(start, tuple) else start
        start = {"earliest": "beginning", "latest": "end"}.get(start, start)
        where = ["-C", "-t", topic, "-p", str(partition), "-o", str(start), "-c", str(count)]
        out = []
        for line in self._kcat(*where, "-J", "-q").decode().splitlines():
            got = json.loads(line)
            names = got.get("headers", [])
            headers = tuple((names[at], names[at + 1].encode()) for at in range(0, len(names), 2))
            key, value = (
                None if part is None else part.encode() for part in (got["key"], got["payload"])
            )
            out.append(Got(got["offset"], got["ts"], key, value, headers))
        return out

    def offset(self, topic, what, partition=0):
        time = {"earliest": -2, "latest": -1}.get(what, what)
        if time == "max_timestamp":
            raise NotImplementedError
        out = self._kcat("-Q", "-t", f"{topic}:{partition}:{time}").decode()
        return int(out.rsplit("offset", 1)[1])

    def list_topics(self):
        listed = json.loads(self._kcat("-L", "-J"))
        return [topic["topic"] for topic in listed["topics"]]

    def partitions(self, topic):
        listed = json.loads(self._kcat("-L", "-J", "-t", topic))
        return len(listed["topics"][0]["partitions"])


class Confluent(Client):
    """confluent-kafka: the newest librdkafka."""

    name = "confluent"
    too_large = "MSG_SIZE_TOO_LARGE"

    def _producer(self, **options):
        from confluent_kafka import Producer

        options = {key.replace("_", "."): value for key, value in options.items()}
        return Producer({"bootstrap.servers": self.t.bootstrap, **options})

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        options = {"acks": acks, "enable_idempotence": idempotent, "compression_type": codec}
        if bytes_max:
            options["message_max_bytes"] = bytes_max
        producer, failures = self._producer(linger_ms=5, **options), []

        def delivered(error, _message):
            if error is not None:
                failures.append(error)

        for entry in records:
            producer.produce(
                topic,
                value=entry.value,
                key=entry.key,
                headers=list(entry.headers),
                partition=entry.partition,
                timestamp=entry.timestamp or 0,
                on_delivery=delivered,
            )
        left = producer.flush(SECONDS_MAX)
        if left or failures:
            raise AssertionError(f"{left} not delivered, failures: {failures[:3]}")

    def _consumer(self, group="none", **options):
        from confluent_kafka import Consumer

        return Consumer(
            {
                "bootstrap.servers": self.t.bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                **options,
            }
        )

    def consume(self, topic, start, count, partition=0):
        from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TopicPartition

        consumer = self._consumer()
        if isinstance(start, tuple):
            asked = TopicPartition(topic, partition, start[1])
            start = consumer.offsets_for_times([asked], SECONDS_MAX)[0].offset
        start = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}.get(start, start)
        consumer.assign([TopicPartition(topic, partition, start)])
        out = []
        while len(out) < count:
            message = consumer.poll(SECONDS_MAX)
            if message is None:
                raise AssertionError(f"{len(out)} of {count} records within {SECONDS_MAX} s")
            if message.error():
                raise AssertionError(str(message.error()))
            headers = tuple(message.headers() or ())
            stamp = message.timestamp()[1]
            out.append(Got(message.offset(), stamp, message.key(), message.value(), headers))
        consumer.close()
        return out

    def _admin(self):
        from confluent_kafka.admin import AdminClient

        # A client without a reference is destroyed with its requests.
        if self.admin is None:
            self.admin = AdminClient({"bootstrap.servers": self.t.bootstrap})
        return self.admin

    @staticmethod
    def _result(futures):
        (future,) = futures.values()
        return future.result(SECONDS_MAX)

    def offset(self, topic, what, partition=0):
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        specs = {
            "earliest": OffsetSpec.earliest,
            "latest": OffsetSpec.latest,
            "max_timestamp": OffsetSpec.max_timestamp,
        }
        spec = specs[what]() if what in specs else OffsetSpec.for_timestamp(what)
        asked = {TopicPartition(topic, partition): spec}
        return self._result(self._admin().list_offsets(asked)).offset

    def commit(self, group, topic, offset, partition=0):
        from confluent_kafka import TopicPartition

        consumer = self._consumer(group)
        where = TopicPartition(topic, partition, offset)
        for done in consumer.commit(offsets=[where], asynchronous=False):
            if done.error:
                raise AssertionError(str(done.error))
        consumer.close()

    def committed(self, group, topic, partition=0):
        from confluent_kafka import TopicPartition

        consumer = self._consumer(group)
        (found,) = consumer.committed([TopicPartition(topic, partition)], SECONDS_MAX)
        consumer.close()
        return None if found.offset < 0 else found.offset

    def create_topic(self, topic, partitions, configs):
        from confluent_kafka.admin import NewTopic

        self._result(self._admin().create_topics([NewTopic(topic, partitions, 1, config=configs)]))

    def delete_topic(self, topic):
        self._result(self._admin().delete_topics([topic]))

    def create_partitions(self, topic, total):
        from confluent_kafka.admin import NewPartitions

        self._result(self._admin().create_partitions([NewPartitions(topic, total)]))

    def list_topics(self):
        return list(self._admin().list_topics(timeout=SECONDS_MAX).topics)

    def partitions(self, topic):
        from confluent_kafka import TopicCollection

        asked = TopicCollection([topic])
        return len(self._result(self._admin().describe_topics(asked)).partitions)

    def configs(self, topic):
        from confluent_kafka.admin import ConfigResource

        found = self._result(self._admin().describe_configs([ConfigResource("topic", topic)]))
        return {name: entry.value for name, entry in found.items()}

    def set_config(self, topic, name, value):
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

        change = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource("topic", topic, incremental_configs=[change])
        self._result(self._admin().incremental_alter_configs([resource]))

    def delete_records(self, topic, offset, partition=0):
        from confluent_kafka import TopicPartition

        self._result(self._admin().delete_records([TopicPartition(topic, partition, offset)]))


class KafkaPython(Client):
    """kafka-python: the protocol in Python, idempotent by default."""

    name = "kafka-python"
    null_headers = False
    too_large = "MessageSizeTooLarge"

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        from kafka import KafkaProducer

        options = {"max_request_size": bytes_max} if bytes_max else {}
        producer = KafkaProducer(
            bootstrap_servers=self.t.bootstrap,
            acks="all" if acks == "all" else int(acks),
            enable_idempotence=idempotent,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            **options,
        )
        futures = [
            producer.send(
                topic,
                value=entry.value,
                key=entry.key,
                headers=list(entry.headers),
                partition=entry.partition,
                timestamp_ms=entry.timestamp,
            )
            for entry in records
        ]
        for future in futures:
            future.get(SECONDS_MAX)
        producer.close(5)

    def _consumer(self, group=None):
        from kafka import KafkaConsumer

        return KafkaConsumer(
            bootstrap_servers=self.t.bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            consumer_timeout_ms=SECONDS_MAX * 1000,
        )

    def consume(self, topic, start, count, partition=0):
        from kafka import TopicPartition

        consumer, where = self._consumer(), TopicPartition(topic, partition)
        consumer.assign([where])
        if start == "earliest":
            consumer.seek_to_beginning(where)
        elif start == "latest":
            consumer.seek_to_end(where)
        elif isinstance(start, tuple):
            consumer.seek(where, consumer.offsets_for_times({where: start[1]})[where].offset)
        else:
            consumer.seek(where, start)
        out = []
        for message in consumer:
            headers = tuple((name, value) for name, value in message.headers)
            got = Got(message.offset, message.timestamp, message.key, message.value, headers)
            out.append(got)
            if len(out) == count:
                break
        consumer.close()
        if len(out) < count:
            raise AssertionError(f"{len(out)} of {count} records within {SECONDS_MAX} s")
        return out

    def _admin(self):
        from kafka import KafkaAdminClient

        if self.admin is None:
            self.admin = KafkaAdminClient(bootstrap_servers=self.t.bootstrap)
        return self.admin

    def offset(self, topic, what, partition=0):
        from kafka import TopicPartition

        time = {"earliest": -2, "latest": -1, "max_timestamp": -3}.get(what, what)
        where = TopicPartition(topic, partition)
        return self._admin().list_partition_offsets({where: time})[where].offset

    def commit(self, group, topic, offset, partition=0):
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        consumer, where = self._consumer(group), TopicPartition(topic, partition)
        consumer.assign([where])
        consumer.commit({where: OffsetAndMetadata(offset, "", -1)})
        consumer.close()

    def committed(self, group, topic, partition=0):
        from kafka import TopicPartition

        consumer = self._consumer(group)
        found = consumer.committed(TopicPartition(topic, partition))
        consumer.close()
        return found

    def create_topic(self, topic, partitions, configs):
        options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        self._admin().create_topics({topic: options})

    def delete_topic(self, topic):
        self._admin().delete_topics([topic])

    def create_partitions(self, topic, total):
        self._admin().create_partitions({topic: total})

    def list_topics(self):
        return self._admin().list_topics()

    def partitions(self, topic):
        return len(self._admin().describe_topics([topic])[0]["partitions"])

    @staticmethod
    def _resource(topic, configs=None):
        from kafka.admin import ConfigResource, ConfigResourceType

        return ConfigResource(ConfigResourceType.TOPIC, topic, configs)

    def configs(self, topic):
        found = self._admin().describe_configs([self._resource(topic)], config_filter="all")
        (topics,) = [found[kind] for kind in found if "topic" in str(kind).lower()]
        return {
            name: entry["value"] if isinstance(entry, dict) else entry
            for name, entry in topics[topic].items()
        }

    def set_config(self, topic, name, value):
        self._admin().alter_configs([self._resource(topic, {name: value})])

    def delete_records(self, topic, offset, partition=0):
        from kafka import TopicPartition

        self._admin().delete_records({TopicPartition(topic, partition): offset})


class Franz(Client):
    """franz-go, by way of the program in franz/."""

    name = "franz-go"
    too_large = "MESSAGE_TOO_LARGE"

    def _call(self, operation, topic="", **arguments):
        out = run(
            [install.FRANZ, operation, self.t.bootstrap],
            json.dumps({"topic": topic, **arguments}),
            SECONDS_MAX + 40,
        )
        return json.loads(out)

    @staticmethod
    def _bytes(data):
        return None if data is None else base64.b64encode(data).decode()

    @staticmethod
    def _data(text):
        return None if text is None else base64.b64decode(text)

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=0):
        wire = [
            {
                "partition": entry.partition,
                "timestamp": entry.timestamp or 0,
                "key": self._bytes(entry.key),
                "value": self._bytes(entry.value),
                "headers": [
                    {"name": name, "value": self._bytes(value)} for name, value in entry.headers
                ],
            }
            for entry in records
        ]
        options = {"acks": acks, "idempotent": idempotent, "codec": codec}
        options["bytes_max"] = bytes_max or 0
        self._call("produce", topic, records=wire, linger_ms=5, **options)

    def consume(self, topic, start, count, partition=0):
        at = 0
        if isinstance(start, tuple):
            start, at = start
        elif isinstance(start, int):
            start, at = "offset", start
        where = {"partition": partition, "start": start, "at": at, "count": count}
        return [
            Got(
                got["offset"],
                got["timestamp"],
                self._data(got["key"]),
                self._data(got["value"]),
                tuple((h["name"], self._data(h["value"])) for h in got["headers"] or ()),
            )
            for got in self._call("consume", topic, **where)
        ]

    def offset(self, topic, what, partition=0):
        start, at = (what, 0) if isinstance(what, str) else ("timestamp", what)
        return self._call("offset", topic, partition=partition, start=start, at=at)

    def commit(self, group, topic, offset, partition=0):
        self._call("commit", topic, group=group, partition=partition, at=offset)

    def committed(self, group, topic, partition=0):
        found = self._call("committed", topic, group=group, partition=partition)
        return None if found < 0 else found

    def create_topic(self, topic, partitions, configs):
        self._call("create_topic", topic, partitions=partitions, configs=configs)

    def delete_topic(self, topic):
        self._call("delete_topic", topic)

    def create_partitions(self, topic, total):
        self._call("create_partitions", topic, partitions=total)

    def list_topics(self):
        return self._call("list_topics")

    def partitions(self, topic):
        return self._call("partitions", topic)

    def configs(self, topic):
        return self._call("configs", topic)

    def set_config(self, topic, name, value):
        self._call("set_config", topic, configs={name: value})

    def delete_records(self, topic, offset, partition=0):
        self._call("delete_records", topic, partition=partition, at=offset)


class JavaTools(Client):
    """Kafka's own command-line tools."""

    name = "java"
    text_only = True
    picks_partition = False
    sets_timestamp = False
    null_headers = False
    too_large = "RecordTooLargeException"

    def _tool(self, tool, *arguments, stdin=b"", ok=True):
        command = brokers.java(tool, "--bootstrap-server", self.t.bootstrap, *arguments)
        return run(command, stdin, SECONDS_MAX + 30, ok).decode()

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        reader = {
            "parse.key": "true",
            "parse.headers": "true",
            "key.separator": "\t",
            "headers.delimiter": "\t",
            "null.marker": "NULL",
        }
        options = ["--compression-codec", codec, "--request-required-acks", acks]
        options += ["--command-property", f"enable.idempotence={str(idempotent).lower()}"]
        options += ["--command-property", "linger.ms=5"]
        if bytes_max:
            options += ["--command-property", f"max.request.size={bytes_max}"]
            options += ["--command-property", "batch.size=16384"]
        for name, value in reader.items():
            options += ["--reader-property", f"{name}={value}"]
        text = lambda part: "NULL" if part is None else part.decode()
        lines = [
            ",".join(f"{name}:{text(value)}" for name, value in entry.headers)
            + f"\t{text(entry.key)}\t{text(entry.value)}\n"
            if entry.headers
            else f"NULL\t{text(entry.key)}\t{text(entry.value)}\n"
            for entry in records
        ]
        command = brokers.java(
            "kafka-console-producer",
            "--bootstrap-server",
            self.t.bootstrap,
            "--topic",
            topic,
            *options,
        )
        # The tool ends with 0 when a record was refused, and says so on its standard error.
        done = subprocess.run(
            command, input="".join(lines).encode(), capture_output=True, timeout=SECONDS_MAX + 30
        )
        if done.returncode or b" ERROR " in done.stderr:
            raise AssertionError(f"{done.returncode}: {done.stderr.decode()[-2000:]}")

    def consume(self, topic, start, count, partition=0):
        if isinstance(start, tuple):
            start = self.offset(topic, start[1], partition)
        options = ["--partition", partition, "--offset", start, "--max-messages", count]
        options += ["--timeout-ms", SECONDS_MAX * 1000]
        shown = ("timestamp", "offset", "headers", "key")
        for name in shown:
            options += ["--formatter-property", f"print.{name}=true"]
        options += ["--formatter-property", "null.literal=NULL"]
        out = []
        for line in self._tool("kafka-console-consumer", "--topic", topic, *options).splitlines():
            stamp, offset, headers, key, value = line.split("\t")
            data = lambda part: None if part == "NULL" else part.encode()
            pairs = (
                ()
                if headers == "NO_HEADERS"
                else tuple(
                    (pair.split(":")[0], data(pair.split(":")[1])) for pair in headers.split(",")
                )
            )
            got = Got(int(offset[7:]), int(stamp.split(":")[1]), data(key), data(value), pairs)
            out.append(got)
        if len(out) != count:
            raise AssertionError(f"{len(out)} of {count} records within {SECONDS_MAX} s")
        return out

    def offset(self, topic, what, partition=0):
        time = {"max_timestamp": "max-timestamp"}.get(what, what)
        asked = ["--topic-partitions", f"{topic}:{partition}", "--time", time]
        return int(self._tool("kafka-get-offsets", *asked).strip().rsplit(":", 1)[1] or -1)

    def create_topic(self, topic, partitions, configs):
        options = [part for pair in configs.items() for part in ("--config", "=".join(pair))]
        self._tool(
            "kafka-topics", "--create", "--topic", topic, "--partitions", partitions, *options
        )

    def delete_topic(self, topic):
        self._tool("kafka-topics", "--delete", "--topic", topic)

    def create_partitions(self, topic, total):
        self._tool("kafka-topics", "--alter", "--topic", topic, "--partitions", total)

    def list_topics(self):
        return self._tool("kafka-topics", "--list").split()

    def partitions(self, topic):
        told = self._tool("kafka-topics", "--describe", "--topic", topic)
        return int(told.split("PartitionCount:")[1].split()[0])

    def configs(self, topic):
        told = self._tool("kafka-configs", "--describe", "--all", "--topic", topic)
        pairs = (line.split()[0] for line in told.splitlines() if line.startswith("  "))
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def set_config(self, topic, name, value):
        self._tool("kafka-configs", "--alter", "--topic", topic, "--add-config", f"{name}={value}")

    def delete_records(self, topic, offset, partition=0):
        wanted = {"topic": topic, "partition": partition, "offset": offset}
        path = self.t.scratch / f"{topic}.json"
        path.write_text(json.dumps({"version": 1, "partitions": [wanted]}))
        told = self._tool("kafka-delete-records", "--offset-json-file", path)
        path.unlink()
        if "error" in told:
            raise AssertionError(told)


ALL = (Kcat, Confluent, KafkaPython, Franz, JavaTools)
