package server

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/knarr-dev/knarr/registry"
)

const (
	generateTries  = 8  // names that may collide before a create gives up
	generatedChars = 5  // random characters after generateName
	maxGenerated   = 63 // bytes of the whole name: most names are DNS labels
)

// generateName completes a generateName with random characters, cut so that the name is not too long.
func generateName(base string) string {
	return base[:min(len(base), maxGenerated-generatedChars)] + rand.String(generatedChars)
}

// generateNameError tells the client that the collision was the server's choice, and that another try may succeed.
func generateNameError(err error, generated bool, base string, row *registry.Resource) error {
	if err == nil || !generated || !apierrors.IsAlreadyExists(err) {
		return err
	}
	return apierrors.NewGenerateNameConflict(row.GroupResource(), base, 1)
}
