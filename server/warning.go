package server

import (
	"net/http"
	"slices"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// The bounds of an answer's warnings, in characters, so that headers stay small whatever an object contains.
const (
	maxWarnings = 4 * 1024 // together
	maxWarning  = 256      // one, once that is exceeded
)

// warnings are the Warning headers (RFC 7234, code 299) of an answer that has not begun, each text once. When they grow
// beyond their bound all are cut, those that were there before too, and more are taken until cut ones exceed it.
type warnings struct {
	texts []string
	size  int // of what the headers say, in characters
	cut   bool
}

func (a *warnings) add(h http.Header, text string) {
	if text == "" || a.cut && a.size >= maxWarnings || slices.Contains(a.texts, text) {
		return
	}
	a.texts = append(a.texts, text)
	if !a.cut && a.size+utf8.RuneCountInString(text) > maxWarnings {
		a.cut, a.size = true, 0
		h.Del("Warning")
		for _, earlier := range a.texts {
			a.say(h, earlier)
		}
		return
	}
	a.say(h, text)
}

func (a *warnings) say(h http.Header, text string) {
	if a.cut {
		text = firstRunes(text, maxWarning)
	}
	if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
		a.size += utf8.RuneCountInString(text)
		h.Add("Warning", header)
	}
}

// firstRunes is the text cut after n characters.
func firstRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}
