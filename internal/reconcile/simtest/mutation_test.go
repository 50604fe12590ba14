package simtest

import "github.com/taksuehiro/vectorstore/internal/store"

// mutation breaks one rule of the protocol between a process and the store.
type mutation func(p *proc, o store.Objects) store.Objects
