"""All clients, in the order of the table's columns."""

from pythons import Aiokafka, Confluent, KafkaPython
from tools import JavaTools, Kcat
from workers import Franz, Java, Kafkajs, KafkaGo, Rdkafka, Rskafka, Sarama

ALL = (
    Confluent,
    Kcat,
    Rdkafka,
    Java,
    JavaTools,
    Franz,
    Sarama,
    KafkaGo,
    KafkaPython,
    Aiokafka,
    Kafkajs,
    Rskafka,
)
# One of each protocol implementation that most people use; the others are tried nightly.
FAST = (Confluent, Java, JavaTools, Franz, KafkaPython)
# Tried nightly only: see docs/clients.md.
NOT_FAST = (
    "kafka-python.shares_partitions_in_a_group_of_three",
    "kafka-python.goes_on_when_one_joins_and_one_is_killed",
    "kafka-python.group_lives_through_a_kill_of_the_broker",
)
