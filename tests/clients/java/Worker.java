import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The worker of Kafka's own Java clients: {@code Worker CLIENT BROKER}. Operations come as JSON
 * lines, each is answered by one line; workers.py says what each means.
 */
public final class Worker {
  private static final long OPERATION_SECONDS_MAX = 100;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = System.out;

  private final String broker;
  private Admin admin;
  private KafkaConsumer<byte[], byte[]> reader;
  private Member member;
  private Stream stream;

  private Worker(String broker) {
    this.broker = broker;
  }

  public static void main(String[] arguments) throws Exception {
    Worker worker = new Worker(arguments[1]);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      Map<String, Object> answer = new HashMap<>();
      try {
        answer.put("ok", worker.handle(JSON.readTree(line)));
      } catch (ExecutionException error) {
        answer.put("error", String.valueOf(error.getCause()));
      } catch (Exception error) {
        answer.put("error", String.valueOf(error));
      }
      tell(answer);
    }
    System.exit(0);
  }

  private static synchronized void tell(Map<String, Object> line) throws Exception {
    OUT.println(JSON.writeValueAsString(line));
    OUT.flush();
  }

  private Object handle(JsonNode in) throws Exception {
    String operation = in.get("op").asText();
    switch (operation) {
      case "produce":
        return produce(in);
      case "consume":
        return consume(in);
      case "read_to_end":
        return readToEnd(in);
      case "stream":
        stream = new Stream(producer(in), in);
        stream.start();
        return null;
      case "stream_stop":
        return stream.end();
      case "member":
        member = new Member(in);
        member.start();
        return null;
      case "member_commit":
        return member.ask(member::commit);
      case "member_leave":
        return member.leave();
      default:
        return administer(operation, in);
    }
  }

  private Properties properties() {
    Properties out = new Properties();
    out.put("bootstrap.servers", broker);
    return out;
  }

  // ---- producing and consuming -----------------------------------------------------------

  private KafkaProducer<byte[], byte[]> producer(JsonNode in) {
    Properties options = properties();
    options.put("acks", in.get("acks").asText());
    options.put("enable.idempotence", in.get("idempotent").asBoolean());
    options.put("compression.type", in.get("codec").asText());
    options.put("linger.ms", in.get("linger_ms").asText());
    if (in.get("bytes_max").asInt() > 0) {
      options.put("max.request.size", in.get("bytes_max").asText());
    }
    var bytes = new ByteArraySerializer();
    return new KafkaProducer<>(options, bytes, bytes);
  }

  private Object produce(JsonNode in) throws Exception {
    try (KafkaProducer<byte[], byte[]> producer = producer(in)) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (JsonNode record : in.get("records")) {
        long stamp = record.get("timestamp").asLong();
        var out =
            new ProducerRecord<byte[], byte[]>(
                in.get("topic").asText(),
                record.get("partition").asInt(),
                stamp > 0 ? stamp : null,
                record.get("key").binaryValue(),
                record.get("value").binaryValue());
        for (JsonNode header : record.get("headers")) {
          out.headers().add(header.get("name").asText(), header.get("value").binaryValue());
        }
        sent.add(producer.send(out));
      }
      producer.flush();
      for (Future<RecordMetadata> one : sent) {
        one.get(OPERATION_SECONDS_MAX, TimeUnit.SECONDS);
      }
      return null;
    }
  }

  /** Numbered records, each sent until it is acknowledged, whatever happens to the broker. */
  private static final class Stream extends Thread {
    private final KafkaProducer<byte[], byte[]> producer;
    private final JsonNode in;
    private final List<Integer> acknowledged = new ArrayList<>();
    private volatile boolean ended;
    private volatile Exception failed;

    Stream(KafkaProducer<byte[], byte[]> producer, JsonNode in) {
      this.producer = producer;
      this.in = in;
      setDaemon(true);
    }

    @Override
    public void run() {
      try {
        for (int number = 0; !ended; number++) {
          byte[] value = Integer.toString(number).getBytes(StandardCharsets.UTF_8);
          int partition = in.get("partition").asInt();
          producer.send(new ProducerRecord<>(in.get("topic").asText(), partition, null, value)).get();
          acknowledged.add(number);
          if (number == 0) {
            tell(Map.of("event", "started"));
          }
          Thread.sleep(2);
        }
      } catch (Exception error) {
        failed = error;
      }
    }

    List<Integer> end() throws Exception {
      ended = true;
      join(OPERATION_SECONDS_MAX * 1000);
      producer.close(Duration.ofSeconds(10));
      if (failed != null) {
        throw failed;
      }
      return acknowledged;
    }
  }

  private Object consume(JsonNode in) throws Exception {
    var where = partition(in);
    var bytes = new ByteArrayDeserializer();
    Properties options = properties();
    options.put("auto.offset.reset", "none");
    try (var consumer = new KafkaConsumer<>(options, bytes, bytes)) {
      consumer.assign(List.of(where));
      switch (in.get("start").asText()) {
        case "earliest":
          consumer.seekToBeginning(List.of(where));
          break;
        case "latest":
          consumer.seekToEnd(List.of(where));
          break;
        case "timestamp":
          var found = consumer.offsetsForTimes(Map.of(where, in.get("at").asLong()));
          consumer.seek(where, found.get(where).offset());
          break;
        default:
          consumer.seek(where, in.get("at").asLong());
      }
      List<Object> out = new ArrayList<>();
      int count = in.get("count").asInt();
      long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(OPERATION_SECONDS_MAX);
      while (out.size() < count) {
        if (System.nanoTime() > until) {
          throw new IllegalStateException(out.size() + " of " + count + " records");
        }
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
          out.add(taken(record));
        }
      }
      return out.subList(0, count);
    }
  }

  private Object readToEnd(JsonNode in) {
    var where = List.of(partition(in));
    if (reader == null) {
      var bytes = new ByteArrayDeserializer();
      Properties options = properties();
      options.put("group.id", in.get("group").asText());
      options.put("enable.auto.commit", false);
      reader = new KafkaConsumer<>(options, bytes, bytes);
      reader.assign(where);
      reader.seekToBeginning(where);
    }
    List<Object> out = new ArrayList<>();
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(OPERATION_SECONDS_MAX);
    while (reader.position(where.get(0)) < reader.endOffsets(where).get(where.get(0))) {
      if (System.nanoTime() > until) {
        throw new IllegalStateException("at " + reader.position(where.get(0)));
      }
      for (ConsumerRecord<byte[], byte[]> record : reader.poll(Duration.ofMillis(500))) {
        out.add(taken(record));
      }
    }
    reader.commitSync();
    return Map.of("end", reader.position(where.get(0)), "records", out);
  }

  private static Map<String, Object> taken(ConsumerRecord<byte[], byte[]> record) {
    List<Object> headers = new ArrayList<>();
    for (Header header : record.headers()) {
      Map<String, Object> one = new HashMap<>();
      one.put("name", header.key());
      one.put("value", header.value());
      headers.add(one);
    }
    Map<String, Object> out = new HashMap<>();
    out.put("partition", record.partition());
    out.put("offset", record.offset());
    out.put("timestamp", record.timestamp());
    out.put("key", record.key());
    out.put("value", record.value());
    out.put("headers", headers);
    return out;
  }

  private static TopicPartition partition(JsonNode in) {
    return new TopicPartition(in.get("topic").asText(), in.get("partition").asInt());
  }

  // ---- group membership ------------------------------------------------------------------

  /** A member: its thread alone touches the consumer, and does what it is asked between polls. */
  private final class Member extends Thread implements ConsumerRebalanceListener {
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final ConcurrentLinkedQueue<FutureTask<Object>> asked = new ConcurrentLinkedQueue<>();
    private final Set<Integer> held = new HashSet<>();
    private volatile boolean ended;

    Member(JsonNode in) {
      Properties options = properties();
      options.put("group.id", in.get("group").asText());
      options.put("auto.offset.reset", "earliest");
      options.put("enable.auto.commit", in.path("auto_commit").asBoolean());
      if (in.path("session_ms").asInt() > 0) {
        options.put("session.timeout.ms", in.get("session_ms").asText());
      }
      if (!in.path("instance").asText().isEmpty()) {
        options.put("group.instance.id", in.get("instance").asText());
      }
      if (!in.path("protocol").asText().isEmpty()) {
        options.put("group.protocol", in.get("protocol").asText());
      }
      if (!in.path("assignor").asText().isEmpty()) {
        options.put("partition.assignment.strategy", in.get("assignor").asText());
      }
      var bytes = new ByteArrayDeserializer();
      consumer = new KafkaConsumer<>(options, bytes, bytes);
      consumer.subscribe(List.of(in.get("topic").asText()), this);
      setDaemon(true);
    }

    @Override
    public void run() {
      try {
        while (!ended) {
          for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
            tell(Map.of("event", "record", "record", taken(record)));
          }
          for (var task = asked.poll(); task != null; task = asked.poll()) {
            task.run();
          }
        }
        consumer.close();
      } catch (Exception error) {
        error.printStackTrace();
        System.exit(1);
      }
    }

    Object ask(Runnable action) throws Exception {
      var task = new FutureTask<Object>(action, null);
      asked.add(task);
      return task.get(OPERATION_SECONDS_MAX, TimeUnit.SECONDS);
    }

    void commit() {
      consumer.commitSync();
    }

    Object leave() throws Exception {
      ended = true;
      join(OPERATION_SECONDS_MAX * 1000);
      return null;
    }

    @Override
    public void onPartitionsAssigned(java.util.Collection<TopicPartition> partitions) {
      partitions.forEach(one -> held.add(one.partition()));
      told();
    }

    @Override
    public void onPartitionsRevoked(java.util.Collection<TopicPartition> partitions) {
      partitions.forEach(one -> held.remove(one.partition()));
      told();
    }

    private void told() {
      try {
        tell(Map.of("event", "assigned", "partitions", List.copyOf(held)));
      } catch (Exception error) {
        throw new IllegalStateException(error);
      }
    }
  }

  // ---- administration --------------------------------------------------------------------

  private static <T> T get(Future<T> future) throws Exception {
    return future.get(OPERATION_SECONDS_MAX, TimeUnit.SECONDS);
  }

  private Object administer(String operation, JsonNode in) throws Exception {
    if (admin == null) {
      admin = Admin.create(properties());
    }
    String topic = in.path("topic").asText();
    String group = in.path("group").asText();
    switch (operation) {
      case "create_topic":
        Map<String, String> configs = new HashMap<>();
        in.get("configs").properties().forEach(one -> configs.put(one.getKey(), one.getValue().asText()));
        var wanted = new NewTopic(topic, in.get("partitions").asInt(), (short) 1);
        return get(admin.createTopics(List.of(wanted.configs(configs))).all());
      case "delete_topic":
        return get(admin.deleteTopics(List.of(topic)).all());
      case "create_partitions":
        var total = NewPartitions.increaseTo(in.get("partitions").asInt());
        return get(admin.createPartitions(Map.of(topic, total)).all());
      case "list_topics":
        return get(admin.listTopics().names());
      case "partitions":
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size();
      case "configs":
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Map<String, String> out = new HashMap<>();
        get(admin.describeConfigs(List.of(resource)).all())
            .get(resource)
            .entries()
            .forEach(entry -> out.put(entry.name(), entry.value()));
        return out;
      case "set_config":
        return setConfig(topic, in.get("configs"));
      case "delete_records":
        var below = RecordsToDelete.beforeOffset(in.get("at").asLong());
        get(admin.deleteRecords(Map.of(partition(in), below)).all());
        return null;
      case "offset":
        var found = admin.listOffsets(Map.of(partition(in), spec(in)));
        return get(found.partitionResult(partition(in))).offset();
      case "commit":
        var offset = new OffsetAndMetadata(in.get("at").asLong());
        return get(admin.alterConsumerGroupOffsets(group, Map.of(partition(in), offset)).all());
      case "committed":
        var offsets = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        return Optional.ofNullable(offsets.get(partition(in))).map(OffsetAndMetadata::offset).orElse(-1L);
      case "list_groups":
        List<String> names = new ArrayList<>();
        get(admin.listGroups().all()).forEach(one -> names.add(one.groupId()));
        return names;
      case "describe_group":
        var told = get(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
        List<Object> members = new ArrayList<>();
        for (var one : told.members()) {
          List<Integer> held = new ArrayList<>();
          one.assignment().topicPartitions().forEach(each -> held.add(each.partition()));
          members.add(held);
        }
        return Map.of("state", told.groupState().toString(), "members", members);
      case "delete_group":
        return get(admin.deleteConsumerGroups(List.of(group)).all());
      case "delete_offset":
        return get(admin.deleteConsumerGroupOffsets(group, Set.of(partition(in))).all());
      default:
        throw new IllegalArgumentException("no operation " + operation);
    }
  }

  private Object setConfig(String topic, JsonNode configs) throws Exception {
    List<AlterConfigOp> changes = new ArrayList<>();
    configs
        .properties()
        .forEach(
            one -> {
              var entry = new ConfigEntry(one.getKey(), one.getValue().asText());
              changes.add(new AlterConfigOp(entry, AlterConfigOp.OpType.SET));
            });
    var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
    return get(admin.incrementalAlterConfigs(Map.of(resource, changes)).all());
  }

  private static OffsetSpec spec(JsonNode in) {
    switch (in.get("start").asText()) {
      case "earliest":
        return OffsetSpec.earliest();
      case "latest":
        return OffsetSpec.latest();
      case "max_timestamp":
        return OffsetSpec.maxTimestamp();
      default:
        return OffsetSpec.forTimestamp(in.get("at").asLong());
    }
  }
}
