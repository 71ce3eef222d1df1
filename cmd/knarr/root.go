package main

import (
	"fmt"

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
  knarr status             see how it is

Stock kubectl works as well: export KUBECONFIG=DATA-DIR/admin.kubeconfig.`,
		Version:      versions(),
		SilenceUsage: true, SilenceErrors: true,
	}
	c.SetVersionTemplate("{{.Version}}\n")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (`%s --help` lists the flags)", err, c.CommandPath())
	})
	c.AddCommand(upCommand(), apiserverCommand(), controllersCommand(), schedulerCommand(), agentCommand(), statusCommand(), kubectlCommand(), whyCommand(), versionCommand())
	return c
}
