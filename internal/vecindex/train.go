package vecindex

import (
	"context"
	"fmt"
	"slices"
)

// trainPerList vectors of each list train the centroids: about the least that
// FAISS trains on without complaint. It takes up to 256, in proportion longer.
const trainPerList = 40

// trainAndPlace gives the lists their centroids, earlier ones where they fit,
// then places the chunks, dropping each when it is placed.
func (b *Builder) trainAndPlace(ctx context.Context) error {
	taken, err := b.takeLists(ctx)
	if err != nil {
		return err
	}
	if !taken {
		if err := b.train(ctx); err != nil {
			return err
		}
	}
	if b.params.Codes() {
		if err := b.setCodeRange(); err != nil {
			return err
		}
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

// train finds the centroids on an even sample of the held rows.
func (b *Builder) train(ctx context.Context) error {
	sample, err := b.sample(trainPerList * b.params.NList)
	if err != nil {
		return err
	}
	defer freeBlock(sample)
	err = sharedCores().building(ctx, func() error {
		return onThread(func() error { return b.ix.Train(sample) })
	})
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// setCodeRange lets the codes reach over all rows. Trained on a sample, they
// would cut off what lies outside it.
func (b *Builder) setCodeRange() error {
	low := slices.Clone(b.held[0][:b.dims])
	high := slices.Clone(low)
	for _, chunk := range b.held {
		for at := 0; at < len(chunk); at += b.dims {
			for i, v := range chunk[at : at+b.dims] {
				low[i], high[i] = min(low[i], v), max(high[i], v)
			}
		}
	}
	for i := range high {
		high[i] -= low[i]
	}
	return codeRange(b.h, low, high)
}

// sample copies at most want rows, evenly spaced over the build, so that the
// same rows give the same index. The caller frees it.
func (b *Builder) sample(want int) ([]float32, error) {
	want = min(want, b.n)
	out, err := newBlock(want * b.dims)
	if err != nil {
		return nil, err
	}
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
	return out, nil
}
