package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"github.com/knarr-dev/knarr/server"
)

func main() {
	c := server.DefaultConfig()
	flag.StringVar(&c.DataDir, "data-dir", "/tmp/k", "")
	flag.IntVar(&c.SecurePort, "secure-port", 20443, "")
	etcd := flag.String("etcd-servers", "", "")
	flag.StringVar(&c.TokenAuthFile, "token-auth-file", "", "")
	flag.StringVar(&c.ServiceClusterIPRange, "service-cluster-ip-range", "10.0.0.0/16", "")
	flag.Parse()
	if *etcd != "" {
		c.EtcdServers = []string{*etcd}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := server.New(context.Background(), c, log)
	if err != nil {
		panic(err)
	}
	panic(s.Run(context.Background(), func() { log.Info("ready") }))
}
