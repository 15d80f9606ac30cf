package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// sarama, with its ClusterAdmin.
type saramaWorker struct {
	broker string
	admin  sarama.ClusterAdmin
}

func saramaClient(broker string) client {
	c := &saramaWorker{broker: broker}
	return client{
		operations: map[string]operation{
			"produce": c.produce, "consume": c.consume, "offset": c.offset,
			"create_topic": c.createTopic, "delete_topic": c.deleteTopic,
			"create_partitions": c.createPartitions, "list_topics": c.listTopics,
			"partitions": c.partitions, "configs": c.configs, "set_config": c.setConfig,
			"delete_records": c.deleteRecords,
			"commit":         c.commit, "committed": c.committed, "list_groups": c.listGroups,
			"describe_group": c.describeGroup, "delete_group": c.deleteGroup,
			"delete_offset": c.deleteOffset, "pinned": c.pinned,
		},
		join: c.join, stream: c.stream,
	}
}

// What is set of sarama's configuration is what the case asks for; the rest is its default.
func saramaProducing(in *input) *sarama.Config {
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
		"zstd": sarama.CompressionZSTD,
	}
	acks := map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}
	config := sarama.NewConfig()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Compression = codecs[in.Codec]
	config.Producer.RequiredAcks = acks[in.Acks]
	config.Producer.Return.Successes = true
	// Records that come together go into one batch.
	config.Producer.Flush.Frequency = time.Duration(in.Linger) * time.Millisecond
	if in.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if in.BytesMax > 0 {
		config.Producer.MaxMessageBytes = int(in.BytesMax)
	}
	return config
}

func (c *saramaWorker) produce(_ context.Context, in *input) (any, error) {
	producer, err := sarama.NewSyncProducer([]string{c.broker}, saramaProducing(in))
	if err != nil {
		return nil, err
	}
	messages := []*sarama.ProducerMessage{}
	for _, r := range in.Records {
		message := &sarama.ProducerMessage{Topic: in.Topic, Partition: r.Partition}
		// An encoder of a nil slice is an empty key, no encoder is none.
		if r.Key != nil {
			message.Key = sarama.ByteEncoder(r.Key)
		}
		if r.Value != nil {
			message.Value = sarama.ByteEncoder(r.Value)
		}
		if r.Timestamp > 0 {
			message.Timestamp = time.UnixMilli(r.Timestamp)
		}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers,
				sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
		}
		messages = append(messages, message)
	}
	if err := producer.SendMessages(messages); err != nil {
		var failed sarama.ProducerErrors
		if errors.As(err, &failed) {
			err = failed[0].Err
		}
		_ = producer.Close()
		return nil, err
	}
	return nil, producer.Close()
}

func (c *saramaWorker) stream(_ context.Context, in *input) (sender, func() error, error) {
	producer, err := sarama.NewSyncProducer([]string{c.broker}, saramaProducing(in))
	if err != nil {
		return nil, nil, err
	}
	send := func(_ context.Context, n int) error {
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{
			Topic: in.Topic, Partition: in.Partition, Value: sarama.ByteEncoder(number(n)),
		})
		return err
	}
	return send, producer.Close, nil
}

func saramaTaken(m *sarama.ConsumerMessage) record {
	got := record{Partition: m.Partition, Offset: m.Offset,
		Timestamp: m.Timestamp.UnixMilli(), Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		got.Headers = append(got.Headers, header{string(h.Key), h.Value})
	}
	return got
}

func (c *saramaWorker) consume(ctx context.Context, in *input) (any, error) {
	client, err := sarama.NewClient([]string{c.broker}, sarama.NewConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	at := in.At
	switch in.Start {
	case "earliest":
		at = sarama.OffsetOldest
	case "latest":
		at = sarama.OffsetNewest
	case "timestamp":
		if at, err = client.GetOffset(in.Topic, in.Partition, in.At); err != nil {
			return nil, err
		}
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	partition, err := consumer.ConsumePartition(in.Topic, in.Partition, at)
	if err != nil {
		return nil, err
	}
	out := []record{}
	for len(out) < in.Count {
		select {
		case message := <-partition.Messages():
			out = append(out, saramaTaken(message))
		case <-ctx.Done():
			return nil, fmt.Errorf("after %d records: %w", len(out), ctx.Err())
		}
	}
	return out, errors.Join(partition.Close(), consumer.Close())
}

func (c *saramaWorker) offset(_ context.Context, in *input) (any, error) {
	client, err := sarama.NewClient([]string{c.broker}, sarama.NewConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	at := in.At
	switch in.Start {
	case "earliest":
		at = sarama.OffsetOldest
	case "latest":
		at = sarama.OffsetNewest
	}
	return withInt(client.GetOffset(in.Topic, in.Partition, at))
}

func withInt(value int64, err error) (any, error) { return value, err }

// ---- group membership --------------------------------------------------------------------

type saramaMember struct {
	group   sarama.ConsumerGroup
	topic   string
	stop    context.CancelFunc
	ended   chan struct{}
	lock    sync.Mutex
	session sarama.ConsumerGroupSession
}

func (c *saramaWorker) join(ctx context.Context, in *input) (member, error) {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = in.AutoCommit
	if in.Session > 0 {
		config.Consumer.Group.Session.Timeout = time.Duration(in.Session) * time.Millisecond
		config.Consumer.Group.Heartbeat.Interval = config.Consumer.Group.Session.Timeout / 3
	}
	config.Consumer.Group.InstanceId = in.Instance
	group, err := sarama.NewConsumerGroup([]string{c.broker}, in.Group, config)
	if err != nil {
		return nil, err
	}
	m := &saramaMember{group: group, topic: in.Topic, ended: make(chan struct{})}
	ctx, m.stop = context.WithCancel(ctx)
	go func() {
		defer close(m.ended)
		// Consume ends with each rebalance, and with the broker.
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{in.Topic}, m); err != nil {
				time.Sleep(50 * time.Millisecond)
			}
		}
	}()
	return m, nil
}

// Setup, Cleanup and ConsumeClaim are what sarama calls.
func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	eventAssigned(session.Claims()[m.topic])
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = nil
	return nil
}

func (m *saramaMember) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			session.MarkMessage(message, "")
			eventRecord(saramaTaken(message))
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *saramaMember) commit(context.Context) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.session == nil {
		return errors.New("a commit while the group rebalances")
	}
	m.session.Commit()
	return nil
}

func (m *saramaMember) leave(context.Context) error {
	m.stop()
	<-m.ended
	return m.group.Close()
}

// ---- administration ----------------------------------------------------------------------

func (c *saramaWorker) adm() (sarama.ClusterAdmin, error) {
	if c.admin != nil {
		return c.admin, nil
	}
	var err error
	c.admin, err = sarama.NewClusterAdmin([]string{c.broker}, sarama.NewConfig())
	return c.admin, err
}

func (c *saramaWorker) createTopic(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	detail := sarama.TopicDetail{
		NumPartitions: in.Partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{},
	}
	for name, value := range in.Configs {
		detail.ConfigEntries[name] = &value
	}
	return nil, admin.CreateTopic(in.Topic, &detail, false)
}

func (c *saramaWorker) deleteTopic(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.DeleteTopic(in.Topic)
}

func (c *saramaWorker) createPartitions(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.CreatePartitions(in.Topic, in.Partitions, nil, false)
}

func (c *saramaWorker) listTopics(context.Context, *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	topics, err := admin.ListTopics()
	names := []string{}
	for name := range topics {
		names = append(names, name)
	}
	return names, err
}

func (c *saramaWorker) partitions(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	topics, err := admin.DescribeTopics([]string{in.Topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	return len(topics[0].Partitions), nil
}

func (c *saramaWorker) configs(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	entries, err := admin.DescribeConfig(
		sarama.ConfigResource{Type: sarama.TopicResource, Name: in.Topic})
	out := map[string]string{}
	for _, entry := range entries {
		out[entry.Name] = entry.Value
	}
	return out, err
}

func (c *saramaWorker) setConfig(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	entries := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range in.Configs {
		entries[name] = sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
		}
	}
	return nil, admin.IncrementalAlterConfig(sarama.TopicResource, in.Topic, entries, false)
}

func (c *saramaWorker) deleteRecords(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.DeleteRecords(in.Topic, map[int32]int64{in.Partition: in.At})
}

func (c *saramaWorker) commit(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	offsets := map[string]map[int32]sarama.OffsetAndMetadata{
		in.Topic: {in.Partition: {Offset: in.At, LeaderEpoch: -1}},
	}
	answer, err := admin.AlterConsumerGroupOffsets(in.Group, offsets, nil)
	if err != nil {
		return nil, err
	}
	if code := answer.Errors[in.Topic][in.Partition]; code != sarama.ErrNoError {
		return nil, code
	}
	return nil, nil
}

func (c *saramaWorker) committed(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	answer, err := admin.ListConsumerGroupOffsets(
		in.Group, map[string][]int32{in.Topic: {in.Partition}})
	if err != nil {
		return nil, err
	}
	block := answer.GetBlock(in.Topic, in.Partition)
	if block == nil {
		return nil, errMissing
	}
	if block.Err != sarama.ErrNoError {
		return nil, block.Err
	}
	return block.Offset, nil
}

func (c *saramaWorker) listGroups(context.Context, *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	groups, err := admin.ListConsumerGroups()
	names := []string{}
	for name := range groups {
		names = append(names, name)
	}
	return names, err
}

func (c *saramaWorker) describeGroup(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	groups, err := admin.DescribeConsumerGroups([]string{in.Group})
	if err != nil {
		return nil, err
	}
	if len(groups) != 1 {
		return nil, errors.New(strconv.Itoa(len(groups)) + " groups are described")
	}
	if groups[0].Err != sarama.ErrNoError {
		return nil, groups[0].Err
	}
	held := [][]int32{}
	for _, m := range groups[0].Members {
		partitions := []int32{}
		if assigned, err := m.GetMemberAssignment(); err != nil {
			return nil, err
		} else if assigned != nil {
			partitions = append(partitions, assigned.Topics[in.Topic]...)
		}
		held = append(held, partitions)
	}
	return map[string]any{"state": groups[0].State, "members": held}, nil
}

func (c *saramaWorker) deleteGroup(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.DeleteConsumerGroup(in.Group)
}

func (c *saramaWorker) deleteOffset(_ context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.DeleteConsumerGroupOffset(in.Group, in.Topic, in.Partition)
}
