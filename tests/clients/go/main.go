// Command gokafka is the worker of the clients written in Go: `gokafka CLIENT BROKER`.
//
// Each line of standard input is an operation as JSON, each is answered by one line, {"ok": …} or
// {"error": …}. Between answers, group members and streams write lines {"event": …}. workers.py
// says what each operation means.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const operationSecondsMax = 100

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
	Op         string            `json:"op"`
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
	Session    int64             `json:"session_ms"`
	AutoCommit bool              `json:"auto_commit"`
	Instance   string            `json:"instance"`
	Protocol   string            `json:"protocol"`
	Pause      int64             `json:"pause_ms"`
}

// A member of a group, which tells what it is given by `event`.
type member interface {
	commit(context.Context) error
	leave(context.Context) error
}

// What sends one numbered record and waits for its acknowledgement.
type sender func(context.Context, int) error

type operation func(context.Context, *input) (any, error)

// What a client offers beyond its plain operations.
type client struct {
	operations map[string]operation
	join       func(context.Context, *input) (member, error)
	stream     func(context.Context, *input) (sender, func() error, error)
}

var output = struct {
	sync.Mutex
	*json.Encoder
}{Encoder: json.NewEncoder(os.Stdout)}

func tell(line map[string]any) {
	output.Lock()
	defer output.Unlock()
	if err := output.Encode(line); err != nil {
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gokafka CLIENT BROKER < JSON lines")
		os.Exit(2)
	}
	clients := map[string]func(string) client{
		"franz-go": franz, "sarama": saramaClient, "kafka-go": kafkaGo,
	}
	make, known := clients[os.Args[1]]
	if !known {
		fmt.Fprintln(os.Stderr, "no client", os.Args[1])
		os.Exit(2)
	}
	worker := worker{client: make(os.Args[2])}
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var in input
		if err := json.Unmarshal(line, &in); err != nil {
			tell(map[string]any{"error": err.Error()})
			continue
		}
		if out, err := worker.handle(&in); err != nil {
			tell(map[string]any{"error": err.Error()})
		} else {
			tell(map[string]any{"ok": out})
		}
	}
}

type worker struct {
	client client
	member member
	stream *stream
}

func (w *worker) handle(in *input) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationSecondsMax*time.Second)
	defer cancel()
	var err error
	switch in.Op {
	case "member":
		w.member, err = w.client.join(context.Background(), in)
		return nil, err
	case "member_commit":
		return nil, w.member.commit(ctx)
	case "member_leave":
		return nil, w.member.leave(ctx)
	case "stream":
		w.stream, err = streamStart(w.client, in)
		return nil, err
	case "stream_stop":
		return w.stream.stop()
	}
	operation, known := w.client.operations[in.Op]
	if !known {
		return nil, fmt.Errorf("no operation %s", in.Op)
	}
	return operation(ctx, in)
}

// A stream of numbered records, each sent until it is acknowledged, whatever happens to the broker.
type stream struct {
	ended        chan struct{}
	done         chan error
	acknowledged []int
	close        func() error
}

func streamStart(client client, in *input) (*stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationSecondsMax*time.Second)
	send, closing, err := client.stream(ctx, in)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stream{ended: make(chan struct{}), done: make(chan error, 1), close: closing}
	go func() {
		defer cancel()
		s.done <- s.run(ctx, send, time.Duration(in.Pause)*time.Millisecond)
	}()
	return s, nil
}

func (s *stream) run(ctx context.Context, send sender, pause time.Duration) error {
	pause = max(pause, 2*time.Millisecond)
	for number := 0; ; number++ {
		for {
			err := send(ctx, number)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
			tell(map[string]any{"event": "failed", "text": err.Error()})
			time.Sleep(20 * time.Millisecond)
		}
		s.acknowledged = append(s.acknowledged, number)
		if number == 0 {
			tell(map[string]any{"event": "started"})
		}
		select {
		case <-s.ended:
			return nil
		case <-time.After(pause):
		}
	}
}

func (s *stream) stop() (any, error) {
	close(s.ended)
	if err := <-s.done; err != nil {
		return nil, err
	}
	return s.acknowledged, s.close()
}

func eventRecord(r record) {
	tell(map[string]any{"event": "record", "record": r})
}

func eventAssigned(partitions []int32) {
	tell(map[string]any{"event": "assigned", "partitions": partitions})
}

func number(n int) []byte { return []byte(fmt.Sprintf("%d", n)) }

func second[T any](_ T, err error) error { return err }

var errMissing = errors.New("the partition is missing in the answer")
