package langchain

import (
	"encoding/json"
	"testing"
)

func TestToVendorKeepsMetadataAndAddsWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		doc  Document
		want string
	}{
		"complete":              {Document{"u1", "本文", []byte(`{"vendor_id":"V-1","name":"甲","n":1.0}`)}, `{"vendor_id":"V-1","name":"甲","n":1.0,"_text":"本文"}`},
		"id is enough":          {Document{"u1", "本文", []byte(`{"id":7,"name":"甲"}`)}, `{"id":7,"name":"甲","_text":"本文"}`},
		"no id":                 {Document{"u1", "本文", []byte(`{"name":"甲"}`)}, `{"vendor_id":"u1","name":"甲","_text":"本文"}`},
		"unusable ids":          {Document{"u1", "本文", []byte(`{"id":"","vendor_id":null,"name":"甲"}`)}, `{"id":"","vendor_id":"u1","name":"甲","_text":"本文"}`},
		"no docstore id either": {Document{"", "本文", []byte(`{"name":"甲"}`)}, `{"vendor_id":"doc-000003","name":"甲","_text":"本文"}`},
		"no name":               {Document{"u1", "\n  一行目 <b>\n二行目", []byte(`{"id":"a"}`)}, `{"name":"一行目 <b>","id":"a","_text":"\n  一行目 <b>\n二行目"}`},
		"name in basic_info":    {Document{"u1", "本文", []byte(`{"id":"a","basic_info":{"company_name":"乙"}}`)}, `{"id":"a","basic_info":{"company_name":"乙"},"_text":"本文"}`},
		"no metadata":           {Document{"u1", "本文", nil}, `{"name":"本文","vendor_id":"u1","_text":"本文"}`},
		"old _text":             {Document{"u1", "本文", []byte(`{"id":"a","_text":"x","name":"甲"}`)}, `{"id":"a","name":"甲","_text":"本文"}`},
		"key given twice":       {Document{"u1", "本文", []byte(`{"id":"a","id":"b","name":"甲"}`)}, `{"id":"b","name":"甲","_text":"本文"}`},
	} {
		got, err := ToVendor(&Found{Document: c.doc}, 3)
		if err != nil || string(got) != c.want || !json.Valid(got) {
			t.Errorf("%s: got  %s, %v\nwant %s", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct{ meta, want string }{
		"float id":                      {`{"vendor_id":12.0,"name":"甲"}`, `{"vendor_id":12,"name":"甲","_text":"本文"}`},
		"both ids are floats":           {`{"vendor_id":12.00,"id":-3.0,"name":"甲"}`, `{"vendor_id":12,"id":-3,"name":"甲","_text":"本文"}`},
		"a fraction is no id":           {`{"vendor_id":12.5,"name":"甲"}`, `{"vendor_id":"u1","name":"甲","_text":"本文"}`},
		"NaN became null":               {`{"vendor_id":null,"id":7.0,"name":"甲"}`, `{"vendor_id":null,"id":7,"name":"甲","_text":"本文"}`},
		"an exponent":                   {`{"id":1e3,"name":"甲"}`, `{"vendor_id":"u1","id":1e3,"name":"甲","_text":"本文"}`},
		"other numbers stay":            {`{"id":"a","n":12.0,"name":"甲"}`, `{"id":"a","n":12.0,"name":"甲","_text":"本文"}`},
		"a title is a name":             {`{"id":"a","title":"題"}`, `{"id":"a","title":"題","_text":"本文"}`},
		"text that looks like a number": {`{"id":"12.0","name":"甲"}`, `{"id":"12.0","name":"甲","_text":"本文"}`},
	} {
		d := Found{Document: Document{"u1", "本文", []byte(c.meta)}}
		if got, err := ToVendor(&d, 3); err != nil || string(got) != c.want {
			t.Errorf("%s: got  %s, %v\nwant %s", name, got, err, c.want)
		}
	}
	for name, d := range map[string]Document{
		"no text":         {"u1", " ", []byte(`{}`)},
		"broken metadata": {"u1", "x", []byte(`{"a":`)},
		"metadata a list": {"u1", "x", []byte(`[]`)},
	} {
		if got, err := ToVendor(&Found{Document: d}, 3); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}
