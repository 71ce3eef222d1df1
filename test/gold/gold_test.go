package gold

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestGold replays all recordings against bin/knarr on an empty data directory.
func TestGold(t *testing.T) {
	floors := readFloors(t)
	files, err := Load([]string{"recorded"}, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.Start(t, "apiserver", "--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--service-cluster-ip-range=10.0.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local")
	start := time.Now()
	results, err := Run(Server{URL: c.URL, Token: "gold-admin-token", CAFile: c.CAFile, Tokens: "tokens.csv", Timeout: 15 * time.Second}, files, 12, false)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	PrintScores(&table, Scores(results), time.Since(start))
	t.Logf("\n%s", table.String())
	for _, score := range Scores(results) {
		for level, floor := range floors[score.Suite] {
			if got := score.Percent(level + 1); got < floor {
				t.Errorf("%s: %.2f %% at level %d, below %.2f", score.Suite, got, level+1, floor)
			}
		}
		delete(floors, score.Suite)
	}
	for suite := range floors {
		t.Errorf("%s: no recordings", suite)
	}
}

// readFloors reads scores.txt: for each suite the least percentages at levels 1, 2 and 3.
func readFloors(t *testing.T) map[string][3]float64 {
	t.Helper()
	file, err := os.Open("scores.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	floors := map[string][3]float64{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var suite string
		var f [3]float64
		if _, err := fmt.Sscan(lines.Text(), &suite, &f[0], &f[1], &f[2]); err != nil {
			t.Fatalf("scores.txt: %q: %v", lines.Text(), err)
		}
		floors[suite] = f
	}
	return floors
}
