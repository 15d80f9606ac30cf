// Command franz drives a broker with franz-go: `franz OPERATION BROKER`, arguments as one line of
// JSON on standard input, the answer as JSON on standard output. clients.py says what each one means.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

type record struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []header `json:"headers"`
}

type input struct {
	Topic      string            `json:"topic"`
	Partition  int32             `json:"partition"`
	Records    []record          `json:"records"`
	Acks       string            `json:"acks"`
	Idempotent bool              `json:"idempotent"`
	Codec      string            `json:"codec"`
	Linger     int64             `json:"linger_ms"`
	BytesMax   int32             `json:"bytes_max"`
	Start      string            `json:"start"`
	At         int64             `json:"at"`
	Count      int               `json:"count"`
	Group      string            `json:"group"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func main() {
	var in input
	if len(os.Args) != 3 {
		fail(errors.New("usage: franz OPERATION BROKER < JSON"))
	}
	arguments := bufio.NewReader(os.Stdin)
	line, err := arguments.ReadBytes('\n')
	if err != nil && err != io.EOF {
		fail(err)
	}
	if err := json.Unmarshal(line, &in); err != nil {
		fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	operations := map[string]func(context.Context, string, *input) (any, error){
		"produce": produce, "consume": consume, "stream": stream,
		"create_topic": admin(createTopic), "delete_topic": admin(deleteTopic),
		"create_partitions": admin(createPartitions), "list_topics": admin(listTopics),
		"partitions": admin(partitions), "configs": admin(configs),
		"set_config": admin(setConfig), "delete_records": admin(deleteRecords),
		"offset": admin(offset), "commit": admin(commit), "committed": admin(committed),
	}
	operation, known := operations[os.Args[1]]
	if !known {
		fail(fmt.Errorf("no operation %s", os.Args[1]))
	}
	out, err := operation(ctx, os.Args[2], &in)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fail(err)
	}
}

func fail(err error) {
	var code *kerr.Error
	if errors.As(err, &code) {
		fmt.Fprintln(os.Stderr, code.Message)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func producer(broker string, in *input) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
		"zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{
		kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(),
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
	return kgo.NewClient(options...)
}

func (in *input) outgoing(r record) *kgo.Record {
	out := &kgo.Record{Topic: in.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	if r.Timestamp > 0 {
		out.Timestamp = time.UnixMilli(r.Timestamp)
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return out
}

func produce(ctx context.Context, broker string, in *input) (any, error) {
	client, err := producer(broker, in)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var lock sync.Mutex
	var first error
	for _, r := range in.Records {
		client.Produce(ctx, in.outgoing(r), func(_ *kgo.Record, err error) {
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
	return map[string]bool{}, first
}

// stream produces numbered records until its standard input ends, whatever happens to the broker,
// says "started" once one is acknowledged, and answers how many were acknowledged.
func stream(ctx context.Context, broker string, in *input) (any, error) {
	client, err := producer(broker, in)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var lock sync.Mutex
	var failed error
	acknowledged, started := 0, false
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for number := 0; ; number++ {
		select {
		case <-ended:
			if err := client.Flush(ctx); err != nil {
				return nil, err
			}
			return map[string]int{"acknowledged": acknowledged}, failed
		case <-time.After(2 * time.Millisecond):
		}
		value := []byte(fmt.Sprintf("%d", number))
		client.Produce(ctx, &kgo.Record{Topic: in.Topic, Partition: in.Partition, Value: value},
			func(_ *kgo.Record, err error) {
				lock.Lock()
				defer lock.Unlock()
				if err != nil {
					failed = err
					return
				}
				if !started {
					started = true
					fmt.Println("started")
				}
				acknowledged++
			})
	}
}

func consume(ctx context.Context, broker string, in *input) (any, error) {
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
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumePartitions(
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
		fetches.EachRecord(func(r *kgo.Record) {
			got := record{Partition: r.Partition, Offset: r.Offset,
				Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				got.Headers = append(got.Headers, header{h.Key, h.Value})
			}
			out = append(out, got)
		})
	}
	return out[:in.Count], nil
}

func admin(
	operation func(context.Context, *kadm.Client, *input) (any, error),
) func(context.Context, string, *input) (any, error) {
	return func(ctx context.Context, broker string, in *input) (any, error) {
		client, err := kadm.NewOptClient(kgo.SeedBrokers(broker))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		return operation(ctx, client, in)
	}
}

func createTopic(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	configs := map[string]*string{}
	for name, value := range in.Configs {
		configs[name] = &value
	}
	return nil, second(client.CreateTopic(ctx, in.Partitions, 1, configs, in.Topic))
}

func deleteTopic(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	return nil, second(client.DeleteTopic(ctx, in.Topic))
}

func createPartitions(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	answers, err := client.UpdatePartitions(ctx, int(in.Partitions), in.Topic)
	if err != nil {
		return nil, err
	}
	return nil, answers.Error()
}

func listTopics(ctx context.Context, client *kadm.Client, _ *input) (any, error) {
	topics, err := client.ListTopics(ctx)
	return topics.Names(), err
}

func partitions(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	topics, err := client.ListTopics(ctx, in.Topic)
	if err != nil {
		return nil, err
	}
	return len(topics[in.Topic].Partitions), topics[in.Topic].Err
}

func configs(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	resources, err := client.DescribeTopicConfigs(ctx, in.Topic)
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

func setConfig(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	changes := []kadm.AlterConfig{}
	for name, value := range in.Configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	answers, err := client.AlterTopicConfigs(ctx, changes, in.Topic)
	if err != nil {
		return nil, err
	}
	return nil, answers[0].Err
}

func deleteRecords(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	offsets := kadm.Offsets{}
	offsets.AddOffset(in.Topic, in.Partition, in.At, -1)
	answers, err := client.DeleteRecords(ctx, offsets)
	if err != nil {
		return nil, err
	}
	return nil, answers.Error()
}

func offset(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	var listed kadm.ListedOffsets
	var err error
	switch in.Start {
	case "earliest":
		listed, err = client.ListStartOffsets(ctx, in.Topic)
	case "latest":
		listed, err = client.ListEndOffsets(ctx, in.Topic)
	case "max_timestamp":
		listed, err = client.ListMaxTimestampOffsets(ctx, in.Topic)
	default:
		listed, err = client.ListOffsetsAfterMilli(ctx, in.At, in.Topic)
	}
	if err != nil {
		return nil, err
	}
	found, known := listed.Lookup(in.Topic, in.Partition)
	if !known {
		return nil, errors.New("the partition is missing in the answer")
	}
	return found.Offset, found.Err
}

func commit(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	offsets := kadm.Offsets{}
	offsets.AddOffset(in.Topic, in.Partition, in.At, -1)
	return nil, client.CommitAllOffsets(ctx, in.Group, offsets)
}

func committed(ctx context.Context, client *kadm.Client, in *input) (any, error) {
	answers, err := client.FetchOffsets(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	found, known := answers.Lookup(in.Topic, in.Partition)
	if !known {
		return -1, nil
	}
	return found.At, found.Err
}

func second[T any](_ T, err error) error { return err }
