// Benthos core, on which Redpanda Connect is built, with a Kafka input and output of our own on franz-go, the client it uses.
//
// `benthos CONFIG.yaml` runs the stream until its input has ended, or until SIGTERM. The input ends after `count` records. It
// copies no metadata into the messages, as Redpanda Connect's own input does for every record: this one costs less.
package main
import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

const recordsAtOnce = 10_000

type input struct {
	servers, topic, group string
	left                  int
	client                *kgo.Client
}

func (in *input) Connect(context.Context) error {
	if in.client != nil {
		return nil
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(in.servers),
		kgo.ConsumeTopics(in.topic),
		kgo.ConsumerGroup(in.group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.FetchMaxPartitionBytes(8<<20),
	)
	in.client = client
	return err
}

func (in *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	if in.left <= 0 {
		return nil, nil, service.ErrEndOfInput
	}
	fetches := in.client.PollRecords(ctx, recordsAtOnce)
	if err := fetches.Err0(); err != nil {
		return nil, nil, err
	}
	records := fetches.Records()
	batch := make(service.MessageBatch, len(records))
	for i, record := range records {
		batch[i] = service.NewMessage(record.Value)
	}
	in.left -= len(records)
	return batch, func(_ context.Context, failed error) error {
		if failed == nil {
			in.client.MarkCommitRecords(records...)
		}
		return nil
	}, nil
}

func (in *input) Close(ctx context.Context) error {
	if in.client != nil {
		defer in.client.Close()
		return in.client.CommitMarkedOffsets(ctx)
	}
	return nil
}

type output struct {
	servers, topic string
	client         *kgo.Client
}

func (out *output) Connect(context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(out.servers),
		kgo.DefaultProduceTopic(out.topic),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(200_000),
	)
	out.client = client
	return err
}

func (out *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	records := make([]*kgo.Record, len(batch))
	for i, message := range batch {
		value, err := message.AsBytes()
		if err != nil {
			return err
		}
		key, _ := message.MetaGet("key")
		records[i] = &kgo.Record{Key: []byte(key), Value: value}
	}
	return out.client.ProduceSync(ctx, records...).FirstErr()
}

func (out *output) Close(context.Context) error {
	if out.client != nil {
		out.client.Close()
	}
	return nil
}

func texts(conf *service.ParsedConfig, names ...string) (found []string, err error) {
	for _, name := range names {
		text, err := conf.FieldString(name)
		if err != nil {
			return nil, err
		}
		found = append(found, text)
	}
	return found, nil
}

func register() error {
	text := service.NewStringField
	err := service.RegisterBatchInput("records", service.NewConfigSpec().
		Fields(text("servers"), text("topic"), text("group"), service.NewIntField("count")),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchInput, error) {
			told, err := texts(conf, "servers", "topic", "group")
			if err != nil {
				return nil, err
			}
			count, err := conf.FieldInt("count")
			return &input{servers: told[0], topic: told[1], group: told[2], left: count}, err
		})
	if err != nil {
		return err
	}
	return service.RegisterBatchOutput("records", service.NewConfigSpec().Fields(text("servers"), text("topic")),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			told, err := texts(conf, "servers", "topic")
			if err != nil {
				return nil, service.BatchPolicy{}, 0, err
			}
			return &output{servers: told[0], topic: told[1]}, service.BatchPolicy{}, 8, nil
		})
}

func run() error {
	if err := register(); err != nil {
		return err
	}
	config, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	builder := service.NewStreamBuilder()
	if err := builder.SetYAML(string(config)); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	ctx, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer done()
	go func() {
		<-ctx.Done()
		_ = stream.StopWithin(20_000_000_000)
	}()
	return stream.Run(context.Background())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
