// Renders every *.gotmpl with every conversation, and every probe, with Go's text/template, and writes what comes out:
//
//	go run oracle.go conversations.json probes.json *.gotmpl > expected.json
//
// Only the data that templates see is written here; the language is Go's own. The names of fields, the functions, and the
// merging of messages follow Ollama (MIT), as does the choice of templates. An error is written as null.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
)

type object map[string]any

func (o object) String() string { return encode(o) }

type calls []call
type call struct {
	ID       string
	Function called
}
type called struct {
	Index     int
	Name      string
	Arguments object
}
type message struct {
	Role, Content, Thinking string
	Images                  []string
	ToolCalls               calls
	ToolName, ToolCallID    string
}
type kind []string

func (k kind) MarshalJSON() ([]byte, error) {
	if len(k) == 1 {
		return json.Marshal(k[0])
	}
	return json.Marshal([]string(k))
}
func (k *kind) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*k = kind{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(k))
}
func (k kind) String() string {
	if len(k) == 1 {
		return k[0]
	}
	if len(k) == 0 {
		return ""
	}
	return "[" + strings.Join(k, " ") + "]"
}

// Properties within properties keep their order.
type ordered struct {
	names  []string
	values map[string]property
}

func (o *ordered) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	o.values = map[string]property{}
	decoder.Token()
	for decoder.More() {
		name, _ := decoder.Token()
		var value property
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		o.names = append(o.names, name.(string))
		o.values[name.(string)] = value
	}
	return nil
}
func (o *ordered) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(encode(name) + ":" + encode(o.values[name]))
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

type property struct {
	AnyOf       []property `json:"anyOf,omitempty"`
	Type        kind       `json:"type,omitempty"`
	Items       any        `json:"items,omitempty"`
	Description string     `json:"description,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Properties  *ordered   `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
}
type properties map[string]property

func (p properties) String() string { return encode(p) }

type parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}

func (p parameters) String() string { return encode(p) }

type function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

func (f function) String() string { return encode(f) }

type tool struct {
	Type     string   `json:"type"`
	Items    any      `json:"items,omitempty"`
	Function function `json:"function"`
}

func (t tool) String() string { return encode(t) }

type tools []tool

func (t tools) String() string { return encode(t) }

type conversation struct {
	Messages []struct {
		Role, Content, Thinking string
		ToolCalls               calls  `json:"tool_calls"`
		ToolName                string `json:"tool_name"`
		ToolCallID              string `json:"tool_call_id"`
	}
	Tools      tools
	Suffix     string
	Think      bool
	ThinkSet   bool   `json:"think_set"`
	ThinkLevel string `json:"think_level"`
}

func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func typescript(p property) string {
	var names []string
	for _, option := range p.AnyOf {
		names = append(names, typescript(option))
	}
	if len(names) == 0 {
		for _, name := range p.Type {
			known := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
				"array": "any[]", "object": "Record<string, any>", "null": "null"}
			if known[name] == "" {
				known[name] = "any"
			}
			names = append(names, known[name])
		}
	}
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, " | ")
}

var functions = template.FuncMap{
	"json":          encode,
	"currentDate":   func(...string) string { return "2026-01-02" },
	"yesterdayDate": func(...string) string { return "2026-01-01" },
	"toTypeScriptType": func(value any) string {
		if p, ok := value.(property); ok {
			return typescript(p)
		}
		return "any"
	},
}

func mentions(tree string, field string) bool {
	return strings.Contains(tree, "."+field)
}

// Everything behind the first action with .Response goes.
func cut(list *parse.ListNode) bool {
	if list == nil {
		return false
	}
	for i, node := range list.Nodes {
		found := false
		switch node := node.(type) {
		case *parse.ActionNode:
			found = mentions(node.String(), "Response")
		case *parse.IfNode:
			found = cut(node.List) || cut(node.ElseList)
		case *parse.RangeNode:
			found = cut(node.List) || cut(node.ElseList)
		case *parse.WithNode:
			found = cut(node.List) || cut(node.ElseList)
		}
		if found {
			list.Nodes = list.Nodes[:i+1]
			return true
		}
	}
	return false
}

func render(source string, c conversation) (text string, err error) {
	t, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(source)
	if err != nil {
		return "", err
	}
	all := ""
	for _, one := range t.Templates() {
		if one.Tree != nil {
			all += one.Root.String()
		}
	}
	if t.Tree == nil {
		t, err = t.Parse("{{ /**/ }}")
	}
	if !mentions(all, "Messages") && !mentions(all, "Response") {
		t = template.Must(template.New("").Option("missingkey=zero").Funcs(functions).Parse(source + "{{ .Response }}"))
	}
	var system []string
	var messages []*message
	for _, m := range c.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if n := len(messages); n > 0 && messages[n-1].Role == m.Role && m.Role != "tool" {
			messages[n-1].Content += "\n\n" + m.Content
			continue
		}
		messages = append(messages, &message{Role: m.Role, Content: m.Content, Thinking: m.Thinking, ToolCalls: m.ToolCalls,
			ToolName: m.ToolName, ToolCallID: m.ToolCallID})
	}
	var out bytes.Buffer
	run := func(t *template.Template, data map[string]any) error {
		data["Think"], data["ThinkLevel"], data["IsThinkSet"] = c.Think, c.ThinkLevel, c.ThinkSet
		return t.Execute(&out, data)
	}
	if c.Suffix != "" {
		err = run(t, map[string]any{"Prompt": c.Messages[0].Content, "Suffix": c.Suffix, "Response": ""})
		return out.String(), err
	}
	if mentions(all, "Messages") {
		err = run(t, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": messages, "Tools": c.Tools, "Response": ""})
		return out.String(), err
	}
	data := map[string]any{"System": "", "Prompt": "", "Response": ""}
	fresh := data
	flush := func() error {
		err := run(t, data)
		data = map[string]any{"System": "", "Prompt": "", "Response": ""}
		return err
	}
	_ = fresh
	for _, m := range messages {
		switch m.Role {
		case "system":
			if data["Prompt"] != "" || data["Response"] != "" {
				if err := flush(); err != nil {
					return "", err
				}
			}
			data["System"] = m.Content
		case "user":
			if data["Response"] != "" {
				if err := flush(); err != nil {
					return "", err
				}
			}
			data["Prompt"] = m.Content
		case "assistant":
			data["Response"] = m.Content
		}
	}
	cut(t.Root)
	err = run(t, data)
	return out.String(), err
}

func read(path string, into any) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		panic(err)
	}
}

func main() {
	var conversations map[string]conversation
	var probes map[string][]string
	read(os.Args[1], &conversations)
	read(os.Args[2], &probes)
	names := []string{}
	for name := range conversations {
		names = append(names, name)
	}
	sort.Strings(names)
	expected := map[string]*string{}
	add := func(key, source, name string) {
		text, err := render(source, conversations[name])
		if err == nil {
			expected[key] = &text
		} else {
			expected[key] = nil
			if os.Getenv("SHOW_ERRORS") != "" {
				println(key, err.Error())
			}
		}
	}
	for _, path := range os.Args[3:] {
		source, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		for _, name := range names {
			add(strings.TrimSuffix(path, ".gotmpl")+"/"+name, string(source), name)
		}
	}
	for name, sources := range probes {
		for _, source := range sources {
			add(name+": "+source, source, name)
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	encoder.Encode(expected)
}
