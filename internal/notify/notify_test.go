package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/taksuehiro/vectorstore/internal/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver answers with the given codes, then 200, and keeps what it got.
type receiver struct {
	mu    sync.Mutex
	codes []int
	got   []call
	hold  chan struct{} // answers wait for it
}

type call struct {
	Body   string
	Header http.Header
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, call{string(b), req.Header})
	code := http.StatusOK
	if len(r.codes) > 0 {
		code, r.codes = r.codes[0], r.codes[1:]
	}
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if code/100 == 3 {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(code)
}

type rig struct {
	*receiver
	sender *notify.Sender
	reg    *prometheus.Registry
	log    *strings.Builder
}

func start(t *testing.T, change func(*notify.Config), codes ...int) *rig {
	t.Helper()
	r := &rig{receiver: &receiver{codes: codes}, reg: prometheus.NewRegistry(), log: &strings.Builder{}}
	web := httptest.NewServer(r.receiver)
	t.Cleanup(web.Close)
	cfg := notify.Config{
		Source: "s3://bkt/vectorstore/prod", URL: web.URL + "/hook?token=hush", Secret: "s3cret", Registerer: r.reg,
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Pause: time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	r.sender = notify.New(cfg)
	return r
}

// end closes the sender with time enough and returns how many events were sent, failed and dropped.
func (r *rig) end(t *testing.T) map[string]float64 {
	t.Helper()
	r.sender.Close(t.Context())
	out := map[string]float64{}
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].Metric {
		out[m.Label[0].GetValue()] = m.Counter.GetValue()
	}
	return out
}

var event = notify.Event{
	ID: "l-12-promoted", Kind: "promoted", Subject: "20260102T030405Z-01234567", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	Data: map[string]any{"generation": 12},
}

func TestAnEventIsASignedCloudEvent(t *testing.T) {
	r := start(t, nil)
	r.sender.Tell(event)
	if d := cmp.Diff(map[string]float64{"sent": 1, "failed": 0, "dropped": 0}, r.end(t)); d != "" {
		t.Fatal(d)
	}
	const want = `{"specversion":"1.0","id":"l-12-promoted","source":"s3://bkt/vectorstore/prod","type":"vectorstore.promoted","subject":"20260102T030405Z-01234567","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{"generation":12}}`
	if r.got[0].Body != want {
		t.Errorf("%s", r.got[0].Body)
	}
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(want))
	if got := r.got[0].Header.Get("X-Signature-256"); got != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("signature %q", got)
	}
	if got := r.got[0].Header.Get("Content-Type"); got != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	r := start(t, func(c *notify.Config) { c.Secret = "" })
	r.sender.Tell(event)
	r.end(t)
	if got, signed := r.got[0].Header["X-Signature-256"]; signed {
		t.Errorf("signature %q", got)
	}
}

func TestOnlyWhatMayChangeIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		codes  []int
		calls  int
		result string
	}{
		"at once":            {nil, 1, "sent"},
		"away for a moment":  {[]int{503, 500, 429, 408}, 5, "sent"},
		"away":               {[]int{503, 503, 503, 503, 503}, 5, "failed"},
		"not wanted":         {[]int{410}, 1, "failed"},
		"not allowed":        {[]int{401}, 1, "failed"},
		"elsewhere":          {[]int{301}, 1, "failed"},
		"accepted for later": {[]int{202}, 1, "sent"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil, c.codes...)
			r.sender.Tell(event)
			if got := r.end(t); got[c.result] != 1 || len(r.got) != c.calls {
				t.Errorf("%v after %d calls", got, len(r.got))
			}
			for _, g := range r.got[1:] {
				if d := cmp.Diff(r.got[0].Body, g.Body); d != "" || g.Header.Get("X-Signature-256") != r.got[0].Header.Get("X-Signature-256") {
					t.Errorf("another try, another event: %s", d)
				}
			}
			if (c.result == "failed") != strings.Contains(r.log.String(), "notification not delivered") || strings.Contains(r.log.String(), "hush") {
				t.Errorf("log: %s", r.log)
			}
		})
	}
}

func TestTheSameEventIsSentOnceAndOrderIsKept(t *testing.T) {
	r := start(t, nil, 503)
	for i := range 5 {
		e := event
		e.ID = fmt.Sprint("e", i)
		r.sender.Tell(e)
		r.sender.Tell(e)
	}
	if got := r.end(t); got["sent"] != 5 {
		t.Fatal(got)
	}
	var ids []string
	for _, g := range r.got[1:] { // the first one twice
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(g.Body), &e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	if d := cmp.Diff([]string{"e0", "e1", "e2", "e3", "e4"}, ids); d != "" {
		t.Error(d)
	}
}

func TestAReceiverThatHangsHoldsUpNobody(t *testing.T) {
	r := start(t, nil)
	r.hold = make(chan struct{})
	for i := range 1000 {
		e := event
		e.ID = fmt.Sprint("e", i)
		r.sender.Tell(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the program has no time left
	r.sender.Close(ctx)
	close(r.hold)
	got := r.end(t)
	if got["dropped"] < 900 || got["sent"]+got["failed"]+got["dropped"] != 1000 {
		t.Errorf("%v", got)
	}
	r.sender.Tell(event) // too late, and no harm
}

func TestATopicGetsTheSameEvent(t *testing.T) {
	var forms []url.Values
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = req.ParseForm()
		forms = append(forms, req.PostForm)
		if len(forms) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
	}))
	defer web.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r := start(t, func(c *notify.Config) {
		c.Topic = "arn:aws:sns:ap-northeast-1:111122223333:news"
		c.AWS = aws.Config{Region: "ap-northeast-1", BaseEndpoint: aws.String(web.URL), HTTPClient: client, Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")}
	})
	r.sender.Tell(event)
	if got := r.end(t); got["sent"] != 1 {
		t.Fatalf("%v %s", got, r.log)
	}
	f := forms[len(forms)-1]
	if len(forms) != 2 || f.Get("Message") != r.got[0].Body || f.Get("TopicArn") != "arn:aws:sns:ap-northeast-1:111122223333:news" ||
		f.Get("MessageAttributes.entry.1.Name") != "type" || f.Get("MessageAttributes.entry.1.Value.StringValue") != "vectorstore.promoted" {
		t.Errorf("%d calls: %v", len(forms), f)
	}
}

func TestAnAddressThatIsNoneIsRefusedWithoutRepeatingIt(t *testing.T) {
	for _, bad := range []string{"hooks.example.com", "ftp://x", "https://", "http://[::1", "https:///hush"} {
		if err := (notify.Config{URL: bad}).Validate(); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := (notify.Config{URL: "https://hooks.example.com/a?b=c"}).Validate(); err != nil {
		t.Error(err)
	}
}
