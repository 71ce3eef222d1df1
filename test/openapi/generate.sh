#!/bin/sh
# Writes server/openapi anew: first the schemas of the Go types, then the documents. `make generate` runs it.
set -eu
cd "$(dirname "$0")"
mkdir -p definitions
go tool openapi-gen --output-dir definitions --output-file zz_generated.go \
	--output-pkg github.com/knarr-dev/knarr/test/openapi/definitions --go-header-file /dev/null --report-filename /dev/null \
	k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/runtime \
	k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/version \
	k8s.io/api/admissionregistration/v1 k8s.io/api/apps/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 \
	k8s.io/api/autoscaling/v1 k8s.io/api/autoscaling/v2 k8s.io/api/batch/v1 k8s.io/api/certificates/v1 \
	k8s.io/api/coordination/v1 k8s.io/api/core/v1 k8s.io/api/discovery/v1 k8s.io/api/events/v1 k8s.io/api/flowcontrol/v1 \
	k8s.io/api/networking/v1 k8s.io/api/node/v1 k8s.io/api/policy/v1 k8s.io/api/rbac/v1 k8s.io/api/resource/v1 \
	k8s.io/api/scheduling/v1 k8s.io/api/storage/v1 \
	k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1 k8s.io/kube-aggregator/pkg/apis/apiregistration/v1
rm -rf ../../server/openapi
go run . ../../server/openapi
