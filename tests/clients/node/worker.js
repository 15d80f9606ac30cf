// The worker of kafkajs: `node worker.js CLIENT BROKER`. Operations come as JSON lines, each is
// answered by one line; workers.py says what each means. NODE_PATH names what npm installed.
"use strict";

const readline = require("node:readline");
const { randomBytes } = require("node:crypto");
const {
  Kafka,
  CompressionTypes,
  CompressionCodecs,
  ConfigResourceTypes,
  logLevel,
} = require("kafkajs");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
};
const ACKS = { 0: 0, 1: 1, all: -1 };
const DYNAMIC_TOPIC_CONFIG = 1;

const kafka = new Kafka({ brokers: [process.argv[3]], logLevel: logLevel.WARN });

const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const bytes = (text) => (text === null || text === undefined ? null : Buffer.from(text, "base64"));
const text = (data) => (data === null || data === undefined ? null : data.toString("base64"));

// ---- producing and consuming -------------------------------------------------------------

// Headers of one name are an array, in their order.
function outgoing(record) {
  const headers = {};
  for (const { name, value } of record.headers) {
    const data = bytes(value);
    if (name in headers) headers[name] = [].concat(headers[name], [data]);
    else headers[name] = data;
  }
  const message = { key: bytes(record.key), value: bytes(record.value), headers };
  message.partition = record.partition;
  if (record.timestamp) message.timestamp = String(record.timestamp);
  return message;
}

function incoming(partition, message) {
  const headers = [];
  for (const [name, value] of Object.entries(message.headers || {}))
    for (const one of [].concat(value)) headers.push({ name, value: text(one) });
  return {
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    key: text(message.key),
    value: text(message.value),
    headers,
  };
}

async function produce(request) {
  const producer = kafka.producer({ idempotent: request.idempotent });
  await producer.connect();
  try {
    await producer.send({
      topic: request.topic,
      acks: ACKS[request.acks],
      compression: CODECS[request.codec],
      messages: request.records.map(outgoing),
    });
  } finally {
    await producer.disconnect();
  }
}

// kafkajs consumes as a member of a group only: one of its own, which seeks.
async function consume(request) {
  const { topic, partition, count } = request;
  const at = await startOf(request);
  const groupId = `consume-${randomBytes(4).toString("hex")}`;
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  const records = [];
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, (event) => reject(event.payload.error));
      consumer
        .run({
          autoCommit: false,
          eachMessage: async (got) => {
            if (got.partition !== partition || Number(got.message.offset) < at) return;
            if (records.length < count) records.push(incoming(partition, got.message));
            if (records.length === count) resolve();
          },
        })
        .catch(reject);
      consumer.seek({ topic, partition, offset: String(at) });
    });
  } finally {
    await consumer.disconnect();
  }
  await withAdmin((admin) => admin.deleteGroups([groupId]));
  return records;
}

async function startOf({ topic, partition, start, at }) {
  if (start === "offset") return at;
  return offset({ topic, partition, start, at });
}

// ---- group membership --------------------------------------------------------------------

let member = null;

async function join(request) {
  const options = { groupId: request.group };
  if (request.session_ms) {
    options.sessionTimeout = request.session_ms;
    options.heartbeatInterval = Math.floor(request.session_ms / 3);
  }
  const { topic } = request;
  const consumer = kafka.consumer(options);
  const next = new Map();
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    next.clear();
    tell({ event: "assigned", partitions: payload.memberAssignment[topic] || [] });
  });
  await consumer.run({
    autoCommit: Boolean(request.auto_commit),
    eachMessage: async ({ partition, message }) => {
      next.set(partition, String(Number(message.offset) + 1));
      tell({ event: "record", record: incoming(partition, message) });
    },
  });
  member = { consumer, next, topic };
}

async function commit() {
  const offsets = [...member.next].map(([partition, next]) => ({
    topic: member.topic,
    partition,
    offset: next,
  }));
  await member.consumer.commitOffsets(offsets);
}

// ---- a stream of numbered records --------------------------------------------------------

let stream = null;

async function startStream({ topic, partition, idempotent }) {
  const producer = kafka.producer({ idempotent });
  await producer.connect();
  stream = { ended: false, acknowledged: [], producer };
  stream.done = (async () => {
    for (let number = 0; !stream.ended; number += 1) {
      for (;;) {
        try {
          const value = String(number);
          await producer.send({ topic, acks: -1, messages: [{ value, partition }] });
          break;
        } catch (error) {
          if (stream.ended) return;
        }
      }
      stream.acknowledged.push(number);
      if (number === 0) tell({ event: "started" });
    }
  })();
}

async function stopStream() {
  stream.ended = true;
  await stream.done;
  await stream.producer.disconnect();
  return stream.acknowledged;
}

// ---- administration ----------------------------------------------------------------------

let connected = null;

async function withAdmin(action) {
  if (connected === null) {
    connected = kafka.admin();
    await connected.connect();
  }
  return action(connected);
}

async function offset({ topic, partition, start, at }) {
  const found = await withAdmin((admin) =>
    start === "timestamp"
      ? admin.fetchTopicOffsetsByTimestamp(topic, at)
      : admin.fetchTopicOffsets(topic),
  );
  const entry = found.find((one) => one.partition === partition);
  if (start === "earliest") return Number(entry.low);
  return Number(start === "latest" ? entry.high : entry.offset);
}

const topicResource = (name) => ({ type: ConfigResourceTypes.TOPIC, name });

async function entriesOf(topic) {
  const told = await withAdmin((admin) =>
    admin.describeConfigs({ resources: [topicResource(topic)] }),
  );
  return told.resources[0].configEntries;
}

// AlterConfigs replaces everything: what is set already goes along.
async function setConfig({ topic, configs }) {
  const set = {};
  for (const entry of await entriesOf(topic))
    if (entry.configSource === DYNAMIC_TOPIC_CONFIG) set[entry.configName] = entry.configValue;
  const configEntries = Object.entries({ ...set, ...configs }).map(([name, value]) => ({
    name,
    value,
  }));
  const resources = [{ ...topicResource(topic), configEntries }];
  await withAdmin((admin) => admin.alterConfigs({ resources }));
}

async function createTopic({ topic, partitions, configs }) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  const topics = [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }];
  // kafkajs tells by `false` that a topic is there already.
  if (!(await withAdmin((admin) => admin.createTopics({ topics }))))
    throw new Error("TOPIC_ALREADY_EXISTS");
}

async function describeGroup({ group, topic }) {
  const { AssignerProtocol } = require("kafkajs");
  const told = await withAdmin((admin) => admin.describeGroups([group]));
  const members = told.groups[0].members.map(({ memberAssignment }) => {
    if (memberAssignment.length === 0) return [];
    return AssignerProtocol.MemberAssignment.decode(memberAssignment).assignment[topic] || [];
  });
  return { state: told.groups[0].state, members };
}

async function committed({ group, topic, partition }) {
  const told = await withAdmin((admin) =>
    admin.fetchOffsets({ groupId: group, topics: [topic] }),
  );
  const entry = told[0].partitions.find((one) => one.partition === partition);
  return Number(entry.offset);
}

const OPERATIONS = {
  produce,
  consume,
  offset,
  committed,
  create_topic: createTopic,
  delete_topic: ({ topic }) => withAdmin((admin) => admin.deleteTopics({ topics: [topic] })),
  create_partitions: ({ topic, partitions }) =>
    withAdmin((admin) =>
      admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] }),
    ),
  list_topics: () => withAdmin((admin) => admin.listTopics()),
  partitions: async ({ topic }) => {
    const told = await withAdmin((admin) => admin.fetchTopicMetadata({ topics: [topic] }));
    return told.topics[0].partitions.length;
  },
  configs: async ({ topic }) =>
    Object.fromEntries((await entriesOf(topic)).map((one) => [one.configName, one.configValue])),
  set_config: setConfig,
  delete_records: ({ topic, partition, at }) =>
    withAdmin(async (admin) => {
      // An admin client that was never asked for this topic does not know its leaders.
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(at) }] });
    }),
  commit: ({ group, topic, partition, at }) =>
    withAdmin((admin) =>
      admin.setOffsets({ groupId: group, topic, partitions: [{ partition, offset: String(at) }] }),
    ),
  list_groups: () =>
    withAdmin(async (admin) => (await admin.listGroups()).groups.map((one) => one.groupId)),
  describe_group: describeGroup,
  delete_group: ({ group }) => withAdmin((admin) => admin.deleteGroups([group])),
  member: join,
  member_commit: commit,
  member_leave: () => member.consumer.disconnect(),
  stream: startStream,
  stream_stop: stopStream,
};

// kafkajs says what failed in a list, where one request has several parts.
function reason(error) {
  const parts = (error.errors || error.groups || [])
    .map((one) => `${one.type || ""} ${one.message || ""} ${one.error ? one.error.type : ""}`)
    .join(", ");
  return `${error.type || error.name}: ${error.message} ${parts}`;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      const operation = OPERATIONS[request.op];
      if (!operation) throw new Error(`no operation ${request.op}`);
      const out = await operation(request);
      tell({ ok: out === undefined ? null : out });
    } catch (error) {
      tell({ error: reason(error) });
    }
  }
  process.exit(0);
}

main();
