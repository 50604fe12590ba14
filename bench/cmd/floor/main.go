// Command floor is the least that a search server written in Go can cost: it answers POST /search without searching.
//
// usage: floor PORT [decode]; with decode it parses the body with encoding/json as a plain server would.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
)

type query struct {
	Vector []float32 `json:"vector"`
	K      int       `json:"k"`
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: floor PORT [decode]")
	}
	decode := len(os.Args) > 2 && os.Args[2] == "decode"
	answer := []byte(`{"results":[`)
	for i := range 10 {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = append(answer, `{"id":`+strconv.Itoa(i)+`,"score":0.5}`...)
	}
	answer = append(answer, "]}"...)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /search", func(w http.ResponseWriter, r *http.Request) {
		if decode {
			var q query
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
		} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Write(answer) // a client that is gone needs no answer
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
