package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/knarr-dev/knarr/registry/store"
)

// Every API server holds a lease under its own name, so that others can see which are alive. Those that crashed leave
// theirs behind; whoever is alive removes them an hour after they were last renewed.

const (
	identityLabel      = "apiserver.kubernetes.io/identity"
	identityComponent  = "kube-apiserver"
	identityRenewEvery = 10 * time.Second
	identitySeconds    = 3600
	identityCleanEvery = time.Hour
)

// KeepIdentity holds this API server's lease until ctx ends, and removes what dead ones left behind. Beside, it keeps the
// date since which the use of service account tokens from Secrets is noted.
func (r *Registry) KeepIdentity(ctx context.Context) {
	own, err := newIdentity(r.Network)
	if err != nil {
		slog.Error("this API server has no identity", "err", err)
		return
	}
	// A lease of the same name is that of a process before this one on the same machine.
	report(ctx, "remove the former lease of this API server", ignoreNotFound(r.Delete(ctx, r.leases(), objectKey(own), nil)))
	renew, clean := time.NewTicker(identityRenewEvery), time.NewTicker(identityCleanEvery)
	defer renew.Stop()
	defer clean.Stop()
	for {
		report(ctx, "renew the lease of this API server", r.renewIdentity(ctx, own))
		report(ctx, "keep the date of token tracking", r.keepTokenTracking(ctx))
		select {
		case <-renew.C:
		case <-clean.C:
			report(ctx, "remove the leases of dead API servers", r.removeDeadIdentities(ctx, time.Now()))
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			report(last, "remove the lease of this API server", ignoreNotFound(r.Delete(last, r.leases(), objectKey(own), nil)))
			return
		}
	}
}

// report logs an error, unless it is only that ctx has ended.
func report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		slog.Error(what, "err", err)
	}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (r *Registry) leases() *Resource { return r.Resource(coordinationv1.GroupName, "leases") }

// newIdentity is the lease of this process: the name stands for the machine, the holder for the process.
func newIdentity(n Network) (*coordinationv1.Lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	name := identityName(host)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{identityLabel: identityComponent, corev1.LabelHostname: host},
			Annotations: map[string]string{
				"kubernetes.io/peer-advertise-address": net.JoinHostPort(n.AdvertiseAddress.String(), strconv.Itoa(n.AdvertisePort)),
			},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       new(name + "_" + string(uuid.NewUUID())),
			LeaseDurationSeconds: new(int32(identitySeconds)),
		},
	}, nil
}

// identityName is a hash of the host's name and the component, each behind its length.
func identityName(host string) string {
	var text []byte
	for _, part := range []string{host, identityComponent} {
		text = append(binary.BigEndian.AppendUint16(text, uint16(len(part))), part...)
	}
	hash := sha256.Sum256(text)
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:16]))
}

// renewIdentity writes the lease anew, whatever became of it.
func (r *Registry) renewIdentity(ctx context.Context, own *coordinationv1.Lease) error {
	fresh := own.DeepCopy()
	fresh.Spec.RenewTime = new(metav1.NowMicro())
	_, err := r.Update(ctx, r.leases(), "", objectKey(own), func(o Object) error {
		l := o.(*coordinationv1.Lease)
		l.Labels, l.Annotations, l.Spec = fresh.Labels, fresh.Annotations, fresh.Spec
		return nil
	})
	if apierrors.IsNotFound(err) {
		_, err = r.Create(ctx, r.leases(), fresh)
	}
	return err
}

// removeDeadIdentities removes API servers' leases that have run out, or never ran.
func (r *Registry) removeDeadIdentities(ctx context.Context, now time.Time) error {
	dead := func(o Object) bool {
		s := o.(*coordinationv1.Lease).Spec
		return s.RenewTime == nil || s.LeaseDurationSeconds == nil ||
			s.RenewTime.Add(time.Duration(*s.LeaseDurationSeconds)*time.Second).Before(now)
	}
	var keys []store.Key
	err := r.each(ctx, coordinationv1.GroupName, "leases", "", func(o Object) {
		if o.GetNamespace() == metav1.NamespaceSystem && o.GetLabels()[identityLabel] == identityComponent && dead(o) {
			keys = append(keys, objectKey(o))
		}
	})
	errs := []error{err}
	for _, key := range keys {
		errs = append(errs, ignoreNotFound(r.Delete(ctx, r.leases(), key, dead)))
	}
	return errors.Join(errs...)
}

// keepTokenTracking keeps the day since which Secrets with service account tokens are labelled when they are used:
// those without a label have not been used since.
func (r *Registry) keepTokenTracking(ctx context.Context) error {
	row, since := r.Resource("", "configmaps"), time.Now().UTC().Format(time.DateOnly)
	key := store.Key{Namespace: metav1.NamespaceSystem, Name: "kube-apiserver-legacy-service-account-token-tracking"}
	_, err := r.Update(ctx, row, "", key, func(o Object) error {
		m := o.(*corev1.ConfigMap)
		if _, err := time.Parse(time.DateOnly, m.Data["since"]); err != nil {
			m.Data = map[string]string{"since": since}
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		_, err = r.Create(ctx, row, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string]string{"since": since}})
	}
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
