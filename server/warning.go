package server

import (
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Warnings of an answer are bounded, in number of bytes, so that headers stay small whatever an object contains.
const (
	maxWarningBytes = 4 * 1024 // together
	maxWarningText  = 256      // one, once the total is exceeded
)

// addWarning adds a Warning header (RFC 7234, code 299) to an answer that has not begun.
func addWarning(w http.ResponseWriter, text string) {
	header, err := utilnet.NewWarningHeader(299, "-", text)
	if err != nil {
		return
	}
	used := 0
	for _, h := range w.Header()["Warning"] {
		used += len(h)
	}
	if used+len(header) > maxWarningBytes {
		if len(text) <= maxWarningText || used+maxWarningText > maxWarningBytes {
			return
		}
		if header, err = utilnet.NewWarningHeader(299, "-", text[:maxWarningText]); err != nil {
			return
		}
	}
	w.Header().Add("Warning", header)
}
