package serve

import "net/http"

type page struct{}

func newPage() (*page, error) { return &page{}, nil }

func (s *Server) handlePage(w http.ResponseWriter, r *http.Request)  { s.notFound(w, r) }
func (s *Server) handlePanel(w http.ResponseWriter, r *http.Request) { s.notFound(w, r) }
func (s *Server) handleAsset(w http.ResponseWriter, r *http.Request) { s.notFound(w, r) }
