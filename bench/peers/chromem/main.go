// Command chromem serves vectors with chromem-go: a Go vector store that scans everything.
//
// usage: chromem DATASET-DIR DIMS PORT; it reads base.f32 at start and then answers POST /search.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/philippgille/chromem-go"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: chromem DATASET-DIR DIMS PORT")
	}
	dims, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	collection, err := load(filepath.Join(os.Args[1], "base.f32"), dims)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("POST /search", func(w http.ResponseWriter, r *http.Request) { search(w, r, collection) })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[3], mux))
}

func load(path string, dims int) (*chromem.Collection, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	collection, err := chromem.NewDB().CreateCollection("bench", nil, nil)
	if err != nil {
		return nil, err
	}
	all := make([]float32, len(data)/4)
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, all); err != nil {
		return nil, err
	}
	docs := make([]chromem.Document, len(all)/dims)
	for i := range docs {
		docs[i] = chromem.Document{ID: strconv.Itoa(i), Embedding: all[i*dims : (i+1)*dims : (i+1)*dims], Content: "x"}
	}
	start := time.Now()
	if err := collection.AddDocuments(context.Background(), docs, runtime.NumCPU()); err != nil {
		return nil, err
	}
	fmt.Printf("{\"build_s\":%g}\n", time.Since(start).Seconds())
	return collection, nil
}

type hit struct {
	ID    string  `json:"id"`
	Score float32 `json:"score"`
}

func search(w http.ResponseWriter, r *http.Request, c *chromem.Collection) {
	var q struct {
		Vector []float32 `json:"vector"`
		K      int       `json:"k"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	found, err := c.QueryEmbedding(r.Context(), q.Vector, q.K, nil, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out struct {
		Results []hit `json:"results"`
	}
	for _, f := range found {
		out.Results = append(out.Results, hit{f.ID, f.Similarity})
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		log.Print(err)
	}
}
