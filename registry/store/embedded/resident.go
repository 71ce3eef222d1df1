package embedded

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// release lets go of the pages of the database file that are mapped into this process. Bolt maps the file for good, and
// each compaction walks through all of it, so that after a while the whole file counts as memory of the process, although
// nothing is read from it: reads are answered by the watch caches. The pages stay in the kernel's cache for as long as it
// likes, and come back when they are touched. The mapping is read-only and shared with the file: nothing can be lost.
//
// Nothing but a defragmentation replaces the mapping, and the keeper does both.
func release(file string) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("release %s: %w", file, err)
	}
	for line := range bytes.Lines(maps) {
		start, length, ok := mapping(string(line), file)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release %s: %w", file, errno)
		}
	}
	return nil
}

// mapping reads a line of /proc/self/maps: "7f00-7f10 r--s 00000000 08:01 1234   /path". ok is true if it is a read-only,
// shared mapping of the file.
func mapping(line, file string) (start, length uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "r--s" || strings.Join(fields[5:], " ") != file {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	first, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	return uintptr(first), uintptr(end - first), err == nil && err2 == nil && end > first
}
