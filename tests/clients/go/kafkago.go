package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// segmentio/kafka-go: its Writer, its Reader, and its Client for administration.
type kafkaGoWorker struct {
	broker string
	client *kafka.Client
}

func kafkaGo(broker string) client {
	c := &kafkaGoWorker{broker: broker, client: &kafka.Client{Addr: kafka.TCP(broker)}}
	return client{
		operations: map[string]operation{
			"produce": c.produce, "consume": c.consume, "offset": c.offset,
			"create_topic": c.createTopic, "delete_topic": c.deleteTopic,
			"create_partitions": c.createPartitions, "list_topics": c.listTopics,
			"partitions": c.partitions, "configs": c.configs, "set_config": c.setConfig,
			"commit": c.commit, "committed": c.committed, "list_groups": c.listGroups,
			"describe_group": c.describeGroup, "delete_group": c.deleteGroup,
			"delete_offset": c.deleteOffset,
		},
		join: c.join, stream: c.stream,
	}
}

// The partition that a record is meant for travels beside it: a Writer chooses by itself.
func meant(message kafka.Message, _ ...int) int { return message.WriterData.(int) }

func (c *kafkaGoWorker) writer(in *input) *kafka.Writer {
	codecs := map[string]kafka.Compression{
		"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}
	acks := map[string]kafka.RequiredAcks{
		"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll,
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(c.broker), Topic: in.Topic, Balancer: kafka.BalancerFunc(meant),
		RequiredAcks: acks[in.Acks], Compression: codecs[in.Codec],
		BatchTimeout:           time.Duration(max(in.Linger, 1)) * time.Millisecond,
		AllowAutoTopicCreation: true,
	}
	if in.BytesMax > 0 {
		writer.BatchBytes = int64(in.BytesMax)
	}
	return writer
}

func (c *kafkaGoWorker) produce(ctx context.Context, in *input) (any, error) {
	writer, messages := c.writer(in), []kafka.Message{}
	for _, r := range in.Records {
		message := kafka.Message{Key: r.Key, Value: r.Value, WriterData: int(r.Partition)}
		if r.Timestamp > 0 {
			message.Time = time.UnixMilli(r.Timestamp)
		}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: h.Name, Value: h.Value})
		}
		messages = append(messages, message)
	}
	err := writer.WriteMessages(ctx, messages...)
	// A topic that is being created: kafka-go's documentation leaves the retry to its user.
	for errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.LeaderNotAvailable) {
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
		err = writer.WriteMessages(ctx, messages...)
	}
	var failed kafka.WriteErrors
	if errors.As(err, &failed) {
		err = errors.Join(failed...)
	}
	return nil, errors.Join(err, writer.Close())
}

func (c *kafkaGoWorker) stream(_ context.Context, in *input) (sender, func() error, error) {
	writer := c.writer(in)
	send := func(ctx context.Context, n int) error {
		return writer.WriteMessages(ctx,
			kafka.Message{Value: number(n), WriterData: int(in.Partition)})
	}
	return send, writer.Close, nil
}

func kafkaGoTaken(m kafka.Message) record {
	got := record{Partition: int32(m.Partition), Offset: m.Offset,
		Timestamp: m.Time.UnixMilli(), Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		got.Headers = append(got.Headers, header{h.Key, h.Value})
	}
	return got
}

func (c *kafkaGoWorker) consume(ctx context.Context, in *input) (any, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.broker}, Topic: in.Topic, Partition: int(in.Partition),
	})
	var err error
	switch in.Start {
	case "earliest":
		err = reader.SetOffset(kafka.FirstOffset)
	case "latest":
		err = reader.SetOffset(kafka.LastOffset)
	case "timestamp":
		err = reader.SetOffsetAt(ctx, time.UnixMilli(in.At))
	default:
		err = reader.SetOffset(in.At)
	}
	out := []record{}
	for err == nil && len(out) < in.Count {
		var message kafka.Message
		if message, err = reader.FetchMessage(ctx); err == nil {
			out = append(out, kafkaGoTaken(message))
		}
	}
	if err != nil {
		err = fmt.Errorf("after %d records: %w", len(out), err)
	}
	// Close waits for the fetch that is under way, up to 10 s: nobody needs to see that.
	go reader.Close()
	return out, err
}

func (c *kafkaGoWorker) offset(ctx context.Context, in *input) (any, error) {
	at := in.At
	switch in.Start {
	case "earliest":
		at = kafka.FirstOffset
	case "latest":
		at = kafka.LastOffset
	}
	answer, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{
			in.Topic: {{Partition: int(in.Partition), Timestamp: at}},
		},
	})
	if err != nil {
		return nil, err
	}
	if len(answer.Topics[in.Topic]) != 1 {
		return nil, errMissing
	}
	found := answer.Topics[in.Topic][0]
	switch in.Start {
	case "earliest":
		return found.FirstOffset, found.Error
	case "latest":
		return found.LastOffset, found.Error
	}
	for offset := range found.Offsets {
		return offset, found.Error
	}
	return -1, found.Error
}

// ---- group membership --------------------------------------------------------------------

type kafkaGoMember struct {
	reader *kafka.Reader
	stop   context.CancelFunc
	ended  chan struct{}
	lock   sync.Mutex
	last   map[int]kafka.Message
}

func (c *kafkaGoWorker) join(ctx context.Context, in *input) (member, error) {
	config := kafka.ReaderConfig{
		Brokers: []string{c.broker}, GroupID: in.Group, Topic: in.Topic,
		StartOffset: kafka.FirstOffset, SessionTimeout: time.Duration(in.Session) * time.Millisecond,
	}
	m := &kafkaGoMember{
		reader: kafka.NewReader(config), ended: make(chan struct{}), last: map[int]kafka.Message{},
	}
	ctx, m.stop = context.WithCancel(ctx)
	read := m.reader.FetchMessage
	if in.AutoCommit {
		read = m.reader.ReadMessage
	}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			message, err := read(ctx)
			if err != nil {
				continue
			}
			m.lock.Lock()
			m.last[message.Partition] = message
			m.lock.Unlock()
			eventRecord(kafkaGoTaken(message))
		}
	}()
	return m, nil
}

func (m *kafkaGoMember) commit(ctx context.Context) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, message := range m.last {
		if err := m.reader.CommitMessages(ctx, message); err != nil {
			return err
		}
	}
	// What another member gets meanwhile is no longer this one's to commit.
	clear(m.last)
	return nil
}

func (m *kafkaGoMember) leave(context.Context) error {
	m.stop()
	<-m.ended
	return m.reader.Close()
}

// ---- administration ----------------------------------------------------------------------

func (c *kafkaGoWorker) createTopic(ctx context.Context, in *input) (any, error) {
	topic := kafka.TopicConfig{
		Topic: in.Topic, NumPartitions: int(in.Partitions), ReplicationFactor: 1,
	}
	for name, value := range in.Configs {
		entry := kafka.ConfigEntry{ConfigName: name, ConfigValue: value}
		topic.ConfigEntries = append(topic.ConfigEntries, entry)
	}
	answer, err := c.client.CreateTopics(ctx,
		&kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return nil, err
	}
	return nil, answer.Errors[in.Topic]
}

func (c *kafkaGoWorker) deleteTopic(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{in.Topic}})
	if err != nil {
		return nil, err
	}
	return nil, answer.Errors[in.Topic]
}

func (c *kafkaGoWorker) createPartitions(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: in.Topic, Count: in.Partitions}},
	})
	if err != nil {
		return nil, err
	}
	return nil, answer.Errors[in.Topic]
}

func (c *kafkaGoWorker) listTopics(ctx context.Context, _ *input) (any, error) {
	answer, err := c.client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, topic := range answer.Topics {
		names = append(names, topic.Name)
	}
	return names, nil
}

func (c *kafkaGoWorker) partitions(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{in.Topic}})
	if err != nil {
		return nil, err
	}
	return len(answer.Topics[0].Partitions), answer.Topics[0].Error
}

func (c *kafkaGoWorker) configs(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: in.Topic},
		},
	})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, entry := range answer.Resources[0].ConfigEntries {
		out[entry.ConfigName] = entry.ConfigValue
	}
	return out, answer.Resources[0].Error
}

func (c *kafkaGoWorker) setConfig(ctx context.Context, in *input) (any, error) {
	resource := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: in.Topic,
	}
	for name, value := range in.Configs {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
			Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet,
		})
	}
	answer, err := c.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return nil, err
	}
	return nil, answer.Resources[0].Error
}

func (c *kafkaGoWorker) commit(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: in.Group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{
			in.Topic: {{Partition: int(in.Partition), Offset: in.At}},
		},
	})
	if err != nil {
		return nil, err
	}
	return nil, answer.Topics[in.Topic][0].Error
}

func (c *kafkaGoWorker) committed(ctx context.Context, in *input) (any, error) {
	asked := &kafka.OffsetFetchRequest{
		GroupID: in.Group, Topics: map[string][]int{in.Topic: {int(in.Partition)}},
	}
	answer, err := c.client.OffsetFetch(ctx, asked)
	// The connections in its pool may be to a broker that was restarted since.
	for errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		answer, err = c.client.OffsetFetch(ctx, asked)
	}
	if err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	found := answer.Topics[in.Topic][0]
	return found.CommittedOffset, found.Error
}

func (c *kafkaGoWorker) listGroups(ctx context.Context, _ *input) (any, error) {
	answer, err := c.client.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, group := range answer.Groups {
		names = append(names, group.GroupID)
	}
	return names, answer.Error
}

func (c *kafkaGoWorker) describeGroup(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.DescribeGroups(ctx,
		&kafka.DescribeGroupsRequest{GroupIDs: []string{in.Group}})
	if err != nil {
		return nil, err
	}
	held := [][]int{}
	for _, m := range answer.Groups[0].Members {
		partitions := []int{}
		for _, topic := range m.MemberAssignments.Topics {
			partitions = append(partitions, topic.Partitions...)
		}
		held = append(held, partitions)
	}
	return map[string]any{"state": answer.Groups[0].GroupState, "members": held},
		answer.Groups[0].Error
}

func (c *kafkaGoWorker) deleteGroup(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{in.Group}})
	if err != nil {
		return nil, err
	}
	return nil, answer.Errors[in.Group]
}

func (c *kafkaGoWorker) deleteOffset(ctx context.Context, in *input) (any, error) {
	answer, err := c.client.OffsetDelete(ctx, &kafka.OffsetDeleteRequest{
		GroupID: in.Group, Topics: map[string][]int{in.Topic: {int(in.Partition)}},
	})
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(answer.Error, answer.Topics[in.Topic][0].Error)
}
