package audit

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Writer notices when an answer begins and, where the policy wants the answer's object, keeps a copy of its bytes.
type Writer struct {
	http.ResponseWriter
	record *Record
	stream bool // tell when the answer begins
	begun  bool
	body   *bytes.Buffer // nil if the object is not wanted
}

// Writer returns the writer through which the request is to be answered. A stream is an answer that lasts: its beginning
// is a stage of its own, and its content is not recorded. object tells that the answer will be an object of the API.
func (r *Record) Writer(w http.ResponseWriter, stream, object bool) *Writer {
	out := &Writer{ResponseWriter: w, record: r, stream: stream}
	if object && !stream && r.wants(auditv1.LevelRequestResponse) {
		out.body = &bytes.Buffer{}
	}
	return out
}

func (w *Writer) begin(code int) {
	if w.begun {
		return
	}
	w.begun = true
	w.record.began(code)
	w.started()
}

func (w *Writer) started() {
	if w.stream {
		w.record.tell(auditv1.StageResponseStarted, time.Now())
	}
}

// WriteHeader begins the answer.
func (w *Writer) WriteHeader(code int) {
	w.begin(code)
	w.ResponseWriter.WriteHeader(code)
}

// Write goes on with the answer.
func (w *Writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	if w.body != nil {
		w.body.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// Hijack hands over the connection, for streams that are upgraded.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
