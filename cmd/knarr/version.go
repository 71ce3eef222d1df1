package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/knarr-dev/knarr/server"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of knarr and of the Kubernetes API that it serves", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintln(c.OutOrStdout(), versions())
		},
	}
}

func versions() string {
	return fmt.Sprintf("knarr %s, Kubernetes v%s, %s %s/%s", version, server.Release, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
