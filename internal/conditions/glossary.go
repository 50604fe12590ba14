package conditions

import "strings"

// The words that Japanese and English use for what a field's key says. A path is looked at by its last key.

// flags are yes-or-no fields.
var flags = []struct {
	key, value string
	words      []string
}{
	{"listed", "true", []string{"上場", "上場企業", "上場会社", "listed"}},
	{"listed", "false", []string{"未上場", "非上場", "未上場企業", "unlisted"}},
	{"public", "true", []string{"上場", "上場企業"}},
	{"public", "false", []string{"未上場", "非上場"}},
}

func glossaryWords(path, value string) []string {
	key := lastKey(path)
	var out []string
	for _, f := range flags {
		if (key == f.key || key == "is_"+f.key) && value == f.value {
			out = append(out, f.words...)
		}
	}
	return out
}

// quantities are fields of numbers: all parts stand in the key. A unit alone is enough where it means only one thing.
var quantities = []struct {
	parts, names, units []string
}{
	{[]string{"employee"}, []string{"従業員", "従業員数", "社員", "社員数", "規模", "employees", "people", "staff"}, []string{"人", "名"}},
	{[]string{"headcount"}, []string{"従業員", "従業員数", "社員", "社員数"}, []string{"人", "名"}},
	{[]string{"founded"}, []string{"設立", "創業", "創立", "founded"}, nil},
	{[]string{"established"}, []string{"設立", "創業", "創立"}, nil},
	{[]string{"capital"}, []string{"資本金"}, nil},
	{[]string{"revenue"}, []string{"売上", "売上高", "年商"}, nil},
	{[]string{"month", "price"}, []string{"月額", "月々", "毎月", "月"}, nil},
	{[]string{"month", "fee"}, []string{"月額", "月々", "毎月", "月"}, nil},
	{[]string{"initial"}, []string{"初期費用", "初期", "導入費用", "導入費"}, nil},
	{[]string{"lead_time"}, []string{"納期", "リードタイム", "導入まで", "導入期間"}, []string{"週間", "週"}},
	{[]string{"score"}, []string{"スコア", "評価", "評点", "点数", "score"}, []string{"点"}},
	{[]string{"rating"}, []string{"評価", "評点", "レーティング"}, []string{"点"}},
}

func glossaryNumbers(path string) (names, units []string) {
	key := lastKey(path)
	for _, q := range quantities {
		all := true
		for _, p := range q.parts {
			all = all && strings.Contains(key, p)
		}
		if all {
			return q.names, q.units
		}
	}
	return nil, nil
}

func lastKey(path string) string {
	return strings.ToLower(path[strings.LastIndexByte(path, '.')+1:])
}
