package main

import (
	"github.com/spf13/cobra"
)

// root is the command line. cobra adds `completion`.
func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "knarr",
		Short: "Kubernetes in one binary",
		Long: `knarr is Kubernetes in one binary.

  knarr up                 start a cluster in the foreground
  knarr kubectl get all    use it (the admin's kubeconfig is found by itself)

Stock kubectl works as well: export KUBECONFIG=DATA-DIR/admin.kubeconfig.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(upCommand(), apiserverCommand(), kubectlCommand(), whyCommand(), versionCommand())
	return c
}
