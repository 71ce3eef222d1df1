package jsonplan

import "encoding/json"

// appendString writes s in quotes. Nearly all strings of the API are plain ASCII; the others are encoding/json's.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !isPlain(s[i]) {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// isPlain reports whether a character stands for itself in a JSON string, as encoding/json writes it.
func isPlain(c byte) bool {
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// isPlainTree reports whether raw is JSON that encoding/json would leave as it is, of the kind that field sets are:
// objects in objects, without space between. It may say no to what would be left as it is too.
func isPlainTree(raw []byte) bool {
	const (
		beforeName = iota // or the end of an object
		beforeNext        // name, after a comma
		beforeValue
		afterValue
	)
	depth, state := 0, beforeValue
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '{' && state == beforeValue:
			depth++
			state = beforeName
		case c == '}' && depth > 0 && (state == beforeName || state == afterValue):
			depth--
			state = afterValue
		case c == ',' && depth > 0 && state == afterValue:
			state = beforeNext
		case c == '"' && (state == beforeName || state == beforeNext):
			end := plainStringEnd(raw, i+1)
			if end < 0 || end+1 >= len(raw) || raw[end+1] != ':' {
				return false
			}
			i, state = end+1, beforeValue
		default:
			return false
		}
	}
	return depth == 0 && state == afterValue
}

// plainStringEnd is the index of the quote that ends the string; -1 if there is anything special before it. Quotes and
// backslashes may be escaped: names of list items are JSON themselves.
func plainStringEnd(raw []byte, i int) int {
	for ; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			return i
		case c == '\\':
			if i++; i >= len(raw) || raw[i] != '"' && raw[i] != '\\' {
				return -1
			}
		case !isPlain(c):
			return -1
		}
	}
	return -1
}
