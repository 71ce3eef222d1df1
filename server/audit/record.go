package audit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Record is what becomes known of one request. It belongs to the request's goroutine. A nil Record is that of a request
// which is not recorded: it takes what it is told, and forgets it.
type Record struct {
	log   *Log
	rule  *rule
	event auditv1.Event
}

// maxUserAgent is the length in bytes to which a client's name for itself is cut.
const maxUserAgent = 1024

// newRecord begins a record with what the request itself says.
func newRecord(l *Log, fits *rule, r *http.Request, received time.Time, a *registry.Attributes) *Record {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent] + "...TRUNCATED"
	}
	rec := &Record{log: l, rule: fits, event: auditv1.Event{
		Level: fits.Level, RequestURI: r.URL.RequestURI(), Verb: a.Verb, User: userInfo(a.User), UserAgent: agent,
		RequestReceivedTimestamp: metav1.NewMicroTime(received),
	}}
	for _, ip := range utilnet.SourceIPs(r) {
		rec.event.SourceIPs = append(rec.event.SourceIPs, ip.String())
	}
	if a.ResourceRequest {
		rec.event.ObjectRef = &auditv1.ObjectReference{Resource: a.Resource, Subresource: a.Subresource,
			Namespace: a.Namespace, Name: a.Name, APIGroup: a.Group, APIVersion: a.Version}
	}
	return rec
}

func userInfo(u registry.User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		info.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			info.Extra[k] = v
		}
	}
	return info
}

// Identify sets the request's id, and the annotations, which the server may go on to write.
func (r *Record) Identify(id string, annotations map[string]string) {
	r.event.AuditID, r.event.Annotations = types.UID(id), annotations
}

// Impersonated tells on whose behalf the user acts. constraint is the verb that allowed it where impersonation is
// constrained, else empty.
func (r *Record) Impersonated(u registry.User, constraint string) {
	if r == nil {
		return
	}
	info := userInfo(u)
	r.event.ImpersonatedUser = &info
	if constraint != "" {
		r.event.AuthenticationMetadata = &auditv1.AuthenticationMetadata{ImpersonationConstraint: constraint}
	}
}

// Sent tells which object the client has sent; encode gives it as JSON. The first counts: a write that is tried again
// reads its object again.
func (r *Record) Sent(o metav1.Object, encode func() ([]byte, error)) {
	if r == nil || r.event.RequestObject != nil {
		return
	}
	if ref := r.event.ObjectRef; ref != nil && o != nil {
		ref.Namespace = first(ref.Namespace, o.GetNamespace())
		ref.Name = first(ref.Name, o.GetName())
		ref.UID = first(ref.UID, o.GetUID())
		ref.ResourceVersion = first(ref.ResourceVersion, o.GetResourceVersion())
	}
	if r.wants(auditv1.LevelRequest) {
		r.event.RequestObject = r.object(encode)
	}
}

func first[T ~string](a, b T) T {
	if a != "" {
		return a
	}
	return b
}

// wants reports whether the level is this or a higher one.
func (r *Record) wants(l auditv1.Level) bool {
	return r.rule.Level == l || r.rule.Level == auditv1.LevelRequestResponse
}

// object is what a record holds of an object: JSON, without managedFields where the policy says so. One that cannot be
// had is left out: the rest of the event is worth more than none.
func (r *Record) object(encode func() ([]byte, error)) *runtime.Unknown {
	body, err := encode()
	if err == nil && r.rule.omitManagedFields {
		body, err = withoutManagedFields(body)
	}
	if err != nil {
		r.log.log.Warn("an object is left out of an audit event", "auditID", r.event.AuditID, "err", err)
		return nil
	}
	if len(body) == 0 {
		return nil
	}
	return &runtime.Unknown{Raw: body, ContentType: runtime.ContentTypeJSON}
}

// Answered tells that the answer is a Status: an error, or a success that has no object.
func (r *Record) Answered(s *metav1.Status) {
	if r == nil {
		return
	}
	r.event.ResponseStatus = &metav1.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
	if r.wants(auditv1.LevelRequestResponse) {
		r.event.ResponseObject = r.object(func() ([]byte, error) { return json.Marshal(s) })
	}
}

// began tells the code of the answer, which may have told more of itself already.
func (r *Record) began(code int) {
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{}
	}
	r.event.ResponseStatus.Code = int32(code)
}

// Receive is the first stage. It fails only where a request that cannot be recorded must not be served.
func (r *Record) Receive() error {
	err := r.tell(auditv1.StageRequestReceived, r.event.RequestReceivedTimestamp.Time)
	if err != nil {
		r.log.counts.rejected.Inc()
	}
	return err
}

// slow is from when on an event says where the time went, as upstream's traces do.
const slow = 500 * time.Millisecond

// Complete is the last stage. took are the times that parts of the serving took.
func (r *Record) Complete(w *Writer, took map[string]time.Duration) {
	if !w.begun {
		r.event.ResponseStatus = &metav1.Status{Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early"}
		w.started()
	}
	if w.body != nil && w.body.Len() > 0 {
		r.event.ResponseObject = r.object(w.object)
	}
	if total := time.Since(r.event.RequestReceivedTimestamp.Time); total > slow && !w.stream {
		r.latency("total", total)
		for part, d := range took {
			r.latency(part, d)
		}
	}
	r.tell(auditv1.StageResponseComplete, time.Now())
}

func (r *Record) latency(part string, d time.Duration) {
	if r.event.Annotations != nil {
		r.event.Annotations["apiserver.latency.k8s.io/"+part] = d.String()
	}
}

// Panicked is the last stage of a request whose handler did.
func (r *Record) Panicked(what any) {
	r.Answered(&metav1.Status{Code: http.StatusInternalServerError, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonInternalError, Message: fmt.Sprintf("APIServer panic'd: %v", what)})
	r.tell(auditv1.StagePanic, time.Now())
}

// tell makes an event of what is known, unless the policy omits the stage.
func (r *Record) tell(stage auditv1.Stage, at time.Time) error {
	if r.rule.omits(stage) {
		return nil
	}
	r.event.Stage, r.event.StageTimestamp = stage, metav1.NewMicroTime(at)
	r.log.counts.events.Inc()
	return r.log.send(&r.event)
}
