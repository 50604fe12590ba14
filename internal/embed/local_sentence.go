package embed

import (
	"fmt"

	"github.com/taksuehiro/vectorstore/internal/embed/sentence"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/spelling"
)

// SentenceModel is the multilingual model of the local provider: it finds what means the same, in other words and in
// other languages.
const SentenceModel = sentence.Name

// sentenceBatch texts are handed over at a time: of some hundred characters each, an eighth of a second of one core.
const sentenceBatch = 32

// NewSentence returns the embedder of the multilingual model whose weights lie in dir. Nothing is read before it is
// needed; while they are missing, every call is refused with what to do.
func NewSentence(dir string) *Local {
	spec := snapshot.Embedding{Provider: "local", Model: sentence.Name, Dims: sentence.Dims, Version: sentence.Version}
	l := newLocal(spec, sentenceBatch, func() (encoder, error) {
		m, err := sentence.Open(dir)
		if err != nil {
			return nil, &MissingModelError{sentence.Name, err}
		}
		return sentenceEncoder{m.NewEncoder()}, nil
	})
	l.slow = true
	return l
}

// SentenceInstalled tells whether dir has the model's weights.
func SentenceInstalled(dir string) bool { return sentence.Installed(dir) }

// MissingModelError says that this process cannot embed for want of the model itself.
type MissingModelError struct {
	Model string
	Err   error
}

func (e *MissingModelError) Error() string { return fmt.Sprintf("local model %s: %v", e.Model, e.Err) }

// Unwrap returns why.
func (e *MissingModelError) Unwrap() error { return e.Err }

// ModelMissing is how others tell it without importing this package.
func (e *MissingModelError) ModelMissing() string { return e.Model }

// sentenceEncoder shows the model what people see of a text.
type sentenceEncoder struct{ *sentence.Encoder }

func (e sentenceEncoder) encode(texts []string, out []float32) int {
	seen := make([]string, len(texts))
	for i, t := range texts {
		seen[i] = spelling.Usual(t)
	}
	return e.Encode(seen, out)
}
