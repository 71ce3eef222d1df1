package server

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/munnerz/goautoneg"
)

// Format is an encoding on the wire.
type Format int

const (
	JSON Format = iota
	YAML
	Protobuf
)

const (
	mediaJSON     = "application/json"
	mediaYAML     = "application/yaml"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
	allMedia      = mediaJSON + ", " + mediaYAML + ", " + mediaProtobuf
)

// mediaType is the format's Content-Type.
func (f Format) mediaType() string { return [...]string{mediaJSON, mediaYAML, mediaProtobuf}[f] }

// Shape is what of an object an answer holds.
type Shape int

const (
	Whole    Shape = iota
	Table          // as=Table: columns for people
	Metadata       // as=PartialObjectMetadata(List)
)

// Form is how a client wants an answer.
type Form struct {
	Format   Format
	Shape    Shape
	MetaType string // "v1" or "v1beta1": the version of Table and PartialObjectMetadata
	Pretty   bool   // indented JSON
	OfList   bool   // as=PartialObjectMetadataList: what is shaped must be a list
}

// shapes says which shapes a request may ask for beside Whole.
type shapes int

const (
	wholeOnly shapes = iota
	noTable          // of answers that are never listed: nobody has columns for them
	anyShape
)

// negotiate picks the form of an answer from the Accept header: the first acceptable of the client's choices, best
// first. Errors are 406 in upstream's two wordings: no such media type, or no such transformation of it.
func negotiate(r *http.Request, allowed shapes) (Form, error) {
	accept := r.Header.Get("Accept")
	pretty := prettyWanted(r)
	if accept == "" || accept == "*/*" || accept == mediaJSON {
		return Form{Pretty: pretty}, nil
	}
	if accept == mediaProtobuf {
		return Form{Format: Protobuf}, nil
	}
	known := false
	for _, clause := range goautoneg.ParseAccept(accept) {
		format, ok := formatOf(clause.Type, clause.SubType)
		if !ok {
			continue
		}
		known = true
		if form, ok := shapeOf(format, clause.Params, allowed); ok {
			form.Pretty = pretty || clause.Params["pretty"] == "1"
			return form, nil
		}
	}
	if !known {
		return Form{}, generic(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"406: Not Acceptable\n\nAvailable representations: "+allMedia)
	}
	return Form{}, notAcceptable("only the following media types are accepted: %s", allMedia)
}

func formatOf(typ, sub string) (Format, bool) {
	switch {
	case typ == "*" && sub == "*", typ == "application" && (sub == "*" || sub == "json"):
		return JSON, true
	case typ == "application" && sub == "yaml":
		return YAML, true
	case typ == "application" && sub == "vnd.kubernetes.protobuf":
		return Protobuf, true
	}
	return 0, false
}

// shapeOf reads the as, g and v parameters of one Accept clause.
func shapeOf(format Format, params map[string]string, allowed shapes) (Form, bool) {
	form := Form{Format: format, MetaType: params["v"]}
	as, given := params["as"]
	if !given {
		return form, true
	}
	if params["g"] != "meta.k8s.io" || (form.MetaType != "v1" && form.MetaType != "v1beta1") {
		return form, false
	}
	switch as {
	case "Table":
		form.Shape = Table
		return form, allowed == anyShape && format != Protobuf
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		form.Shape, form.OfList = Metadata, as == "PartialObjectMetadataList"
		return form, allowed != wholeOnly
	}
	return form, false
}

// prettyWanted tells whether JSON is to be indented: as the pretty parameter says, else for browsers and command-line
// clients that show the answer to a person.
func prettyWanted(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if v := r.URL.Query().Get("pretty"); v != "" {
			on, _ := strconv.ParseBool(v) // what is neither yes nor no is no
			return on
		}
	}
	agent := r.UserAgent()
	for _, people := range []string{"curl", "Wget", "Mozilla/5.0"} {
		if strings.HasPrefix(agent, people) {
			return true
		}
	}
	return false
}

// bodyFormat is the format of a request's body.
func bodyFormat(r *http.Request) (Format, error) {
	switch header := r.Header.Get("Content-Type"); header {
	case "", mediaJSON:
		return JSON, nil
	case mediaProtobuf:
		return Protobuf, nil
	default:
		media, _, err := mime.ParseMediaType(header)
		if typ, sub, ok := strings.Cut(media, "/"); ok && err == nil && sub != "*" {
			if f, ok := formatOf(typ, sub); ok {
				return f, nil
			}
		}
	}
	return 0, plain(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: %s", allMedia)
}
