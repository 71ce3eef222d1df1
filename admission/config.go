package admission

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/auth"
)

// Config is the configuration of plugins, by name: the file of --admission-control-config-file, and the files that it
// names.
type Config map[string]*PluginConfig

// PluginConfig is the configuration of one plugin: a file of its own, or a part of a file, on the lines where it stands.
type PluginConfig struct {
	File string
	Data []byte // YAML or JSON
}

// configFile is the AdmissionConfiguration of apiserver.config.k8s.io.
type configFile struct {
	metav1.TypeMeta `json:",inline"`
	Plugins         []struct {
		Name          string          `json:"name"`
		Path          string          `json:"path"`
		Configuration json.RawMessage `json:"configuration"`
	} `json:"plugins"`
}

// ReadConfig reads the configuration of all plugins.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if old := unversioned(path, data); old != nil {
		return old, nil
	}
	kind := auth.ConfigKind[configFile]{Kind: "AdmissionConfiguration",
		Versions: []string{"apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"}, Validate: validateConfig}
	file, err := kind.Parse(path, data)
	if err != nil {
		return nil, err
	}
	config := Config{}
	for i, p := range file.Plugins {
		switch {
		case config[p.Name] != nil: // the first one holds, as upstream has it
		case len(p.Configuration) > 0 && string(p.Configuration) != "null":
			part, err := auth.ConfigPart(data, fmt.Sprintf("plugins[%d].configuration", i))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			config[p.Name] = &PluginConfig{path, part}
		case p.Path != "":
			own := p.Path
			if !filepath.IsAbs(own) {
				own = filepath.Join(filepath.Dir(path), own)
			}
			text, err := os.ReadFile(own)
			if err != nil {
				return nil, fmt.Errorf("%s: plugins[%d].path: %w", path, i, err)
			}
			config[p.Name] = &PluginConfig{own, text}
		}
	}
	return config, nil
}

func validateConfig(f *configFile) (errs field.ErrorList) {
	known := names(table())
	for i, p := range f.Plugins {
		if at := field.NewPath("plugins").Index(i).Child("name"); !slices.Contains(known, p.Name) {
			errs = append(errs, field.Invalid(at, p.Name, "there is no such admission plugin"))
		}
	}
	return errs
}

// unversioned is the file as two plugins had it when it was theirs alone; nil for a file of today.
func unversioned(path string, data []byte) Config {
	var top map[string]any
	if yaml.Unmarshal(data, &top) != nil || top["kind"] != nil || top["apiVersion"] != nil {
		return nil
	}
	if top["imagePolicy"] == nil && top["podNodeSelectorPluginConfig"] == nil {
		return nil
	}
	all := &PluginConfig{path, data}
	return Config{"ImagePolicyWebhook": all, "PodNodeSelector": all}
}

// configure reads a plugin's configuration, which may be of one of several kinds; without one, what holds where nothing is
// said, by the first kind.
func configure[T any](h Host, kinds ...auth.ConfigKind[T]) (*T, error) {
	if h.config == nil {
		return unsaid(kinds[0])
	}
	var said metav1.TypeMeta
	_ = yaml.Unmarshal(h.config.Data, &said) // what cannot be read, Parse complains of
	kind := kinds[0]
	for _, k := range kinds {
		if k.Kind == said.Kind {
			kind = k
		}
	}
	return kind.Parse(h.config.File, h.config.Data)
}

// unsaid is a configuration that says nothing; an error if something has to be said.
func unsaid[T any](kind auth.ConfigKind[T]) (*T, error) {
	config := new(T)
	if kind.Default != nil {
		kind.Default(config)
	}
	if kind.Validate != nil {
		if errs := kind.Validate(config); len(errs) > 0 {
			return nil, fmt.Errorf("it has no configuration, name one in --admission-control-config-file: %w", errs.ToAggregate())
		}
	}
	return config, nil
}
