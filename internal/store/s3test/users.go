package s3test

import (
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// User is a second set of keys.
type User struct{ AccessKey, SecretKey, SessionToken string }

// CreateUser makes a user of versitygw who may do what bucket policies grant to the principal AccessKey, and
// nothing else.
func (s *Server) CreateUser(accessKey string) User {
	s.t.Helper()
	if s.Name != "versitygw" {
		s.t.Fatalf("CreateUser is for versitygw; use AssumeRole for %s", s.Name)
	}
	u := User{AccessKey: accessKey, SecretKey: random(16)}
	cmd := exec.Command(binary(s.t, "versitygw"), "admin", "--allow-insecure",
		"--access", s.AccessKey, "--secret", s.SecretKey, "--region", s.Region, "--endpoint-url", s.Endpoint,
		"create-user", "--access", u.AccessKey, "--secret", u.SecretKey, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("create user %s: %v\n%s", accessKey, err, out)
	}
	return u
}

// AssumeRole returns temporary keys of minio that may do what the session policy grants, as a task role's would.
func (s *Server) AssumeRole(policy string) User {
	s.t.Helper()
	arn, session := "arn:minio:iam:::role/test", "test"
	client := sts.NewFromConfig(s.rootConfig())
	assume := func() (*sts.AssumeRoleOutput, error) {
		return client.AssumeRole(s.t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: &session, Policy: &policy})
	}
	out, err := assume()
	// minio answers for objects before it does for roles, and calls that a bad request.
	for tries := 0; tries < 100 && err != nil && strings.Contains(err.Error(), "Server not initialized"); tries++ {
		time.Sleep(100 * time.Millisecond)
		out, err = assume()
	}
	if err != nil {
		s.t.Fatalf("assume a role of %s: %v", s.Name, err)
	}
	c := out.Credentials
	return User{AccessKey: *c.AccessKeyId, SecretKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}
