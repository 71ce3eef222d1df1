package nodeagent

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// logOptions is what of a log is asked for.
type logOptions struct {
	follow, previous, timestamps bool
	since                        time.Time
	tail, limit                  int64 // negative: all
}

// readLogOptions reads a query; what cannot be read is an error.
func readLogOptions(q url.Values, now time.Time) (o logOptions, err error) {
	o.tail, o.limit = -1, -1
	number := func(name string) (n int64, told bool) {
		text := q.Get(name)
		if text == "" || err != nil {
			return 0, false
		}
		n, err = strconv.ParseInt(text, 10, 64)
		return n, true
	}
	flag := func(name string) bool {
		text := q.Get(name)
		if text == "" || err != nil {
			return false
		}
		var on bool
		on, err = strconv.ParseBool(text)
		return on
	}
	o.follow, o.previous, o.timestamps = flag("follow"), flag("previous"), flag("timestamps")
	if tail := q.Get("tail"); tail != "" && tail != "all" { // an older name
		q.Set("tailLines", tail)
	}
	if n, told := number("tailLines"); told {
		o.tail = n
	}
	if n, told := number("limitBytes"); told {
		o.limit = n
	}
	if n, told := number("sinceSeconds"); told {
		o.since = now.Add(-time.Duration(n) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" && err == nil {
		o.since, err = time.Parse(time.RFC3339, text)
	}
	return o, err
}

// serveLog answers with a container's log: as it is now, or for as long as the container writes.
func (a *Agent) serveLog(w http.ResponseWriter, r *http.Request) {
	o, err := readLogOptions(r.URL.Query(), a.Clock.Now())
	pod, container := a.podOf(r), r.PathValue("container")
	switch {
	case err != nil:
		http.Error(w, `{"message": "Unable to decode query."}`, http.StatusBadRequest)
		return
	case o.tail < -1 || o.limit == 0 || o.limit < -1:
		http.Error(w, `{"message": "Invalid request."}`, http.StatusUnprocessableEntity)
		return
	case pod == nil:
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	case containerNamed(pod, container) == nil:
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, pod.Name), http.StatusNotFound)
		return
	}
	lines, more, err := a.Logs.Log(pod, container, o.previous)
	if err != nil {
		http.Error(w, a.noLog(pod, container, o.previous).Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &logWriter{to: w, flush: http.NewResponseController(w).Flush, options: o}
	out.write(lastLines(lines, o))
	for o.follow && more != nil && !out.full {
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		written := len(lines)
		if lines, more, err = a.Logs.Log(pod, container, o.previous); err != nil || len(lines) < written {
			return
		}
		out.write(lines[written:])
	}
}

// lastLines are those of a log that are asked for, by time and number.
func lastLines(lines []LogLine, o logOptions) []LogLine {
	for len(lines) > 0 && lines[0].At.Before(o.since) {
		lines = lines[1:]
	}
	if o.tail >= 0 && int64(len(lines)) > o.tail {
		lines = lines[int64(len(lines))-o.tail:]
	}
	return lines
}

// logWriter writes lines as they are asked for, up to a limit.
type logWriter struct {
	to      io.Writer
	flush   func() error
	options logOptions
	written int64
	full    bool
}

func (w *logWriter) write(lines []LogLine) {
	for _, l := range lines {
		text := l.Text + "\n"
		if w.options.timestamps {
			text = l.At.UTC().Format(time.RFC3339Nano) + " " + text
		}
		if left := w.options.limit - w.written; w.options.limit >= 0 && int64(len(text)) >= left {
			text, w.full = text[:left], true
		}
		n, err := io.WriteString(w.to, text)
		w.written += int64(n)
		if w.full = w.full || err != nil; w.full {
			break
		}
	}
	w.flush() // whoever went away gets nothing
}

// noLog says why a container has no log.
func (a *Agent) noLog(pod *corev1.Pod, container string, previous bool) error {
	if previous {
		return fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
	}
	for _, s := range append(append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...), pod.Status.EphemeralContainerStatuses...) {
		if s.Name != container || s.State.Waiting == nil {
			continue
		}
		switch reason := s.State.Waiting.Reason; reason {
		case "ErrImagePull":
			return fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", container, pod.Name)
		case "ImagePullBackOff":
			return fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", container, pod.Name)
		default:
			return fmt.Errorf("container %q in pod %q is waiting to start: %v", container, pod.Name, reason)
		}
	}
	return fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
}
