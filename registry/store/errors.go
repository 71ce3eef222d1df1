package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What clients see is a *errors.StatusError of apimachinery. Etcd's own errors that are not the client's business go
// through unchanged, and become an internal error with etcd's words.

func (s *Store) notFound(k Key) error { return apierrors.NewNotFound(s.Resource, k.Name) }

func errClosed() error { return apierrors.NewServiceUnavailable("the server is shutting down") }

// contextError is what a client is told whose request took too long.
func contextError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return apierrors.NewTimeoutError("request did not complete within requested timeout - "+err.Error(), 0)
	}
	return err
}

// etcdError says what became of a request to etcd that failed.
func etcdError(err error) error {
	switch code := status.Code(err); {
	case errors.Is(err, context.DeadlineExceeded), code == codes.DeadlineExceeded,
		errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail),
		errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost):
		return apierrors.NewTimeoutError(fmt.Sprintf("etcd did not answer in time: %v", err), 1)
	case errors.Is(err, rpctypes.ErrNoLeader), errors.Is(err, rpctypes.ErrStopped), code == codes.Unavailable:
		return apierrors.NewServiceUnavailable(fmt.Sprintf("etcd cannot be reached: %v", err))
	}
	return err
}

// expiredList is the answer to a list at a revision that etcd has compacted. Someone in the middle of a list gets a
// token with which the rest can be had, from a later revision.
func expiredList(err error, plan listPlan, paging bool) error {
	switch {
	case errors.Is(err, rpctypes.ErrFutureRev):
		return tooLarge(plan.exact, 0, 0)
	case !errors.Is(err, rpctypes.ErrCompacted):
		return etcdError(err)
	case !paging:
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	expired := apierrors.NewResourceExpired("The provided continue parameter is too old " +
		"to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided " +
		"token results in an inconsistent list - objects that were created, " +
		"modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list.")
	expired.ErrStatus.ListMeta.Continue = continueToken{plan.start, -1}.String()
	return expired
}

// isTooLarge reports that etcd refuses a value for its size.
func isTooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || status.Code(err) == codes.ResourceExhausted &&
		!errors.Is(err, rpctypes.ErrNoSpace) && !errors.Is(err, rpctypes.ErrTooManyRequests)
}
