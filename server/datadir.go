package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// openDataDir makes the data directory, if there is none, and takes it for this process alone, until the returned file
// is closed or the process ends, however it ends. It comes before all else: another process over the same directory
// would write its own admin.kubeconfig, and its etcd would wait in silence for the files of the first.
func openDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, otherDataDir(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, otherDataDir(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%s uses it: stop that one", lockHolder(f.Name()))
		}
		return nil, otherDataDir(dir, err)
	}
	// Who has it is told to those who want it; the lock holds without.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

func lockHolder(lock string) string {
	pid, err := os.ReadFile(lock)
	if err != nil || len(pid) == 0 {
		return "another process"
	}
	return "process " + strings.TrimSpace(string(pid))
}

func otherDataDir(dir string, err error) error {
	return fmt.Errorf("data directory %s: %w (--data-dir names another)", dir, err)
}
