package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// kubernetesVersion is the release whose API this is.
const kubernetesVersion = "v1.36.3"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of knarr and of the Kubernetes API that it serves", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "knarr %s, Kubernetes %s, %s %s/%s\n",
				version, kubernetesVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
