package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusOf is the wire form of an error: the Status that it carries, else a 500 with its text.
func statusOf(err error) *metav1.Status {
	var carrier apierrors.APIStatus
	if !errors.As(err, &carrier) {
		return &metav1.Status{TypeMeta: statusType(), Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
	}
	s := carrier.Status()
	s.TypeMeta = statusType()
	if s.Status == "" {
		s.Status = metav1.StatusFailure
	}
	if s.Code == 0 {
		s.Code = http.StatusInternalServerError
	}
	return &s
}

// named makes an error speak of the resource as the URL does, where its objects are kept under another group's name.
func (q *Request) named(err error) error {
	var status *apierrors.StatusError
	if q.row == nil || !q.row.CoreKind || !errors.As(err, &status) {
		return err
	}
	d := status.ErrStatus.Details
	if d == nil || d.Kind != q.row.Plural || d.Group != "" {
		return err
	}
	out := &apierrors.StatusError{ErrStatus: *status.ErrStatus.DeepCopy()}
	out.ErrStatus.Details.Group = q.row.Group
	short := fmt.Sprintf("%s %q", q.row.Plural, d.Name)
	long := fmt.Sprintf("%s %q", q.row.GroupResource(), d.Name)
	out.ErrStatus.Message = strings.Replace(out.ErrStatus.Message, short, long, 1)
	return out
}

func statusType() metav1.TypeMeta { return metav1.TypeMeta{Kind: "Status", APIVersion: "v1"} }

// writeError answers a request with an error, in the format that the client asked for where it can be had.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	s := statusOf(err)
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	if s.Code == http.StatusNoContent {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if isGeneric(s) {
		w.Header().Del("Warning") // of the version: nobody has come as far
	}
	form, ferr := negotiate(r, wholeOnly)
	if ferr != nil {
		form = Form{Pretty: true} // who takes nothing of what there is may be a person
	}
	writeObject(w, r, int(s.Code), form, statusType(), s)
}

// generic makes the errors that upstream's router writes: a reason, empty details, and a fixed message.
func generic(code int, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		Message: message, Details: &metav1.StatusDetails{}}}
}

// isGeneric recognizes what generic makes.
func isGeneric(s *metav1.Status) bool {
	switch s.Code {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return s.Details != nil && equality.Semantic.DeepEqual(s.Details, &metav1.StatusDetails{})
	}
	return false
}

func errNoSuchPath() error {
	return generic(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

func errMethodNotAllowed() error {
	return generic(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")
}

// plain is an error with a code and reason, without details.
func plain(code int, reason metav1.StatusReason, format string, args ...any) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		Message: fmt.Sprintf(format, args...)}}
}

func notAcceptable(format string, args ...any) error {
	return plain(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, format, args...)
}

func badRequest(format string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf(format, args...))
}
