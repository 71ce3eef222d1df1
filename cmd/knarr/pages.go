package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// dropProgramPages takes the program's own code and constants out of this process's memory. The start has touched most
// of them; what is needed again comes back from the kernel's page cache, a microsecond a page.
func dropProgramPages() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // another system than Linux keeps its pages
	}
	for _, m := range programMappings(maps, self) {
		// Nothing is lost where the kernel declines.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// programMappings finds the mappings of a file that cannot be written to: those hold nothing that the file does not.
// Lines are as proc(5) has them: "55d0-55e0 r-xp 00001000 08:01 1234   /path".
func programMappings(maps []byte, file string) []mapping {
	var found []mapping
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 6 || string(fields[5]) != file || !slices.Contains([]string{"r--p", "r-xp"}, string(fields[1])) {
			continue
		}
		var m mapping
		if n, _ := fmt.Sscanf(string(fields[0]), "%x-%x", &m.start, &m.end); n == 2 {
			found = append(found, m)
		}
	}
	return found
}
