package vecindex

import (
	"context"
	"fmt"
)

// trainPerList vectors of each list train the centroids. FAISS wants between
// 39 and 256; more than 64 did not change recall measurably.
const trainPerList = 64

// trainAndPlace trains the lists on an even sample of the held rows, then
// places the chunks, dropping each when it is placed.
func (b *Builder) trainAndPlace(ctx context.Context) error {
	sample := b.sample(trainPerList * b.params.NList)
	err := sharedCores().building(ctx, func() error {
		return onThread(func() error { return b.ix.Train(sample) })
	})
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	for i, rows := range b.held {
		if err := b.place(ctx, rows); err != nil {
			return err
		}
		freeBlock(rows)
		b.held[i] = nil
	}
	return nil
}

// sample copies at most want rows, evenly spaced over the build, so that the
// same rows give the same index.
func (b *Builder) sample(want int) []float32 {
	want = min(want, b.n)
	out := make([]float32, 0, want*b.dims)
	next, row := 0, 0 // the next of want picks, the row it is compared with
	for _, chunk := range b.held {
		for at := 0; at < len(chunk); at += b.dims {
			if next < want && row == next*b.n/want {
				out = append(out, chunk[at:at+b.dims]...)
				next++
			}
			row++
		}
	}
	return out
}
