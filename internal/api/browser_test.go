package api

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/follow"
	"github.com/taksuehiro/vectorstore/internal/follow/followtest"
	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/vendors/vendorstest"
)

// browser starts one tab of a headless Chromium and collects what its console says.
func browser(t *testing.T) (context.Context, *complaints) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		harness.Missing(t, "chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "ja"), chromedp.Flag("accept-lang", "ja"), chromedp.Flag("hide-scrollbars", true))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(1360, 900)))
	complaints := new(complaints)
	must(t, chromedp.Listen(ctx, complaints.hear))
	return ctx, complaints
}

// complaints are uncaught exceptions and breaches of the content security policy.
type complaints struct {
	mu   sync.Mutex
	said []string
}

func (c *complaints) hear(ev any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		c.said = append(c.said, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source == log.EntrySourceSecurity {
			c.said = append(c.said, e.Entry.Text)
		}
	}
}

func (c *complaints) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}

func css(s string) chromedp.CSS { return chromedp.CSS(s) }

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	must(t, chromedp.Do(ctx, steps...))
}

// read evaluates an expression in the page.
func read[T any](t *testing.T, ctx context.Context, expr string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expr))
	must(t, err)
	return v
}

// until waits for an expression to hold, navigations included.
func until(t *testing.T, ctx context.Context, expr string) {
	t.Helper()
	followtest.Eventually(t, expr, func() bool {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expr+")"))
		return err == nil && ok
	})
}

// shot keeps a screenshot in docs/img when UPDATE_SCREENSHOTS is set, and checks that one can be taken otherwise.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	must(t, err)
	if !bytes.HasPrefix(png, []byte("\x89PNG")) || len(png) < 5000 {
		t.Errorf("%s: a screenshot of %d bytes", name, len(png))
	}
	if dir := os.Getenv("UPDATE_SCREENSHOTS"); dir != "" {
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
	}
}

func media(name, value string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: name, Value: value}},
		})
		return err
	})
}

// sample is the repository's catalogue.
func sample(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("../../testdata/vendors.json")
	must(t, err)
	defer f.Close()
	var records []string
	read, err := vendorstest.Records(f)
	must(t, err)
	for _, r := range read {
		records = append(records, string(r.Raw))
	}
	return records
}

func TestPageInABrowser(t *testing.T) {
	w := followtest.New(t)
	records := sample(t)
	w.Publish(records[:60])
	p := w.Publish(records)
	r := start(t, w)
	r.serving(p.ID)
	ctx, complaints := browser(t)

	t.Run("the first page lists the catalogue and says what is served", func(t *testing.T) {
		do(t, ctx, chromedp.Navigate(r.url+"/"), chromedp.WaitVisible(css("#q")))
		if got := read[string](t, ctx, "document.documentElement.lang"); got != "ja" {
			t.Errorf("language %q", got)
		}
		if got := read[int](t, ctx, "document.querySelectorAll('.hit').length"); got != pageK {
			t.Errorf("%d records", got)
		}
		if got := read[string](t, ctx, "document.querySelector('#panel code').textContent"); got != p.ID {
			t.Errorf("panel says %q", got)
		}
		shot(t, ctx, "page-start")
	})
	t.Run("a Japanese search finds the vendor and shows its record", func(t *testing.T) {
		do(t, ctx, chromedp.SendKeys(css("#q"), "冷凍倉庫の温度監視"), chromedp.Click(css(".ask button")))
		until(t, ctx, "location.search.includes('q=') && document.querySelector('.hit .bar')")
		if got := read[string](t, ctx, "document.querySelector('.hit .id').textContent"); got != "V-001" {
			t.Errorf("first is %s", got)
		}
		do(t, ctx, chromedp.Click(css(".hit .record summary")), chromedp.WaitVisible(css(".hit .record dl")))
		shot(t, ctx, "page-search")
		do(t, ctx, media("prefers-color-scheme", "dark"))
		shot(t, ctx, "page-search-dark")
		do(t, ctx, media("prefers-color-scheme", "light"))
	})
	t.Run("a filter narrows the results at once", func(t *testing.T) {
		want := read[string](t, ctx, "document.querySelector('.facet input').value")
		do(t, ctx, chromedp.Click(css(".facet input")))
		until(t, ctx, "location.search.includes('f.')")
		if !read[bool](t, ctx, "document.querySelector('.facet input').checked") {
			t.Error("the filter is not shown as chosen")
		}
		chips := read[[]string](t, ctx, "[...document.querySelectorAll('.hit .chips')].map(c => c.textContent)")
		if len(chips) == 0 {
			t.Error("no results")
		}
		for _, c := range chips {
			if !strings.Contains(c, want) {
				t.Errorf("%q lacks %q", c, want)
			}
		}
		shot(t, ctx, "page-filter")
	})
	t.Run("conditions in the question are shown, and can be ignored", func(t *testing.T) {
		do(t, ctx, chromedp.Navigate(r.url+"/?q="+url.QueryEscape("面談済みで在庫管理をやっている会社")+"&k=50"), chromedp.WaitVisible(css(".found .chips")))
		// At once: the page may draw itself anew between finding a button and pressing it.
		press := func(button string) {
			until(t, ctx, "document.querySelector('"+button+"') && (document.querySelector('"+button+"').click(), true)")
		}
		if got := read[string](t, ctx, "document.querySelector('.found .chips').textContent"); !strings.Contains(got, "面談済") {
			t.Errorf("the chips say %q", got)
		}
		// Those that meet it come first, the others behind a heading.
		if got := read[int](t, ctx, "[...document.querySelectorAll('.hits > li')].findIndex(l => l.classList.contains('beyond'))"); got < 1 {
			t.Errorf("the heading stands at %d", got)
		}
		shot(t, ctx, "page-conditions")
		press(".found button")
		until(t, ctx, "location.search.includes('auto=0') && !document.querySelector('.found .chips') && !document.querySelector('.beyond')")
		press(".pages button")
		until(t, ctx, "location.search.includes('offset=50') && location.search.includes('auto=0')")
		press(".found button")
		until(t, ctx, "document.querySelector('.found .chips')")
	})
	t.Run("the next page goes on where this one ends", func(t *testing.T) {
		do(t, ctx, chromedp.Navigate(r.url+"/?q="+url.QueryEscape("在庫管理")), chromedp.WaitVisible(css(".pages button")))
		seen := read[[]string](t, ctx, "[...document.querySelectorAll('.hit .id')].map(e => e.textContent)")
		do(t, ctx, chromedp.Click(css(".pages button")))
		until(t, ctx, "location.search.includes('offset=10')")
		for _, id := range read[[]string](t, ctx, "[...document.querySelectorAll('.hit .id')].map(e => e.textContent)") {
			if slices.Contains(seen, id) {
				t.Errorf("%s is on both pages", id)
			}
		}
		if got := read[string](t, ctx, "document.querySelector('.summary').textContent"); !strings.Contains(got, "11") || !strings.Contains(got, "20") {
			t.Errorf("the summary says %q", got)
		}
		do(t, ctx, chromedp.Click(css(".pages button")))
		until(t, ctx, "location.search.includes('offset=0')")
	})
	t.Run("a swap is seen live, without reloading", func(t *testing.T) {
		do(t, ctx, chromedp.Evaluate[chromedp.Void]("window.same = true; undefined"))
		next := w.Publish(records[1:])
		until(t, ctx, fmt.Sprintf("document.querySelector('#panel code').textContent === %q", next.ID))
		if !read[bool](t, ctx, "window.same === true") {
			t.Error("the page was reloaded")
		}
		if got := read[string](t, ctx, "document.getElementById('news').textContent"); !strings.Contains(got, next.ID) {
			t.Errorf("announced %q", got)
		}
		shot(t, ctx, "page-swap")
	})
	t.Run("a snapshot that cannot be loaded is said", func(t *testing.T) {
		m, digest := w.Build(records[2:])
		w.Damage(w.Layout.File(m.ID, snapshot.FileIndex), followtest.Flip)
		w.Promote(m, digest)
		until(t, ctx, "document.querySelector('#panel .problem')")
		shot(t, ctx, "page-refused")
	})
	t.Run("English, on a telephone", func(t *testing.T) {
		do(t, ctx, chromedp.EmulateViewport(390, 844), chromedp.Navigate(r.url+"/?lang=en&q=ISO+27001&mode=lexical"), chromedp.WaitVisible(css(".hit")))
		if got := read[string](t, ctx, "document.querySelector('.ask button').textContent"); got != "Search" {
			t.Errorf("button says %q", got)
		}
		if read[bool](t, ctx, "document.documentElement.scrollWidth > document.documentElement.clientWidth") {
			t.Error("the page is wider than the screen")
		}
		shot(t, ctx, "page-phone")
		do(t, ctx, chromedp.EmulateViewport(1360, 900))
	})
	t.Run("API documentation works without network", func(t *testing.T) {
		do(t, ctx, chromedp.Navigate(r.url+"/docs"))
		until(t, ctx, "document.querySelectorAll('.opblock').length >= 7")
		shot(t, ctx, "docs")
	})
	for _, c := range complaints.all() {
		t.Errorf("the browser complained: %s", c)
	}
}

func TestPageSaysWhatWentWrong(t *testing.T) {
	w := followtest.New(t)
	r := start(t, w)
	ctx, _ := browser(t)
	do(t, ctx, chromedp.Navigate(r.url+"/?q=x"), chromedp.WaitVisible(css("main .problem")))
	if got := read[string](t, ctx, "document.querySelector('main .problem').getAttribute('role')"); got != "alert" {
		t.Errorf("role %q", got)
	}
	shot(t, ctx, "page-unavailable")
	p := w.Publish(followtest.Catalogue())
	until(t, ctx, fmt.Sprintf("document.querySelector('#panel code')?.textContent === %q", p.ID))
}

func TestPageAsksForAKeyWhereOneIsRequired(t *testing.T) {
	const digest = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683" // of "key"
	r := served(t, func(_ *follow.Deps, c *Config) { c.APIKeys = []string{digest} })
	ctx, _ := browser(t)
	do(t, ctx, chromedp.Navigate(r.url+"/"), chromedp.WaitVisible(css("#key")))
	if got := read[int](t, ctx, "document.querySelectorAll('.hit, .facet').length"); got != 0 {
		t.Errorf("%d records are shown without a key", got)
	}
	do(t, ctx, chromedp.SendKeys(css("#q"), "会計"), chromedp.SendKeys(css("#key"), "wrong"), chromedp.Click(css(".ask button")), chromedp.WaitVisible(css("main .problem")))
	do(t, ctx, chromedp.SetValue(css("#key"), "key"), chromedp.Click(css(".ask button")), chromedp.WaitVisible(css(".hit")))
	if got := read[string](t, ctx, "document.querySelector('.hit .id').textContent"); got != "V-002" {
		t.Errorf("first is %s", got)
	}
	if strings.Contains(read[string](t, ctx, "location.href"), "key") {
		t.Error("the key is in the address")
	}
}
