package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/knarr-dev/knarr/server"
)

func apiserverCommand() *cobra.Command {
	config, logs := server.DefaultConfig(), &logging{}
	c := &cobra.Command{
		Use: "apiserver", Short: "Run the API server alone, over an embedded or an external etcd", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			return runAPIServer(c.Context(), config, log)
		},
	}
	bindFlags(c.Flags(), &config)
	logs.flags(c.Flags())
	showByTopic(c)
	return c
}

// runAPIServer runs an API server until ctx ends. Whoever waits for it learns from the log that it answers.
func runAPIServer(ctx context.Context, config server.Config, log *slog.Logger) error {
	if err := config.Validate(); err != nil {
		return err
	}
	s, err := server.New(ctx, config, log)
	if err != nil {
		return err
	}
	return s.Run(ctx, func() {
		log.Info("the API is served", "url", config.LocalURL(), "kubeconfig", config.KubeconfigPath())
	})
}
