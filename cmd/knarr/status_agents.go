package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// agentNote is the name under which an agent notes where its kubelet API answers. An agent of many nodes has the name of the first.
func agentNote(node string) string { return filepath.Join("agents", node) }

// agentNotes are the agents on this machine, by node, and where they answer.
func agentNotes(dataDir string) (nodes, urls []string) {
	notes, err := os.ReadDir(addressFile(dataDir, "agents"))
	if err != nil {
		return nil, nil // there are none
	}
	for _, note := range notes {
		if url, err := os.ReadFile(addressFile(dataDir, agentNote(note.Name()))); err == nil {
			nodes, urls = append(nodes, note.Name()), append(urls, strings.TrimSpace(string(url)))
		}
	}
	return nodes, urls
}

// agentsPart is how the screen calls them.
const agentsPart = "node agents"

// agentsWhere names some addresses.
func agentsWhere(urls []string) string {
	const few = 2
	if len(urls) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(urls[:few], ", "), len(urls)-few)
	}
	return strings.Join(urls, ", ")
}

// agentsLine is about the agents on this machine, if there are any.
func (o *statusOptions) agentsLine(ctx context.Context, config *rest.Config) []line {
	nodes, urls := agentNotes(o.dataDir)
	if len(nodes) == 0 {
		return nil
	}
	wrong := make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, url := range urls {
		asking.Go(func() { wrong[i] = askHealthy(ctx, config, url) })
	}
	asking.Wait()
	l := line{Part: agentsPart, Where: agentsWhere(urls), State: "ready"}
	var silent []string
	for i, err := range wrong {
		if err != nil {
			silent = append(silent, nodes[i])
		}
	}
	if len(silent) > 0 {
		l.State, l.Bad = fmt.Sprintf("%d ready, %d not: %s: %v", len(nodes)-len(silent), len(silent), someOf(silent), wrong[slices.Index(nodes, silent[0])]), true
	}
	return []line{l}
}

// askHealthy asks an agent on this machine, which tells only those who may: a certificate is shown to it, which tells it no
// secret, but no token. One that answers to somebody whom it tells nothing is well as far as that can be seen.
func askHealthy(ctx context.Context, config *rest.Config, url string) error {
	known := &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true, CertFile: config.CertFile, CertData: config.CertData, KeyFile: config.KeyFile, KeyData: config.KeyData}}
	shown, err := rest.TLSConfigFor(known)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Transport{TLSClientConfig: shown, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return fmt.Errorf("does not answer: %w", err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	return errors.Join(fmt.Errorf("not healthy: %s", strings.TrimSpace(string(text))), err)
}
