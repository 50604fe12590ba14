package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// ListVersions implements Versioned. Within a page S3 gives versions and delete markers apart, so a key's markers come
// after its versions.
func (s *S3) ListVersions(ctx context.Context, prefix string, each func(Version) error) error {
	in := &s3.ListObjectVersionsInput{Bucket: &s.cfg.Bucket, Prefix: &prefix}
	if s.cfg.VersionsPage > 0 {
		in.MaxKeys = &s.cfg.VersionsPage
	}
	type at struct{ key, id string }
	markers, before := map[at]bool{}, map[at]bool{}
	for {
		page, err := s.client.ListObjectVersions(ctx, in)
		if err != nil {
			return s.fail(OpListVersions, prefix, err)
		}
		these := map[at]bool{}
		for _, v := range versionsOf(page) {
			if !strings.HasPrefix(v.Key, prefix) {
				return s.fail(OpListVersions, prefix, fmt.Errorf("the listing holds %.200q, which does not begin with the prefix", v.Key))
			}
			one := at{v.Key, v.ID}
			these[one] = true
			if before[one] || strings.HasSuffix(v.Key, "/") {
				continue // versitygw begins a page with the end of the last; a "folder" that a console made
			}
			if err := each(v); err != nil {
				return err
			}
		}
		next := at{aws.ToString(page.NextKeyMarker), aws.ToString(page.NextVersionIdMarker)} // MinIO's are no keys
		switch {
		case !aws.ToBool(page.IsTruncated):
			return nil
		case next.key == "":
			return s.fail(OpListVersions, prefix, errors.New("the listing is cut short: the store says that there is more, and not how to get it"))
		case markers[next]:
			return s.fail(OpListVersions, prefix, errors.New("the listing goes round"))
		}
		markers[next], before = true, these
		in.KeyMarker, in.VersionIdMarker = &next.key, optional(next.id)
	}
}

// versionsOf are the versions of a page, then its delete markers.
func versionsOf(page *s3.ListObjectVersionsOutput) []Version {
	out := make([]Version, 0, len(page.Versions)+len(page.DeleteMarkers))
	for _, v := range page.Versions {
		out = append(out, Version{
			Key: aws.ToString(v.Key), ID: aws.ToString(v.VersionId), Latest: aws.ToBool(v.IsLatest),
			Size: aws.ToInt64(v.Size), LastModified: aws.ToTime(v.LastModified),
		})
	}
	for _, m := range page.DeleteMarkers {
		out = append(out, Version{
			Key: aws.ToString(m.Key), ID: aws.ToString(m.VersionId), Latest: aws.ToBool(m.IsLatest), Marker: true,
			LastModified: aws.ToTime(m.LastModified),
		})
	}
	return out
}

// GetVersion implements Versioned.
func (s *S3) GetVersion(ctx context.Context, key, id string, o GetOptions) (io.ReadCloser, Info, error) {
	return s.get(ctx, key, id, o)
}

// DeleteVersion implements Versioned.
func (s *S3) DeleteVersion(ctx context.Context, key, id string) error {
	if err := CheckKey(key); err != nil {
		return s.fail(OpDelete, key, err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key, VersionId: optional(id)})
	if err == nil {
		return nil
	}
	// A version that is gone already: versitygw calls its id invalid. Whoever must know lists again.
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "NoSuchVersion" || api.ErrorCode() == "InvalidArgument") {
		return nil
	}
	if err = s.fail(OpDelete, key, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
