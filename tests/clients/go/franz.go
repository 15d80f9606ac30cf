package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz-go, with kadm for administration.
type franzClient struct {
	broker string
	admin  *kadm.Client
}

func franz(broker string) client {
	c := &franzClient{broker: broker}
	return client{
		operations: map[string]operation{
			"produce": c.produce, "consume": c.consume,
			"create_topic": c.createTopic, "delete_topic": c.deleteTopic,
			"create_partitions": c.createPartitions, "list_topics": c.listTopics,
			"partitions": c.partitions, "configs": c.configs, "set_config": c.setConfig,
			"delete_records": c.deleteRecords, "offset": c.offset,
			"commit": c.commit, "committed": c.committed, "list_groups": c.listGroups,
			"describe_group": c.describeGroup, "delete_group": c.deleteGroup,
			"delete_offset": c.deleteOffset, "newest": c.newest,
		},
		join: c.join, stream: c.stream,
	}
}

// named makes sure that the name of a broker's error is in its text.
func named(err error) error {
	var code *kerr.Error
	if errors.As(err, &code) {
		return fmt.Errorf("%s: %w", code.Message, err)
	}
	return err
}

func (c *franzClient) producer(in *input, more ...kgo.Opt) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
		"zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.broker), kgo.AllowAutoTopicCreation(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[in.Codec]), kgo.RequiredAcks(acks[in.Acks]),
		kgo.ProducerLinger(time.Duration(in.Linger) * time.Millisecond),
	}
	if !in.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(),
			kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	if in.BytesMax > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(in.BytesMax))
	}
	return kgo.NewClient(append(options, more...)...)
}

func (c *franzClient) produce(ctx context.Context, in *input) (any, error) {
	client, err := c.producer(in)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var lock sync.Mutex
	var first error
	for _, r := range in.Records {
		out := &kgo.Record{Topic: in.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		if r.Timestamp > 0 {
			out.Timestamp = time.UnixMilli(r.Timestamp)
		}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
		client.Produce(ctx, out, func(_ *kgo.Record, err error) {
			lock.Lock()
			defer lock.Unlock()
			if first == nil {
				first = err
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	return nil, named(first)
}

func (c *franzClient) stream(_ context.Context, in *input) (sender, func() error, error) {
	client, err := c.producer(in)
	if err != nil {
		return nil, nil, err
	}
	send := func(ctx context.Context, n int) error {
		out := &kgo.Record{Topic: in.Topic, Partition: in.Partition, Value: number(n)}
		return client.ProduceSync(ctx, out).FirstErr()
	}
	return send, func() error { client.Close(); return nil }, nil
}

func taken(r *kgo.Record) record {
	got := record{Partition: r.Partition, Offset: r.Offset,
		Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		got.Headers = append(got.Headers, header{h.Key, h.Value})
	}
	return got
}

func (c *franzClient) consume(ctx context.Context, in *input) (any, error) {
	at := kgo.NewOffset()
	switch in.Start {
	case "earliest":
		at = at.AtStart()
	case "latest":
		at = at.AtEnd()
	case "timestamp":
		at = at.AfterMilli(in.At)
	default:
		at = at.At(in.At)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.broker), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{in.Topic: {in.Partition: at}}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	out := []record{}
	for len(out) < in.Count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records: %w", len(out), err)
		}
		fetches.EachRecord(func(r *kgo.Record) { out = append(out, taken(r)) })
	}
	return out[:in.Count], nil
}

// ---- group membership --------------------------------------------------------------------

type franzMember struct {
	client *kgo.Client
	ended  chan struct{}
	held   []int32
	lock   sync.Mutex
}

func (c *franzClient) join(ctx context.Context, in *input) (member, error) {
	m := &franzMember{ended: make(chan struct{})}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.broker), kgo.ConsumerGroup(in.Group), kgo.ConsumeTopics(in.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			m.change(got[in.Topic], true)
		}),
	}
	if in.Protocol == "consumer" {
		// Of its default balancers the broker can do the work of the sticky one.
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	if in.Session > 0 {
		options = append(options, kgo.SessionTimeout(time.Duration(in.Session)*time.Millisecond))
	}
	if !in.AutoCommit {
		// With a function of ours here, franz-go would not commit by itself when it leaves.
		taken := func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			m.change(got[in.Topic], false)
		}
		options = append(options, kgo.DisableAutoCommit(), kgo.OnPartitionsRevoked(taken),
			kgo.OnPartitionsLost(taken))
	}
	if in.Instance != "" {
		options = append(options, kgo.InstanceID(in.Instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	m.client = client
	go func() {
		defer close(m.ended)
		for {
			fetches := client.PollFetches(ctx)
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) { eventRecord(taken(r)) })
		}
	}()
	return m, nil
}

func (m *franzMember) change(partitions []int32, added bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if added {
		m.held = append(m.held, partitions...)
	} else {
		m.held = slices.DeleteFunc(m.held, func(p int32) bool {
			return slices.Contains(partitions, p)
		})
	}
	eventAssigned(append([]int32{}, m.held...))
}

func (m *franzMember) commit(ctx context.Context) error {
	return m.client.CommitUncommittedOffsets(ctx)
}

func (m *franzMember) leave(context.Context) error {
	m.client.Close()
	<-m.ended
	return nil
}

// ---- administration ----------------------------------------------------------------------

func (c *franzClient) adm() (*kadm.Client, error) {
	if c.admin != nil {
		return c.admin, nil
	}
	var err error
	c.admin, err = kadm.NewOptClient(kgo.SeedBrokers(c.broker))
	return c.admin, err
}

func (c *franzClient) createTopic(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	configs := map[string]*string{}
	for name, value := range in.Configs {
		configs[name] = &value
	}
	return nil, named(second(admin.CreateTopic(ctx, in.Partitions, 1, configs, in.Topic)))
}

func (c *franzClient) deleteTopic(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, named(second(admin.DeleteTopic(ctx, in.Topic)))
}

func (c *franzClient) createPartitions(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	answers, err := admin.UpdatePartitions(ctx, int(in.Partitions), in.Topic)
	if err != nil {
		return nil, err
	}
	return nil, answers.Error()
}

func (c *franzClient) listTopics(ctx context.Context, _ *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	topics, err := admin.ListTopics(ctx)
	return topics.Names(), err
}

func (c *franzClient) partitions(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	topics, err := admin.ListTopics(ctx, in.Topic)
	if err != nil {
		return nil, err
	}
	return len(topics[in.Topic].Partitions), topics[in.Topic].Err
}

func (c *franzClient) configs(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	resources, err := admin.DescribeTopicConfigs(ctx, in.Topic)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, resource := range resources {
		if resource.Err != nil {
			return nil, resource.Err
		}
		for _, config := range resource.Configs {
			out[config.Key] = config.MaybeValue()
		}
	}
	return out, nil
}

func (c *franzClient) setConfig(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	changes := []kadm.AlterConfig{}
	for name, value := range in.Configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	answers, err := admin.AlterTopicConfigs(ctx, changes, in.Topic)
	if err != nil {
		return nil, err
	}
	return nil, answers[0].Err
}

func offsets(in *input) kadm.Offsets {
	out := kadm.Offsets{}
	out.AddOffset(in.Topic, in.Partition, in.At, -1)
	return out
}

func (c *franzClient) deleteRecords(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	answers, err := admin.DeleteRecords(ctx, offsets(in))
	if err != nil {
		return nil, err
	}
	return nil, answers.Error()
}

func (c *franzClient) offset(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	var listed kadm.ListedOffsets
	switch in.Start {
	case "earliest":
		listed, err = admin.ListStartOffsets(ctx, in.Topic)
	case "latest":
		listed, err = admin.ListEndOffsets(ctx, in.Topic)
	case "max_timestamp":
		listed, err = admin.ListMaxTimestampOffsets(ctx, in.Topic)
	default:
		listed, err = admin.ListOffsetsAfterMilli(ctx, in.At, in.Topic)
	}
	if err != nil {
		return nil, err
	}
	found, known := listed.Lookup(in.Topic, in.Partition)
	if !known {
		return nil, errMissing
	}
	return found.Offset, found.Err
}

func (c *franzClient) commit(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	return nil, admin.CommitAllOffsets(ctx, in.Group, offsets(in))
}

func (c *franzClient) committed(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	answers, err := admin.FetchOffsets(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	found, known := answers.Lookup(in.Topic, in.Partition)
	if !known {
		return -1, nil
	}
	return found.At, found.Err
}

func (c *franzClient) listGroups(ctx context.Context, _ *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	groups, err := admin.ListGroups(ctx)
	return groups.Groups(), err
}

func (c *franzClient) describeGroup(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	groups, err := admin.DescribeGroups(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	group := groups[in.Group]
	held := [][]int32{}
	for _, m := range group.Members {
		partitions := []int32{}
		if assigned, known := m.Assigned.AsConsumer(); known {
			for _, topic := range assigned.Topics {
				partitions = append(partitions, topic.Partitions...)
			}
		}
		held = append(held, partitions)
	}
	return map[string]any{"state": group.State, "members": held}, group.Err
}

func (c *franzClient) deleteGroup(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	answer, err := admin.DeleteGroup(ctx, in.Group)
	if err != nil {
		return nil, named(err)
	}
	return nil, named(answer.Err)
}

func (c *franzClient) deleteOffset(ctx context.Context, in *input) (any, error) {
	admin, err := c.adm()
	if err != nil {
		return nil, err
	}
	set := kadm.TopicsSet{}
	set.Add(in.Topic, in.Partition)
	answers, err := admin.DeleteOffsets(ctx, in.Group, set)
	if err != nil {
		return nil, named(err)
	}
	return nil, named(answers.Error())
}
