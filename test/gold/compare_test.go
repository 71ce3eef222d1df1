package gold

import "testing"

func TestMessagesAreComparedWithoutInternalTypes(t *testing.T) {
	for name, c := range map[string]struct {
		want, got string
		equal     bool
	}{
		"case of keys and empty members do not count": {
			`DaemonSet.apps "d" is invalid: spec.updateStrategy: Unsupported value: {"Type":"Bad","RollingUpdate":{"MaxUnavailable":"","MaxSurge":0}}: supported values: "RollingUpdate", "OnDelete"`,
			`DaemonSet.apps "d" is invalid: spec.updateStrategy: Unsupported value: {"type":"Bad"}: supported values: "RollingUpdate", "OnDelete"`, true},
		"values count": {
			`x: Invalid value: {"Type":"A"}: no`, `x: Invalid value: {"type":"B"}: no`, false},
		"what follows the value counts": {
			`x: Invalid value: {"Type":"A"}: field is immutable`, `x: Invalid value: {"type":"A"}: no`, false},
		"a diff does not count": {
			"spec: Forbidden: may not change\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n", "spec: Forbidden: may not change\n@@ -7 +7 @@\n-  x\n+  y\n", true},
		"a value without structure counts": {
			`x: Invalid value: "A": no`, `x: Invalid value: "a": no`, false},
	} {
		if equal := canonMessage(c.want) == canonMessage(c.got); equal != c.equal {
			t.Errorf("%s: equal is %v\n%s\n%s", name, equal, canonMessage(c.want), canonMessage(c.got))
		}
	}
}
