// Command openapi writes the OpenAPI documents that knarr serves: version 2 as one document, version 3 as one for each
// path of discovery, both as JSON and as protobuf, compressed. The paths follow from the rows of the registry, the
// schemas from the Go types of the kinds, by way of kube-openapi.
//
// It is run by `make generate`, in two steps, and linked into nothing:
//
//	go tool openapi-gen ... (see generate.sh)  reads the types, writes definitions/zz_generated.go
//	go run . ../../server/openapi               writes the documents
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"

	"github.com/knarr-dev/knarr/registry"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: openapi FOLDER")
	}
	scheme := servedTypes()
	if err := write(os.Args[1], services(scheme, resources(registry.Builtin())), namesOf(scheme)); err != nil {
		log.Fatal(err)
	}
}

// servedTypes knows the Go type of every kind, and every version that DeleteOptions and its like may be sent in.
func servedTypes() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(scheme))
	for _, add := range []func(*runtime.Scheme) error{
		admissionv1.AddToScheme, admissionv1beta1.AddToScheme, imagepolicyv1alpha1.AddToScheme,
		apiextensionsv1.AddToScheme, apiextensionsv1beta1.AddToScheme,
		apiregistrationv1.AddToScheme, apiregistrationv1beta1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}

// write puts all documents into a folder:
//
//	v2.json.gz, v2.pb.gz                          OpenAPI 2
//	v3/apis/apps/v1.json.gz, v3/apis/apps/v1.pb.gz  OpenAPI 3, one pair a service
//	hashes.json                                   the SHA-512 of each JSON, by path; v2 under "v2"
func write(folder string, list []*service, names namer) error {
	hashes := map[string]string{}
	var all []common.RouteContainer
	for _, s := range list {
		all = append(all, s)
		doc, err := builder3.BuildOpenAPISpecFromRoutes([]common.RouteContainer{s}, version3(names.within(s.gv)))
		if err != nil {
			return fmt.Errorf("%s: %w", s.root, err)
		}
		at := strings.Trim(s.root, "/")
		text, err := json.Marshal(doc)
		if err != nil {
			return fmt.Errorf("%s: %w", s.root, err)
		}
		if hashes[at], err = store(filepath.Join(folder, "v3", at), text, parse3); err != nil {
			return fmt.Errorf("%s: %w", s.root, err)
		}
	}
	doc, err := builder.BuildOpenAPISpecFromRoutes(all, version2(names))
	if err != nil {
		return err
	}
	text, err := doc.MarshalJSON() // json.Marshal would write < and > otherwise: the hash would not be that of kube-apiserver
	if err != nil {
		return err
	}
	if hashes["v2"], err = store(filepath.Join(folder, "v2"), text, parse2); err != nil {
		return err
	}
	listing, err := json.MarshalIndent(hashes, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "hashes.json"), append(listing, '\n'), 0o644)
}

// store writes a document in both encodings, and returns the hash by which clients know it.
func store(path string, text []byte, parse func([]byte) (proto.Message, error)) (string, error) {
	message, err := parse(text)
	if err != nil {
		return "", err
	}
	binary, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	for suffix, data := range map[string][]byte{".json.gz": text, ".pb.gz": binary} {
		if err := os.WriteFile(path+suffix, compress(data), 0o644); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%X", sha512.Sum512(text)), nil
}

func parse2(text []byte) (proto.Message, error) { return openapi_v2.ParseDocument(text) }
func parse3(text []byte) (proto.Message, error) { return openapi_v3.ParseDocument(text) }

func compress(data []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		log.Fatal(err)
	}
	z.Write(data)
	z.Close()
	return b.Bytes()
}
