package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/server"
)

// errNo is an answer that has been given already: no. It shows in the exit status alone.
var errNo = errors.New("no")

func whyCommand() *cobra.Command {
	c := &cobra.Command{Use: "why", Short: "Say why something is as it is", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(whyCanCommand(), whyPodCommand())
	return c
}

// whyCan is the command's flags.
type whyCan struct {
	question      server.WhyCan
	subresource   string
	allNamespaces bool
	output        string
	place         place
}

func whyCanCommand() *cobra.Command {
	var w whyCan
	c := &cobra.Command{
		Use:   "can USER VERB RESOURCE [NAME]",
		Short: "Say why a user may, or may not, do something",
		Long: `Say why a user may, or may not, do something: which binding and which rule allow it; or, when it is refused, the rules that
come nearest, what they lack, and the commands that would allow it.

RESOURCE is as kubectl takes it, or a path that begins with a slash. A service account is written as
system:serviceaccount:NAMESPACE:NAME. What others may do is told to those who may post to /knarr/v1/why/can.`,
		Example: `  knarr why can alice get pods -n shop
  knarr why can alice --as-group=dev update deployments.apps/scale web -n shop
  knarr why can system:serviceaccount:shop:robot list secrets -A -o json
  knarr why can system:anonymous get /metrics`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 3 || len(args) > 4 {
				return errors.New("tell USER VERB RESOURCE [NAME], as in: knarr why can alice get pods -n shop")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return w.run(c, args) },
	}
	w.flags(c.Flags())
	return c
}

func (w *whyCan) flags(f *pflag.FlagSet) {
	f.StringVarP(&w.question.Namespace, "namespace", "n", "", "namespace of the request (default: that of the kubeconfig's context)")
	f.BoolVarP(&w.allNamespaces, "all-namespaces", "A", false, "ask about all namespaces at once")
	f.StringVar(&w.subresource, "subresource", "", "sub-resource, like log or scale")
	f.StringSliceVar(&w.question.Groups, "as-group", nil, "group that the user is in; may be repeated, and be written as --group. Those that follow from the name are added")
	f.StringVarP(&w.output, "output", "o", "text", "text, or json for programs")
	w.place.flags(f)
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "group" {
			name = "as-group"
		}
		return pflag.NormalizedName(name)
	})
}

// run asks the server and prints its answer. The exit status tells as well: 0 for yes.
func (w *whyCan) run(c *cobra.Command, args []string) error {
	if w.output != "text" && w.output != "json" {
		return fmt.Errorf("--output is %q: use text or json", w.output)
	}
	w.read(args)
	config, err := w.cluster()
	if err != nil {
		return err
	}
	var answer server.WhyCanAnswer
	if err := ask(c.Context(), config, http.MethodPost, server.WhyCanPath, w.question, &answer); err != nil {
		return err
	}
	return w.show(c.OutOrStdout(), &answer)
}

func (w *whyCan) show(out io.Writer, answer *server.WhyCanAnswer) error {
	if w.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(answer); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, explainCan(answer)); err != nil {
		return err
	}
	if !answer.Allowed {
		return errNo
	}
	return nil
}

// read takes the question from the arguments.
func (w *whyCan) read(args []string) {
	q := &w.question
	q.User, q.Verb, q.Resource = args[0], args[1], args[2]
	if len(args) > 3 {
		q.Name = args[3]
	}
	if strings.HasPrefix(q.Resource, "/") {
		q.Path, q.Resource = q.Resource, ""
	}
	if w.subresource != "" {
		q.Resource += "/" + w.subresource
	}
}

// cluster finds the server that is asked, and the namespace if none is named.
func (w *whyCan) cluster() (*rest.Config, error) {
	config, namespace, err := w.place.open()
	if err == nil && w.question.Namespace == "" && !w.allNamespaces {
		w.question.Namespace = namespace
	}
	return config, err
}

// nobodyError says that nothing answers.
type nobodyError struct{ base *url.URL }

func (e *nobodyError) Error() string {
	return fmt.Sprintf("nothing answers at %s: is `knarr up` running?", e.base)
}

// ask sends a question to a path of a server, and reads its answer.
func ask(ctx context.Context, config *rest.Config, method, path string, question, answer any) error {
	var body io.Reader
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := client.Do(r)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return &nobodyError{base}
		}
		return fmt.Errorf("ask %s: %w", base.Host, err)
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s", base.Host, complaint(got))
	}
	return json.NewDecoder(got.Body).Decode(answer)
}

// complaint is what a server says is wrong: in a Status, or in plain words.
func complaint(got *http.Response) string {
	const enough = 4096
	body, _ := io.ReadAll(io.LimitReader(got.Body, enough)) // what there is
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		return status.Message
	}
	if text := strings.TrimSpace(string(body)); text != "" && !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		return text
	}
	return got.Status
}
