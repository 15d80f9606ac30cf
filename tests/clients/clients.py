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
# One of each implementation that differs in kind; the others are tried nightly.
FAST = (Confluent, Kcat, Java, Franz, KafkaPython)
