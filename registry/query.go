package registry

import (
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// queryReader reads the options of a stream from a request's query. Of a value given several times the first counts. err
// is the first value that could not be read.
type queryReader struct {
	values url.Values
	err    error
}

func readQuery(request *http.Request) *queryReader { return &queryReader{values: request.URL.Query()} }

// read converts the values of a name, if there are any, as apimachinery converts those of all options.
func read[T any](q *queryReader, name string, convert func(*[]string, *T, conversion.Scope) error) T {
	var value T
	if texts := q.values[name]; len(texts) > 0 && q.err == nil {
		q.err = convert(&texts, &value, nil)
	}
	return value
}

func (q *queryReader) text(name string) string {
	return read(q, name, runtime.Convert_Slice_string_To_string)
}

// flag is true unless the value is "false" or "0"; one that is given without a value is true.
func (q *queryReader) flag(name string) bool {
	return read(q, name, runtime.Convert_Slice_string_To_bool)
}

func (q *queryReader) number(name string) *int64 {
	return read(q, name, runtime.Convert_Slice_string_To_Pointer_int64)
}

func (q *queryReader) numbers(name string) []int32 {
	return read(q, name, metav1.Convert_Slice_string_To_Slice_int32)
}

func (q *queryReader) time(name string) *metav1.Time {
	return read(q, name, metav1.Convert_Slice_string_To_Pointer_v1_Time)
}
