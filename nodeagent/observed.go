package nodeagent

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// observed is what the runtime has of a pod.
type observed struct {
	sandbox *sandbox
	runs    map[string][]run // by container, newest first
	past    map[string]run   // last runs of containers from before all were started again
}

// sandbox is what a pod's containers share.
type sandbox struct {
	id      string
	attempt uint32
	ready   bool
	ips     []string
}

// run is one run of a container: each restart is a new one.
type run struct {
	id, name                   string
	attempt                    int32
	state                      runState
	created, started, finished time.Time
	exitCode                   int32
	reason, message            string
	image, imageID             string
	definition                 string // of the container that was started; empty if nobody knows
	recalled                   bool   // from the pod's status, not from the runtime
}

type runState int

const (
	runCreated runState = iota
	runRunning
	runExited
)

// latest is a container's newest run, nil if it never ran.
func (o *observed) latest(name string) *run {
	if runs := o.runs[name]; len(runs) > 0 {
		return &runs[0]
	}
	return nil
}

// attempt is the number of a container's next run.
func (o *observed) attempt(name string) int32 {
	if r := o.latest(name); r != nil {
		return r.attempt + 1
	}
	if r, ok := o.past[name]; ok {
		return r.attempt + 1
	}
	return 0
}

// running reports whether any container runs.
func (o *observed) running() bool {
	for _, runs := range o.runs {
		if slices.ContainsFunc(runs, func(r run) bool { return r.state == runRunning }) {
			return true
		}
	}
	return false
}

// observe reads the runtime's answer. What the runtime does not know but the pod's status tells (a runtime that lost its
// memory, as a node that was rebooted) is added: a container that has run is not run a second time because nobody remembers.
func observe(answer *cri.PodSandboxStatusResponse, recalled []run) observed {
	o := observed{runs: map[string][]run{}}
	if answer != nil {
		s := answer.Status
		o.sandbox = &sandbox{id: s.Id, attempt: s.Metadata.Attempt, ready: s.State == cri.PodSandboxState_SANDBOX_READY}
		if s.Network != nil && s.Network.Ip != "" {
			o.sandbox.ips = append(o.sandbox.ips, s.Network.Ip)
			for _, more := range s.Network.AdditionalIps {
				o.sandbox.ips = append(o.sandbox.ips, more.Ip)
			}
		}
		for _, c := range answer.ContainersStatuses {
			o.runs[c.Metadata.Name] = append(o.runs[c.Metadata.Name], runOf(c))
		}
	}
	for _, r := range recalled {
		if slices.ContainsFunc(o.runs[r.name], func(known run) bool { return known.attempt >= r.attempt && known.id == r.id }) {
			continue
		}
		o.runs[r.name] = append(o.runs[r.name], r)
	}
	for _, runs := range o.runs {
		slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(b.attempt, a.attempt) })
	}
	return o
}

func runOf(c *cri.ContainerStatus) run {
	at := func(nanoseconds int64) time.Time {
		if nanoseconds == 0 {
			return time.Time{}
		}
		return time.Unix(0, nanoseconds)
	}
	states := map[cri.ContainerState]runState{cri.ContainerState_CONTAINER_RUNNING: runRunning, cri.ContainerState_CONTAINER_EXITED: runExited}
	return run{id: c.Id, name: c.Metadata.Name, attempt: int32(c.Metadata.Attempt), state: states[c.State], created: at(c.CreatedAt),
		started: at(c.StartedAt), finished: at(c.FinishedAt), exitCode: c.ExitCode, reason: c.Reason, message: c.Message,
		image: c.Image.GetImage(), imageID: c.ImageRef, definition: c.Annotations[definitionAnnotation]}
}

// recall reads the runs of containers out of a pod's status.
func recall(s *corev1.PodStatus, now time.Time) (runs []run) {
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses) {
		r := run{id: bareID(c.ContainerID), name: c.Name, attempt: c.RestartCount, state: runExited, image: c.Image, imageID: c.ImageID, recalled: true}
		ended := c.State.Terminated
		if ended == nil && c.State.Running == nil {
			ended = c.LastTerminationState.Terminated
		}
		switch {
		case ended != nil:
			r.started, r.finished, r.exitCode = ended.StartedAt.Time, ended.FinishedAt.Time, ended.ExitCode
			r.reason, r.message, r.id = ended.Reason, ended.Message, bareID(ended.ContainerID)
		case c.State.Running != nil:
			r.started, r.finished, r.exitCode, r.reason = c.State.Running.StartedAt.Time, now, 137, statusUnknown
			r.message = "The container could not be located when the pod was terminated"
		default:
			continue
		}
		r.created = r.started
		runs = append(runs, r)
	}
	return runs
}

// statusUnknown is the reason of containers that ended while nobody looked.
const statusUnknown = "ContainerStatusUnknown"
