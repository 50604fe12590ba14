package lexical

import "slices"

const (
	// rankConstant is the k of reciprocal rank fusion (Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms
	// Condorcet and individual Rank Learning Methods, SIGIR 2009).
	rankConstant = 60

	// namedWeight and wholeWeight let a record that is named win against one that leads both lists, which reaches
	// 2/61 = 0.033: a record named in the query reaches (1+1.5)/(60+its place) from its place by words alone, one
	// whose name is the query, or begins with it, (1+1.5+3)/(60+its place).
	namedWeight = 1.5
	wholeWeight = 3
)

// Fuse merges a ranking by meaning with one by words: positions, best first, and for the words the scores of
// Index.Search, by which names are known. It returns at most k positions, best first, with scores in 0..1;
// 1 is the first place in both. Either list may be empty.
func Fuse(k int, semantic, lexical []int64, lexicalScores []float32) (pos []int64, scores []float32) {
	fused := make(map[int64]float32, len(semantic)+len(lexical))
	reach := float32(0)
	vote := func(list []int64, weight float32) {
		if len(list) == 0 {
			return
		}
		reach += weight / (rankConstant + 1)
		for i, p := range list {
			fused[p] += weight / float32(rankConstant+1+i)
		}
	}
	atLeast := func(score float32) []int64 {
		n := 0
		for n < len(lexical) && lexicalScores[n] >= score {
			n++
		}
		return lexical[:n]
	}
	vote(semantic, 1)
	vote(lexical, 1)
	vote(atLeast(namedBonus), namedWeight)
	vote(atLeast(prefixBonus), wholeWeight)

	pos = make([]int64, 0, len(fused))
	for p := range fused {
		pos = append(pos, p)
	}
	slices.SortFunc(pos, func(a, b int64) int {
		switch {
		case fused[a] > fused[b], fused[a] == fused[b] && a < b:
			return -1
		}
		return 1
	})
	pos = slices.Clip(pos[:min(k, len(pos))])
	scores = make([]float32, len(pos))
	for i, p := range pos {
		scores[i] = min(fused[p]/reach, 1)
	}
	return pos, scores
}
