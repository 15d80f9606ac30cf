"""The clients that are Python packages, each used in the case's own process."""

import asyncio
import sys
import threading
import time

import install
import rawkafka
from client import SECONDS_MAX, Client, Got, Member

NO_CONSUMER_PROTOCOL = "the client has the classic protocol only"


class Numbers:
    """A stream of numbered records, in a thread of the case's own process."""

    def __init__(self, body):
        self.started, self._ended = threading.Event(), threading.Event()
        self.acknowledged, self._failed = [], []
        self._thread = threading.Thread(target=self._run, args=(body,), daemon=True)
        self._thread.start()

    def _run(self, body):
        try:
            body(self)
        except BaseException as error:  # handed to whoever asks
            self._failed.append(error)

    def going_on(self):
        """Whether another record is wanted; a short pause before it."""
        return not self._ended.wait(0.002)

    def took(self, number):
        """A number was acknowledged."""
        self.acknowledged.append(number)
        self.started.set()

    def failed(self, error):
        """The library gave a record up."""
        self._failed.append(error)

    def stop(self):
        """Ends the stream; gives the numbers that were acknowledged."""
        self._ended.set()
        self._thread.join(90)
        if self._failed or self._thread.is_alive():
            raise AssertionError(f"the stream failed or hangs: {self._failed[:3]}")
        return self.acknowledged


class PythonClient(Client):
    """A Python package; its group members run in processes of their own (`member.py`)."""

    need = "python"

    def member(self, group, topic, **options):
        program = [sys.executable, install.HERE / "member.py", self.name, self.t.bootstrap]
        process = Member(program)
        process.call("member", group=group, topic=topic, **options)
        return process


class Confluent(PythonClient):
    """confluent-kafka: the newest librdkafka."""

    name = "confluent"
    lacks = {"delete_offset": "confluent-kafka has no OffsetDelete"}

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

    def read_to_end(self, topic, group):
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

        consumer, out = self._consumer(group, **{"enable.partition.eof": True}), []
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while True:
            message = consumer.poll(SECONDS_MAX)
            if message is None:
                raise AssertionError(f"{len(out)} records and no end within {SECONDS_MAX} s")
            if message.error() is None:
                out.append(Got(message.offset(), 0, message.key(), message.value(), ()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                # By itself it commits behind the last record, wherever the end is.
                where = TopicPartition(topic, 0, message.offset())
                consumer.commit(offsets=[where], asynchronous=False)
                yield message.offset(), out
                out = []
            else:
                raise AssertionError(str(message.error()))

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

    def list_groups(self):
        listed = self._admin().list_consumer_groups().result(SECONDS_MAX)
        return [group.group_id for group in listed.valid]

    def describe_group(self, group, topic):
        told = self._result(self._admin().describe_consumer_groups([group]))
        members = [
            [where.partition for where in member.assignment.topic_partitions]
            for member in told.members
        ]
        return {"state": told.state.name, "members": members}

    def delete_group(self, group):
        self._result(self._admin().delete_consumer_groups([group]))

    def stream(self, topic):
        def body(numbers):
            # Idempotent, so that a record sent again after the crash is there once.
            producer, number = self._producer(enable_idempotence=True, linger_ms=1), 0

            def delivered(error, message):
                if error:
                    numbers.failed(error)
                else:
                    numbers.took(int(message.value()))

            while numbers.going_on():
                producer.produce(topic, b"%d" % number, partition=0, on_delivery=delivered)
                producer.poll(0)
                number += 1
            if producer.flush(60):
                raise AssertionError("records were not delivered")

        return Numbers(body)


class KafkaPython(PythonClient):
    """kafka-python: the protocol in Python, idempotent by default."""

    name = "kafka-python"
    null_headers = False
    lacks = {"consumer_protocol": NO_CONSUMER_PROTOCOL}

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

    def read_to_end(self, topic, group):
        from kafka import TopicPartition

        consumer, where = self._consumer(group), TopicPartition(topic, 0)
        consumer.assign([where])
        consumer.seek_to_beginning(where)
        while True:
            out, until = [], time.monotonic() + SECONDS_MAX
            while consumer.position(where) < consumer.end_offsets([where])[where]:
                if time.monotonic() > until:
                    raise AssertionError(f"at {consumer.position(where)} after {SECONDS_MAX} s")
                for message in consumer.poll(timeout_ms=500).get(where, ()):
                    out.append(Got(message.offset, 0, message.key, message.value, ()))
            consumer.commit()
            yield consumer.position(where), out

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

    def list_groups(self):
        return [group["group_id"] for group in self._admin().list_groups()]

    def describe_group(self, group, topic):
        told = self._admin().describe_groups([group])[group]
        assignments = [member["member_assignment"] or {} for member in told["members"]]
        members = [
            [index for where in of.get("assigned_partitions", ()) for index in where["partitions"]]
            for of in assignments
        ]
        return {"state": told["group_state"], "members": members}

    def delete_group(self, group):
        outcome = dict(self._admin().delete_groups([group]))[group]
        if outcome != "OK":
            raise AssertionError(outcome)

    def delete_offset(self, group, topic, partition=0):
        from kafka import TopicPartition

        self._admin().delete_group_offsets(group, [TopicPartition(topic, partition)])

    def stream(self, topic):
        def body(numbers):
            from kafka import KafkaProducer

            producer, number = KafkaProducer(bootstrap_servers=self.t.bootstrap), 0
            while numbers.going_on():
                future = producer.send(topic, b"%d" % number, partition=0)
                future.add_callback(lambda _, number=number: numbers.took(number))
                future.add_errback(numbers.failed)
                number += 1
            producer.flush(60)
            producer.close(5)

        return Numbers(body)


class Aiokafka(PythonClient):
    """aiokafka; each operation runs an event loop of its own."""

    name = "aiokafka"
    null_headers = False
    lacks = {
        "max_timestamp": "aiokafka has no such question",
        "delete_group": "aiokafka has no DeleteGroups",
        "delete_offset": "aiokafka has no OffsetDelete",
        "consumer_protocol": NO_CONSUMER_PROTOCOL,
    }

    def produce(self, topic, records, acks="all", idempotent=False, codec="none", bytes_max=None):
        asyncio.run(self._produce(topic, records, acks, idempotent, codec, bytes_max))

    async def _produce(self, topic, records, acks, idempotent, codec, bytes_max):
        from aiokafka import AIOKafkaProducer

        options = {"max_request_size": bytes_max} if bytes_max else {}
        producer = AIOKafkaProducer(
            bootstrap_servers=self.t.bootstrap,
            acks="all" if acks == "all" else int(acks),
            enable_idempotence=idempotent,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            **options,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    value=entry.value,
                    key=entry.key,
                    headers=list(entry.headers),
                    partition=entry.partition,
                    timestamp_ms=entry.timestamp,
                )
                for entry in records
            ]
            await asyncio.wait_for(asyncio.gather(*sent), SECONDS_MAX)
        finally:
            await producer.stop()

    def stream(self, topic):
        async def send(numbers):
            from aiokafka import AIOKafkaProducer

            producer = AIOKafkaProducer(
                bootstrap_servers=self.t.bootstrap, enable_idempotence=True
            )
            await producer.start()
            number = 0
            while numbers.going_on():
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
                numbers.took(number)
                number += 1
            await producer.stop()

        return Numbers(lambda numbers: asyncio.run(send(numbers)))

    def _with_consumer(self, group, action):
        async def run():
            from aiokafka import AIOKafkaConsumer

            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.t.bootstrap,
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="none",
            )
            await consumer.start()
            try:
                return await asyncio.wait_for(action(consumer), SECONDS_MAX)
            finally:
                await consumer.stop()

        return asyncio.run(run())

    def consume(self, topic, start, count, partition=0):
        from aiokafka import TopicPartition

        async def take(consumer):
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            if start == "earliest":
                await consumer.seek_to_beginning(where)
            elif start == "latest":
                await consumer.seek_to_end(where)
            elif isinstance(start, tuple):
                found = await consumer.offsets_for_times({where: start[1]})
                consumer.seek(where, found[where].offset)
            else:
                consumer.seek(where, start)
            out = []
            while len(out) < count:
                message = await consumer.getone()
                headers = tuple(message.headers)
                out.append(
                    Got(message.offset, message.timestamp, message.key, message.value, headers)
                )
            return out

        return self._with_consumer(None, take)

    def read_to_end(self, topic, group):
        from aiokafka import AIOKafkaConsumer, TopicPartition

        where = TopicPartition(topic, 0)

        async def begin():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.t.bootstrap, group_id=group, enable_auto_commit=False
            )
            await consumer.start()
            consumer.assign([where])
            await consumer.seek_to_beginning(where)
            return consumer

        async def take(consumer):
            out = []
            while await consumer.position(where) < (await consumer.end_offsets([where]))[where]:
                for message in (await consumer.getmany(where, timeout_ms=500)).get(where, ()):
                    out.append(Got(message.offset, 0, message.key, message.value, ()))
            await consumer.commit()
            return await consumer.position(where), out

        run = asyncio.new_event_loop().run_until_complete
        consumer = run(begin())
        while True:
            yield run(asyncio.wait_for(take(consumer), SECONDS_MAX))

    def offset(self, topic, what, partition=0):
        from aiokafka import TopicPartition

        async def ask(consumer):
            where = TopicPartition(topic, partition)
            if what == "earliest":
                return (await consumer.beginning_offsets([where]))[where]
            if what == "latest":
                return (await consumer.end_offsets([where]))[where]
            found = (await consumer.offsets_for_times({where: what}))[where]
            return found.offset if found else -1

        return self._with_consumer(None, ask)

    def commit(self, group, topic, offset, partition=0):
        from aiokafka import TopicPartition

        async def commit(consumer):
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            await consumer.commit({where: offset})

        self._with_consumer(group, commit)

    def committed(self, group, topic, partition=0):
        from aiokafka import TopicPartition

        async def ask(consumer):
            return await consumer.committed(TopicPartition(topic, partition))

        return self._with_consumer(group, ask)

    def _with_admin(self, action):
        async def run():
            from aiokafka.admin import AIOKafkaAdminClient

            admin = AIOKafkaAdminClient(bootstrap_servers=self.t.bootstrap)
            await admin.start()
            try:
                return await asyncio.wait_for(action(admin), SECONDS_MAX)
            finally:
                await admin.close()

        return asyncio.run(run())

    @staticmethod
    def _check(answer):
        """aiokafka gives some answers as they came, with their error codes."""
        from aiokafka.errors import for_code

        for field in ("topic_errors", "topic_error_codes", "resources", "errors"):
            for entry in getattr(answer, field, ()):
                code = entry[0] if field == "resources" else entry[1]
                if code:
                    raise for_code(code)(str(entry))

    def create_topic(self, topic, partitions, configs):
        from aiokafka.admin import NewTopic

        wanted = NewTopic(topic, partitions, 1, topic_configs=configs)
        self._check(self._with_admin(lambda admin: admin.create_topics([wanted])))

    def delete_topic(self, topic):
        self._check(self._with_admin(lambda admin: admin.delete_topics([topic])))

    def create_partitions(self, topic, total):
        from aiokafka.admin import NewPartitions

        wanted = {topic: NewPartitions(total)}
        self._check(self._with_admin(lambda admin: admin.create_partitions(wanted)))

    def list_topics(self):
        return self._with_admin(lambda admin: admin.list_topics())

    def partitions(self, topic):
        (told,) = self._with_admin(lambda admin: admin.describe_topics([topic]))
        return len(told["partitions"])

    def _entries(self, topic):
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (answer,) = self._with_admin(lambda admin: admin.describe_configs([resource]))
        return answer.resources[0][4]

    def configs(self, topic):
        return {entry[0]: entry[1] for entry in self._entries(topic)}

    def set_config(self, topic, name, value):
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        # AlterConfigs replaces everything: what is set already (source 1) goes along.
        values = {entry[0]: entry[1] for entry in self._entries(topic) if entry[3] == 1}
        values[name] = value
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, values)
        for answer in self._with_admin(lambda admin: admin.alter_configs([resource])):
            self._check(answer)

    def delete_records(self, topic, offset, partition=0):
        from aiokafka import TopicPartition
        from aiokafka.admin import RecordsToDelete

        wanted = {TopicPartition(topic, partition): RecordsToDelete(offset)}
        self._with_admin(lambda admin: admin.delete_records(wanted))

    def list_groups(self):
        return [name for name, _ in self._with_admin(lambda admin: admin.list_consumer_groups())]

    def describe_group(self, group, topic):
        (answer,) = self._with_admin(lambda admin: admin.describe_consumer_groups([group]))
        told = answer.to_object()["groups"][0]
        members = [rawkafka.assigned(one["member_assignment"]) for one in told["members"]]
        return {"state": told["state"], "members": [of.get(topic, []) for of in members]}
