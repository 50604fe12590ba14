package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/taksuehiro/vectorstore/internal/follow"
)

// panelData is what panel.html shows of the following.
type panelData struct {
	T                                      pageText
	Level, State                           string // Level: ok, warning, down
	ID, Source, Model, Index, Created, Age string
	Generation                             int64
	Vectors                                int
	Base, ServedAfter                      string // "" for none
	Changes                                int    // since the base
	Refused                                *follow.Refusal
	RefusedWhy                             string
	PollError                              string
	Swaps                                  []swapView
}

type swapView struct {
	At, Clock, Took string
	Generation      int64
	Vectors         int
}

// handlePanel is GET /panel: the panel alone, for the script that keeps it live.
func (s *Server) handlePanel(w http.ResponseWriter, r *http.Request) {
	lang := s.page.language(r, r.URL.Query().Get("lang"))
	s.renderPage(w, http.StatusOK, "panel", lang, s.panel(lang))
}

// panel describes what is served. Where keys are required it keeps to what /health tells anyone.
func (s *Server) panel(lang string) panelData {
	p := panelData{T: textOf(lang), Level: "ok"}
	p.State = p.T.Serving
	st := s.follower.Status()
	h, refused := st.Served, st.Refused
	switch {
	case s.draining.Load():
		p.Level, p.State = "warning", p.T.Draining
	case h == nil:
		p.Level, p.State = "down", p.T.NoSnapshot
	case h.Fallback:
		p.Level, p.State = "warning", p.T.ServingFallback
	case h.Cached:
		p.Level, p.State = "warning", p.T.ServingCache
	case refused != nil:
		p.Level, p.State = "warning", p.T.ServingStale
	}
	if h != nil {
		m := h.Manifest
		p.ID, p.Generation, p.Vectors, p.Source = m.ID, h.Pointer.Generation, h.Vectors, st.Source
		p.Model = m.Spec.Embedding.Model
		p.Index = fmt.Sprintf("%s · %d", m.Index.Kind, m.Spec.Embedding.Dims)
		p.Created = m.CreatedAt.UTC().Format(time.RFC3339)
		p.Age = p.T.ago(time.Since(m.CreatedAt))
		if m.Base != nil {
			p.Base, p.Changes = m.Base.ID, changes(m)
		}
		if after := servedAfter(st); after != nil {
			p.ServedAfter = took(*after)
		}
	}
	if len(s.keys) > 0 {
		return p
	}
	p.Refused, p.PollError = refused, st.PollErr
	if refused != nil {
		p.RefusedWhy = p.T.refusal(refused.Code)
	}
	for _, sw := range st.Swaps[:min(len(st.Swaps), shownSwaps)] {
		p.Swaps = append(p.Swaps, swapView{
			At: sw.At.Format(time.RFC3339), Clock: sw.At.Local().Format("15:04:05"), Took: took(sw.Seconds),
			Generation: sw.Generation, Vectors: sw.Vectors,
		})
	}
	return p
}

// refusal is a reason in words.
func (t pageText) refusal(code string) string {
	switch code {
	case follow.ReasonHash:
		return t.WhyHash
	case follow.ReasonMissing:
		return t.WhyMissing
	case follow.ReasonMemory:
		return t.WhyMemory
	case follow.ReasonEmbedding:
		return t.WhyEmbedding
	case follow.ReasonStore:
		return t.PollError
	case follow.ReasonDisk:
		return t.WhyDisk
	case follow.ReasonUnsigned:
		return t.WhyUnsigned
	}
	return t.WhyOpen
}

func took(seconds float64) string {
	if seconds < 1 {
		return fmt.Sprintf("%.0f ms", seconds*1000)
	}
	return fmt.Sprintf("%.1f s", seconds)
}

// ago rounds an age to its largest unit; under a minute to ten seconds, so that a live panel does not flicker.
func (t pageText) ago(d time.Duration) string {
	switch s := int(max(d, 0).Seconds()); {
	case s < 60:
		return fmt.Sprintf(t.Seconds, s/10*10)
	case s < 3600:
		return fmt.Sprintf(t.Minutes, s/60)
	case s < 48*3600:
		return fmt.Sprintf(t.Hours, s/3600)
	default:
		return fmt.Sprintf(t.Days, s/86400)
	}
}
