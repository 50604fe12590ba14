package store

import (
	"context"
	"io"
)

// Names of the operations, as hooks, metrics and errors spell them.
const (
	OpGet     = "get"
	OpHead    = "head"
	OpPut     = "put"
	OpPutFile = "put_file"
	OpDelete  = "delete"
	OpList    = "list"

	OpListVersions = "list_versions"
)

// Hook stands around one call of an Objects. It decides whether, when and how often call runs, and what the
// caller is told: returning an error without running call is a request that never arrived; returning an error
// after call succeeded is an answer that was lost. key is the prefix for OpList.
type Hook func(ctx context.Context, op, key string, call func() error) error

// Hooked returns o with hook around every call. Reading a body is not hooked.
func Hooked(o Objects, hook Hook) Objects { return hooked{o, hook} }

type hooked struct {
	Objects
	hook Hook
}

func (h hooked) Get(ctx context.Context, key string, o GetOptions) (body io.ReadCloser, info Info, err error) {
	err = h.hook(ctx, OpGet, key, func() (err error) {
		body, info, err = h.Objects.Get(ctx, key, o)
		return err
	})
	if err != nil {
		if body != nil {
			body.Close()
		}
		return nil, Info{}, err
	}
	return body, info, nil
}

func (h hooked) Head(ctx context.Context, key string) (Info, error) {
	return h.info(ctx, OpHead, key, func() (Info, error) { return h.Objects.Head(ctx, key) })
}

func (h hooked) Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error) {
	return h.info(ctx, OpPut, key, func() (Info, error) { return h.Objects.Put(ctx, key, data, o) })
}

func (h hooked) PutFile(ctx context.Context, key, path string, o PutOptions) (Info, error) {
	return h.info(ctx, OpPutFile, key, func() (Info, error) { return h.Objects.PutFile(ctx, key, path, o) })
}

func (h hooked) Delete(ctx context.Context, key string) error {
	return h.hook(ctx, OpDelete, key, func() error { return h.Objects.Delete(ctx, key) })
}

func (h hooked) List(ctx context.Context, prefix string, each func(Info) error) error {
	return h.hook(ctx, OpList, prefix, func() error { return h.Objects.List(ctx, prefix, each) })
}

func (h hooked) ListVersions(ctx context.Context, prefix string, each func(Version) error) error {
	return h.hook(ctx, OpListVersions, prefix, func() error { return ListVersions(ctx, h.Objects, prefix, each) })
}

func (h hooked) GetVersion(ctx context.Context, key, id string, o GetOptions) (body io.ReadCloser, info Info, err error) {
	err = h.hook(ctx, OpGet, key, func() (err error) {
		if v, ok := h.Objects.(Versioned); ok && id != "" {
			body, info, err = v.GetVersion(ctx, key, id, o)
		} else {
			body, info, err = h.Objects.Get(ctx, key, o)
		}
		return err
	})
	if err != nil {
		if body != nil {
			body.Close()
		}
		return nil, Info{}, err
	}
	return body, info, nil
}

func (h hooked) DeleteVersion(ctx context.Context, key, id string) error {
	return h.hook(ctx, OpDelete, key, func() error {
		return DeleteVersion(ctx, h.Objects, Version{Key: key, ID: id})
	})
}

// DropInterrupted implements Interruptible.
func (h hooked) DropInterrupted() (left int) { return DropInterrupted(h.Objects) }

func (h hooked) info(ctx context.Context, op, key string, call func() (Info, error)) (info Info, err error) {
	err = h.hook(ctx, op, key, func() (err error) {
		info, err = call()
		return err
	})
	if err != nil {
		return Info{}, err
	}
	return info, nil
}
