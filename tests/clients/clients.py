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
FAST = (Confluent, Java, JavaTools, Franz)
