package store

import (
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What a read means depends on its resourceVersion, resourceVersionMatch, limit, continue and sendInitialEvents
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions). The tables below say all of it: what
// is waited for, and what is answered then. Combinations that the API refuses never get here.

// wait is how fresh the cache must be before a read is answered.
type wait struct {
	current  bool     // as fresh as etcd is now
	revision Revision // at least so; 0 is any
}

// given is what a read says about its resourceVersion.
type given int

const (
	unset given = iota // ""
	zero               // "0"
	some               // a revision
)

func classify(resourceVersion string) (given, Revision, error) {
	if resourceVersion == "" {
		return unset, 0, nil
	}
	r, err := parseRevision(resourceVersion)
	switch {
	case err != nil:
		return some, 0, err
	case r == 0:
		return zero, 0, nil
	}
	return some, r, nil
}

// parseRevision reads a resourceVersion. Its error is the field error that upstream shows.
func parseRevision(text string) (Revision, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, field.Invalid(field.NewPath("resourceVersion"), text, err.Error())
	}
	return Revision(n), nil
}

func invalidRevision(err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
}

// freshness is the column "wait" of the tables.
type freshness int

const (
	waitNot freshness = iota
	waitCurrent
	waitRevision // for the resourceVersion that is given
)

func (f freshness) wait(r Revision) wait {
	switch f {
	case waitCurrent:
		return wait{current: true}
	case waitRevision:
		return wait{revision: r}
	}
	return wait{}
}

func planGet(resourceVersion string, uncached bool) (wait, error) {
	class, r, err := classify(resourceVersion)
	switch {
	case err != nil && uncached:
		return wait{}, invalidRevision(err)
	case err != nil:
		return wait{}, errors.New(err.Error())
	}
	return [...]freshness{unset: waitCurrent, zero: waitNot, some: waitRevision}[class].wait(r), nil
}

// listRule is a row of the table of lists without continue.
type listRule struct {
	match   metav1.ResourceVersionMatch
	given   given
	limited bool // the row holds with limit > 0; without, the row before it
	wait    freshness
	exact   bool // the collection as it was at the revision; else as it is
	page    bool // limit counts
}

func listRules() []listRule {
	const (
		none         = metav1.ResourceVersionMatch("")
		notOlderThan = metav1.ResourceVersionMatchNotOlderThan
		exact        = metav1.ResourceVersionMatchExact
	)
	return []listRule{
		{match: none, given: unset, wait: waitCurrent, page: true},
		{match: none, given: zero, wait: waitNot},
		{match: none, given: some, wait: waitRevision},
		{match: none, given: some, limited: true, wait: waitRevision, exact: true, page: true},
		{match: notOlderThan, given: unset, wait: waitNot, page: true},
		{match: notOlderThan, given: zero, wait: waitNot},
		{match: notOlderThan, given: some, wait: waitRevision, page: true},
		{match: exact, given: some, wait: waitRevision, exact: true, page: true},
	}
}

// listPlan is what a list comes down to.
type listPlan struct {
	wait  wait
	exact Revision // answer from the collection at this revision; 0 is the latest
	limit int64    // 0 is all
	start string   // begin at this path below the list's scope
}

func planList(o ListOptions, uncached bool) (listPlan, error) {
	if o.Continue != "" {
		return planContinue(o)
	}
	class, r, err := classify(o.ResourceVersion)
	if err != nil {
		return listPlan{}, invalidRevision(err)
	}
	var rule *listRule
	for _, row := range listRules() {
		if row.match == o.Match && row.given == class && (!row.limited || o.Limit > 0) {
			rule = &row
		}
	}
	if rule == nil {
		return listPlan{}, apierrors.NewBadRequest(fmt.Sprintf(
			"resourceVersionMatch %q does not go with resourceVersion %q", o.Match, o.ResourceVersion))
	}
	plan := listPlan{wait: rule.wait.wait(r)}
	if rule.exact {
		plan.exact = r
	}
	if rule.page || uncached {
		plan.limit = max(o.Limit, 0)
	}
	return plan, nil
}

// planContinue goes on with a list: at the revision of its first page, or, with a token given for an expired one, at
// whatever is current.
func planContinue(o ListOptions) (listPlan, error) {
	token, err := decodeContinue(o.Continue)
	if err != nil {
		return listPlan{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	if o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return listPlan{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	plan := listPlan{start: token.start, limit: max(o.Limit, 0)}
	if token.revision < 0 {
		plan.wait.current = true
		return plan, nil
	}
	plan.wait.revision, plan.exact = token.revision, token.revision
	return plan, nil
}

// start is what a watch begins with.
type start int

const (
	startInitial start = iota // the collection, as ADDED events
	startNow                  // the next change
	startAfter                // the changes after the revision that is given
)

// watchRule is a row of the table of watches.
type watchRule struct {
	initial  string // sendInitialEvents: "", "true", "false"
	given    given
	wait     freshness
	start    start
	marksEnd bool // a bookmark ends the initial events, if bookmarks are wanted
}

func watchRules() []watchRule {
	return []watchRule{
		{initial: "", given: unset, wait: waitCurrent, start: startInitial},
		{initial: "", given: zero, wait: waitNot, start: startInitial},
		{initial: "", given: some, wait: waitNot, start: startAfter},
		{initial: "true", given: unset, wait: waitCurrent, start: startInitial, marksEnd: true},
		{initial: "true", given: zero, wait: waitNot, start: startInitial, marksEnd: true},
		{initial: "true", given: some, wait: waitRevision, start: startInitial, marksEnd: true},
		{initial: "false", given: unset, wait: waitCurrent, start: startNow},
		{initial: "false", given: zero, wait: waitNot, start: startNow},
		{initial: "false", given: some, wait: waitNot, start: startAfter},
	}
}

// watchPlan is what a watch comes down to.
type watchPlan struct {
	wait     wait
	start    start
	after    Revision
	marksEnd bool
}

func planWatch(resource schema.GroupResource, o WatchOptions) (watchPlan, error) {
	class, r, err := classify(o.ResourceVersion)
	if err != nil {
		return watchPlan{}, err // a 500 without reason, as upstream answers it
	}
	initial := ""
	if o.SendInitialEvents != nil {
		initial = strconv.FormatBool(*o.SendInitialEvents)
	}
	for _, row := range watchRules() {
		if row.initial == initial && row.given == class {
			return watchPlan{row.wait.wait(r), row.start, r, row.marksEnd}, nil
		}
	}
	return watchPlan{}, fmt.Errorf("watch %s: no rule for resourceVersion %q, sendInitialEvents %q", resource, o.ResourceVersion, initial)
}
