package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// maxEmptyPages in a row: a store may skip over what was deleted, but not for ever.
const maxEmptyPages = 1000

// List implements Objects, 1,000 keys to a request. What is not in a listing counts as absent, and absences decide what
// is damaged and what may be deleted: a listing that is not whole, in order and of the prefix is an error.
func (s *S3) List(ctx context.Context, prefix string, each func(Info) error) error {
	l := listing{prefix: prefix}
	for more := true; more; {
		page, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
			Bucket: &s.cfg.Bucket, Prefix: &prefix, ContinuationToken: optional(l.token),
		})
		if err != nil {
			return s.fail(OpList, prefix, err)
		}
		date := answerDate(page.ResultMetadata)
		for _, obj := range page.Contents {
			key := aws.ToString(obj.Key)
			if err := l.key(key); err != nil {
				return s.fail(OpList, prefix, err)
			}
			if strings.HasSuffix(key, "/") {
				continue // a "folder" that a console made
			}
			info := Info{
				Key:          key,
				ETag:         aws.ToString(obj.ETag),
				Size:         aws.ToInt64(obj.Size),
				LastModified: aws.ToTime(obj.LastModified),
				Date:         date,
			}
			if err := each(info); err != nil {
				return err
			}
		}
		if more, err = l.next(page); err != nil {
			return s.fail(OpList, prefix, err)
		}
	}
	return nil
}

// listing checks that pages make a whole.
type listing struct {
	prefix string
	token  string // of the page to ask for
	last   string // key
	empty  int    // pages in a row without a new key
	fresh  bool   // the page at hand had one
}

// key takes the next key of a page.
func (l *listing) key(key string) error {
	switch {
	case !strings.HasPrefix(key, l.prefix):
		return fmt.Errorf("the listing holds %.200q, which does not begin with the prefix", key)
	case key <= l.last:
		return fmt.Errorf("the listing goes round: %.200q comes after %.200q", key, l.last)
	}
	l.last, l.fresh = key, true
	return nil
}

// next tells whether another page follows the given one.
func (l *listing) next(page *s3.ListObjectsV2Output) (more bool, err error) {
	token := aws.ToString(page.NextContinuationToken)
	if l.empty++; l.fresh {
		l.empty, l.fresh = 0, false
	}
	switch {
	case page.IsTruncated == nil && page.KeyCount == nil && page.Name == nil:
		return false, errors.New("the answer is not a listing")
	case token == "" && aws.ToBool(page.IsTruncated):
		return false, errors.New("the listing is cut short: the store says that there is more, and not how to get it")
	case token == "":
		return false, nil
	case token == l.token:
		return false, errors.New("the listing goes round: the store gives the same continuation token again")
	case l.empty > maxEmptyPages:
		return false, fmt.Errorf("the listing does not end: %d pages without a key", l.empty)
	}
	l.token = token
	return true, nil
}
