package wire

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"github.com/taksuehiro/vectorstore/internal/tracing"
)

// Traces says where traces go. The SDK reads the other OTEL_ variables itself: of sampling, batches, headers, certificates.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
type Traces struct {
	Endpoint string `name:"otel-exporter-otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Collector that gets traces of requests, passes and swaps by OTLP over HTTP, as http://localhost:4318; default none, which traces nothing. The other OTEL_ variables hold too."`
}

// Validate reports the first wrong setting; the command line's parser calls it.
func (t Traces) Validate() error {
	if t.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return SettingError("OTEL_EXPORTER_OTLP_ENDPOINT", "is not an http(s) URL, as http://localhost:4318")
	}
	if p := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" && p != "http/protobuf" {
		return SettingError("OTEL_EXPORTER_OTLP_PROTOCOL", "is %.40q: traces go by http/protobuf alone, for which collectors listen on port 4318", p)
	}
	return nil
}

// Open starts the export of traces of a service of a name; nil where there is none. close sends what waits, within ctx.
func (t Traces) Open(ctx context.Context, service string, b Build, log *slog.Logger) (_ *tracing.Tracer, close func(context.Context), _ error) {
	if t.Endpoint == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, func(context.Context) {}, nil
	}
	to, err := url.JoinPath(t.Endpoint, "v1", "traces")
	if err != nil {
		return nil, nil, SettingError("OTEL_EXPORTER_OTLP_ENDPOINT", "%w", err)
	}
	otel.SetErrorHandler(&exportErrors{log: log})
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to))
	if err != nil {
		return nil, nil, SettingError("OTEL_EXPORTER_OTLP_ENDPOINT", "%w", err)
	}
	host, _ := os.Hostname()
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceName(service), semconv.ServiceVersion(b.Version), semconv.ServiceInstanceID(host),
	), resource.WithFromEnv()) // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before ours
	if err != nil {
		return nil, nil, SettingError("OTEL_RESOURCE_ATTRIBUTES", "%w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return tracing.New(p), func(ctx context.Context) {
		if err := p.Shutdown(ctx); err != nil {
			log.Warn("traces not exported", "error", err)
		}
	}, nil
}

// LastTraces is how long a process that ends waits for its last traces to arrive.
const LastTraces = 5 * time.Second

// exportErrors says once a minute that traces do not arrive: a collector that is away is no news every five seconds.
type exportErrors struct {
	log *slog.Logger
	mu  sync.Mutex
	at  time.Time
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.at) < time.Minute {
		return
	}
	e.at = time.Now()
	e.log.Warn("traces not exported", "error", err)
}
