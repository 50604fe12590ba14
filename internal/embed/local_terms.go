package embed

import (
	"strings"
)

// genericWords are everywhere in vendor descriptions and in questions about vendors, and so tell nothing apart.
const genericWords = `
a an and are as at be by can do does for from has have how i in into is it its me my need of on one or our please so
that the their them they this to up us want we what which who with would you your
company companies vendor vendors service services system systems solution solutions support provide provides provider
looking find using use used tool tools
会社 企業 株式 式会 提供 支援 対応 導入 業務 利用 使用 可能 実現 活用 製品 商品 機能 情報 必要 自社 社内 場合 全業 業種 全国
方法 仕組 自動 管理 一元 確認 作業 担当 当者 依頼 今回 現在 最適 手間 希望 検討 候補 紹介 教示 関連 関係 全般 様々
サービス システム ソリューション ソフト ツール クラウド ベンダ メーカ プラットフォーム アプリ データ サポート オンライン
コト モノ トコロ タメ ナド カラ マデ ヨリ シタイ スル シテ サレル デキル アル ナイ タイ マス デス クダサイ ホシイ
シタ イル テイル ニツイテ トシテ ニヨル ヲスル ガデキル デキルトコロ シテクレル シテホシイ タメノ カラノ ノタメノ サセル
ニオケル ニタイスル スルタメノ ガホシイ ヲサガシテイマス シテイル シテイマス サレテイル シタクテ ガアル クレル ヤッテクレル
サガシテイル ラクニシタイ ナクシテ ナクシタイ ヘラス ヘラシタイ ガシタイ
`

// localTerms are words that mean the same to somebody who looks for a vendor: one meaning a line, Japanese and English,
// as they are used in business generally. A text that holds one of the words gets the meaning as a feature.
const localTerms = `
勤怠 出退勤 打刻 タイムカード 勤務時間 残業 労働時間 attendance timesheet timecard
給与 給料 賃金 年末調整 payroll salary
有休 有給 休暇 leave
採用 求人 応募 面接 中途 recruiting recruitment hiring applicant
人事 人材 hr talent
研修 教育 eラーニング 学習 elearning training lms
ストレスチェック メンタルヘルス 健康経営 産業医 wellness
経費 交通費 出張費 旅費 立替 expense expenses
請求書 インボイス 適格請求 invoice invoices invoicing
契約 締結 contract contracts
署名 押印 捺印 ハンコ 印鑑 電子契約 signature esign
会計 経理 仕訳 accounting
基幹 erp
債権 入金 消込 督促 売掛 receivable
予算 予実 管理会計 budget budgeting
購買 調達 仕入 発注 見積 procurement purchasing
営業 商談 sfa sales
顧客 crm customer customers
マーケティング 販促 見込み客 marketing
コールセンター コンタクトセンター 電話 通話 cti callcenter
チャットボット 問い合わせ 問合せ faq chatbot
音声 録音 文字起こし 書き起こし 議事録 speech transcription minutes
翻訳 多言語 英語 translation multilingual
ocr 読み取 読取 手書き 帳票 スキャン scan
rpa 繰り返し 定型作業 転記 ソフトウェアロボット
文書 書類 ペーパーレス 紙 document documents paperless
法務 リーガル 条項 legal
特許 知財 知的財産 patent patents
セキュリティ サイバー 情報漏えい security cyber
脆弱性 診断 ペネトレーション 侵入 vulnerability penetration pentest
シングルサインオン sso 認証 ログイン id管理 authentication login identity
メール mail email
バックアップ 災害対策 復旧 bcp ランサムウェア backup disaster ransomware
安否 緊急連絡 地震 emergency
クラウド aws azure gcp cloud
移行 引越 リプレース 刷新 入れ替え 入替 migration
データ基盤 dwh データレイク etl datawarehouse
bi ダッシュボード 可視化 見える化 グラフ dashboard visualization
需要予測 予測 forecast forecasting prediction
最適化 optimization
生成ai llm rag chatgpt 大規模言語モデル generative
機械学習 ディープラーニング 深層学習 ai 人工知能 ml
外観検査 検品 不良 傷 キズ inspection defect defects
予知保全 故障 予兆 保全 振動 maintenance predictive
センサー センサ iot sensor sensors
製造 工場 生産 ものづくり manufacturing factory plant production
工程 スケジューラ 生産計画 scheduling scheduler
設計 cad 図面 drawing drawings
解析 シミュレーション cae simulation
ロボット robot robots robotics
搬送 agv amr 台車 運搬
倉庫 物流センター 保管 warehouse warehouses
在庫 棚卸 入出庫 inventory stock
ピッキング 誤出荷 picking
物流 配送 輸送 運送 logistics delivery shipping
トラック 車両 配車 ドライバー 運転 truck trucks fleet vehicle
ルート 経路 道順 route routing
宅配 再配達 置き配 荷物 ラストワンマイル parcel
冷凍 冷蔵 低温 コールドチェーン frozen refrigerated cold
温度 温湿度 temperature
監視 見守 モニタリング monitoring monitor
通知 通報 アラート 警報 知らせ alert alerts notification
電力 電気 エネルギー 省エネ 節電 energy electricity power
太陽光 ソーラー 再エネ 蓄電池 solar
co2 温室効果ガス カーボン 脱炭素 排出量 scope3 carbon emissions
水質 排水 water wastewater
廃棄物 ごみ ゴミ リサイクル waste recycling
建設 工事 建築 施工 construction
現場 site
bim 三次元 3次元 3d
測量 地形 点群 ドローン survey surveying drone drones
橋 トンネル インフラ 構造物 ひび割れ bridge tunnel infrastructure
不動産 賃貸 物件 大家 家賃 入居 property tenant rental
鍵 錠 スマートロック 入退室 ドア 扉 施錠 lock
清掃 掃除 cleaning
農業 ハウス 温室 栽培 作物 園芸 agriculture farm greenhouse crop
牛 酪農 畜産 牧場 cattle dairy livestock
水産 養殖 漁業 魚 いけす aquaculture fish
食品 食の安全 haccp 衛生 food hygiene
飲食 レストラン 居酒屋 食堂 restaurant
注文 オーダー order ordering
ホテル 旅館 宿泊 hotel lodging
観光 旅行 ツアー tourism travel
予約 reservation booking
小売 店舗 スーパー retail store shop
レジ pos 会計端末 checkout register
ec 通販 ネットショップ オンラインショップ ecommerce
返品 リユース 中古 returns
来店 来客 客数 人流 visitors footfall
値札 棚札 price
サイネージ 電子看板 signage
病院 クリニック 診療所 医療 hospital clinic medical healthcare
電子カルテ カルテ emr ehr
介護 高齢者 老人ホーム ケア nursing elderly care
オンライン診療 遠隔医療 telemedicine
薬局 調剤 薬 医薬品 pharmacy drug
治験 臨床試験 clinical
保育 保育園 幼稚園 園児 childcare nursery
学校 小学校 中学校 校務 教員 先生 school teacher
学習塾 塾 予備校 cram
自治体 役所 市役所 行政 役場 government municipal
申請 届出 手続き application
防災 洪水 河川 水位 flood river
銀行 金融 bank banking finance financial
マネーロンダリング aml 不正 反社 fraud
保険 insurance
資産運用 投資 証券 investment
カード クレジットカード card
決済 支払い キャッシュレス 電子マネー payment payments cashless
通信 回線 sim ネットワーク network connectivity
衛星 人工衛星 satellite
気象 天気 天候 weather
`

// wordList is genericWords as a set of hashes. Kana is folded, so hiragana words stand in katakana above.
func wordList() map[uint64]struct{} {
	set := make(map[uint64]struct{}, 256)
	for _, w := range strings.Fields(genericWords) {
		set[gramHash('s', []rune(w))] = struct{}{}
	}
	return set
}

// termTrie finds the words of localTerms in a text.
type termTrie struct {
	nodes []termNode
}

type termNode struct {
	next    map[rune]int32
	meaning uint64 // hash of the meaning; 0 when no word ends here
}

func newTermTrie() *termTrie {
	t := &termTrie{nodes: make([]termNode, 1, 2048)}
	for line := range strings.Lines(localTerms) {
		words := strings.Fields(line)
		for _, w := range words {
			t.insert(w, gramHash('t', []rune(words[0])))
		}
	}
	return t
}

func (t *termTrie) insert(word string, meaning uint64) {
	at := int32(0)
	for _, r := range word {
		r = kana(r)
		if t.nodes[at].next == nil {
			t.nodes[at].next = make(map[rune]int32, 1)
		}
		next, ok := t.nodes[at].next[r]
		if !ok {
			next = int32(len(t.nodes))
			t.nodes = append(t.nodes, termNode{})
			t.nodes[at].next[r] = next
		}
		at = next
	}
	t.nodes[at].meaning = meaning
}

// find calls found with the meaning of every longest word in text. A word of Latin letters or digits counts only as a
// whole word, one of Japanese characters anywhere.
func (t *termTrie) find(text []rune, found func(meaning uint64)) {
	for i := 0; i < len(text); {
		n, meaning := t.longest(text, i)
		if n == 0 {
			i++
			continue
		}
		found(meaning)
		i += n
	}
}

func (t *termTrie) longest(text []rune, i int) (n int, meaning uint64) {
	if i > 0 && scriptOf(text[i]) == word && scriptOf(text[i-1]) == word {
		return 0, 0
	}
	at := int32(0)
	for j := i; j < len(text); j++ {
		next, ok := t.nodes[at].next[kana(text[j])]
		if !ok {
			break
		}
		at = next
		ends := scriptOf(text[j]) != word || j+1 == len(text) || scriptOf(text[j+1]) != word
		if t.nodes[at].meaning != 0 && ends {
			n, meaning = j+1-i, t.nodes[at].meaning
		}
	}
	return n, meaning
}
