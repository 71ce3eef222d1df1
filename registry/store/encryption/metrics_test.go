package encryption_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store/encryption"
	"github.com/knarr-dev/knarr/test/cluster"
)

func TestWhatCannotBeSealedIsCountedByWhoShouldHave(t *testing.T) {
	plugin := cluster.StartKMS(t)
	plugin.SetIll(true)
	keys := keysOf(t, "resources:\n- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: toy, endpoint: '"+plugin.Endpoint+"'}}]")
	counts, all := encryption.NewCounts(), prometheus.NewRegistry()
	all.MustRegister(counts.Collectors()...)
	secrets := encryption.Resource{Name: schema.GroupResource{Resource: "secrets"}, Keys: keys, Counts: counts}
	if _, err := secrets.Seal(t.Context(), "/k", []byte("plain")); err == nil {
		t.Fatal("sealed without a key")
	}
	families, err := all.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	for _, label := range families[0].Metric[0].Label {
		if label.GetName() == "transformer_prefix" && label.GetValue() != "k8s:enc:kms:v2:toy:" {
			t.Errorf("counted by %s", label.GetValue())
		}
	}
}
