package api

// pageText is every text of the page in one language.
type pageText struct {
	Title, Skip, Language, Query, Placeholder, Search, Mode, Count, Key                string
	Hybrid, HybridHint, Semantic, SemanticHint, Lexical, LexicalHint                   string
	Filters, Clear, Apply, More, Results, Nothing, Start, Browse                       string
	Found, FoundFiltered                                                               string // formats: in all, from, to, milliseconds
	Conditions, WithoutConditions, WithConditions, Beyond, Pages, PageBefore, PageNext string
	Condition                                                                          string // format: field, words, records
	Score, Similarity, Attributes, Record                                              string
	Snapshot, SnapshotID, Generation, Vendors, Age, Source, Model, Index               string
	Base, Changes, ServedAfter                                                         string
	Details, WhyHash, WhyMissing, WhyMemory, WhyEmbedding, WhyDisk, WhyOpen            string
	WhyUnsigned                                                                        string
	Refused, PollError, History, Swapped                                               string
	Serving, ServingCache, ServingFallback, ServingStale, Draining, NoSnapshot         string
	Seconds, Minutes, Hours, Days                                                      string // formats: a number
	ProblemTitle, Unavailable, Busy, Provider, Timeout, Invalid, Unauthorized          string
	TooMany, Internal                                                                  string
}

// languages of the page, the default first.
func languages() []string { return []string{"ja", "en"} }

func textOf(lang string) pageText {
	if lang == "en" {
		return english()
	}
	return japanese()
}

func japanese() pageText {
	return pageText{
		Title: "ベンダー検索", Skip: "検索結果へ", Language: "表示言語", Query: "検索したい内容",
		Placeholder: "例：冷凍倉庫の温度監視", Search: "検索", Mode: "検索方法", Count: "件数", Key: "API キー",
		Hybrid: "総合", HybridHint: "意味と語句の両方で探します", Semantic: "意味", SemanticHint: "言い回しが違っても意味の近いものを探します",
		Lexical: "語句", LexicalHint: "名称や型番など、書かれている語句で探します",
		Filters: "絞り込み", Clear: "解除", Apply: "絞り込む", More: "さらに表示", Results: "検索結果",
		Nothing: "条件に合うベンダーは見つかりませんでした。言葉を変えるか、絞り込みを減らしてください。",
		Start:   "探したい内容を文章で入力してください。", Browse: "登録順に表示しています（全 %d 件）",
		Found: "全 %d 件を関連度順に並べた %d〜%d 件目（%s ミリ秒）", FoundFiltered: "絞り込みに合う %d 件のうち %d〜%d 件目（%s ミリ秒）",
		Conditions: "質問から読み取った条件", WithoutConditions: "条件として扱わない", WithConditions: "質問から条件を読み取る", Beyond: "条件に合わないもの", Condition: "%s：%s（%d 件）",
		Pages: "ページ", PageBefore: "前へ", PageNext: "次へ",
		Score: "スコア", Similarity: "類似度", Attributes: "属性", Record: "登録内容を見る",
		Snapshot: "配信中のデータ", SnapshotID: "スナップショット", Generation: "世代", Vendors: "ベンダー数",
		Age: "作成から", Source: "取得元", Model: "埋め込みモデル", Index: "インデックス",
		Base: "ベース", Changes: "ベース以降の変更", ServedAfter: "反映までの時間",
		Refused: "新しいデータを読み込めません", PollError: "保存先に問い合わせできません", History: "切り替えの履歴",
		Details: "詳細", WhyHash: "内容が壊れています（ハッシュの不一致）。", WhyMissing: "ファイルが見つかりません。",
		WhyMemory: "メモリが足りません。", WhyEmbedding: "このサーバーでは埋め込みモデルを呼び出せません。", WhyDisk: "ディスクに書き込めません。", WhyUnsigned: "信頼する鍵の署名がありません。", WhyOpen: "ファイルを開けません。",
		Swapped: "データが切り替わりました：",
		Serving: "配信中", ServingCache: "保存済みのデータで配信中（保存先に接続できません）", ServingFallback: "一つ前のデータで配信中",
		ServingStale: "配信中（新しいデータは未適用）", Draining: "停止準備中", NoSnapshot: "データがありません",
		Seconds: "%d 秒", Minutes: "%d 分", Hours: "%d 時間", Days: "%d 日",
		ProblemTitle: "検索できませんでした", Unavailable: "データの準備ができていません。しばらくしてからもう一度お試しください。",
		Busy: "混み合っています。しばらくしてからもう一度お試しください。", Provider: "文章の解析サービスに接続できません。「語句」での検索は使えます。",
		Timeout: "時間内に応答できませんでした。もう一度お試しください。", Invalid: "入力内容を確認してください。",
		Unauthorized: "API キーが正しくありません。", TooMany: "短い時間に検索が続きました。少し待ってからお試しください。",
		Internal: "エラーが発生しました。",
	}
}

func english() pageText {
	return pageText{
		Title: "Vendor search", Skip: "Skip to results", Language: "Language", Query: "What are you looking for?",
		Placeholder: "e.g. temperature monitoring for cold storage", Search: "Search", Mode: "Search by", Count: "Results", Key: "API key",
		Hybrid: "Best", HybridHint: "By meaning and by words", Semantic: "Meaning", SemanticHint: "Finds what is meant, however it is put",
		Lexical: "Words", LexicalHint: "Finds names, codes and words as they are written",
		Filters: "Filters", Clear: "Clear", Apply: "Apply", More: "More", Results: "Results",
		Nothing: "No vendor matches. Try other words or fewer filters.",
		Start:   "Describe what you are looking for.", Browse: "In catalogue order (%d in all)",
		Found: "All %d by relevance, %d to %d (%s ms)", FoundFiltered: "%d within the filters, %d to %d (%s ms)",
		Conditions: "Conditions in your question", WithoutConditions: "Ignore them", WithConditions: "Look for conditions in the question",
		Beyond: "Not meeting the conditions", Condition: "%s: %s (%d)", Pages: "Pages", PageBefore: "Previous", PageNext: "Next",
		Score: "Score", Similarity: "similarity", Attributes: "Attributes", Record: "Show the record",
		Snapshot: "Served data", SnapshotID: "Snapshot", Generation: "Generation", Vendors: "Vendors",
		Age: "Built", Source: "Source", Model: "Embedding model", Index: "Index",
		Base: "Base", Changes: "Changes since", ServedAfter: "Last edit served after",
		Refused: "Newer data could not be loaded", PollError: "The store does not answer", History: "History of swaps",
		Details: "Details", WhyHash: "Its files are damaged (hash mismatch).", WhyMissing: "Files are missing.",
		WhyMemory: "There is not enough memory.", WhyEmbedding: "This server cannot call its embedding model.", WhyDisk: "The local disk cannot be written.", WhyUnsigned: "No trusted key signed it.", WhyOpen: "Its files cannot be opened.",
		Swapped: "The data was swapped:",
		Serving: "Serving", ServingCache: "Serving cached data (the store does not answer)", ServingFallback: "Serving an older snapshot",
		ServingStale: "Serving (newer data not taken)", Draining: "Stopping", NoSnapshot: "No data",
		Seconds: "%d s ago", Minutes: "%d min ago", Hours: "%d h ago", Days: "%d days ago",
		ProblemTitle: "The search failed", Unavailable: "The data is not ready yet. Please try again shortly.",
		Busy: "The server is busy. Please try again shortly.", Provider: "The embedding provider does not answer. Searching by words still works.",
		Timeout: "There was no answer in time. Please try again.", Invalid: "Please check what you entered.",
		Unauthorized: "The API key is not valid.", TooMany: "Too many searches in a short time. Please wait a little.",
		Internal: "Something went wrong.",
	}
}

// label names a field of a record for people: what is known of common fields, else the field itself.
func label(lang, path string) string {
	known := map[string][2]string{
		"type": {"種別", "Type"}, "industries": {"業種", "Industries"}, "industry": {"業種", "Industry"},
		"certifications": {"認証", "Certifications"}, "regions": {"対応地域", "Regions"}, "region": {"地域", "Region"},
		"delivery.deployment": {"提供形態", "Deployment"}, "engagement.status": {"商談状況", "Engagement"},
		"engagement.owner": {"担当部署", "Owner"}, "basic_info.headquarters.prefecture": {"本社所在地", "Headquarters"},
		"tags": {"タグ", "Tags"}, "category": {"分類", "Category"}, "status": {"状況", "Status"}, "capabilities": {"機能", "Capabilities"},
	}
	l, ok := known[path]
	switch {
	case !ok:
		return path
	case lang == "en":
		return l[1]
	}
	return l[0]
}
