package wire

import (
	"context"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taksuehiro/vectorstore/internal/notify"
)

// Notify says who is told what happens.
type Notify struct {
	URL    string `name:"notify-url" env:"NOTIFY_URL" placeholder:"URL" help:"Gets a CloudEvent by POST when something is promoted, held, rolled back or repaired."`
	Secret string `name:"notify-secret" env:"NOTIFY_SECRET" placeholder:"TEXT" help:"X-Signature-256 of each POST is the HMAC-SHA256 of its body under this. Prefer the variable: a flag is visible to ps."`
	Topic  string `name:"notify-sns-topic" env:"NOTIFY_SNS_TOPIC" placeholder:"ARN" help:"SNS topic that gets the same events."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (n Notify) Validate() error {
	if err := (notify.Config{URL: n.URL}).Validate(); err != nil {
		return SettingError("NOTIFY_URL", "%w", err)
	}
	if n.Topic != "" && !arn.IsARN(n.Topic) {
		return SettingError("NOTIFY_SNS_TOPIC", "is not an ARN")
	}
	return nil
}

// Open starts the sender of events about a store; nil when nobody is to be told.
func (n Notify) Open(ctx context.Context, s Store, reg prometheus.Registerer, log *slog.Logger) (*notify.Sender, error) {
	if n.URL == "" && n.Topic == "" {
		return nil, nil
	}
	cfg := notify.Config{Source: s.where() + "/" + s.Layout().Prefix, URL: n.URL, Secret: n.Secret, Topic: n.Topic, Registerer: reg, Log: log}
	if n.Topic != "" {
		var err error
		if cfg.AWS, err = config.LoadDefaultConfig(ctx); err != nil {
			return nil, SettingError("NOTIFY_SNS_TOPIC", "%w", err)
		}
	}
	return notify.New(cfg), nil
}
