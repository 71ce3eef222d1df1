package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockPatience is how long the database file may be another's. A process that has been killed leaves it at once.
const lockPatience = 500 * time.Millisecond

// checkFile finds out whether etcd will be able to open its database file, which is not there before the first start. etcd
// itself waits for a file that another process has open, for as long as it takes and deaf to signals, and panics over one
// that is damaged.
func checkFile(file string) error {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is open in another process: stop that one", file)
	case err != nil:
		return fmt.Errorf("%s: %w: put a backup in its place", file, err)
	}
	return db.Close()
}
