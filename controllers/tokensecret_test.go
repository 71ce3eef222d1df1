package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTokensThatNobodyUses(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	const lately, longAgo = "2025-06-01", "2025-05-31"
	for name, c := range map[string]struct {
		labels map[string]string
		age    time.Duration
		want   tokenVerdict
	}{
		"a young one stays":                      {nil, tokenUnusedFor - time.Hour, tokenStays},
		"one that was never used is put out":     {nil, tokenUnusedFor + time.Hour, tokenInvalidates},
		"one that was used lately stays":         {map[string]string{tokenLastUsed: lately}, 2 * tokenUnusedFor, tokenStays},
		"one that was used long ago is put out":  {map[string]string{tokenLastUsed: longAgo}, 2 * tokenUnusedFor, tokenInvalidates},
		"who knows when it was used":             {map[string]string{tokenLastUsed: "lately"}, 2 * tokenUnusedFor, tokenStays},
		"one that was put out lately stays":      {map[string]string{tokenInvalidSince: lately}, 2 * tokenUnusedFor, tokenStays},
		"one that was put out long ago goes":     {map[string]string{tokenInvalidSince: longAgo}, 2 * tokenUnusedFor, tokenGoes},
		"a label that is no day is written anew": {map[string]string{tokenInvalidSince: "soon"}, 2 * tokenUnusedFor, tokenInvalidates},
		"a use after it was put out counts":      {map[string]string{tokenInvalidSince: longAgo, tokenLastUsed: lately}, 2 * tokenUnusedFor, tokenStays},
	} {
		t.Run(name, func(t *testing.T) {
			s := &corev1.Secret{Type: corev1.SecretTypeServiceAccountToken,
				ObjectMeta: metav1.ObjectMeta{Labels: c.labels, CreationTimestamp: metav1.Time{Time: now.Add(-c.age)}}}
			if got := judgeToken(s, now); got != c.want {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}
