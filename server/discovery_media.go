package server

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// documentMedia is a form in which a document outside the registry's objects can be written.
type documentMedia struct {
	contentType string
	pretty      bool
}

// documentMedias are the forms offered, the default first.
const documentMedias = "application/json, application/yaml, application/vnd.kubernetes.protobuf"

// wish is what a client wants a document to be turned into: the parameters of an Accept clause.
type wish map[string]string

// asItIs allows no transformation.
func asItIs(p wish) bool { return p["as"] == "" && p["g"] == "" && p["v"] == "" }

func asAggregatedDiscovery(p wish) bool {
	return p["as"] == "APIGroupDiscoveryList" && p["g"] == "apidiscovery.k8s.io" && p["v"] == "v2"
}

// acceptMedia finds the first form in the order of the client's preference whose parameters are allowed.
func acceptMedia(r *http.Request, allowed func(wish) bool) (documentMedia, bool) {
	header := r.Header.Get("Accept")
	if header == "" {
		return documentMedia{contentType: "application/json", pretty: prettyWanted(r)}, allowed(nil)
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		p := wish(clause.Params)
		if s := p["stream"]; !allowed(p) || p["sv"] != "" || s != "" && s != "watch" {
			continue
		}
		for _, offer := range strings.Split(documentMedias, ", ") {
			kind, sub, _ := strings.Cut(offer, "/")
			if (clause.Type == kind && (clause.SubType == sub || clause.SubType == "*")) || (clause.Type == "*" && clause.SubType == "*") {
				return documentMedia{contentType: offer, pretty: p["pretty"] == "1" || prettyWanted(r)}, true
			}
		}
	}
	return documentMedia{}, false
}

// negotiated answers with obj in the form that the client prefers.
func negotiated(obj runtime.Object) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		media, ok := acceptMedia(r, asItIs)
		if !ok {
			refuseDocument(w, r, http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, nil,
				"only the following media types are accepted: "+documentMedias)
			return
		}
		writeMedia(w, http.StatusOK, media, obj)
	}
}

// onlyGet serves h to GET alone, and only to clients that accept one of the offered types at all.
func onlyGet(h http.HandlerFunc) http.HandlerFunc { return onlyGetOf(documentMedias, h) }

func onlyGetOf(offered string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			refuseDocument(w, r, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, &metav1.StatusDetails{},
				"the server does not allow this method on the requested resource")
		case !acceptsAny(r, offered):
			refuseDocument(w, r, http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, &metav1.StatusDetails{},
				"406: Not Acceptable\n\nAvailable representations: "+offered)
		default:
			h(w, r)
		}
	}
}

// acceptsAny looks at the types alone, not at their parameters.
func acceptsAny(r *http.Request, offered string) bool {
	header := r.Header.Get("Accept")
	if header == "" {
		return true
	}
	for clause := range strings.SplitSeq(header, ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(clause), ";")
		if kind == "*/*" || strings.Contains(", "+offered+",", ", "+kind+",") {
			return true
		}
	}
	return false
}

// refuseDocument answers with a Status, in the client's form if there is one, else as indented JSON.
func refuseDocument(w http.ResponseWriter, r *http.Request, code int, reason metav1.StatusReason, details *metav1.StatusDetails, message string) {
	media, ok := acceptMedia(r, asItIs)
	if !ok {
		media = documentMedia{contentType: "application/json", pretty: true}
	}
	writeMedia(w, code, media, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message, Details: details,
	})
}

// writeMedia encodes obj, whose kind and apiVersion are set.
func writeMedia(w http.ResponseWriter, code int, media documentMedia, obj runtime.Object) {
	var body bytes.Buffer
	if err := media.serializer().Encode(obj, &body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media.contentType)
	w.WriteHeader(code)
	w.Write(body.Bytes())
}

func (m documentMedia) serializer() runtime.Serializer {
	kind, _, _ := strings.Cut(m.contentType, ";")
	switch kind {
	case "application/vnd.kubernetes.protobuf":
		return protobuf.NewSerializer(nil, nil)
	case "application/yaml":
		return json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Yaml: true})
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Pretty: m.pretty})
}
