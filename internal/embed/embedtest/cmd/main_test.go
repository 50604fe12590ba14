package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

func TestItPrintsItsURLAndAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"-addr", "127.0.0.1:0", "-dims", "32", "-models", "m"}, w) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSpace(line)
	res, err := http.Post(base+"/embeddings", "application/json", strings.NewReader(`{"model":"m","input":["冷凍倉庫","温度監視"]}`))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	res, err = http.Get(strings.TrimSuffix(base, "/v1") + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var stats embedtest.Stats
	if err := json.NewDecoder(res.Body).Decode(&stats); err != nil || stats.Requests != 1 || stats.Texts != 2 || stats.AnsweredTexts != 2 || stats.DestroyedTexts != 0 {
		t.Errorf("%+v, %v", stats, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-compat", "x"}, {"-retry-after", "x"}, {"-faults", "0.5"}, {"-nope"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
