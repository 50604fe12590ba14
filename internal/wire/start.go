package wire

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Started logs which store this process works on and what embeds: what people look for first when it is the wrong one.
func Started(log *slog.Logger, s Store, provider, model string) {
	log.Info("store", "store", s.where(), "prefix", s.Layout().Prefix, "embedding_provider", provider, "embedding_model", model)
}

// where the store is: a bucket as a URL, or a directory.
func (s Store) where() string {
	if s.Bucket != "" {
		return "s3://" + s.Bucket
	}
	if abs, err := filepath.Abs(s.Dir); err == nil {
		return abs
	}
	return s.Dir
}

// Stranger is a variable of another service that is set while ours for the same thing is not.
type Stranger struct{ Theirs, Ours string }

// strangers are variables that services of this kind are known to use, and ours for what they say.
var strangers = []Stranger{
	{"S3_BUCKET_NAME", "VECTORSTORE_S3_BUCKET"},
	{"S3_BUCKET", "VECTORSTORE_S3_BUCKET"},
	{"BUCKET_NAME", "VECTORSTORE_S3_BUCKET"},
	{"AWS_S3_BUCKET", "VECTORSTORE_S3_BUCKET"},
	{"AWS_S3_BUCKET_NAME", "VECTORSTORE_S3_BUCKET"},
	{"S3_PREFIX", "VECTORSTORE_S3_PREFIX"},
	{"AWS_S3_PREFIX", "VECTORSTORE_S3_PREFIX"},
	{"INDEX_NAME", "VECTORSTORE_S3_PREFIX"}, // each index has a prefix of its own
	{"VECTOR_DIR", "VECTORSTORE_LOCAL_DIR"},
	{"VECTORSTORE_DIR", "VECTORSTORE_LOCAL_DIR"},
	{"FAISS_INDEX_PATH", "VECTORSTORE_LOCAL_DIR"},
	{"VENDOR_DATA_JSON", "VECTORSTORE_SOURCE_KEY"},
	{"VENDORS_JSON", "VECTORSTORE_SOURCE_KEY"},
	{"S3_ENDPOINT", "AWS_ENDPOINT_URL_S3"},
	{"S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"},
	{"AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3"},
	{"MINIO_ENDPOINT", "AWS_ENDPOINT_URL_S3"},
	{"USE_BEDROCK", "EMBEDDING_PROVIDER"},
	{"BEDROCK_EMBEDDINGS_MODEL_ID", "EMBEDDING_MODEL"},
	{"BEDROCK_EMBEDDING_MODEL_ID", "EMBEDDING_MODEL"},
	{"OPENAI_EMBEDDING_MODEL", "EMBEDDING_MODEL"},
	{"OPENAI_EMBEDDINGS_MODEL", "EMBEDDING_MODEL"},
	{"EMBEDDING_MODEL_NAME", "EMBEDDING_MODEL"},
	{"EMBEDDINGS_MODEL", "EMBEDDING_MODEL"},
	{"OPENAI_API_BASE", "OPENAI_BASE_URL"},
	{"OPENAI_API_BASE_URL", "OPENAI_BASE_URL"},
	{"AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL"},
	{"AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"},
	{"AZURE_OPENAI_KEY", "OPENAI_API_KEY"},
	{"AZURE_OPENAI_DEPLOYMENT", "EMBEDDING_MODEL"},
	{"AZURE_OPENAI_DEPLOYMENT_NAME", "EMBEDDING_MODEL"},
	{"AZURE_OPENAI_EMBEDDING_DEPLOYMENT", "EMBEDDING_MODEL"},
	{"AZURE_OPENAI_EMBEDDINGS_DEPLOYMENT", "EMBEDDING_MODEL"},
	{"CORS_ORIGINS", "ALLOWED_ORIGINS"},
	{"CORS_ALLOW_ORIGINS", "ALLOWED_ORIGINS"},
	{"CORS_ALLOWED_ORIGINS", "ALLOWED_ORIGINS"},
}

// Strangers lists what in the environment looks like another service's, and ours for it, which neither the environment
// nor a flag gives.
func Strangers(ctx *kong.Context) []Stranger {
	var out []Stranger
	for _, s := range strangers {
		if off := []string{"", "0", "false", "no", "off"}; slices.Contains(off, strings.ToLower(os.Getenv(s.Theirs))) {
			continue
		}
		if os.Getenv(s.Ours) == "" && !flagGiven(ctx, s.Ours) {
			out = append(out, s)
		}
	}
	return out
}

// flagGiven tells whether the command line holds the flag of a variable.
func flagGiven(ctx *kong.Context, variable string) bool {
	return slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag != nil && slices.Contains(p.Flag.Envs, variable) })
}

// WarnOfStrangers says what to set. Values are not logged: some are keys.
func WarnOfStrangers(log *slog.Logger, found []Stranger) {
	for _, s := range found {
		log.Warn("a variable of another service is set, and ours is not", "theirs", s.Theirs, "ours", s.Ours)
	}
}
