package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a file of YAML (of which JSON is a part) as JSON that keeps the file's lines: every value stands on the
// line that it has in the file, so that a position in the JSON, which decoders tell, is a position in the file.
type document struct {
	root *yaml.Node
	json []byte
}

// What aliases may make of a small file: bytes of JSON, and levels, for an alias may stand within what it means.
const (
	maxDocument = 3 << 20
	maxDepth    = 100
)

// parseDocument reads a file. Errors begin with the line.
func parseDocument(data []byte) (*document, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var top, second yaml.Node
	if err := decoder.Decode(&top); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("line 1: the file is empty")
		}
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: the file holds a second document, or goes on after its end", max(1, second.Line))
	}
	d := &document{root: top.Content[0]}
	if d.root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: the file holds no object", d.root.Line)
	}
	w := lineWriter{line: 1}
	if err := w.node(d.root); err != nil {
		return nil, err
	}
	d.json = w.out.Bytes()
	return d, nil
}

// ConfigPart is what a field of a configuration file holds, by a path such as plugins[0].configuration, as a file that
// has it on the same lines: what is wrong with it is found where it stands.
func ConfigPart(data []byte, path string) ([]byte, error) {
	d, err := parseDocument(data)
	if err != nil {
		return nil, err
	}
	at := d.root
	for step := range steps(path) {
		if _, at = child(at, step); at == nil {
			return nil, fmt.Errorf("there is no %s", path)
		}
	}
	w := lineWriter{line: 1}
	err = w.node(at)
	return w.out.Bytes(), err
}

// lineAt is the line of a position in the JSON.
func (d *document) lineAt(offset int) int {
	offset = max(0, min(offset, len(d.json)))
	return 1 + bytes.Count(d.json[:offset], []byte{'\n'})
}

// line is where the field of a path such as jwt[0].issuer.url stands, or the nearest of its parents.
func (d *document) line(path string) int {
	at, line := d.root, d.root.Line
	for step := range steps(path) {
		key, value := child(at, step)
		if value == nil {
			break
		}
		at, line = value, key.Line
	}
	return line
}

// steps are the names and numbers of a path.
func steps(path string) iter.Seq[string] {
	return strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// text is a field of the document itself.
func (d *document) text(key string) string {
	if _, value := child(d.root, key); value != nil {
		return value.Value
	}
	return ""
}

// child finds an entry of a mapping, the last of its name, or an item of a list.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				key, value = n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		var i int
		if _, err := fmt.Sscanf(step, "%d", &i); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return key, value
}

// lineWriter writes nodes as JSON, with line breaks where the file has them.
type lineWriter struct {
	out   bytes.Buffer
	line  int
	depth int
}

// deeper does something one level further down.
func (w *lineWriter) deeper(n *yaml.Node, do func() error) error {
	if w.depth++; w.depth > maxDepth {
		return fmt.Errorf("line %d: the file is nested too deeply", n.Line)
	}
	defer func() { w.depth-- }()
	return do()
}

func (w *lineWriter) node(n *yaml.Node) error {
	if w.out.Len() > maxDocument {
		return fmt.Errorf("line %d: the file is too large", n.Line)
	}
	for ; w.line < n.Line; w.line++ {
		w.out.WriteByte('\n')
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.deeper(n, func() error { return w.node(n.Alias) })
	case yaml.MappingNode:
		return w.deeper(n, func() error { return w.mapping(n) })
	case yaml.SequenceNode:
		return w.deeper(n, func() error {
			return w.between('[', ']', len(n.Content), func(i int) error { return w.node(n.Content[i]) })
		})
	}
	return w.scalar(n)
}

func (w *lineWriter) mapping(n *yaml.Node) error {
	entries, err := w.merged(n)
	if err != nil {
		return err
	}
	return w.between('{', '}', len(entries)/2, func(i int) error {
		key, value := entries[2*i], entries[2*i+1]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key has to be a text", key.Line)
		}
		for ; w.line < key.Line; w.line++ {
			w.out.WriteByte('\n')
		}
		text, err := json.Marshal(key.Value)
		if err != nil {
			return err
		}
		w.out.Write(text)
		w.out.WriteByte(':')
		return w.node(value)
	})
}

func (w *lineWriter) between(open, shut byte, n int, each func(i int) error) error {
	w.out.WriteByte(open)
	for i := range n {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := each(i); err != nil {
			return err
		}
	}
	w.out.WriteByte(shut)
	return nil
}

// merged are a mapping's entries, those of its merge keys (<<) included where it has none of their name itself.
func (w *lineWriter) merged(n *yaml.Node) (own []*yaml.Node, err error) {
	var foreign []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag != "!!merge" {
			own = append(own, key, value)
			continue
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("line %d: << takes one mapping", key.Line)
		}
		err := w.deeper(key, func() (err error) {
			foreign, err = w.merged(value)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for i := 0; i+1 < len(foreign); i += 2 {
		if key, _ := child(n, foreign[i].Value); key == nil {
			own = append(own, foreign[i], foreign[i+1])
		}
	}
	return own, nil
}

// scalar writes a text, number, truth value or null. As in every other file of Kubernetes, yes, no, on and off
// without quotes are truth values.
func (w *lineWriter) scalar(n *yaml.Node) error {
	var value any
	if err := n.Decode(&value); err != nil {
		return err
	}
	if n.Style == 0 && n.Tag == "!!str" {
		switch strings.ToLower(n.Value) {
		case "yes", "on":
			value = true
		case "no", "off":
			value = false
		}
	}
	if n.Tag == "!!timestamp" {
		value = n.Value
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	w.out.Write(text)
	return nil
}
