package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

const stepSecondsMax = 10

// steps runs each by its name, and says how it ended.
func steps(names []string, step func(string) error) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		done := make(chan error, 1)
		go func() { done <- step(name) }()
		select {
		case err := <-done:
			out[name] = "ok"
			if err != nil {
				out[name] = err.Error()
			}
		case <-time.After(stepSecondsMax * time.Second):
			out[name] = "no answer"
		}
	}
	return out
}

type takesOne struct{ taken chan struct{} }

func (takesOne) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (takesOne) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (t takesOne) ConsumeClaim(_ sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	if <-c.Messages() != nil {
		t.taken <- struct{}{}
	}
	return nil
}

// pinned does what tools do with requests of one Kafka's versions, and does not ask which are served.
func (c *saramaWorker) pinned(ctx context.Context, in *input) (any, error) {
	version, err := sarama.ParseKafkaVersion(in.Start)
	if err != nil {
		return nil, err
	}
	config := sarama.NewConfig()
	config.Version, config.ApiVersionsRequest = version, false
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Metadata.Retry.Max, config.Producer.Retry.Max, config.Admin.Retry.Max = 1, 1, 1
	brokers := []string{c.broker}
	admin := func(use func(sarama.ClusterAdmin) error) error {
		admin, err := sarama.NewClusterAdmin(brokers, config)
		if err != nil {
			return err
		}
		defer admin.Close()
		return use(admin)
	}
	names := []string{"metadata", "produce", "fetch", "group", "list topics", "describe topics",
		"describe configs", "describe groups", "log dirs"}
	return steps(names, func(name string) error {
		switch name {
		case "metadata":
			client, err := sarama.NewClient(brokers, config)
			if err != nil {
				return err
			}
			defer client.Close()
			return client.RefreshMetadata(in.Topic)
		case "produce":
			producer, err := sarama.NewSyncProducer(brokers, config)
			if err != nil {
				return err
			}
			defer producer.Close()
			_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: in.Topic,
				Value: sarama.StringEncoder("v")})
			return err
		case "fetch":
			consumer, err := sarama.NewConsumer(brokers, config)
			if err != nil {
				return err
			}
			defer consumer.Close()
			partition, err := consumer.ConsumePartition(in.Topic, 0, sarama.OffsetOldest)
			if err != nil {
				return err
			}
			select {
			case <-partition.Messages():
				return nil
			case err := <-partition.Errors():
				return err
			case <-time.After(stepSecondsMax / 2 * time.Second):
				return fmt.Errorf("no record")
			}
		case "group":
			group, err := sarama.NewConsumerGroup(brokers, in.Group, config)
			if err != nil {
				return err
			}
			defer group.Close()
			taken, ended := takesOne{make(chan struct{}, 1)}, make(chan error, 1)
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() { ended <- group.Consume(ctx, []string{in.Topic}, taken) }()
			select {
			case <-taken.taken:
				return nil
			case err := <-ended:
				return fmt.Errorf("ended: %v", err)
			case <-time.After(stepSecondsMax / 2 * time.Second):
				return fmt.Errorf("no record")
			}
		case "list topics":
			return admin(func(a sarama.ClusterAdmin) error { return second(a.ListTopics()) })
		case "describe topics":
			return admin(func(a sarama.ClusterAdmin) error {
				return second(a.DescribeTopics([]string{in.Topic}))
			})
		case "describe configs":
			return admin(func(a sarama.ClusterAdmin) error {
				return second(a.DescribeConfig(sarama.ConfigResource{
					Type: sarama.TopicResource, Name: in.Topic}))
			})
		case "describe groups":
			return admin(func(a sarama.ClusterAdmin) error {
				return second(a.DescribeConsumerGroups([]string{in.Group}))
			})
		default:
			return admin(func(a sarama.ClusterAdmin) error { return second(a.DescribeLogDirs([]int32{1})) })
		}
	}), nil
}

// newest refuses what is older than the stable versions of a Kafka, as tools may that want those.
func (c *franzClient) newest(ctx context.Context, in *input) (any, error) {
	versions := kversion.FromString(in.Start)
	if versions == nil {
		return nil, fmt.Errorf("no version %s", in.Start)
	}
	open := func(more ...kgo.Opt) (*kgo.Client, error) {
		return kgo.NewClient(append(more, kgo.SeedBrokers(c.broker), kgo.MinVersions(versions),
			kgo.RetryTimeout(stepSecondsMax/2*time.Second))...)
	}
	with := func(use func(*kgo.Client) error, more ...kgo.Opt) error {
		client, err := open(more...)
		if err != nil {
			return err
		}
		defer client.Close()
		return use(client)
	}
	names := []string{"ping", "produce", "fetch", "group", "commit", "list topics", "list groups"}
	return steps(names, func(name string) error {
		ctx, cancel := context.WithTimeout(ctx, stepSecondsMax*9/10*time.Second)
		defer cancel()
		poll := func(client *kgo.Client) error {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			if name == "commit" {
				return client.CommitUncommittedOffsets(ctx)
			}
			return nil
		}
		start := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
		switch name {
		case "ping":
			return with(func(client *kgo.Client) error { return client.Ping(ctx) })
		case "produce":
			return with(func(client *kgo.Client) error {
				return client.ProduceSync(ctx, &kgo.Record{Topic: in.Topic, Value: []byte("v")}).FirstErr()
			})
		case "fetch":
			return with(poll, start, kgo.ConsumeTopics(in.Topic))
		case "group", "commit":
			return with(poll, start, kgo.ConsumeTopics(in.Topic), kgo.DisableAutoCommit(),
				kgo.ConsumerGroup(in.Group+"-"+name))
		case "list topics":
			return with(func(client *kgo.Client) error {
				return second(kadm.NewClient(client).ListTopics(ctx))
			})
		default:
			return with(func(client *kgo.Client) error {
				return second(kadm.NewClient(client).ListGroups(ctx))
			})
		}
	}), nil
}
