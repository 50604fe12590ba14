package lexical

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
)

// row is a record of a segment: words nil is its removal.
type row struct {
	id    int
	key   uint64 // its place in the catalogue
	words *snapshot.Words
}

// whole is a catalogue in segments and joined, and what a build of its live records is.
type whole struct {
	joined *Joined
	built  *Index
	at     []int64 // positions in joined, by position in built
	size   int     // positions in joined, dead ones included
}

// segment keeps its index from one catalogue to the next, as a base does from edit to edit.
type segment struct {
	rows  []row
	index *Index
}

func of(segments ...[]row) (out []*segment) {
	for _, rows := range segments {
		out = append(out, &segment{rows: rows})
	}
	return out
}

// join takes the newest record of each id for the live one.
func join(t testing.TB, read Reader, segments []*segment) whole {
	t.Helper()
	newest := make(map[int]int)
	for s, seg := range segments {
		for _, r := range seg.rows {
			newest[r.id] = s
		}
	}
	type place struct {
		row
		pos int64
	}
	var w whole
	var parts []Part
	var live []place
	var keys []uint64
	for s, seg := range segments {
		first, dead := len(keys), roaring.New()
		for _, r := range seg.rows {
			if r.words == nil {
				continue
			}
			if newest[r.id] != s {
				dead.Add(uint32(len(keys) - first))
			} else {
				live = append(live, place{r, int64(len(keys))})
			}
			keys = append(keys, r.key)
		}
		if seg.index == nil {
			seg.index = mapped(t, read, kept(seg.rows))
		}
		parts = append(parts, Part{seg.index, dead, uint32(first)})
	}
	slices.SortFunc(live, func(a, b place) int { return cmp.Compare(a.key, b.key) })
	var words []snapshot.Words
	for _, r := range live {
		words = append(words, *r.words)
		w.at = append(w.at, r.pos)
	}
	w.built, w.size = mapped(t, read, words), len(keys)
	w.joined = Join(parts, func(a, b uint32) bool { return keys[a] < keys[b] })
	return w
}

// kept are the records of a segment.
func kept(rows []row) (out []snapshot.Words) {
	for _, r := range rows {
		if r.words != nil {
			out = append(out, *r.words)
		}
	}
	return out
}

func mapped(t testing.TB, read Reader, words []snapshot.Words) *Index {
	t.Helper()
	built, err := Build(len(words), read, func(i int) (snapshot.Words, error) { return words[i], nil })
	if err != nil {
		t.Fatal(err)
	}
	x, err := From(copied(built), len(words))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// differs tells how the answer to a question differs from that of a build; allow is by position in the build, nil for all.
func (w whole) differs(query string, k int, allow []bool) string {
	var built, joined *roaring.Bitmap
	if allow != nil {
		built, joined = roaring.New(), roaring.New()
		joined.AddRange(0, uint64(w.size)) // dead rows are not found even where they are allowed
		for i, ok := range allow {
			if ok {
				built.Add(uint32(i))
			} else {
				joined.Remove(uint32(w.at[i]))
			}
		}
	}
	pos, scores, reach := w.built.Search(query, k, built)
	for i, p := range pos {
		pos[i] = w.at[p]
	}
	gotPos, gotScores, gotReach := w.joined.Search(query, k, joined)
	if !slices.Equal(gotPos, pos) || !slices.Equal(gotScores, scores) || gotReach != reach {
		return fmt.Sprintf("%q, k = %d, finds\n%v\n%v, reach %v; built anew\n%v\n%v, reach %v", query, k, gotPos, gotScores, gotReach, pos, scores, reach)
	}
	return ""
}

func words(name, text string, keywords ...string) *snapshot.Words {
	return &snapshot.Words{Name: name, Text: text, Keywords: keywords}
}

// What only dead rows have does not exist, and every count is of live ones.
func TestEveryCountIsOfLiveRecords(t *testing.T) {
	base := func(rows ...*snapshot.Words) (out []row) {
		for i, w := range rows {
			out = append(out, row{i, uint64(i+1) << 32, w})
		}
		return out
	}
	repeated := func(n int, w *snapshot.Words, rest ...*snapshot.Words) []*snapshot.Words {
		return append(slices.Repeat([]*snapshot.Words{w}, n), rest...)
	}
	edit := func(id int, w *snapshot.Words) []row { return []row{{id, uint64(id+1) << 32, w}} }
	without := func(from, to int) (out []row) {
		for id := from; id < to; id++ {
			out = append(out, edit(id, nil)...)
		}
		return out
	}
	// Three of four leave a word, in lists that are long enough to be remembered.
	many := repeated(2*minCounted, words("甲社", "冷凍倉庫"), repeated(2*minCounted, words("乙社", "温度の監視"))...)
	for name, tt := range map[string]struct {
		segments []*segment
		query    string
	}{
		"records and their mean length": {of(base(words("", "倉庫"), words("", "倉庫 温度"), words("", strings.Repeat("監視 ", 50))), without(2, 3)), "倉庫の温度"},
		"records of a term":             {of(base(words("", "倉庫"), words("", "倉庫"), words("", "温度"), words("", "温度")), edit(0, words("", "橋"))), "倉庫 温度"},
		"records of a frequent term":    {of(base(many...), without(0, 3*minCounted/2), edit(3000, words("", "冷凍"))), "冷凍倉庫の温度"},
		"a frequent term that is gone":  {of(base(many...), without(0, 2*minCounted)), "冷凍倉庫の温度"},
		"terms":                         {of(base(words("", "倉庫"), words("", "温度")), without(0, 1)), "倉庫の温度"},
		"one that is in a delta again":  {of(base(words("", "倉庫"), words("", "温度")), without(0, 1), edit(0, words("", "倉庫"))), "倉庫の温度"},
		"one that a delta had":          {of(base(words("", "温度")), edit(5, words("", "倉庫")), edit(5, words("", "橋"))), "倉庫"},
		"nothing":                       {of(base(words("甲社", "倉庫")), without(0, 1)), "倉庫"},
		"an empty base":                 {of(nil, edit(0, words("甲社", "倉庫"))), "倉庫"},
		"names":                         {of(base(words("カギラボ", "扉"), words("カギラボ錠", "扉")), edit(0, words("甲社", "扉"))), "カギラボ"},
		"names without their form":      {of(base(words("株式会社カギラボ", ""), words("カギラボ", "")), without(0, 1)), "株式会社カギラボ"},
		"names as they sound":           {of(base(words("倉庫", "扉"), words("甲社", "倉庫")), without(0, 1)), "souko"},
		"namesakes": {of(base(repeated(maxNamesakes+1, words("カギラボ", "扉"), words("", "扉の錠"), words("", "橋"))...), without(0, 1)),
			"カギラボの扉"},
		"names in a question":           {of(base(words("カギラボ", "扉"), words("乙社", "扉の錠"), words("カギラボ", "錠")), without(0, 1)), "カギラボの扉"},
		"what makes a name distinctive": {of(base(words("在庫管理", "扉"), words("", "在庫管理"), words("", "在庫管理"), words("", "在庫管理"), words("", "橋")), without(1, 3)), "在庫管理の錠"},
		"names with a beginning":        {of(base(repeated(maxPrefixed+1, words("共通商事甲", "扉"))...), without(0, 1)), "共通商"},
		"a beginning of none":           {of(base(words("こども園", "扉"), words("コドモ園", "扉")), without(0, 1)), "こども"},
		"a beginning that is heard":     {of(base(words("倉庫番", "扉"), words("ソウコ番", "扉")), without(0, 1)), "souko"},
		"slips, with the word gone":     {of(base(words("", "acounting"), words("", "accounting")), without(0, 1)), "acounting"},
		"slips, with what was meant":    {of(base(words("", "accounting"), words("", "橋")), without(0, 1)), "acounting"},
		"slips into a delta":            {of(base(words("", "橋")), edit(5, words("", "accounting"))), "acounting"},
		"slips of kana":                 {of(base(words("", "ハードウア"), words("", "ハードウェア")), without(0, 1)), "ハードウア"},
		"stems":                         {of(base(words("", "monitoring"), words("", "monitored")), without(0, 1)), "monitors"},
		"romaji that was a word":        {of(base(words("", "souko"), words("", "倉庫")), without(0, 1)), "souko"},
		"how kana are cut":              {of(base(words("", "倉庫温度"), words("", "倉庫"), words("", "温度")), without(0, 1)), "そうこおんど"},
		"order":                         {of(base(words("", "倉庫"), words("", "倉庫"), words("", "倉庫")), append(edit(1, words("", "倉庫")), row{9, 1<<32 + 5, words("", "倉庫")})), "倉庫"},
	} {
		t.Run(name, func(t *testing.T) {
			w := join(t, table{'倉': "ソウ", '庫': "コ", '温': "オン", '度': "ド"}, tt.segments)
			for _, k := range []int{1, 3, 5000} {
				if diff := w.differs(tt.query, k, nil); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// The rarest terms are the rarest among the living, and so are the postings that may be read.
func TestLimitsAreOfLiveRecords(t *testing.T) {
	const n = maxPostings/maxQueryTerms + 200 // every record has all terms: too many postings with the dead, few enough without
	var terms []string
	for i := range maxQueryTerms + 12 {
		terms = append(terms, fmt.Sprintf("t%d", i))
	}
	all := strings.Join(terms[:maxQueryTerms], " ")
	rows := make([]row, n)
	for i := range rows {
		text := all
		if i == n-1 {
			text = strings.Join(terms[maxQueryTerms:], " ")
		}
		rows[i] = row{i, uint64(i+1) << 32, words("", text)}
	}
	dead := make([]row, 300)
	for i := range dead {
		dead[i] = row{7 * i, uint64(7*i+1) << 32, nil}
	}
	dead[0].words = words("", strings.Join(terms[3:20], " "))
	w := join(t, nil, of(rows, dead))
	for _, query := range []string{all, strings.Join(terms, " ")} {
		if diff := w.differs(query, 3, nil); diff != "" {
			t.Error(diff)
		}
	}
}

// vocabulary of records and questions: what sounds alike, is spelled alike, begins alike, is a code, is everywhere or nowhere else.
var vocabulary = []string{
	"倉庫", "冷凍倉庫", "温度", "監視", "橋", "の", "あい", "そうこ", "サーバー", "サーバ", "ハードウェア", "ハードウア", "コールドアイ", "こーるどあい", "クラウド会計", "クラウン",
	"cloud", "clouds", "monitoring", "monitored", "monitering", "accounting", "acounting", "souko", "ondo", "AX-200", "ax200", "BX-300", "ab", "株式会社", "(株)", " Inc.", "在庫管理",
	"共通商事", "共通商事甲", "カギラボ", "カギラボ錠", " ", "、",
}

// world makes segments: a base, then records that are new, changed, moved, removed and back.
type world struct {
	intn func(n int) int
	next uint64
	ids  int
}

func (w *world) text(most int) string {
	var b strings.Builder
	space := w.intn(2) == 0
	for range w.intn(most + 1) {
		switch at := w.intn(len(vocabulary) + 3); {
		case at < len(vocabulary):
			b.WriteString(vocabulary[at])
		default:
			fmt.Fprintf(&b, "rare%d", w.intn(60))
		}
		if space {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (w *world) words() *snapshot.Words {
	out := words(w.text(3), w.text(12))
	for range w.intn(3) {
		out.Keywords = append(out.Keywords, w.text(2))
	}
	return out
}

func (w *world) base(n int) (out []row) {
	for ; w.ids < n; w.ids++ {
		w.next += 1 << 32
		out = append(out, row{w.ids, w.next, w.words()})
	}
	return out
}

func (w *world) delta(n int) (out []row) {
	named := make(map[int]bool)
	for range n {
		id := w.intn(w.ids + 1)
		if w.intn(8) == 0 || named[id] {
			id = w.ids
		}
		named[id] = true
		r := row{id: id, key: uint64(id+1) << 32}
		if id == w.ids {
			w.ids++
			w.next += 1 << 32
			r.key = w.next
			if w.intn(4) == 0 {
				r.key = uint64(w.intn(w.ids))<<32 + 1 + uint64(w.ids)
			}
		}
		if w.intn(4) > 0 {
			r.words = w.words()
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int { return cmp.Compare(a.key, b.key) })
	return out
}

func (w *world) query() string {
	text := []rune(w.text(4))
	if len(text) > 2 && w.intn(3) == 0 { // a slip
		at := w.intn(len(text) - 1)
		text[at], text[at+1] = text[at+1], text[at]
	}
	if len(text) > 3 && w.intn(4) == 0 { // a beginning
		text = text[:3+w.intn(len(text)-3)]
	}
	return string(text)
}

func (w *world) allow(n int) []bool {
	if w.intn(2) == 0 {
		return nil
	}
	out := make([]bool, n)
	for i := range out {
		out[i] = w.intn(3) > 0
	}
	return out
}

var sounds = table{'倉': "ソウ", '庫': "コ", '温': "オン", '度': "ド", '冷': "レイ", '凍': "トウ", '監': "カン", '視': "シ", '甲': "コウ", '錠': "ジョウ"}

func TestJoinedAnswersAsOneBuild(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{intn: func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }}
		var read Reader
		if w.intn(2) == 0 {
			read = sounds
		}
		segments := of(w.base(w.intn(25)))
		for range w.intn(5) {
			segments = append(segments, &segment{rows: w.delta(1 + w.intn(5))})
		}
		all := join(t, read, segments)
		for range 8 {
			if diff := all.differs(w.query(), 1+w.intn(30), w.allow(len(all.at))); diff != "" {
				rt.Fatalf("%s\nof %s", diff, described(segments))
			}
		}
	})
}

// The same with lists long enough for their counts to be kept, from edit to edit and back.
func TestLargeCataloguesJoinAsOneBuild(t *testing.T) {
	for seed := range uint64(2) {
		w := &world{intn: rand.New(rand.NewPCG(seed, 1)).IntN}
		segments := of(w.base(1500))
		segments[0].index = mapped(t, sounds, kept(segments[0].rows))
		for step := range 12 {
			segments[0].index.Search("倉庫", 1, nil) // it is asked alone as well
			switch {
			case step == 4:
				segments = append(segments, &segment{rows: w.delta(60)})
			case step%5 == 3:
				segments = segments[:len(segments)-1]
			default:
				segments = append(segments, &segment{rows: w.delta(1 + w.intn(2))})
			}
			all := join(t, sounds, segments)
			for range 100 {
				if diff := all.differs(w.query(), 1+w.intn(100), w.allow(len(all.at))); diff != "" {
					t.Fatalf("seed %d, step %d: %s", seed, step, diff)
				}
			}
		}
		entered := 0
		segments[0].index.skips.Range(func(any, any) bool { entered++; return true })
		if entered < 10 {
			t.Errorf("%d lists were entered for few rows", entered)
		}
	}
}

// A search after an edit looks only for the rows that changed since its words were asked for, and one before an edit for
// the same ones.
func TestAnEditCountsWhatItChanges(t *testing.T) {
	rows := make([]snapshot.Words, 40*skipped)
	for i := range rows {
		rows[i] = *words("", "倉庫 "+[]string{"温度", "監視"}[i%2])
	}
	x := mapped(t, nil, rows)
	dead := roaring.New()
	dead.AddRange(0, uint64(len(rows)/2))
	first := Join([]Part{{x, dead, 0}}, nil)
	first.Search("温度", 1, nil)
	if again := Join([]Part{{x, dead.Clone(), 0}}, nil); again.parts[0].dead != first.parts[0].dead {
		t.Error("equal deaths are counted again")
	}
	term := x.find(hash([]rune("温度")))
	for _, change := range []func(){func() { dead.Add(5000); dead.Add(5001) }, func() {}, func() { dead.Remove(7); dead.Remove(8); dead.Add(4000) }} {
		dead = dead.Clone()
		change()
		d := Join([]Part{{x, dead, 0}}, nil).parts[0].dead
		for _, d := range []*deaths{d, first.parts[0].dead} {
			if got, want := d.having(x, term), d.count(x.postings(term)); got != want {
				t.Errorf("%d dead rows have the word, want %d", got, want)
			}
		}
		if at := x.changes.counts[term].at; at != d.at {
			t.Errorf("the count kept is of %d changes, not of the last, %d", at, d.at)
		}
	}
	if changed := len(x.changes.log) - len(rows)/2; changed != 5 {
		t.Errorf("%d rows changed, want 5", changed)
	}
	if len(x.changes.counts) != 1 {
		t.Errorf("%d counts, want that of the word asked for", len(x.changes.counts))
	}
}

// What is forgotten is counted again.
func TestTheLogOfDeadRowsIsBounded(t *testing.T) {
	x := mapped(t, nil, slices.Repeat([]snapshot.Words{*words("", "倉庫")}, 2*minCounted))
	term := x.find(hash([]rune("倉庫")))
	first := x.without(roaring.BitmapOf(1, 2, 3))
	for i := range uint32(5 * minCounted) {
		d := x.without(roaring.BitmapOf(i%500, i%500+1, 510))
		for _, d := range []*deaths{d, first} {
			if got := d.having(x, term); got != 3 {
				t.Fatalf("after %d changes %d dead rows have the word, want 3", i, got)
			}
		}
		if len(x.changes.log) > x.n {
			t.Fatalf("the log has %d changes for %d rows", len(x.changes.log), x.n)
		}
	}
}

// Every posting of a list is found from its skip, and nothing else.
func TestListsAreEnteredAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6*skipped).Draw(rt, "n")
		every := rapid.IntRange(1, 3).Draw(rt, "every")
		rows := make([]snapshot.Words, n)
		for i := range rows {
			if i%every == 0 {
				rows[i].Text = "倉庫"
			}
		}
		x := mapped(t, nil, rows)
		at := x.find(hash([]rune("倉庫")))
		for row := range uint32(n + 3) {
			want := 0
			if int(row) < n && int(row)%every == 0 {
				want = 1
			}
			if got := x.among([]change{{row, 1}}, at); got != want {
				rt.Fatalf("row %d of every %d of %d is there %d times", row, every, n, got)
			}
		}
	})
}

func TestEditsAndSearchesRunSideBySide(t *testing.T) {
	rows := slices.Repeat([]snapshot.Words{*words("甲社", "倉庫の温度"), *words("乙社", "倉庫")}, 400)
	x := mapped(t, nil, rows)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				dead := roaring.New()
				dead.AddRange(0, uint64(10*g+i))
				left := uint64(len(rows)) - dead.GetCardinality()
				if pos, _, _ := Join([]Part{{x, dead, 0}}, nil).Search("倉庫 温度", len(rows), nil); uint64(len(pos)) != left {
					t.Errorf("%d records are found, want %d", len(pos), left)
				}
			}
		})
	}
	wg.Wait()
}

func described(segments []*segment) string {
	var b strings.Builder
	for s, seg := range segments {
		for _, r := range seg.rows {
			fmt.Fprintf(&b, "%d: %d at %x: %+v\n", s, r.id, r.key, r.words)
		}
	}
	return b.String()
}
