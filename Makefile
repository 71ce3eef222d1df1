# knarr needs Go and git; everything else is built here.
#
#   make up        build, and start a cluster in the foreground
#   make test      all tests (builds what they run)
#   make gold      score bin/knarr against the recorded kube-apiserver
#   make skew      run the scenario scripts by kubectl 1.32 to 1.37, too (builds them: minutes, once)
#   make bench     measure knarr beside upstream (builds it: minutes, once); ONLY=api,scheduling,rollout,crowd,idle chooses
#   make chaos     break what can break for 200 rounds (ROUNDS=N, SEED=N)
#   make conformance  run the conformance suite (builds it: minutes, once); FOCUS=regexp or LIST=file chooses tests
#   make interop   upstream's parts in the place of knarr's, and the other way round (builds them: minutes, once)
#   make generate  make generated files again
#   make lint      gofmt, go vet, staticcheck

KUBERNETES := v1.36.3
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STAMP      := -s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)
GO         := CGO_ENABLED=0 go

.PHONY: build up test skew chaos interop bench conformance generate lint gold clean bin/knarr bin/kubectl bin/etcd

build: bin/knarr bin/kubectl

# Go's build cache knows better than make what has changed: these always run.
bin/knarr:
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/knarr
bin/kubectl:
	$(GO) build -trimpath -ldflags "$(STAMP)" -o $@ ./cmd/kubectl
bin/etcd:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./test/etcd

up: build
	bin/knarr up

test: build bin/etcd lint
	go test -timeout 20m ./...
	cd test/conformance && go vet . && go test .
	$(MAKE) -s conformance LIST=test/conformance/quick.txt

gold: bin/knarr
	go test -count=1 -timeout 20m -v -run TestGold ./test/gold

skew: build
	go run ./test/skew 1.32 1.33 1.34 1.35 1.37

bench: bin/knarr bin/etcd
	$(GO) run ./test/bench $(if $(ONLY),-parts=$(ONLY))

# A round that failed is done again by its seed.
chaos: export ROUNDS ?= 200
chaos: export SEED ?= 1
chaos: bin/knarr
	go test -count=1 -timeout 90m -v -run 'TestChaos|TestALeaderWakesUp' ./test/chaos

conformance: build
	cd test/conformance && $(GO) run . -root ../.. $(if $(FOCUS),-focus '$(FOCUS)') $(if $(LIST),-list $(abspath $(LIST)))

interop: bin/knarr bin/etcd
	$(GO) run ./test/interop

generate:
	go generate ./...

# SA1019: what Kubernetes calls deprecated has to be served all the same. ST1005: error texts that clients see are
# upstream's.
lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck -checks inherit,-SA1019,-ST1005 ./...

clean:
	rm -rf bin
