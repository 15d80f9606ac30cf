#!/usr/bin/env python3
"""A member of a group, of one of the Python clients: `member.py CLIENT BROKER`.

It takes the operations member, member_commit and member_leave as lines of JSON (`workers.py`).
"""

import asyncio
import json
import queue
import sys
import threading

from client import encoded

POLL_SECONDS = 0.1


def tell(message):
    """One line to the case."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def tell_record(partition, offset, timestamp, key, value, headers):
    """What was received."""
    record = {"partition": partition, "offset": offset, "timestamp": timestamp}
    record |= {"key": encoded(key), "value": encoded(value)}
    record["headers"] = [{"name": name, "value": encoded(data)} for name, data in headers]
    tell({"event": "record", "record": record})


class Confluent:
    """confluent-kafka's Consumer."""

    def __init__(self, broker, request):
        from confluent_kafka import Consumer

        options = {
            "bootstrap.servers": broker,
            "group.id": request["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": request.get("auto_commit", False),
        }
        for name, key in (
            ("session.timeout.ms", "session_ms"),
            ("group.instance.id", "instance"),
            ("group.protocol", "protocol"),
            ("partition.assignment.strategy", "assignor"),
        ):
            if request.get(key):
                options[name] = request[key]
        self.consumer, self.held = Consumer(options), set()
        self.consumer.subscribe(
            [request["topic"]],
            on_assign=lambda _, given: self.change(self.held.update, given),
            on_revoke=lambda _, taken: self.change(self.held.difference_update, taken),
            on_lost=lambda _, taken: self.change(self.held.difference_update, taken),
        )

    def change(self, how, partitions):
        """What is held is more or less by these."""
        how({where.partition for where in partitions})
        tell({"event": "assigned", "partitions": sorted(self.held)})

    def poll(self):
        """Tells what comes within a moment."""
        message = self.consumer.poll(POLL_SECONDS)
        if message is None or message.error():
            return
        where = (message.partition(), message.offset(), message.timestamp()[1])
        tell_record(*where, message.key(), message.value(), message.headers() or ())

    def commit(self):
        """Commits what was received."""
        self.consumer.commit(asynchronous=False)

    def leave(self):
        """Leaves the group."""
        self.consumer.close()


class KafkaPython:
    """kafka-python's KafkaConsumer."""

    def __init__(self, broker, request):
        from kafka import ConsumerRebalanceListener, KafkaConsumer

        options = {}
        if request.get("session_ms"):
            options["session_timeout_ms"] = request["session_ms"]
            options["heartbeat_interval_ms"] = request["session_ms"] // 3
        if request.get("instance"):
            options["group_instance_id"] = request["instance"]
        self.consumer = KafkaConsumer(
            bootstrap_servers=broker,
            group_id=request["group"],
            enable_auto_commit=request.get("auto_commit", False),
            auto_offset_reset="earliest",
            **options,
        )
        member = self

        class Listener(ConsumerRebalanceListener):
            """Tells of each assignment."""

            def on_partitions_revoked(self, revoked):
                pass

            def on_partitions_assigned(self, assigned):
                held = sorted(where.partition for where in member.consumer.assignment())
                tell({"event": "assigned", "partitions": held})

        # kafka-python loses a join when the group completes before it knows the topic's partitions:
        # docs/clients.md.
        self.consumer.partitions_for_topic(request["topic"])
        self.consumer.subscribe([request["topic"]], listener=Listener())

    def poll(self):
        """Tells what comes within a moment."""
        for messages in self.consumer.poll(timeout_ms=int(POLL_SECONDS * 1000)).values():
            for message in messages:
                where = (message.partition, message.offset, message.timestamp)
                tell_record(*where, message.key, message.value, message.headers)

    def commit(self):
        """Commits what was received."""
        self.consumer.commit()

    def leave(self):
        """Leaves the group."""
        self.consumer.close()


def run_blocking(member, requests):
    """Polls, and does between polls what is asked."""
    tell({"ok": None})
    while True:
        member.poll()
        try:
            request = requests.get_nowait()
        except queue.Empty:
            continue
        if request is None:
            return
        answer(lambda: getattr(member, request["op"].removeprefix("member_"))())
        if request["op"] == "member_leave":
            return


def answer(action):
    """Does something and answers."""
    try:
        action()
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {error}"})
    else:
        tell({"ok": None})


async def run_aiokafka(broker, request, requests):
    """aiokafka's AIOKafkaConsumer."""
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

    options = {}
    if request.get("session_ms"):
        options["session_timeout_ms"] = request["session_ms"]
        options["heartbeat_interval_ms"] = request["session_ms"] // 3
    if request.get("instance"):
        options["group_instance_id"] = request["instance"]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=request["group"],
        enable_auto_commit=request.get("auto_commit", False),
        auto_offset_reset="earliest",
        **options,
    )

    class Listener(ConsumerRebalanceListener):
        """Tells of each assignment."""

        def on_partitions_revoked(self, revoked):
            pass

        def on_partitions_assigned(self, assigned):
            held = sorted(where.partition for where in assigned)
            tell({"event": "assigned", "partitions": held})

    consumer.subscribe([request["topic"]], listener=Listener())
    await consumer.start()
    tell({"ok": None})
    while True:
        got = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
        for messages in got.values():
            for message in messages:
                where = (message.partition, message.offset, message.timestamp)
                tell_record(*where, message.key, message.value, message.headers)
        try:
            request = requests.get_nowait()
        except queue.Empty:
            continue
        if request is None:
            return
        try:
            await (consumer.commit() if request["op"] == "member_commit" else consumer.stop())
        except Exception as error:
            tell({"error": f"{type(error).__name__}: {error}"})
            continue
        tell({"ok": None})
        if request["op"] == "member_leave":
            return


def main():
    """Joins as told by the first line, and serves the others."""
    client, broker = sys.argv[1:]
    request, requests = json.loads(sys.stdin.readline()), queue.Queue()

    def read():
        for line in sys.stdin:
            requests.put(json.loads(line))
        requests.put(None)

    threading.Thread(target=read, daemon=True).start()
    if client == "aiokafka":
        asyncio.run(run_aiokafka(broker, request, requests))
    else:
        kind = {"confluent": Confluent, "kafka-python": KafkaPython}[client]
        run_blocking(kind(broker, request), requests)


if __name__ == "__main__":
    main()
