package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podLog reads what a container wrote, from its node's kubelet. A pod without a node has written nothing.
func podLog() Subresource {
	return Subresource{
		Name: "log", Verbs: []string{"get"}, Kind: corev1.SchemeGroupVersion.WithKind("Pod"),
		StreamOptions: streamOptions(corev1.SchemeGroupVersion.WithKind("PodLogOptions"), readLogOptions),
		Connect: func(ctx context.Context, w *Write, name string, _ *http.Request, options runtime.Object) (*Location, error) {
			o := options.(*corev1.PodLogOptions)
			if errs := validateLogOptions(o); len(errs) > 0 {
				return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
			}
			p, err := w.connectedPod(ctx, name)
			if err != nil {
				return nil, err
			}
			container, err := chooseContainer(p, o.Container)
			if err != nil || p.Spec.NodeName == "" {
				return nil, err
			}
			at, transport, err := w.kubeletOf(ctx, p)
			if err != nil {
				return nil, err
			}
			if o.InsecureSkipTLSVerifyBackend {
				transport = w.Registry.Kubelet.Insecure
			}
			at.Path = fmt.Sprintf("/containerLogs/%s/%s/%s", p.Namespace, p.Name, container)
			at.RawQuery = logParameters(o).Encode()
			return &Location{URL: at, Transport: transport, Stream: o.Follow}, nil
		},
	}
}

func readLogOptions(q *queryReader) *corev1.PodLogOptions {
	o := &corev1.PodLogOptions{
		Container:                    q.text("container"),
		Follow:                       q.flag("follow"),
		Previous:                     q.flag("previous"),
		SinceSeconds:                 q.number("sinceSeconds"),
		SinceTime:                    q.time("sinceTime"),
		Timestamps:                   q.flag("timestamps"),
		TailLines:                    q.number("tailLines"),
		LimitBytes:                   q.number("limitBytes"),
		InsecureSkipTLSVerifyBackend: q.flag("insecureSkipTLSVerifyBackend"),
	}
	if stream, asked := q.values["stream"]; asked && len(stream) > 0 {
		o.Stream = &stream[0]
	}
	return o
}

func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds == nil:
	case o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream != nil { // PodLogsQuerySplitStreams is off
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	return errs
}

// logParameters are the options as the kubelet reads them.
func logParameters(o *corev1.PodLogOptions) url.Values {
	to := url.Values{}
	for _, flag := range [...]struct {
		name string
		set  bool
	}{{"follow", o.Follow}, {"previous", o.Previous}, {"timestamps", o.Timestamps}} {
		if flag.set {
			to.Add(flag.name, "true")
		}
	}
	for _, number := range [...]struct {
		name  string
		value *int64
	}{{"sinceSeconds", o.SinceSeconds}, {"tailLines", o.TailLines}, {"limitBytes", o.LimitBytes}} {
		if number.value != nil {
			to.Add(number.name, strconv.FormatInt(*number.value, 10))
		}
	}
	if o.SinceTime != nil {
		to.Add("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return to
}
