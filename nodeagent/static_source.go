package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Where static pods come from, as their annotation says.
const (
	fileSource = "file"
	httpSource = "http"
)

// Manifests says where static pods are found; the zero value is nowhere.
type Manifests struct {
	// Path is a file, or a folder whose files are a pod each; those that begin with a dot are none.
	Path string
	// URL is asked, with the header, for a pod or a list of pods.
	URL    string
	Header http.Header
	// Period is how often the URL is asked.
	Period time.Duration
}

// filePeriod is how often it is looked whether files have changed.
const filePeriod = time.Second

// reads reports whether there is a source.
func (a *Agent) reads(source string) bool {
	return source == fileSource && a.Manifests.Path != "" || source == httpSource && a.Manifests.URL != ""
}

// followManifests keeps static pods as their sources say, until ctx ends. started is called when each has been read, or tried, once.
func (a *Agent) followManifests(ctx context.Context, started func()) {
	var following sync.WaitGroup
	defer following.Wait()
	follow := func(source, from string, period time.Duration, read func(context.Context) (manifestSet, error)) {
		last := ""
		look := func() {
			now, err := read(ctx)
			switch {
			case ctx.Err() != nil:
			case err != nil && err.Error() != last:
				last = err.Error()
				a.Log.Warn("static pods stay as they are", "source", from, "err", err)
			case err == nil && now.looks != last:
				last = now.looks
				pods, err := now.pods()
				if err != nil {
					a.Log.Warn("a manifest is left out", "source", from, "err", err)
				}
				if err == nil || source == fileSource {
					a.setStatics(ctx, source, from, pods)
				}
			}
		}
		look()
		following.Go(func() {
			tick := a.Clock.NewTicker(period)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C():
					look()
				}
			}
		})
	}
	if m := a.Manifests; m.Path != "" {
		follow(fileSource, m.Path, filePeriod, func(context.Context) (manifestSet, error) { return readFolder(m.Path) })
	}
	if m := a.Manifests; m.URL != "" {
		follow(httpSource, m.URL, m.Period, func(ctx context.Context) (manifestSet, error) { return readURL(ctx, m) })
	}
	started()
}

// manifestSet is what a source has: how it looks, to see whether it has changed, and what it says. Of a folder the pods that
// can be read are there beside the error of those that cannot.
type manifestSet struct {
	looks string
	pods  func() ([]*corev1.Pod, error)
}

// readFolder looks at a folder of manifests, or at one file.
func readFolder(path string) (manifestSet, error) {
	files := []string{path}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		files = nil // nobody has put anything there yet
	case err != nil:
		return manifestSet{}, err
	case info.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil {
			return manifestSet{}, err
		}
		files = nil
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	looks := "files:"
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			looks += fmt.Sprint("\n", f, info.ModTime().UnixNano(), info.Size())
		}
	}
	return manifestSet{looks, func() (pods []*corev1.Pod, err error) {
		var errs []error
		for _, f := range files {
			data, err := os.ReadFile(f)
			var some []*corev1.Pod
			if err == nil {
				some, err = decodePods(data, false)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f, err))
			}
			pods = append(pods, some...)
		}
		return pods, errors.Join(errs...)
	}}, nil
}

// mostManifest is how many bytes a URL may answer with.
const mostManifest = 10 << 20

// readURL asks for a manifest.
func readURL(ctx context.Context, m Manifests) (manifestSet, error) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, http.MethodGet, m.URL, nil)
	if err != nil {
		return manifestSet{}, err
	}
	r.Header = m.Header.Clone()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return manifestSet{}, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, mostManifest))
	switch {
	case err != nil:
		return manifestSet{}, err
	case answer.StatusCode != http.StatusOK:
		return manifestSet{}, fmt.Errorf("%v: %v", m.URL, answer.Status)
	case len(data) == 0:
		return manifestSet{}, fmt.Errorf("zero-length data received from %v", m.URL)
	}
	return manifestSet{"answer:" + string(data), func() ([]*corev1.Pod, error) { return decodePods(data, true) }}, nil
}

// decodePods reads a manifest, in YAML or JSON: a pod, or where lists are allowed a list of pods.
func decodePods(data []byte, lists bool) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := yaml.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	switch kind := list.APIVersion + " " + list.Kind; {
	case kind == "v1 Pod":
		var p corev1.Pod
		err := yaml.Unmarshal(data, &p)
		return []*corev1.Pod{&p}, err
	case lists && (kind == "v1 PodList" || kind == "v1 List"):
		var pods []*corev1.Pod
		for i := range list.Items {
			pods = append(pods, &list.Items[i])
		}
		return pods, nil
	}
	return nil, fmt.Errorf("apiVersion %q and kind %q: a pod of v1 is wanted", list.APIVersion, list.Kind)
}
