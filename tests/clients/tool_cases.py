"""Cases of Kafka's own command-line tools, beside the features that they share with the clients."""

import json

import brokers
from clients import Confluent, Java, JavaTools
from extras import case
from features import numbered
from group_features import Feed, settled
from harness import equal, run

tool = case("java-tools", "java")


def _performance(name, count, *properties):
    def function(t):
        topic = t.topic()
        out = JavaTools(t)._tool(
            "kafka-producer-perf-test",
            *("--topic", topic, "--num-records", count, "--record-size", 100),
            *("--throughput", -1, "--command-property", "linger.ms=5", *properties),
        )
        if f"{count} records sent" not in out:
            raise AssertionError(out[-500:])
        equal(t.end_offset(topic), count, "end offset")

    function.__name__ = name
    tool(function)


_performance("performance_test_idempotent", 50_000)
_performance("performance_test_acks_1", 50_000, "acks=1", "enable.idempotence=false")
_performance("performance_test_zstd", 50_000, "compression.type=zstd")


@tool
def verifiable_producer(t):
    topic = t.topic()
    for acks in (1, -1):
        options = ("--topic", topic, "--max-messages", 500, "--acks", acks)
        out = JavaTools(t)._tool("kafka-verifiable-producer", *options)
        events = [json.loads(line) for line in out.splitlines()]
        sent = [event for event in events if event["name"] == "producer_send_success"]
        equal(len(sent), 500, "acknowledged")
    equal(t.end_offset(topic), 1000, "end offset")


@tool
def shows_the_brokers_api_versions(t):
    out = JavaTools(t)._tool("kafka-broker-api-versions")
    for part in (t.bootstrap, "Produce(0)", "Fetch(1)", "ApiVersions(18)", "usable:"):
        if part not in out:
            raise AssertionError(f"no {part} in {out:.500}")


@tool
def describes_log_dirs(t):
    topic, client = t.topic(partitions=2), JavaTools(t)
    Confluent(t).produce(topic, numbered(50, size=200))
    out = client._tool("kafka-log-dirs", "--describe", "--topic-list", topic)
    (told,) = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    sizes = {
        entry["partition"]: entry["size"]
        for broker in told["brokers"]
        for directory in broker["logDirs"]
        for entry in directory["partitions"]
    }
    equal(sorted(sizes), [f"{topic}-0", f"{topic}-1"], "partitions")
    if sizes[f"{topic}-0"] <= 0:
        raise AssertionError(f"no bytes in {sizes}")


@tool
def gets_offsets_of_all_topics(t):
    topic, client = t.topic(partitions=2), JavaTools(t)
    Confluent(t).produce(topic, numbered(7))
    for time_asked, wanted in (("latest", 7), ("earliest", 0), ("earliest-local", 0)):
        out = client._tool("kafka-get-offsets", "--time", time_asked).split()
        if f"{topic}:0:{wanted}" not in out or f"{topic}:1:0" not in out:
            raise AssertionError(f"{time_asked}: {out}")


@tool
def deletes_a_config(t):
    topic, client = t.topic(retention_ms="1000000", max_message_bytes="2000"), JavaTools(t)
    alter = ("kafka-configs", "--alter", "--topic", topic, "--delete-config", "max.message.bytes")
    client._tool(*alter)
    t.wait_until("the default", lambda: client.configs(topic)["max.message.bytes"] == "1048588")
    shown = client._tool("kafka-configs", "--describe", "--topic", topic)
    if "retention.ms=1000000" not in shown or "max.message.bytes" in shown:
        raise AssertionError(shown)


@tool
def is_told_of_bad_configs(t):
    topic, client = t.topic(), JavaTools(t)
    for config in ("no.such.config=1", "retention.ms=soon"):
        command = ("--alter", "--topic", topic, "--add-config", config)
        told = client._tool("kafka-configs", *command, ok=False).encode()
        if b"InvalidConfigurationException" not in told:
            raise AssertionError(f"{config}: {told[-800:]}")


@tool
def shows_the_cluster_id(t):
    command = brokers.java("kafka-cluster", "cluster-id", "--bootstrap-server", t.bootstrap)
    told = run(command).decode()
    if not told.startswith("Cluster ID: ") or told.strip() == "Cluster ID:":
        raise AssertionError(told)


@tool
def elects_leaders_where_there_is_one(t):
    topic = t.topic(partitions=2)
    options = ("--election-type", "preferred", "--topic", topic, "--partition", 1)
    out = JavaTools(t)._tool("kafka-leader-election", *options)
    if "already" not in out or f"{topic}-1" not in out:
        raise AssertionError(out)


@tool
def moves_partitions_to_where_they_are(t):
    topic, client = t.topic(), JavaTools(t)
    with t.raw() as broker:
        _, node, _ = broker.metadata([])
    wanted = {"topic": topic, "partition": 0, "replicas": [node], "log_dirs": ["any"]}
    plan = t.scratch / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [wanted]}))
    out = client._tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--execute")
    if "Successfully started partition reassignment" not in out:
        raise AssertionError(out)
    out = client._tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--verify")
    if f"Reassignment of partition {topic}-0 is completed" not in out:
        raise AssertionError(out)


@tool
def shows_the_quorum_and_what_has_configs(t):
    topic, client = t.topic(), JavaTools(t)
    out = client._tool("kafka-metadata-quorum", "describe", "--status")
    if "LeaderId" not in out or "CurrentVoters" not in out:
        raise AssertionError(out)
    out = client._tool("kafka-configs", "--describe", "--entity-type", "topics")
    if f"Dynamic configs for topic {topic} are:" not in out:
        raise AssertionError(out)
    out = client._tool("kafka-configs", "--describe", "--entity-type", "clients")
    equal(out.strip(), "", "quotas of clients")


@tool
def consumes_committed_records_only(t):
    topic = t.topic()
    Confluent(t).produce(topic, numbered(5))
    options = ("--topic", topic, "--partition", 0, "--offset", "earliest", "--max-messages", 5)
    level = ("--isolation-level", "read_committed")
    told = JavaTools(t)._tool("kafka-console-consumer", *options, *level)
    equal(told.splitlines(), [r.value.decode() for r in numbered(5)], "values")


# ---- groups ------------------------------------------------------------------------------


def _group_with_commits(t, offsets):
    """A topic of ten records in each partition, and a group that has committed these offsets."""
    topic, group, client = t.topic(partitions=len(offsets)), t.group_name(), JavaTools(t)
    Feed(t, topic, len(offsets)).produce(10)
    for partition, offset in enumerate(offsets):
        Confluent(t).commit(group, topic, offset, partition)
    return topic, group, client


@tool
def shows_offsets_and_lag_of_a_group(t):
    topic, group, client = _group_with_commits(t, (3, 10))
    rows = [row[1:6] for row in client._offsets(group)]
    wanted = [[topic, "0", "3", "10", "7"], [topic, "1", "10", "10", "0"]]
    equal(sorted(rows), wanted, "topic, partition, current, end, lag")
    listed = client._groups("--list", "--state").splitlines()
    if not any(row.split()[0] == group and "Empty" in row for row in listed[1:]):
        raise AssertionError(f"{group} is not listed as Empty: {listed}")


@tool
def resets_the_offsets_of_a_group(t):
    topic, group, client = _group_with_commits(t, (3, 10))
    for how, wanted in (
        (("--to-earliest",), {0: 0, 1: 0}),
        (("--to-latest",), {0: 10, 1: 10}),
        (("--shift-by", "-4"), {0: 6, 1: 6}),
        (("--to-offset", "2"), {0: 2, 1: 2}),
        (("--to-datetime", "2000-01-01T00:00:00.000"), {0: 0, 1: 0}),
    ):
        client._groups("--reset-offsets", "--group", group, "--topic", topic, *how, "--execute")
        with t.raw() as broker:
            have = {part: broker.committed(group, topic, part)[1] for part in wanted}
        equal(have, wanted, " ".join(how))
    # Without --execute nothing is changed.
    client._groups("--reset-offsets", "--group", group, "--topic", topic, "--to-latest")
    with t.raw() as broker:
        equal(broker.committed(group, topic, 0), (0, 0), "committed offset")


@tool
def is_refused_a_reset_while_there_are_members(t):
    topic, group, client = _group_with_commits(t, (3,))
    member = Confluent(t).member(group, topic)
    settled(t, group, 1, 1)
    reset = ("--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    told = client._tool_any("kafka-consumer-groups", *reset)
    if "inactive" not in told:
        raise AssertionError(told)
    member.leave()
    with t.raw() as broker:
        equal(broker.committed(group, topic, 0), (0, 3), "committed offset")


@tool
def verifiable_consumer(t):
    topic, group = t.topic(partitions=2), t.group_name()
    Feed(t, topic, 2).produce(50)
    options = ("--topic", topic, "--group-id", group, "--max-messages", 100)
    out = JavaTools(t)._tool("kafka-verifiable-consumer", *options, "--reset-policy", "earliest")
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    consumed = sum(event["count"] for event in events if event["name"] == "records_consumed")
    commits = [event for event in events if event["name"] == "offsets_committed"]
    equal(consumed, 100, "records")
    equal({event["success"] for event in commits}, {True}, "commits")
    with t.raw() as broker:
        have = [broker.committed(group, topic, part) for part in (0, 1)]
    equal(have, [(0, 50), (0, 50)], "committed offsets")


@tool
def consumer_performance_test(t):
    topic, group = t.topic(), t.group_name()
    Confluent(t).produce(topic, numbered(20_000, size=100))
    options = ("--topic", topic, "--num-records", 20_000, "--group", group, "--timeout", 60_000)
    out = JavaTools(t)._tool("kafka-consumer-perf-test", *options)
    row = [part.strip() for part in out.strip().splitlines()[-1].split(",")]
    equal(int(row[4]), 20_000, "records")


def _cooperates(client, assignor):
    def function(t):
        topic, group = t.topic(partitions=4), t.group_name()
        join = lambda: client(t).member(group, topic, assignor=assignor)
        members, feed = [join()], Feed(t, topic, 4)
        settled(t, group, 1, 4)
        feed.produce(5)
        feed.arrived(members)
        members[0].commit()
        members.append(join())
        equal(settled(t, group, 2, 4), [2, 2], "partitions of each member")
        feed.produce(5)
        feed.arrived(members)
        feed.check(members)
        # Who keeps a partition never gives it up on the way.
        t.wait_until("two partitions", lambda: len(members[0].assigned) == 2)
        for one in members:
            one.leave()

    function.__name__ = "rebalances_cooperatively"
    case(client.name, client.need)(function)


_cooperates(Confluent, "cooperative-sticky")
_cooperates(Java, "org.apache.kafka.clients.consumer.CooperativeStickyAssignor")
