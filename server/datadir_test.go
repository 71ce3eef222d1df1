package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirectoryIsForOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.DataDir = dir
	_, err = New(context.Background(), config, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d uses it", os.Getpid())) {
		t.Fatalf("the second: %v, want the first one's process", err)
	}
	if _, err := os.Stat(config.KubeconfigPath()); err == nil {
		t.Error("the second wrote its kubeconfig over the first one's")
	}
	first.Close()
	second, err := openDataDir(dir)
	if err != nil {
		t.Fatal("after the first has ended:", err)
	}
	second.Close()
}

func TestDataDirectoryThatCannotBeMadeIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(file); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "--data-dir") {
		t.Fatalf("%v, want the directory and the flag", err)
	}
}
