package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// wantVersion is stamped into the binaries as a build argument would be.
const wantVersion = "202601020304"

const catalogue = `{"vendors":[{"id":"001","name":"冷凍倉庫株式会社"},{"id":"002","name":"会計ソフト株式会社"}]}`

func (img *image) check(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the root is read-only, the volumes belong to the user", img.readOnly},
		{"both programs say their version", img.versions},
		{"an unknown certificate authority is refused, one in the image's store is trusted", img.tls},
		{"indexer and server work side by side", img.work},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		say("%s", step.what)
	}
	return nil
}

// asUser runs a script as the image's user, the root read-only, the volumes fresh and with the owner and mode that the
// image gives them, as Docker and Fargate do.
func (img *image) asUser(ctx context.Context, env []string, script string) (string, error) {
	mounts := `mount --bind "$R" "$R"; mount -t proc proc "$R/proc"; mount --rbind /dev "$R/dev"; mount -o remount,bind,ro "$R"`
	for _, v := range img.volumes {
		mounts += fmt.Sprintf(`; o=$(stat -c 'uid=%%u,gid=%%g,mode=%%a' "$R%[1]s"); mount -t tmpfs -o "$o" tmpfs "$R%[1]s"`, v)
	}
	return inside(ctx, img.root, img.user, append(append([]string{}, img.env...), env...), mounts, script)
}

func (img *image) readOnly(ctx context.Context) error {
	out, err := img.asUser(ctx, nil, `id -u; touch /app/vectorstore/x "$TMPDIR/x" && echo volumes; touch /app/x /usr/local/bin/x /tmp/x 2>&1 || echo refused`)
	if err != nil {
		return err
	}
	uid, _, _ := strings.Cut(img.user, ":")
	if !strings.HasPrefix(out, uid+"\nvolumes\n") || strings.Count(out, "Read-only file system") != 3 {
		return errors.New(out)
	}
	return nil
}

func (img *image) versions(ctx context.Context) error {
	for _, name := range []string{"server", "indexer"} {
		out, err := img.asUser(ctx, nil, name+" --version")
		if err != nil {
			return err
		}
		if !strings.Contains(out, wantVersion) {
			return fmt.Errorf("%s says %q", name, out)
		}
	}
	return nil
}

// tls lets the indexer talk to an S3 endpoint that is nothing but a certificate and a counter.
func (img *image) tls(ctx context.Context) error {
	var requests atomic.Int64
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes are wanted
	web.StartTLS()
	defer web.Close()
	env := []string{
		"AWS_ENDPOINT_URL_S3=" + web.URL, "AWS_REGION=ap-northeast-1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_EC2_METADATA_DISABLED=true", "VECTORSTORE_S3_BUCKET=bucket", "EMBEDDING_PROVIDER=local",
	}
	out, err := img.asUser(ctx, env, "timeout 60 indexer list 2>&1")
	if err == nil || requests.Load() != 0 || !strings.Contains(out, "certificate") {
		return fmt.Errorf("a stranger's certificate was accepted (%d requests): %s", requests.Load(), out)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(img.root, "usr/local/share/ca-certificates/image-check.crt"), ca, 0o644); err != nil {
		return err
	}
	if _, err := inside(ctx, img.root, "", img.env, "true", "update-ca-certificates"); err != nil {
		return err
	}
	out, err = img.asUser(ctx, env, "timeout 60 indexer list 2>&1")
	if requests.Load() == 0 {
		return fmt.Errorf("no request came through: %v %s", err, out)
	}
	return nil
}

// work starts both programs on a directory in the volume, and asks the one for what the other built.
func (img *image) work(ctx context.Context) error {
	ports := map[string]string{}
	for _, name := range []string{"api", "server", "indexer"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		_, ports[name], _ = net.SplitHostPort(l.Addr().String())
		l.Close()
	}
	env := []string{
		"VECTORSTORE_STORE_DIR=/app/vectorstore/store", "EMBEDDING_PROVIDER=local", "POLL_INTERVAL=1s", "RESYNC_INTERVAL=1s",
		"LISTEN_ADDR=127.0.0.1:" + ports["api"], "DRAIN_TIME=0s", "CATALOGUE=" + catalogue,
	}
	script := `set -e
mkdir -p /app/vectorstore/store/vectorstore/prod
printf %s "$CATALOGUE" > /app/vectorstore/store/vectorstore/prod/vendors.json
ADMIN_ADDR=127.0.0.1:` + ports["indexer"] + ` indexer run 2> "$TMPDIR/indexer.log" & i=$!
ADMIN_ADDR=127.0.0.1:` + ports["server"] + ` server 2> "$TMPDIR/server.log" & s=$!
for n in $(seq 120); do
  grep -q '"server ready"' "$TMPDIR/server.log" && break
  sleep 0.5
done
cat "$TMPDIR/indexer.log" "$TMPDIR/server.log"
server health && echo server healthy
server health --listen-addr=127.0.0.1:` + ports["indexer"] + ` && echo indexer healthy
kill -TERM $i $s
wait $i && echo indexer stopped
wait $s && echo server stopped`
	out, err := img.asUser(ctx, env, script)
	if err != nil {
		return err
	}
	for _, want := range []string{`"promoted to current/"`, `"server ready"`, "server healthy", "indexer healthy", "indexer stopped", "server stopped"} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("no %s in:\n%s", want, out)
		}
	}
	return nil
}
