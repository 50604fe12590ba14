package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// Put implements Objects: one request, never repeated by the SDK. A 409 (two conditional writes met) is neither a
// success nor ErrConflict: send the same bytes again.
func (s *S3) Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error) {
	if len(data) > MaxPut {
		return Info{}, s.fail(OpPut, key, fmt.Errorf("%d bytes, the limit is %d", len(data), MaxPut))
	}
	return s.put(ctx, key, bytes.NewReader(data), int64(len(data)), o)
}

// PutFile implements Objects. A file above PartSize travels in parallel parts that count only when, and if, the
// conditional completion succeeds; on any failure the upload is aborted. Only parts are repeated by the SDK.
func (s *S3) PutFile(ctx context.Context, key, path string, o PutOptions) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	if st.Size() <= s.cfg.PartSize {
		return s.put(ctx, key, io.NewSectionReader(f, 0, st.Size()), st.Size(), o)
	}
	return s.putParts(ctx, key, f, st.Size(), o)
}

func (s *S3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	sum, err := checksum(body)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:               &s.cfg.Bucket,
		Key:                  &key,
		Body:                 body,
		ContentLength:        &size,
		ChecksumSHA256:       &sum,
		IfMatch:              optional(o.IfMatch),
		IfNoneMatch:          ifNoneMatch(o),
		Metadata:             o.Metadata,
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	}, once)
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	if got := aws.ToString(out.ChecksumSHA256); got != "" && got != sum { // AWS, versitygw and minio tell
		return Info{}, s.fail(OpPut, key, fmt.Errorf("the store computed SHA-256 %s for %s", got, sum))
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.Size = size
	info.LastModified = info.Date // not in the answer; the same clock, to the second
	info.Metadata = o.Metadata
	return info, nil
}

// putParts uploads f in parts and completes them under the condition of o.
func (s *S3) putParts(ctx context.Context, key string, f io.ReaderAt, size int64, o PutOptions) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:               &s.cfg.Bucket,
		Key:                  &key,
		ChecksumAlgorithm:    types.ChecksumAlgorithmSha256,
		Metadata:             o.Metadata,
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	})
	if err != nil {
		return Info{}, s.fail(OpPut, key, err)
	}
	id := created.UploadId
	out, err := s.sendParts(ctx, key, id, f, size, o)
	if err != nil {
		err = s.fail(OpPut, key, err)
		s.abort(ctx, key, id)
		return Info{}, err
	}
	info := s.info(key, out.ResultMetadata, out.ETag, out.VersionId)
	info.Size = size
	info.LastModified = info.Date
	info.Metadata = o.Metadata
	return info, nil
}

func (s *S3) sendParts(ctx context.Context, key string, id *string, f io.ReaderAt, size int64, o PutOptions) (*s3.CompleteMultipartUploadOutput, error) {
	partSize := partSizeFor(size, s.cfg.PartSize)
	done := make([]types.CompletedPart, (size+partSize-1)/partSize)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Parallel)
	for i := range done {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			offset := int64(i) * partSize
			body := io.NewSectionReader(f, offset, min(partSize, size-offset))
			part, err := s.sendPart(gctx, key, id, int32(i+1), body)
			done[i] = part
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &s.cfg.Bucket,
		Key:             &key,
		UploadId:        id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		IfMatch:         optional(o.IfMatch),
		IfNoneMatch:     ifNoneMatch(o),
	}, once)
}

func (s *S3) sendPart(ctx context.Context, key string, id *string, number int32, body *io.SectionReader) (types.CompletedPart, error) {
	sum, err := checksum(body)
	if err != nil {
		return types.CompletedPart{}, err
	}
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &s.cfg.Bucket,
		Key:            &key,
		UploadId:       id,
		PartNumber:     &number,
		Body:           body,
		ContentLength:  aws.Int64(body.Size()),
		ChecksumSHA256: &sum,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumSHA256: &sum}, nil
}

// partSizeFor raises the part size, in whole MiB, until the file fits S3's 10,000 parts.
func partSizeFor(size, partSize int64) int64 {
	const mib = 1 << 20
	needed := (size + maxParts - 1) / maxParts
	return max(partSize, (needed+mib-1)/mib*mib)
}

// abort drops the parts of an upload that failed. When that fails too, the bucket's lifecycle rule for incomplete
// uploads does it.
func (s *S3) abort(ctx context.Context, key string, id *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key, UploadId: id})
}

func ifNoneMatch(o PutOptions) *string {
	if o.IfAbsent {
		return aws.String("*")
	}
	return nil
}

// checksum is the base64 SHA-256 of what body holds, as S3's headers carry it. The body is rewound.
func checksum(body io.ReadSeeker) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, body, make([]byte, copyBuffer))
	if _, serr := body.Seek(0, io.SeekStart); err != nil || serr != nil {
		return "", errors.Join(err, serr)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}
