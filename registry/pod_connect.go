package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
)

// Streams into a pod end at the kubelet of its node, under paths and parameters of the kubelet's own.

func podExec() Subresource {
	return podStream("exec", "PodExecOptions", func(q *queryReader) *corev1.PodExecOptions {
		return &corev1.PodExecOptions{Stdin: q.flag("stdin"), Stdout: q.flag("stdout"), Stderr: q.flag("stderr"), TTY: q.flag("tty"),
			Container: q.text("container"), Command: q.values["command"]}
	}, func(o *corev1.PodExecOptions) kubeletStream {
		parameters := terminal(o.Stdin, o.Stdout, o.Stderr, o.TTY)
		for _, word := range o.Command {
			parameters.Add("command", word)
		}
		return kubeletStream{path: "exec", wantsContainer: true, container: o.Container, parameters: parameters}
	})
}

func podAttach() Subresource {
	return podStream("attach", "PodAttachOptions", func(q *queryReader) *corev1.PodAttachOptions {
		return &corev1.PodAttachOptions{Stdin: q.flag("stdin"), Stdout: q.flag("stdout"), Stderr: q.flag("stderr"), TTY: q.flag("tty"),
			Container: q.text("container")}
	}, func(o *corev1.PodAttachOptions) kubeletStream {
		return kubeletStream{path: "attach", wantsContainer: true, container: o.Container, parameters: terminal(o.Stdin, o.Stdout, o.Stderr, o.TTY)}
	})
}

// terminal tells the kubelet which streams are wanted.
func terminal(stdin, stdout, stderr, tty bool) url.Values {
	parameters := url.Values{}
	for _, stream := range [...]struct {
		kubelet string
		wanted  bool
	}{
		{corev1.ExecStdinParam, stdin}, {corev1.ExecStdoutParam, stdout}, {corev1.ExecStderrParam, stderr}, {corev1.ExecTTYParam, tty},
	} {
		if stream.wanted {
			parameters.Add(stream.kubelet, "1")
		}
	}
	return parameters
}

func podPortForward() Subresource {
	return podStream("portforward", "PodPortForwardOptions", func(q *queryReader) *corev1.PodPortForwardOptions {
		return &corev1.PodPortForwardOptions{Ports: q.numbers("ports")}
	}, func(o *corev1.PodPortForwardOptions) kubeletStream {
		parameters := url.Values{}
		var ports []string
		for _, port := range o.Ports {
			ports = append(ports, strconv.Itoa(int(port)))
		}
		if len(ports) > 0 {
			parameters.Add(corev1.PortHeader, strings.Join(ports, ","))
		}
		return kubeletStream{path: "portForward", parameters: parameters}
	})
}

// kubeletStream is what a stream's options mean to the kubelet.
type kubeletStream struct {
	path           string // the first segment
	wantsContainer bool
	container      string // empty means the only one
	parameters     url.Values
}

// streamOptions reads options of a kind from a request's query.
func streamOptions[O runtime.Object](kind schema.GroupVersionKind, read func(*queryReader) O) func(*Write, *http.Request) (runtime.Object, error) {
	return func(_ *Write, request *http.Request) (runtime.Object, error) {
		q := readQuery(request)
		o := read(q)
		if q.err != nil {
			return nil, apierrors.NewBadRequest(q.err.Error())
		}
		o.GetObjectKind().SetGroupVersionKind(kind)
		return o, nil
	}
}

// podStream is a sub-resource whose connection is upgraded. POST is SPDY's way, GET that of WebSockets: authorization
// saw a read in the latter, and is asked for the create that both are.
func podStream[O runtime.Object](name, options string, read func(*queryReader) O, toKubelet func(O) kubeletStream) Subresource {
	kind := corev1.SchemeGroupVersion.WithKind(options)
	return Subresource{
		Name: name, Verbs: []string{"create", "get"}, Kind: kind,
		StreamOptions: streamOptions(kind, read),
		Connect: func(ctx context.Context, w *Write, id string, request *http.Request, options runtime.Object) (*Location, error) {
			if request.Method != http.MethodPost {
				if err := w.authorizeCreate(ctx, id); err != nil {
					return nil, err
				}
			}
			p, err := w.connectedPod(ctx, id)
			if err != nil {
				return nil, err
			}
			to := toKubelet(options.(O))
			path := fmt.Sprintf("/%s/%s/%s", to.path, p.Namespace, p.Name)
			if to.wantsContainer {
				container, err := chooseContainer(p, to.container)
				if err != nil {
					return nil, err
				}
				path += "/" + container
			}
			if p.Spec.NodeName == "" {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", id))
			}
			at, transport, err := w.kubeletOf(ctx, p)
			if err != nil {
				return nil, err
			}
			at.Path, at.RawQuery = path, to.parameters.Encode()
			return &Location{URL: at, Transport: transport, Upgrade: true}, nil
		},
	}
}

// authorizeCreate asks whether the user may create what was authorized as something else.
func (w *Write) authorizeCreate(ctx context.Context, name string) error {
	if w.Registry.Authorizer == nil {
		return nil
	}
	decision, reason, err := w.Registry.Authorizer.Authorize(ctx, &Attributes{
		User: w.User, Verb: "create", ResourceRequest: true, Namespace: w.Namespace, Group: w.Resource.Group, Version: w.Version,
		Resource: w.Resource.Plural, Subresource: w.Subresource, Name: name,
	})
	switch {
	case decision == Allow:
		return nil
	case err != nil:
		return err
	}
	return apierrors.NewForbidden(w.Resource.GroupResource(), name, fmt.Errorf("%s", reason))
}

func (w *Write) connectedPod(ctx context.Context, name string) (*corev1.Pod, error) {
	entry, err := w.Registry.Store("", "pods").Get(ctx, store.Key{Namespace: w.Namespace, Name: name}, "")
	if err != nil {
		return nil, err
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// kubeletOf is where the kubelet of the pod's node listens. A node that does not exist is reported under the name of the
// requested resource, as clients have always seen it.
func (w *Write) kubeletOf(ctx context.Context, p *corev1.Pod) (*url.URL, http.RoundTripper, error) {
	at, transport, err := w.Registry.kubeletURL(ctx, p.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(w.Resource.GroupResource(), p.Spec.NodeName)
	}
	return at, transport, err
}

// chooseContainer is the container of that name, or the only one if none is named.
func chooseContainer(p *corev1.Pod, name string) (string, error) {
	var names []string
	for c := range eachContainer(&p.Spec) {
		if c.Name == name {
			return name, nil
		}
		names = append(names, c.Name)
	}
	switch {
	case name != "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, p.Name))
	case len(p.Spec.Containers) == 1:
		return p.Spec.Containers[0].Name, nil
	case len(p.Spec.Containers) == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", p.Name))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", p.Name, names))
}
