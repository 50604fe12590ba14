// Package notify tells other programs what happened, as CloudEvents 1.0 in structured JSON
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md): to a URL by POST, signed, and to an
// SNS topic. Whoever has something to tell never waits for whoever is told.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/prometheus/client_golang/prometheus"
)

// Event is one thing that happened. The same one told twice has the same ID: receivers may drop the second.
type Event struct {
	ID      string // unique among the events of one source
	Kind    string // promoted, held, …: the type is TypePrefix and this
	Subject string // what it happened to
	Time    time.Time
	Data    any // becomes JSON
}

// TypePrefix begins the type of every event.
const TypePrefix = "vectorstore."

// How long a receiver may be away: 5 calls of 10 s at most and 1 + 2 + 4 + 8 s between them, 65 s an event. What happens
// meanwhile waits, up to queued events; beyond it the new ones are dropped, counted and logged.
const (
	tries   = 5
	timeout = 10 * time.Second
	queued  = 64
	told    = 256 // ids that are known to have been told
)

// Config of a Sender. URL or Topic must be set.
type Config struct {
	Source     string     // of every event: the store, as a URI
	URL        string     // receives each event by POST
	Secret     string     // X-Signature-256 is the HMAC-SHA256 of the body under it; "" = not signed
	Topic      string     // ARN of an SNS topic
	AWS        aws.Config // for the topic
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Pause      time.Duration // before the second try, doubled before each further one; 0: a second
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("is not an http(s) URL") // it may hold a token: never repeated
		}
	}
	return nil
}

// Sender sends events one after the other, in the order in which they were told.
type Sender struct {
	cfg    Config
	client *http.Client
	sns    *sns.Client
	count  *prometheus.CounterVec
	queue  chan Event
	done   chan struct{}
	cancel context.CancelFunc

	mu     sync.Mutex
	ids    map[string]bool
	recent []string // ids in the order in which they came
	closed bool
}

// New starts a Sender; Close ends it.
func New(cfg Config) *Sender {
	s := &Sender{
		cfg: cfg, queue: make(chan Event, queued), done: make(chan struct{}), ids: map[string]bool{},
		// A redirect would turn the POST into a GET of something else.
		client: &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vectorstore_notifications_total", Help: "Events for other programs, by what became of them.",
		}, []string{"result"}),
	}
	if s.cfg.Pause == 0 {
		s.cfg.Pause = time.Second
	}
	if cfg.Topic != "" {
		s.sns = sns.NewFromConfig(cfg.AWS, func(o *sns.Options) { o.RetryMaxAttempts = 1 }) // insist tries again
	}
	for _, r := range []string{"sent", "failed", "dropped"} {
		s.count.WithLabelValues(r)
	}
	cfg.Registerer.MustRegister(s.count)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
	return s
}

// Tell queues an event and returns at once. One that was told before is not sent again.
func (s *Sender) Tell(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ids[e.ID] {
		return
	}
	select {
	case s.queue <- e:
	default:
		s.count.WithLabelValues("dropped").Inc()
		s.cfg.Log.Warn("notification dropped", "kind", e.Kind, "id", e.ID, "waiting", queued)
		return
	}
	s.ids[e.ID] = true
	if s.recent = append(s.recent, e.ID); len(s.recent) > told {
		delete(s.ids, s.recent[0])
		s.recent = s.recent[1:]
	}
}

// Close sends what is queued and returns, at the latest when ctx ends.
func (s *Sender) Close(ctx context.Context) {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.cancel()
	<-s.done
}

func (s *Sender) run(ctx context.Context) {
	defer close(s.done)
	defer s.client.CloseIdleConnections()
	for e := range s.queue {
		body, err := s.encode(e)
		if err == nil && s.cfg.URL != "" {
			err = s.insist(ctx, func(ctx context.Context) error { return s.post(ctx, body) })
		}
		if s.cfg.Topic != "" && body != nil {
			err = errors.Join(err, s.insist(ctx, func(ctx context.Context) error { return s.publish(ctx, e, body) }))
		}
		if err != nil {
			s.count.WithLabelValues("failed").Inc()
			s.cfg.Log.Warn("notification not delivered", "kind", e.Kind, "id", e.ID, "error", err)
			continue
		}
		s.count.WithLabelValues("sent").Inc()
	}
}

// encode writes the event down once: every try sends the same bytes.
func (s *Sender) encode(e Event) ([]byte, error) {
	return json.Marshal(struct {
		SpecVersion string    `json:"specversion"`
		ID          string    `json:"id"`
		Source      string    `json:"source"`
		Type        string    `json:"type"`
		Subject     string    `json:"subject,omitempty"`
		Time        time.Time `json:"time"`
		ContentType string    `json:"datacontenttype"`
		Data        any       `json:"data"`
	}{"1.0", e.ID, s.cfg.Source, TypePrefix + e.Kind, e.Subject, e.Time.UTC(), "application/json", e.Data})
}

// final is an answer that would not change.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// insist calls until it works, the answer is final, or the tries are used up.
func (s *Sender) insist(ctx context.Context, call func(context.Context) error) error {
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(s.cfg.Pause << (try - 1)):
			case <-ctx.Done():
				return fmt.Errorf("given up at the end of the program: %w", err)
			}
		}
		bounded, cancel := context.WithTimeout(ctx, timeout)
		err = call(bounded)
		cancel()
		if _, ends := errors.AsType[final](err); err == nil || ends {
			return err
		}
	}
	return fmt.Errorf("after %d tries: %w", tries, err)
}

// SignatureHeader carries "sha256=" and the HMAC of the body in hex.
const SignatureHeader = "X-Signature-256"

func (s *Sender) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return final{errors.New("NOTIFY_URL cannot be called")}
	}
	r.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	r.Header.Set("User-Agent", "vectorstore")
	if s.cfg.Secret != "" {
		mac := hmac.New(sha256.New, []byte(s.cfg.Secret))
		mac.Write(body)
		r.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("call %s: %w", r.URL.Host, reason(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%s answered %d", r.URL.Host, resp.StatusCode)
	default:
		return final{fmt.Errorf("%s answered %d", r.URL.Host, resp.StatusCode)}
	}
}

// reason is why a call failed without the URL, which may hold a token.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if n, ok := err.(net.Error); ok && n.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}

func (s *Sender) publish(ctx context.Context, e Event, body []byte) error {
	_, err := s.sns.Publish(ctx, &sns.PublishInput{
		TopicArn: aws.String(s.cfg.Topic), Message: aws.String(string(body)), Subject: aws.String(TypePrefix + e.Kind),
		MessageAttributes: map[string]types.MessageAttributeValue{ // what subscriptions filter by
			"type": {DataType: aws.String("String"), StringValue: aws.String(TypePrefix + e.Kind)},
		},
	})
	return err
}
