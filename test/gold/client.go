package gold

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Server is the one under test.
type Server struct {
	URL     string
	Token   string // of a user in system:masters
	CAFile  string // empty: the server's certificate is not verified
	Tokens  string // file of the tokens of other users
	Timeout time.Duration
}

// lostAfter is the number of requests in a row without any answer after which the server is given up.
const lostAfter = 60

// client sends requests as one of the users of the token file.
type client struct {
	Server
	host   string
	tokens map[string]string
	http   *http.Client
	silent atomic.Int64 // requests in a row that had no answer
}

func (s Server) client() (*client, error) {
	s.URL = strings.TrimRight(s.URL, "/")
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the server's address is %q", s.URL)
	}
	trust := &tls.Config{InsecureSkipVerify: s.CAFile == ""}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificates in %s", s.CAFile)
		}
	}
	c := &client{Server: s, host: u.Host, http: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 32, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return c, c.readTokens()
}

func (c *client) readTokens() error {
	c.tokens = map[string]string{}
	if c.Tokens == "" {
		return nil
	}
	file, err := os.Open(c.Tokens)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.FieldsPerRecord = -1
	lines, err := reader.ReadAll()
	for _, line := range lines {
		if len(line) >= 2 {
			c.tokens[line[1]] = line[0]
		}
	}
	return err
}

// message is a request as it is sent.
type message struct {
	method, path, user string
	headers            map[string]string // an empty value takes the header away
	body               []byte
	timeout            time.Duration // zero is the client's
}

// reply is an answer as it comes.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends one request and reads all of the answer; watches end by their own timeout.
func (c *client) send(m message) (reply, error) {
	timeout := c.Timeout
	if m.timeout > 0 {
		timeout = min(timeout, m.timeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	r, err := c.request(ctx, m)
	if err != nil {
		return reply{}, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		c.silent.Add(1)
		return reply{}, err
	}
	c.silent.Store(0)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, body}, err
}

func (c *client) lost() bool { return c.silent.Load() > lostAfter }

func (c *client) request(ctx context.Context, m message) (*http.Request, error) {
	var body io.Reader
	if m.body != nil {
		body = bytes.NewReader(m.body)
	}
	r, err := http.NewRequestWithContext(ctx, m.method, c.URL+m.path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "gold/1.0 (linux/amd64) replay")
	switch m.user {
	case "", "admin":
		r.Header.Set("Authorization", "Bearer "+c.Token)
	case "anonymous":
	default:
		token, ok := c.tokens[m.user]
		if !ok {
			return nil, fmt.Errorf("no token for user %q", m.user)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if m.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range m.headers {
		if v == "" {
			r.Header.Del(k)
		} else {
			r.Header.Set(k, v)
		}
	}
	return r, nil
}
