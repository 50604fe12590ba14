package store

import (
	"strings"
	"testing"
)

// Whatever is wrong with an endpoint, a password that was written into it is not repeated.
func TestCheckEndpointKeepsPasswords(t *testing.T) {
	for _, endpoint := range []string{
		"http://admin:hunter2@minio:9000",
		"https://hunter2@minio",
		"admin:hunter2@minio:9000", // a scheme of its own, as URLs go
		"admin:hunter2@minio",
		"admin:hunter2@",
		"http:admin:hunter2@minio:9000",
		"minio://admin:hunter2@host",
		"http://admin:hunter2 @minio:9000",
		"http://admin:%zzhunter2@minio:9000",
		"http://minio:9000?X-Amz-Signature=hunter2",
		"https://minio/b#hunter2",
		"//admin:hunter2@minio:9000",
	} {
		err := CheckEndpoint(endpoint)
		if err == nil {
			t.Errorf("%q is taken", endpoint)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	for _, fine := range []string{"http://minio:9000", "https://s3.example/base@1"} {
		if err := CheckEndpoint(fine); err != nil {
			t.Errorf("%q: %v", fine, err)
		}
	}
}
