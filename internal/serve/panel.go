package serve

import (
	"fmt"
	"net/http"
	"time"
)

// panelData is what panel.html shows of the following.
type panelData struct {
	T                                      pageText
	Level, State                           string // Level: ok, warning, down
	ID, Source, Model, Index, Created, Age string
	Generation                             int64
	Vectors                                int
	Refused                                *refusal
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
	v := s.follow.view()
	h, ok := s.holder.look()
	refused := s.follow.refused()
	switch {
	case s.draining.Load():
		p.Level, p.State = "warning", p.T.Draining
	case !ok:
		p.Level, p.State = "down", p.T.NoSnapshot
	case h.fallback:
		p.Level, p.State = "warning", p.T.ServingFallback
	case h.cached:
		p.Level, p.State = "warning", p.T.ServingCache
	case refused != nil:
		p.Level, p.State = "warning", p.T.ServingStale
	}
	if ok {
		m := h.manifest
		p.ID, p.Generation, p.Vectors, p.Source = m.ID, h.pointer.Generation, h.vectors, s.follow.source()
		p.Model = m.Spec.Embedding.Model
		p.Index = fmt.Sprintf("%s · %d", m.Index.Kind, m.Spec.Embedding.Dims)
		p.Created = m.CreatedAt.UTC().Format(time.RFC3339)
		p.Age = p.T.ago(time.Since(m.CreatedAt))
	}
	if len(s.keys) > 0 {
		return p
	}
	p.Refused, p.PollError = refused, v.pollErr
	if refused != nil {
		p.RefusedWhy = p.T.refusal(refused.code)
	}
	for _, sw := range v.swaps[:min(len(v.swaps), shownSwaps)] {
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
	case reasonHash:
		return t.WhyHash
	case reasonMissing:
		return t.WhyMissing
	case reasonMemory:
		return t.WhyMemory
	case reasonEmbedding:
		return t.WhyEmbedding
	case reasonStore:
		return t.PollError
	case reasonDisk:
		return t.WhyDisk
	case reasonUnsigned:
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
