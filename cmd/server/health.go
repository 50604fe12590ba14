package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/taksuehiro/vectorstore/internal/wire"
)

type healthCmd struct {
	ListenAddr string        `name:"listen-addr" env:"LISTEN_ADDR" default:":8080" help:"Where the server's public API listens."`
	Timeout    time.Duration `name:"timeout" default:"3s" help:"How long to wait for an answer."`
}

// Run asks /health of this machine's server once.
func (c healthCmd) Run() error {
	host, port, err := net.SplitHostPort(c.ListenAddr)
	if err != nil || port == "0" || port == "" {
		return &wire.Coded{Code: wire.ExitUsage, Err: wire.SettingError("LISTEN_ADDR", "needs a port to ask, is %q", c.ListenAddr)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	client := &http.Client{Timeout: c.Timeout}
	resp, err := client.Get("http://" + net.JoinHostPort(host, port) + "/health")
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/health answers %s", resp.Status)
	}
	return nil
}
