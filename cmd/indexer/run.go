package main

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/taksuehiro/vectorstore/internal/reconcile"
	"github.com/taksuehiro/vectorstore/internal/wire"
)

type runCmd struct {
	Building  building `embed:""`
	AdminAddr string   `name:"admin-addr" env:"ADMIN_ADDR" default:":9091" help:"Address of /metrics, /health, /ready, /status and pprof."`
}

// Validate reports an address that cannot be one; the command line's parser calls it.
func (c runCmd) Validate() error { return wire.CheckAddr("ADMIN_ADDR", c.AdminAddr) }

// Run is the daemon: it holds or waits for the lease and reconciles until a signal.
func (c runCmd) Run(a *app) error {
	if err := c.Building.signs(a); err != nil {
		return err
	}
	log := a.log.Logger(a.stderr)
	return c.Building.withReconciler(a, log, wire.Daemon, func(r *reconcile.Reconciler, reg *prometheus.Registry) error {
		adm, err := newAdmin(c.AdminAddr, reg, r.Status, log)
		if err != nil {
			return usage(err)
		}
		log.Info("indexer listening", "admin_addr", adm.addr())
		g, ctx := errgroup.WithContext(a.ctx)
		ctx, stop := context.WithCancel(ctx)
		g.Go(func() error { return adm.run(ctx) })
		g.Go(func() error {
			defer stop() // the admin port has nothing left to show
			return r.Run(ctx)
		})
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		log.Info("indexer stopped")
		return nil
	})
}
