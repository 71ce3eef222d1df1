package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/knarr-dev/knarr/server"
)

// kubectlCommand becomes the kubectl that lies beside this executable.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl [ARGUMENTS]", Short: "Run kubectl 1.36, by default against the cluster of this machine",
		Long: `Run kubectl 1.36. Without KUBECONFIG, --kubeconfig and ~/.kube/config, it uses the admin's kubeconfig in the default
data directory.`,
		DisableFlagParsing: true, // all flags are kubectl's
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			kubectl := filepath.Join(filepath.Dir(self), "kubectl")
			config := server.DefaultConfig()
			err = syscall.Exec(kubectl, append([]string{"kubectl"}, args...), kubectlEnvironment(os.Environ(), config.KubeconfigPath()))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no %s: `make build` makes it", kubectl)
			}
			return fmt.Errorf("run %s: %w", kubectl, err)
		},
	}
}

// kubectlEnvironment points kubectl to the admin's kubeconfig unless the user has said otherwise.
func kubectlEnvironment(env []string, kubeconfig string) []string {
	if !isWanted(kubeconfig) {
		return env
	}
	return append(env, "KUBECONFIG="+kubeconfig)
}

// isWanted reports whether the admin's kubeconfig is the one to use: it is there, and the user has no other.
func isWanted(kubeconfig string) bool {
	if os.Getenv("KUBECONFIG") != "" {
		return false
	}
	if home, err := os.UserHomeDir(); err == nil {
		if _, err := os.Stat(filepath.Join(home, ".kube", "config")); err == nil {
			return false
		}
	}
	_, err := os.Stat(kubeconfig)
	return err == nil
}
