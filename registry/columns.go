package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Age is a table cell that shows how long ago At was, computed when the table is served: Before, the duration in
// kubectl's short form ("5m", "3d4h"), After. A zero At shows "<unknown>" alone, or Unset where that is given.
type Age struct {
	Before string
	At     metav1.Time
	After  string
	Unset  string
}

// swaggerDocs is what every generated type of k8s.io/api offers.
type swaggerDocs interface{ SwaggerDoc() map[string]string }

// doc is the API reference's sentence on a field of a type, as table columns quote it; the empty name is the type's own.
func doc(of swaggerDocs, name string) string { return of.SwaggerDoc()[name] }

func nameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: doc(metav1.ObjectMeta{}, "name")}
}

func ageColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Age", Type: "string", Description: doc(metav1.ObjectMeta{}, "creationTimestamp")}
}

// textColumn is a column of strings; about describes it.
func textColumn(name, about string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: about}
}

// integerColumn is a column of whole numbers; about describes it.
func integerColumn(name, about string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: about}
}

// wideColumn is a text column that kubectl shows with -o wide only.
func wideColumn(name, about string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: 1, Description: about}
}

// PlainTable is the table of kinds that have no columns of their own: name and time of creation.
func PlainTable() ([]metav1.TableColumnDefinition, func(Object) []any) {
	columns := []metav1.TableColumnDefinition{
		nameColumn(),
		{Name: "Created At", Type: "date", Description: doc(metav1.ObjectMeta{}, "creationTimestamp")},
	}
	return columns, func(o Object) []any {
		return []any{o.GetName(), o.GetCreationTimestamp().UTC().Format(time.RFC3339)}
	}
}

// joinedSet lists the different values in order, the empty one left out.
func joinedSet(values []string) string {
	values = slices.Sorted(slices.Values(values))
	values = slices.DeleteFunc(slices.Compact(values), func(v string) bool { return v == "" })
	return strings.Join(values, ",")
}

// firstThree names three values and counts the rest.
func firstThree(all []string) string {
	const shown = 3
	if len(all) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shown], ","), len(all)-shown)
	}
	return strings.Join(all, ",")
}
