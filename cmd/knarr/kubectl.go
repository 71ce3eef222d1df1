package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
			if lacksCluster(args, config.KubeconfigPath()) {
				fmt.Fprintln(os.Stderr, "knarr: no cluster is known: start one with `knarr up`, or name a kubeconfig with KUBECONFIG")
			}
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
	return !hasOwnKubeconfig() && filepath.IsAbs(kubeconfig) && exists(kubeconfig)
}

// hasOwnKubeconfig reports whether the user has named a cluster in one of kubectl's own ways.
func hasOwnKubeconfig() bool {
	if os.Getenv("KUBECONFIG") != "" {
		return true
	}
	home, err := os.UserHomeDir()
	return err == nil && exists(filepath.Join(home, ".kube", "config"))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// lacksCluster reports whether kubectl would go to its last resort, localhost:8080, where nothing has been for years.
func lacksCluster(args []string, kubeconfig string) bool {
	if hasOwnKubeconfig() || isWanted(kubeconfig) || os.Getenv("KUBERNETES_SERVICE_HOST") != "" || len(args) == 0 {
		return false
	}
	switch args[0] {
	case "completion", "config", "help", "kustomize", "options", "plugin":
		return false // they ask no server
	}
	return !slices.ContainsFunc(args, func(arg string) bool {
		return arg == "-s" || arg == "-h" || arg == "--help" || arg == "--client" ||
			strings.HasPrefix(arg, "--server") || strings.HasPrefix(arg, "--kubeconfig")
	})
}
