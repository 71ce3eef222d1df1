package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyWhatTheFileHoldsIsDropped(t *testing.T) {
	maps := `00400000-01000000 r-xp 00000000 fe:00 1  /bin/knarr
01000000-02000000 r--p 00c00000 fe:00 1  /bin/knarr
02000000-02100000 rw-p 01c00000 fe:00 1  /bin/knarr
c000000000-c000400000 rw-p 00000000 00:00 0
7f0000000000-7f0000100000 r--s 00000000 fe:00 2  /data/etcd/member/snap/db
7f0000200000-7f0000300000 r-xp 00000000 fe:00 3  /lib/libc.so.6
`
	want := []mapping{{0x400000, 0x1000000}, {0x1000000, 0x2000000}}
	if d := cmp.Diff(want, programMappings([]byte(maps), "/bin/knarr"), cmp.AllowUnexported(mapping{})); d != "" {
		t.Error(d)
	}
}
