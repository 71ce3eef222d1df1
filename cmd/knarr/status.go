package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// statusOptions are the command's flags.
type statusOptions struct {
	place
	output string
}

// statusPatience bounds each question.
const statusPatience = 5 * time.Second

func statusCommand() *cobra.Command {
	o := &statusOptions{}
	c := &cobra.Command{
		Use: "status", Short: "Show how a running cluster is: its parts, nodes and pods", Args: cobra.NoArgs,
		Long: `Show how a running cluster is: its parts, nodes and pods. The exit status is 1 if something is not as it should be.

The API server is asked for its health, for who leads, for nodes and pods. Parts that run on this machine over the data directory are asked
themselves, too.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.output != "text" && o.output != "json" {
				return fmt.Errorf("--output is %q: use text or json", o.output)
			}
			s, err := o.look(c.Context())
			if err != nil {
				return err
			}
			if err := show(c.OutOrStdout(), s, o.output); err != nil {
				return err
			}
			if !s.healthy() {
				return errNo
			}
			return nil
		},
	}
	o.flags(c.Flags())
	c.Flags().StringVarP(&o.output, "output", "o", "text", "text, or json for programs")
	return c
}

func show(w io.Writer, s *screen, output string) error {
	if output == "text" {
		return s.print(w)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		*screen
		Healthy bool `json:"healthy"`
	}{s, s.healthy()})
}

// look asks everybody at once.
func (o *statusOptions) look(ctx context.Context) (*screen, error) {
	config, _, err := o.open()
	if err != nil {
		return nil, err
	}
	config = compact(config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	s := &screen{Title: "knarr at " + config.Host}
	s.Lines = append(s.Lines, serverLine(ctx, client, config.Host))
	if s.Lines[0].Bad {
		return s, nil // all others would be asked in vain
	}
	if v, err := client.Discovery().ServerVersion(); err == nil {
		s.Title += ": Kubernetes " + v.GitVersion
	}
	one := func(l line) []line { return []line{l} }
	asked := []func() []line{
		func() []line { return one(o.partLine(ctx, client, controllersPart(nil))) },
		func() []line { return one(o.partLine(ctx, client, schedulerPart(nil))) },
		func() []line { return o.agentsLine(ctx, config) },
		func() []line { return one(nodesLine(ctx, client)) },
		func() []line { return one(podsLine(ctx, client)) },
	}
	answers := make([][]line, len(asked))
	var asking sync.WaitGroup
	for i, ask := range asked {
		asking.Go(func() { answers[i] = ask() })
	}
	asking.Wait()
	s.Lines = append(s.Lines, slices.Concat(answers...)...)
	return s, nil
}

func serverLine(ctx context.Context, client kubernetes.Interface, host string) line {
	l := line{Part: "API server", Where: host}
	answer := client.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "true").Do(ctx)
	text, err := answer.Raw()
	switch {
	case err == nil:
		l.State = "ready"
	case len(text) > 0:
		l.State, l.Bad = "not ready: "+strings.Join(failedChecks(string(text)), ", "), true
	case errors.Is(err, syscall.ECONNREFUSED):
		l.State, l.Bad = "nothing answers: is it running?", true
	default:
		l.State, l.Bad = err.Error(), true
	}
	return l
}

// failedChecks are those that a verbose answer names.
func failedChecks(verbose string) (failed []string) {
	for text := range strings.Lines(verbose) {
		if rest, bad := strings.CutPrefix(text, "[-]"); bad {
			name, _, _ := strings.Cut(rest, " ")
			failed = append(failed, name)
		}
	}
	if failed == nil {
		failed = []string{strings.TrimSpace(verbose)}
	}
	return failed
}

// partLine is about a part of which one in the cluster leads: whether one does, and how the one on this machine is.
func (o *statusOptions) partLine(ctx context.Context, client kubernetes.Interface, p part) line {
	l := line{Part: p.name}
	lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, p.program, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		l.State, l.Bad = "nobody has led yet", true
	case err != nil:
		l.State, l.Bad = err.Error(), true
	default:
		l.State, l.Bad = leaseText(lease, time.Now())
	}
	url, none := os.ReadFile(addressFile(o.dataDir, p.name))
	if none != nil {
		return l
	}
	l.Where = strings.TrimSpace(string(url))
	if wrong := askReady(ctx, l.Where); wrong != nil {
		l.State, l.Bad = wrong.Error(), true
	} else if apierrors.IsNotFound(err) {
		l.State, l.Bad = "ready", false // it works without a lease
	}
	return l
}

// leaseText says who leads, and whether anybody does.
func leaseText(lease *coordinationv1.Lease, now time.Time) (text string, bad bool) {
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	if holder == "" {
		return "nobody leads", true
	}
	life := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 15)) * time.Second
	if silent := now.Sub(ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}).Time); silent > life {
		return fmt.Sprintf("nobody leads: %s was heard of %s ago", holder, duration.HumanDuration(silent)), true
	}
	return "led by " + holder, false
}

// askReady asks a part on this machine. Everybody may, and nobody learns anything from who asks.
func askReady(ctx context.Context, url string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz?verbose", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("does not answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.Join(failedChecks(string(text)), ", "))
	}
	return nil
}

func nodesLine(ctx context.Context, client kubernetes.Interface) line {
	l := line{Part: "nodes"}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		l.State, l.Bad = err.Error(), true
		return l
	}
	var silent []string
	for i := range nodes.Items {
		ready := slices.ContainsFunc(nodes.Items[i].Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		if !ready {
			silent = append(silent, nodes.Items[i].Name)
		}
	}
	l.State = fmt.Sprintf("%d ready", len(nodes.Items)-len(silent))
	if len(silent) > 0 {
		l.Bad = true
		l.State += fmt.Sprintf(", %d not: %s", len(silent), someOf(silent))
	}
	return l
}

// someOf names a few.
func someOf(names []string) string {
	const few = 5
	if len(names) > few {
		return strings.Join(names[:few], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// podsLine counts pods. That some wait or have failed is their owners' business, and not the cluster's health.
func podsLine(ctx context.Context, client kubernetes.Interface) line {
	l := line{Part: "pods"}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		l.State, l.Bad = err.Error(), true
		return l
	}
	counts := map[corev1.PodPhase]int{}
	for i := range pods.Items {
		counts[cmp.Or(pods.Items[i].Status.Phase, corev1.PodUnknown)]++
	}
	var texts []string
	for _, phase := range []corev1.PodPhase{corev1.PodRunning, corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
		if n := counts[phase]; n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", n, strings.ToLower(string(phase))))
		}
	}
	l.State = cmp.Or(strings.Join(texts, ", "), "none")
	return l
}

// addressFile is where a part notes where it answers.
func addressFile(dataDir, part string) string { return filepath.Join(dataDir, "run", part) }

// noteAddress notes it for `knarr status`, until what it returns is called.
func noteAddress(dataDir, part, url string) (forget func(), err error) {
	path := addressFile(dataDir, part)
	if dataDir == "" || !exists(dataDir) {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(url+"\n"), 0o600); err != nil {
		return nil, err
	}
	return func() {
		if now, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(now)) == url {
			os.Remove(path) // who does not succeed leaves an address that does not answer
		}
	}, nil
}
