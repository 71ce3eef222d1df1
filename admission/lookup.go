package admission

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/validation/path"
)

// requestable tells what is wrong with a name under which no object can be asked for. Where kube-apiserver looks for an
// object by a request to itself, clients see the words of that request.
func requestable(name string) error {
	if name == "" {
		return errors.New("resource name may not be empty")
	}
	if msgs := path.IsValidPathSegmentName(name); len(msgs) > 0 {
		return fmt.Errorf("invalid resource name %q: %v", name, msgs)
	}
	return nil
}
