package wire

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

// settings are some of a binary's.
type settings struct {
	Store    Store    `embed:""`
	Provider Provider `embed:""`
	Model    Model    `embed:""`
	Run      struct{} `cmd:"" default:"withargs"`
}

func TestVariablesOfAnotherServiceAreMetWithOurs(t *testing.T) {
	type env = map[string]string
	for _, c := range []struct {
		what string
		env  env
		args string
		want string // theirs>ours, in order
	}{
		{"nothing", nil, "", ""},
		{"the team's task", env{"S3_BUCKET_NAME": "b", "S3_PREFIX": "p", "VECTOR_DIR": "d", "VENDOR_DATA_JSON": "v", "INDEX_NAME": "i", "USE_BEDROCK": "true", "BEDROCK_EMBEDDINGS_MODEL_ID": "m", "AWS_REGION": "r"}, "",
			"S3_BUCKET_NAME>VECTORSTORE_S3_BUCKET S3_PREFIX>VECTORSTORE_S3_PREFIX INDEX_NAME>VECTORSTORE_S3_PREFIX VECTOR_DIR>VECTORSTORE_LOCAL_DIR VENDOR_DATA_JSON>VECTORSTORE_SOURCE_KEY USE_BEDROCK>EMBEDDING_PROVIDER BEDROCK_EMBEDDINGS_MODEL_ID>EMBEDDING_MODEL"},
		{"ours are set", env{"S3_BUCKET_NAME": "b", "VECTORSTORE_S3_BUCKET": "c", "USE_BEDROCK": "1", "EMBEDDING_PROVIDER": "local"}, "", ""},
		{"ours is given by a flag", env{"S3_BUCKET_NAME": "b", "S3_PREFIX": "p"}, "--s3-bucket c", "S3_PREFIX>VECTORSTORE_S3_PREFIX"},
		{"switched off", env{"USE_BEDROCK": "false", "S3_PREFIX": ""}, "", ""},
		{"an older OpenAI client", env{"OPENAI_API_BASE": "u", "OPENAI_API_KEY": "sk-word"}, "", "OPENAI_API_BASE>OPENAI_BASE_URL"},
		{"Azure", env{"AZURE_OPENAI_ENDPOINT": "u", "AZURE_OPENAI_API_KEY": "sk-word", "AZURE_OPENAI_EMBEDDINGS_DEPLOYMENT": "d"}, "",
			"AZURE_OPENAI_ENDPOINT>OPENAI_BASE_URL AZURE_OPENAI_API_KEY>OPENAI_API_KEY AZURE_OPENAI_EMBEDDINGS_DEPLOYMENT>EMBEDDING_MODEL"},
		{"minio's", env{"S3_ENDPOINT_URL": "u", "AWS_S3_BUCKET": "b"}, "", "AWS_S3_BUCKET>VECTORSTORE_S3_BUCKET S3_ENDPOINT_URL>AWS_ENDPOINT_URL_S3"},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, s := range strangers {
				t.Setenv(s.Theirs, "")
				t.Setenv(s.Ours, "")
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			var cli settings
			var stderr strings.Builder
			ctx, _, ok := Parse(&cli, strings.Fields(c.args), "test", "", Build{}, NewOutput(io.Discard), &stderr)
			if !ok {
				t.Fatal(stderr.String())
			}
			var got []string
			found := Strangers(ctx)
			for _, s := range found {
				got = append(got, s.Theirs+">"+s.Ours)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
			var log strings.Builder
			WarnOfStrangers(slog.New(slog.NewTextHandler(&log, nil)), found)
			if strings.Count(log.String(), "level=WARN") != len(found) || strings.Contains(log.String(), "sk-word") {
				t.Error(log.String())
			}
		})
	}
}
