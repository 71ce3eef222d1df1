package main

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/scheduler"
)

// whyPod is the command's flags.
type whyPod struct {
	place      place
	namespace  string
	output     string
	schedulers string // where the scheduler is
}

func whyPodCommand() *cobra.Command {
	var w whyPod
	c := &cobra.Command{
		Use:   "pod NAME",
		Short: "Say why a pod has no node, or why it has the one that it has",
		Long: `Say why a pod has no node: which plugin refuses each node, the numbers behind, and the smallest changes that would let the
pod run. Each change has been tried in thought, on the cluster as the scheduler knows it now. For a pod that has a node, say
what each plugin gives each node that would do, as if the pod were not there.

The scheduler itself is asked: where it runs on this machine beside the kubeconfig, else at port 10259 of the API server's host,
unless --scheduler names another place. It tells those who may get /why/NAMESPACE/NAME.`,
		Example: `  knarr why pod web-0 -n shop
  knarr why pod web-0 -n shop -o json
  knarr why pod web-0 --scheduler https://10.0.0.7:10259`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("tell one pod's NAME, as in: knarr why pod web-0 -n shop")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return w.run(c, args[0]) },
	}
	f := c.Flags()
	f.StringVarP(&w.namespace, "namespace", "n", "", "namespace of the pod (default: that of the kubeconfig's context)")
	f.StringVarP(&w.output, "output", "o", "text", "text, or json for programs")
	f.StringVar(&w.schedulers, "scheduler", "", "URL of the scheduler (default: where it runs on this machine, or port 10259 of the API server's host)")
	w.place.flags(f)
	return c
}

func (w *whyPod) run(c *cobra.Command, name string) error {
	if w.output != "text" && w.output != "json" {
		return fmt.Errorf("--output is %q: use text or json", w.output)
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "pod/"), "pods/")
	config, namespace, err := w.place.open()
	if err != nil {
		return err
	}
	if w.namespace != "" {
		namespace = w.namespace
	}
	if err := w.direct(config); err != nil {
		return err
	}
	var answer scheduler.Why
	err = ask(c.Context(), config, http.MethodGet, scheduler.WhyPath+url.PathEscape(namespace)+"/"+url.PathEscape(name), nil, &answer)
	var nobody *nobodyError
	var stranger *tls.CertificateVerificationError
	if errors.As(err, &nobody) || errors.As(err, &stranger) {
		return fmt.Errorf("no scheduler of this cluster answers at %s: name its place with --scheduler", config.Host)
	}
	if err != nil {
		return err
	}
	return w.show(c.OutOrStdout(), &answer)
}

// direct turns to the scheduler, with the credentials that are meant for the API server: its certificates are of the same
// authority.
func (w *whyPod) direct(config *rest.Config) error {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return err
	}
	if config.Host = cmp.Or(w.schedulers, w.place.address("scheduler")); config.Host != "" {
		if !strings.Contains(config.Host, "://") {
			config.Host = "https://" + config.Host
		}
		return nil
	}
	config.Host = "https://" + net.JoinHostPort(base.Hostname(), "10259")
	return nil
}

func (w *whyPod) show(out io.Writer, answer *scheduler.Why) error {
	if w.output == "text" {
		_, err := io.WriteString(out, explainPod(answer))
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(answer)
}
