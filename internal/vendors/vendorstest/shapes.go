package vendorstest

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/text/encoding/japanese"
)

// Shapes are catalogues as people really have them, made of the sample catalogue:
//
//	twice.json        92 records, one id twice
//	repeated.json     107 records, 13 ids repeated, 4 of them by exact copies
//	pages.json        [{title, url, description}]: no ids
//	vendors.csv       a byte order mark, company_name, no id column
//	vendors-sjis.csv  the same in Shift_JIS
//	vendors.jsonl     the sample as JSON Lines
//
// and each again with .gz.
func Shapes(sample []byte) (map[string][]byte, error) {
	var file struct{ Vendors []json.RawMessage }
	if err := json.Unmarshal(sample, &file); err != nil {
		return nil, err
	}
	all := file.Vendors[:min(92, len(file.Vendors))]
	pages, table, err := tables(all)
	if err != nil {
		return nil, err
	}
	sjis, err := japanese.ShiftJIS.NewEncoder().Bytes(bytes.TrimPrefix(table, []byte("\ufeff")))
	if err != nil {
		return nil, err
	}
	var lines bytes.Buffer
	for _, raw := range all {
		if err := json.Compact(&lines, raw); err != nil {
			return nil, err
		}
		lines.WriteByte('\n')
	}
	out := map[string][]byte{
		"twice.json": array(twice(all)), "repeated.json": array(repeated(all[:len(all)-1])), "pages.json": pages,
		"vendors.csv": table, "vendors-sjis.csv": sjis, "vendors.jsonl": lines.Bytes(),
	}
	for name, data := range out {
		if strings.HasSuffix(name, ".gz") {
			continue
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		out[name+".gz"] = b.Bytes()
	}
	return out, nil
}

func array(records []json.RawMessage) []byte {
	return append(append([]byte("[\n"), bytes.Join(asBytes(records), []byte(",\n"))...), "\n]\n"...)
}

func asBytes(records []json.RawMessage) [][]byte {
	out := make([][]byte, len(records))
	for i, r := range records {
		var b bytes.Buffer
		_ = json.Compact(&b, r) // it was read as JSON
		out[i] = b.Bytes()
	}
	return out
}

// renamed is a record under another id.
func renamed(record json.RawMessage, from, to int) json.RawMessage {
	return json.RawMessage(strings.Replace(string(record), fmt.Sprintf(`"V-%03d"`, from), fmt.Sprintf(`"V-%03d"`, to), 1))
}

// twice gives the last record the id of the third.
func twice(all []json.RawMessage) []json.RawMessage {
	n := len(all)
	return append(append([]json.RawMessage(nil), all[:n-1]...), renamed(all[n-1], n, 3))
}

// repeated appends 16 records with 13 ids of others: 4 copies, 9 edits, 3 of the latter twice.
func repeated(all []json.RawMessage) []json.RawMessage {
	out := append([]json.RawMessage(nil), all...)
	edit := func(i, version int) {
		out = append(out, json.RawMessage(strings.Replace(string(all[i]), `"name":`, fmt.Sprintf(`"revision": %d, "name":`, version), 1)))
	}
	for i := range 13 {
		if at := 5 * i; i < 4 {
			out = append(out, all[at])
		} else if edit(at, 2); i >= 10 {
			edit(at, 3)
		}
	}
	return out
}

// tables are the records without ids, as pages of a site and as a table.
func tables(all []json.RawMessage) (pages, table []byte, err error) {
	var list []map[string]string
	var b bytes.Buffer
	b.WriteString("\ufeff")
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	rows := [][]string{{"company_name", "category", "url", "basic_info.description", "basic_info.founded", "basic_info.headquarters.prefecture", "capabilities", "備考"}}
	for _, raw := range all {
		var v struct {
			Name    string   `json:"name"`
			Type    []string `json:"type"`
			Website string   `json:"website"`
			Basic   struct {
				Description  string `json:"description"`
				Founded      int    `json:"founded"`
				Headquarters struct {
					Prefecture string `json:"prefecture"`
				} `json:"headquarters"`
			} `json:"basic_info"`
			Capabilities []string `json:"capabilities"`
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, nil, err
		}
		list = append(list, map[string]string{"title": v.Name, "url": v.Website, "description": v.Basic.Description})
		rows = append(rows, []string{v.Name, strings.Join(v.Type, "、"), v.Website, v.Basic.Description, fmt.Sprint(v.Basic.Founded),
			v.Basic.Headquarters.Prefecture, strings.Join(v.Capabilities, "、"), ""})
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, nil, err
	}
	pages, err = json.MarshalIndent(list, "", " ")
	return pages, b.Bytes(), err
}
