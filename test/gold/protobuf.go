package gold

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"
)

var reTextual = regexp.MustCompile(`^[0-9a-f][0-9a-f.:/-]{3,}$`)

// proto turns a protobuf answer into a tree keyed by field number. Nothing is known about the
// messages, so a length-delimited field is read as a message when it parses as one and as text
// otherwise; both sides are read in the same way, so equal bytes give equal trees.
func (x *mask) proto(b []byte, watch bool) any {
	if watch {
		out := []any{}
		for len(b) >= 4 {
			n := int(binary.BigEndian.Uint32(b))
			b = b[4:]
			if n > len(b) {
				break
			}
			out = append(out, x.proto(b[:n], false))
			b = b[n:]
		}
		return map[string]any{"frames": len(out)}
	}
	if !bytes.HasPrefix(b, []byte("k8s\x00")) {
		return map[string]any{"proto": "no k8s prefix", "base64": base64.StdEncoding.EncodeToString(b)}
	}
	unk, ok := x.message(b[4:], 0, true)
	if !ok {
		return map[string]any{"proto": "unreadable"}
	}
	return map[string]any{"proto": unk}
}

func (x *mask) message(b []byte, depth int, top bool) (map[string]any, bool) {
	if depth > 24 {
		return nil, false
	}
	out := map[string]any{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 10000 {
			return nil, false
		}
		b = b[n:]
		f := strconv.Itoa(int(tag >> 3))
		var v any
		switch tag & 7 {
		case 0:
			u, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, false
			}
			b = b[n:]
			v = strconv.FormatInt(int64(u), 10)
			if u > 1_000_000_000 && u < 1<<34 && near(time.Unix(int64(u), 0)) {
				v = "{time}"
			}
			if u >= 30000 && u <= 32767 && !x.named[strconv.Itoa(int(u))] {
				v = "{nodePort}"
			}
		case 1:
			if len(b) < 8 {
				return nil, false
			}
			v = fmt.Sprintf("f64:%x", b[:8])
			b = b[8:]
		case 5:
			if len(b) < 4 {
				return nil, false
			}
			v = fmt.Sprintf("f32:%x", b[:4])
			b = b[4:]
		case 2:
			l, n := binary.Uvarint(b)
			if n <= 0 || uint64(len(b)-n) < l {
				return nil, false
			}
			p := b[n : n+int(l)]
			b = b[n+int(l):]
			if len(p) == 0 {
				v = ""
			} else if reTextual.Match(p) { // numbers, addresses, UIDs: never a message
				s := x.str(string(p))
				if reDigits.MatchString(s) {
					s = "{digits}"
				}
				v = s
			} else if m, ok := x.message(p, depth+1, false); ok {
				v = m
			} else if utf8.Valid(p) {
				s := string(p)
				var j any
				if (s[0] == '{' || s[0] == '[') && decode(p, &j) == nil {
					v = map[string]any{"json": x.walk(j, "")}
				} else {
					v = x.str(s)
					if reDigits.MatchString(s) { // a resourceVersion, most likely
						v = "{digits}"
					}
				}
			} else {
				v = "bytes:" + base64.StdEncoding.EncodeToString(p)
			}
		default:
			return nil, false
		}
		l, _ := out[f].([]any)
		out[f] = append(l, v)
	}
	return out, true
}
