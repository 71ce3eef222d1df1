package server

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/gorilla/websocket"
	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
)

// connect streams between the client and where the sub-resource leads to: a node's kubelet API for logs, exec, attach
// and port-forward, any HTTP server for proxy.
func (c *call) connect() error {
	reads := c.Subresource == "log" // a read like others, save for where it leads
	if reads {
		if err := c.negotiateLog(); err != nil {
			return err
		}
	}
	if !reads && c.r.URL.Query().Has("dryRun") {
		return badRequest("dryRun is not supported")
	}
	w := c.write("connect")
	options, err := c.sub.StreamOptions(w, c.r)
	if err != nil {
		return err
	}
	if !reads {
		if err := c.mayConnect(options); err != nil {
			return err
		}
	}
	location, err := c.sub.Connect(c.ctx(), w, c.Name, c.r, options)
	if err != nil {
		return err
	}
	if location == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if location.Upgrade || location.Proxy {
		h := proxy.NewUpgradeAwareHandler(location.URL, location.Transport, location.Proxy, location.Upgrade, refused{})
		h.UseLocationHost = location.Upgrade
		h.ServeHTTP(c.w, c.r)
		return nil
	}
	return c.copyLog(location)
}

// mayConnect asks admission, which may change the stream's options.
func (c *call) mayConnect(options runtime.Object) error {
	a := c.attributes(admission.Connect, nil, nil, nil)
	a.Connection = options
	if err := c.s.admission.Mutate(c.ctx(), a); err != nil {
		return err
	}
	return c.s.admission.Validate(c.ctx(), a)
}

// negotiateLog refuses clients that take nothing of what a resource can be answered as. A log is plain text all the
// same; who asks for just that is refused as well, as upstream does.
func (c *call) negotiateLog() error {
	_, err := negotiate(c.r, wholeOnly)
	if err == nil {
		return nil
	}
	for _, clause := range goautoneg.ParseAccept(c.r.Header.Get("Accept")) {
		if clause.Type == "text" && clause.SubType == "plain" {
			return notAcceptable("only the following media types are accepted: %s", allMedia)
		}
	}
	return generic(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, "406: Not Acceptable\n\nAvailable representations: text/plain, "+allMedia)
}

// copyLog passes on what the kubelet has to say of a log, be it a log or, in the API's words, why there is none. The
// client's own request goes no further: its headers are for this server.
func (c *call) copyLog(l *registry.Location) error {
	request, err := http.NewRequestWithContext(c.ctx(), http.MethodGet, l.URL.String(), nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: l.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects forbidden") }}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < http.StatusOK || answer.StatusCode > http.StatusPartialContent {
		return c.kubeletError(answer)
	}
	if websocket.IsWebSocketUpgrade(c.r) {
		return c.logSocket(answer.Body)
	}
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusOK)
	var out io.Writer = c.w
	if l.Stream {
		out = flushed{c.w, http.NewResponseController(c.w)}
	}
	io.Copy(out, answer.Body) // the answer has begun: whoever ends it early, nobody is left to be told
	return nil
}

// kubeletError is a kubelet's refusal as an error of the API.
func (c *call) kubeletError(answer *http.Response) error {
	const enough = 50000 // bytes, of what may be a page for people
	body, err := io.ReadAll(io.LimitReader(answer.Body, enough))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	switch answer.StatusCode {
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(errors.New(string(body)))
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(string(body))
	}
	resource := schema.GroupResource{Resource: c.Plural + "/" + c.Subresource}
	return apierrors.NewGenericServerResponse(answer.StatusCode, "", resource, c.Name, string(body), 0, false)
}

// flushed sends every write on at once.
type flushed struct {
	io.Writer
	now *http.ResponseController
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.now.Flush()
	}
	return n, err
}

// refused answers when the other side cannot be reached.
type refused struct{}

func (refused) Error(w http.ResponseWriter, r *http.Request, err error) {
	if unwrapped, ok := err.(*url.Error); ok {
		err = unwrapped.Err
	}
	writeError(w, r, err)
}
