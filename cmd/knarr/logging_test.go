package main

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func TestLibrariesAreQuietButForErrors(t *testing.T) {
	var out bytes.Buffer
	log, err := (&logging{format: "json"}).logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer klog.ClearLogger()
	klog.Info("chatter")
	klog.Error("trouble")
	log.Info("ours")
	if text := out.String(); strings.Contains(text, "chatter") || !strings.Contains(text, "trouble") || !strings.Contains(text, `"msg":"ours"`) {
		t.Error(text)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	if _, err := (&logging{format: "xml"}).logger(&bytes.Buffer{}); err == nil {
		t.Error("accepted")
	}
}
