package deploy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A template is a CloudFormation file with its short intrinsics (!Ref x) in the long form ({"Ref": "x"}).
type template struct {
	root   map[string]any
	params map[string]string
	conds  map[string]bool
}

// noValue marks what AWS::NoValue removes.
type noValue struct{}

// loadYAML reads one document; it fails on anchors, aliases and merge keys, which CloudFormation does not know.
func loadYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	f, err := parser.ParseFile(path, 0)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(f.Docs) != 1 {
		t.Fatalf("%s has %d documents", path, len(f.Docs))
	}
	v, err := plain(f.Docs[0].Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v.(map[string]any)
}

func plain(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		m := map[string]any{}
		for _, kv := range n.Values {
			if err := plainPair(m, kv); err != nil {
				return nil, err
			}
		}
		return m, nil
	case *ast.MappingValueNode:
		m := map[string]any{}
		return m, plainPair(m, n)
	case *ast.SequenceNode:
		list := []any{}
		for _, e := range n.Values {
			v, err := plain(e)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *ast.TagNode:
		v, err := plain(n.Value)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(n.Start.Value, "!")
		switch name {
		case "Ref", "Condition":
		case "GetAtt":
			name = "Fn::GetAtt"
			if s, ok := v.(string); ok {
				res, att, _ := strings.Cut(s, ".")
				v = []any{res, att}
			}
		default:
			name = "Fn::" + name
		}
		return map[string]any{name: v}, nil
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return nil, fmt.Errorf("line %d: anchors, aliases and merge keys are not CloudFormation", n.GetToken().Position.Line)
	case *ast.NullNode:
		return nil, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case ast.ScalarNode:
		return n.GetValue(), nil
	default:
		return nil, fmt.Errorf("unexpected %T", n)
	}
}

func plainPair(m map[string]any, kv *ast.MappingValueNode) error {
	if _, ok := kv.Key.(*ast.MergeKeyNode); ok {
		return fmt.Errorf("line %d: merge key", kv.GetToken().Position.Line)
	}
	v, err := plain(kv.Value)
	if err != nil {
		return err
	}
	key := kv.Key.GetToken().Value
	if _, twice := m[key]; twice {
		return fmt.Errorf("line %d: key %q twice", kv.GetToken().Position.Line, key)
	}
	m[key] = v
	return nil
}

// load reads a template and gives its parameters their defaults, then the given values.
func load(t *testing.T, path string, given map[string]string) *template {
	t.Helper()
	tp := &template{root: loadYAML(t, path), conds: map[string]bool{}, params: map[string]string{
		"AWS::Region": "ap-northeast-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
	}}
	for name, p := range tp.section("Parameters") {
		if d, ok := p.(map[string]any)["Default"]; ok {
			tp.params[name] = fmt.Sprint(d)
		}
		if v, ok := given[name]; ok {
			tp.params[name] = v
		}
		if _, ok := tp.params[name]; !ok {
			tp.params[name] = "given-" + name
		}
	}
	for name, c := range tp.section("Conditions") {
		tp.conds[name] = tp.eval(c).(bool)
	}
	return tp
}

func (tp *template) section(name string) map[string]any {
	s, _ := tp.root[name].(map[string]any)
	return s
}

// resources returns those whose condition holds, evaluated.
func (tp *template) resources() map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, r := range tp.section("Resources") {
		r := r.(map[string]any)
		if c, ok := r["Condition"].(string); ok && !tp.conds[c] {
			continue
		}
		props, _ := tp.eval(r["Properties"]).(map[string]any)
		out[name] = map[string]any{"Type": r["Type"], "Properties": props, "DeletionPolicy": r["DeletionPolicy"]}
	}
	return out
}

// ofType returns the evaluated properties of every resource of a type, by logical name.
func (tp *template) ofType(typ string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, r := range tp.resources() {
		if r["Type"] == typ {
			out[name] = r["Properties"].(map[string]any)
		}
	}
	return out
}

var subst = regexp.MustCompile(`\$\{([^}!]+)\}`)

// eval computes the intrinsics; references to resources become "<Name>" and "<Name.Attribute>".
func (tp *template) eval(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, e := range v {
			if x := tp.eval(e); x != (noValue{}) {
				out = append(out, x)
			}
		}
		return out
	case map[string]any:
		if len(v) == 1 {
			for name, arg := range v {
				if x, ok := tp.intrinsic(name, arg); ok {
					return x
				}
			}
		}
		out := map[string]any{}
		for k, e := range v {
			if x := tp.eval(e); x != (noValue{}) {
				out[k] = x
			}
		}
		return out
	default:
		return v
	}
}

func (tp *template) intrinsic(name string, arg any) (any, bool) {
	list := func() []any { return tp.eval(arg).([]any) }
	switch name {
	case "Ref":
		return tp.ref(arg.(string)), true
	case "Condition":
		if s, ok := arg.(string); ok {
			return tp.conds[s] || tp.root["Conditions"].(map[string]any)[s] != nil && tp.eval(tp.section("Conditions")[s]) == true, true
		}
		return nil, false // the Condition of a policy statement
	case "Fn::GetAtt":
		a := arg.([]any)
		return fmt.Sprintf("<%s.%s>", a[0], a[1]), true
	case "Fn::Sub":
		return tp.sub(arg), true
	case "Fn::If":
		a := arg.([]any)
		if tp.eval(map[string]any{"Condition": a[0]}) == true {
			return tp.eval(a[1]), true
		}
		return tp.eval(a[2]), true
	case "Fn::Equals":
		a := list()
		return fmt.Sprint(a[0]) == fmt.Sprint(a[1]), true
	case "Fn::Not":
		return list()[0] != true, true
	case "Fn::And":
		for _, x := range list() {
			if x != true {
				return false, true
			}
		}
		return true, true
	case "Fn::Or":
		for _, x := range list() {
			if x == true {
				return true, true
			}
		}
		return false, true
	case "Fn::Select":
		a := list()
		return a[1].([]any)[a[0].(uint64)], true
	case "Fn::Split":
		a := list()
		text := strings.ReplaceAll(a[1].(string), "<LoadBalancer>", "arn:of:loadbalancer/<LoadBalancer>")
		var out []any
		for _, s := range strings.Split(text, a[0].(string)) {
			out = append(out, s)
		}
		return out, true
	case "Fn::Join":
		a := list()
		var parts []string
		for _, x := range a[1].([]any) {
			parts = append(parts, fmt.Sprint(x))
		}
		return strings.Join(parts, a[0].(string)), true
	case "Fn::ImportValue":
		return fmt.Sprintf("<import %v>", tp.eval(arg)), true
	}
	if strings.HasPrefix(name, "Fn::") {
		panic("intrinsic not known to this test: " + name)
	}
	return nil, false
}

func (tp *template) ref(name string) any {
	if name == "AWS::NoValue" {
		return noValue{}
	}
	p, isParam := tp.section("Parameters")[name].(map[string]any)
	v, known := tp.params[name]
	switch {
	case isParam && strings.HasPrefix(fmt.Sprint(p["Type"]), "List<"):
		out := []any{}
		for _, s := range strings.Split(v, ",") {
			out = append(out, s)
		}
		return out
	case known:
		return v
	case tp.section("Resources")[name] != nil:
		return "<" + name + ">"
	}
	panic("Ref to unknown " + name)
}

func (tp *template) sub(arg any) string {
	text, vars := arg, map[string]any{}
	if a, ok := arg.([]any); ok {
		text, vars = a[0], tp.eval(a[1]).(map[string]any)
	}
	return subst.ReplaceAllStringFunc(text.(string), func(m string) string {
		name := m[2 : len(m)-1]
		if v, ok := vars[name]; ok {
			return fmt.Sprint(v)
		}
		if res, att, dotted := strings.Cut(name, "."); dotted {
			return fmt.Sprintf("<%s.%s>", res, att)
		}
		return fmt.Sprint(tp.ref(name))
	})
}

// dig walks maps by key and lists by index.
func dig(t *testing.T, v any, path ...any) any {
	t.Helper()
	for i, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[p] == nil {
				t.Fatalf("nothing at %v", path[:i+1])
			}
			v = m[p]
		case int:
			l, ok := v.([]any)
			if !ok || p >= len(l) {
				t.Fatalf("nothing at %v", path[:i+1])
			}
			v = l[p]
		}
	}
	return v
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readAny(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(b), err
}
