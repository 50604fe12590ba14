package embed

import "sync"

// features are what an OpenAI-compatible server may lack. Each starts out as present, is switched off for good by the
// first refusal that blames it, and costs nothing to find out: a refused request is not billed.
type features struct {
	base64     bool // encoding_format "base64"; a server that ignores it and sends numbers is understood as well
	dimensions bool // the dimensions parameter; without it the model's own length must be the configured one
}

type capabilities struct {
	mu     sync.Mutex
	now    features
	proven bool // one request has succeeded as sent now: a refusal is then the request's fault
}

func (c *capabilities) current() features {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *capabilities) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven = true
}

// adapt switches off the feature a refused request was sent with, if that can be why; false means it cannot.
func (o *OpenAI) adapt(r refusal, sent features) bool {
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
	case !c.proven && r.mentions("extra", "unexpected", "unknown", "unrecognized", "not permitted", "unsupported") && (sent.base64 || sent.dimensions):
		// The server objects to a parameter without a name we know: try without each, newest first.
		if sent.dimensions {
			lacks, c.now.dimensions = "dimensions", false
		} else {
			lacks, c.now.base64 = "encoding_format", false
		}
	default:
		return false
	}
	if f := o.cfg.Observer.Lacks; f != nil {
		f(lacks, o.cfg.APIKey.scrub(r.message))
	}
	return true
}
