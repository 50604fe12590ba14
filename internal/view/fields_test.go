package view

import (
	"fmt"
	"slices"
	"testing"
)

func TestFieldsAreShortValuesThatManyShare(t *testing.T) {
	record := func(i int) ([]byte, error) {
		return fmt.Appendf(nil, `{"id":"V-%d","name":"社 %d","kind":"k%d","deep":{"status":"s%d"},"range":"%d-9","long":"%060d x","rare":%s}`,
			i, i, i%3, i%2, i%4, i%5, map[bool]string{true: `"r"`, false: "null"}[i%10 == 0]), nil
	}
	if got, want := pickFields(200, record), []string{"kind", "deep.status"}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
}

// FuzzFields: whatever a record is, choosing fields ends.
func FuzzFields(f *testing.F) {
	f.Add(`{"name":"x","tags":["a",["b",{"c":"d"}]],"n":1.5,"o":{"p":null}}`)
	f.Add(`[{"a":"b"},"c"]`)
	f.Fuzz(func(t *testing.T, raw string) {
		pickFields(3, func(int) ([]byte, error) { return []byte(raw), nil })
	})
}
