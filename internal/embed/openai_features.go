package embed

import (
	"sync"

	"github.com/sashabaranov/go-openai"
)

// features are what an OpenAI-compatible server may lack. Each starts out as present, is switched off for good by the
// first refusal that blames it, and costs nothing to find out: a refused request is not billed.
type features struct {
	base64     bool // encoding_format "base64"; a server that ignores it and sends numbers is understood as well
	dimensions bool // the dimensions parameter; without it the model's own length must be the configured one
}

type capabilities struct {
	mu      sync.Mutex
	now     features
	proven  bool // one request has succeeded as sent now: a refusal is then the request's fault
	guessed bool // features are off because of a refusal that did not name them
	useless bool // guessing did not help
}

func (c *capabilities) current() features {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// succeeded notes that a request as sent now is understood, and tells what had to be left out for that.
func (o *OpenAI) succeeded(sent features) {
	c := &o.caps
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven || sent != c.now {
		return
	}
	c.proven = true
	if c.guessed {
		for feature, has := range map[string]bool{"dimensions": c.now.dimensions, "encoding_format": c.now.base64} {
			if !has && o.cfg.Observer.Lacks != nil {
				o.cfg.Observer.Lacks(feature, "a request with it was refused, one without it accepted")
			}
		}
	}
}

// adapt switches off a feature that a refused request was sent with, if that can be why; false means it cannot. A
// feature that the refusal names is off at once. Otherwise, while no request has succeeded yet and one text alone is
// refused, each is left out in turn, and all are back when that does not help.
func (o *OpenAI) adapt(r refusal, sent features, texts int) bool {
	c := &o.caps
	c.mu.Lock()
	defer c.mu.Unlock()
	var lacks string
	switch {
	case sent != c.now: // another call's refusal was faster
		return true
	case sent.base64 && r.mentions("encoding_format", "base64"):
		lacks, c.now.base64 = "encoding_format", false
	case sent.dimensions && r.mentions("dimension", "matryoshka"):
		lacks, c.now.dimensions = "dimensions", false
	case c.proven || c.useless || texts > 1:
		return false
	case sent.dimensions:
		c.now.dimensions, c.guessed = false, true
		return true
	case sent.base64:
		c.now.base64, c.guessed = false, true
		return true
	default:
		c.now, c.guessed, c.useless = o.features(), false, true
		return false
	}
	if f := o.cfg.Observer.Lacks; f != nil {
		f(lacks, o.cfg.APIKey.scrub(r.message))
	}
	return true
}

// features are what is tried first.
func (o *OpenAI) features() features {
	return features{base64: true, dimensions: o.cfg.Model != string(openai.AdaEmbeddingV2)}
}
