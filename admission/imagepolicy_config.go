package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/auth"
)

// imagePolicyConfig is the configuration of ImagePolicyWebhook. Times are whole numbers: 0 is the default, -1 none.
type imagePolicyConfig struct {
	KubeConfigFile string `json:"kubeConfigFile"` // where the service is
	AllowTTL       int64  `json:"allowTTL"`       // seconds for which a yes holds
	DenyTTL        int64  `json:"denyTTL"`        // seconds for which a no holds
	RetryBackoff   int64  `json:"retryBackoff"`   // milliseconds before the second attempt
	DefaultAllow   bool   `json:"defaultAllow"`   // what holds where the service cannot be asked

	allow, deny, backoff time.Duration
}

// imagePolicyFile is as old as the plugin: it has neither kind nor version.
type imagePolicyFile struct {
	ImagePolicy   imagePolicyConfig `json:"imagePolicy"`
	NodeSelectors json.RawMessage   `json:"podNodeSelectorPluginConfig"` // those of another plugin, which may share the file
}

// imageTime is one of the times of the configuration.
type imageTime struct {
	name              string
	given             int64
	unit, least, most time.Duration
	otherwise         time.Duration // what 0 means
	is                *time.Duration
}

func (c *imagePolicyConfig) times() []imageTime {
	const second, minute = time.Second, time.Minute
	return []imageTime{
		{"retryBackoff", c.RetryBackoff, time.Millisecond, 1, 5 * minute, 500 * time.Millisecond, &c.backoff},
		{"allowTTL", c.AllowTTL, second, second, 30 * minute, 5 * minute, &c.allow},
		{"denyTTL", c.DenyTTL, second, second, 30 * minute, 30 * second, &c.deny},
	}
}

func readImagePolicy(h Host) (*imagePolicyConfig, error) {
	if h.config == nil {
		return nil, errors.New("no config specified: name the service's kubeconfig in the file of --admission-control-config-file")
	}
	file, err := configure(h, auth.ConfigKind[imagePolicyFile]{Versions: []string{""}, Default: defaultImagePolicy, Validate: validateImagePolicy})
	if err != nil {
		return nil, err
	}
	return &file.ImagePolicy, nil
}

func defaultImagePolicy(f *imagePolicyFile) {
	for _, t := range f.ImagePolicy.times() {
		switch t.given {
		case -1:
			*t.is = 0
		case 0:
			*t.is = t.otherwise
		default:
			*t.is = time.Duration(t.given) * t.unit
		}
	}
}

func validateImagePolicy(f *imagePolicyFile) (errs field.ErrorList) {
	at := field.NewPath("imagePolicy")
	if f.ImagePolicy.KubeConfigFile == "" {
		errs = append(errs, field.Required(at.Child("kubeConfigFile"), "it says where the service is"))
	}
	for _, t := range f.ImagePolicy.times() {
		if t.given != 0 && t.given != -1 && (*t.is < t.least || *t.is > t.most) {
			errs = append(errs, field.Invalid(at.Child(t.name), t.given, fmt.Sprintf("valid value is between %v and %v, got %v", t.least, t.most, *t.is)))
		}
	}
	return errs
}
