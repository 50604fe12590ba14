package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/taksuehiro/vectorstore/internal/conditions"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// synonymsEvery is how often synonyms.json is looked at: people write it, seldom, and it is asked for by every replica.
const synonymsEvery = time.Minute

// synonyms is what was last read of people's synonyms.json.
type synonyms struct {
	etag string
	next time.Time
}

// lookAtSynonyms tells Deps.Synonyms what people wrote, when that has changed. A store that does not answer and a file that
// cannot be used leave the words that are in use.
func (f *Follower) lookAtSynonyms(ctx context.Context) {
	if f.deps.Synonyms == nil || time.Now().Before(f.synonyms.next) {
		return
	}
	f.synonyms.next = time.Now().Add(synonymsEvery)
	words, etag, err := f.readSynonyms(ctx)
	switch {
	case errors.Is(err, store.ErrNotModified):
	case errors.Is(err, store.ErrNotFound):
		if f.synonyms.etag != "" {
			f.synonyms.etag = ""
			f.deps.Synonyms(nil)
			f.log.Info("synonyms dropped: the file is gone", "key", f.deps.Layout.Synonyms())
		}
	case etag == "":
		f.log.Debug("synonyms not read", "error", err) // polls of the pointer say how the store is
	case err != nil:
		f.synonyms.etag = etag // said once
		f.log.Warn("synonyms kept as they were: the file cannot be used", "key", f.deps.Layout.Synonyms(), "error", err)
	default:
		f.synonyms.etag = etag
		f.deps.Synonyms(words)
		f.log.Info("synonyms read", "key", f.deps.Layout.Synonyms(), "fields", len(words))
	}
}

// readSynonyms reads the file when it is another one than before; with an ETag an error is about what stands in it.
func (f *Follower) readSynonyms(ctx context.Context) (words conditions.Synonyms, etag string, err error) {
	body, info, err := f.deps.Objects.Get(ctx, f.deps.Layout.Synonyms(), store.GetOptions{IfNoneMatch: f.synonyms.etag})
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, conditions.MaxSynonyms+1))
	if err != nil {
		return nil, "", fmt.Errorf("read synonyms.json: %w", err)
	}
	words, err = conditions.ParseSynonyms(data)
	return words, info.ETag, err
}
