package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateProbes is about the probes and hooks of a container that runs as long as its pod.
func (p *podSpecCheck) validateProbes(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := p.validateLifecycle(c.Lifecycle, path.Child("lifecycle"))
	errs = append(errs, validateProbe(c.LivenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, path.Child("readinessProbe"))...)
	errs = append(errs, validateProbe(c.StartupProbe, path.Child("startupProbe"))...)
	errs = append(errs, validateOneSuccess(c.LivenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateOneSuccess(c.StartupProbe, path.Child("startupProbe"))...)
	if r := c.ReadinessProbe; r != nil && r.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("readinessProbe", "terminationGracePeriodSeconds"),
			*r.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return errs
}

// validateOneSuccess is about a probe whose first success decides.
func validateOneSuccess(probe *corev1.Probe, path *field.Path) field.ErrorList {
	if probe == nil || probe.SuccessThreshold == 1 {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("successThreshold"), probe.SuccessThreshold, "must be 1")}
}

func validateProbe(probe *corev1.Probe, path *field.Path) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := validateUnion(path, "handler type", []unionMember{
		member(path, "exec", probe.Exec, validateExecAction),
		member(path, "httpGet", probe.HTTPGet, validateHTTPGetAction),
		member(path, "tcpSocket", probe.TCPSocket, validateTCPSocketAction),
		member(path, "grpc", probe.GRPC, validateGRPCAction),
	})
	errs = append(errs, validateNonnegative(int64(probe.InitialDelaySeconds), path.Child("initialDelaySeconds"))...)
	errs = append(errs, validateNonnegative(int64(probe.TimeoutSeconds), path.Child("timeoutSeconds"))...)
	errs = append(errs, validateNonnegative(int64(probe.PeriodSeconds), path.Child("periodSeconds"))...)
	errs = append(errs, validateNonnegative(int64(probe.SuccessThreshold), path.Child("successThreshold"))...)
	errs = append(errs, validateNonnegative(int64(probe.FailureThreshold), path.Child("failureThreshold"))...)
	if grace := probe.TerminationGracePeriodSeconds; grace != nil && *grace <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *grace, "must be greater than 0"))
	}
	return errs
}

func (p *podSpecCheck) validateLifecycle(l *corev1.Lifecycle, path *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	errs := p.validateHook(l.PostStart, path.Child("postStart"))
	errs = append(errs, p.validateHook(l.PreStop, path.Child("preStop"))...)
	if l.StopSignal != nil {
		errs = append(errs, validateStopSignal(*l.StopSignal, p.spec.OS, path.Child("stopSignal"))...)
	}
	return errs
}

func (p *podSpecCheck) validateHook(h *corev1.LifecycleHandler, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return validateUnion(path, "handler type", []unionMember{
		member(path, "exec", h.Exec, validateExecAction),
		member(path, "httpGet", h.HTTPGet, validateHTTPGetAction),
		member(path, "tcpSocket", h.TCPSocket, validateTCPSocketAction),
		member(path, "sleep", h.Sleep, p.validateSleepAction),
	})
}

func validateExecAction(e *corev1.ExecAction, path *field.Path) field.ErrorList {
	if len(e.Command) == 0 {
		return field.ErrorList{field.Required(path.Child("command"), "")}
	}
	return nil
}

func validateHTTPGetAction(h *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	errs := append(validateRequired(h.Path, path.Child("path")), validatePortOrName(h.Port, path.Child("port"))...)
	errs = append(errs, validateChoice(h.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range h.HTTPHeaders {
		errs = append(errs, invalidValue(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

func validateTCPSocketAction(t *corev1.TCPSocketAction, path *field.Path) field.ErrorList {
	return validatePortOrName(t.Port, path.Child("port"))
}

func validateGRPCAction(g *corev1.GRPCAction, path *field.Path) field.ErrorList {
	return validatePortOrName(intstr.FromInt32(g.Port), path.Child("port"))
}

// validateSleepAction wants the sleep to end within the grace period. A missing grace period is an error of its own.
func (p *podSpecCheck) validateSleepAction(s *corev1.SleepAction, path *field.Path) field.ErrorList {
	grace := p.spec.TerminationGracePeriodSeconds
	if grace == nil || s.Seconds >= 0 && s.Seconds <= *grace {
		return nil
	}
	return field.ErrorList{field.Invalid(path, s.Seconds,
		fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))}
}

// validatePortOrName is about a port given by number, or by its name in the pod.
func validatePortOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return invalidValue(path, port.StrVal, validation.IsValidPortName(port.StrVal))
	}
	return invalidValue(path, port.IntVal, validation.IsValidPortNum(int(port.IntVal)))
}

// validateStopSignal is about the signal that ends a container: off in this release, but kept in objects that have it.
func validateStopSignal(signal corev1.Signal, os *corev1.PodOS, path *field.Path) field.ErrorList {
	switch {
	case os == nil:
		return field.ErrorList{field.Forbidden(path, "may not be set for containers with empty `spec.os.name`")}
	case os.Name == corev1.Windows:
		return validateChoice(signal, path, corev1.SIGKILL, corev1.SIGTERM)
	case os.Name == corev1.Linux:
		return validateChoice(signal, path, linuxSignals()...)
	}
	return nil
}

// linuxSignals are all signals, sorted.
func linuxSignals() []corev1.Signal {
	return []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE,
		corev1.SIGHUP, corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE,
		corev1.SIGPOLL, corev1.SIGPROF, corev1.SIGPWR, corev1.SIGQUIT,
		corev1.SIGRTMAX, corev1.SIGRTMAXMINUS1, corev1.SIGRTMAXMINUS10, corev1.SIGRTMAXMINUS11, corev1.SIGRTMAXMINUS12,
		corev1.SIGRTMAXMINUS13, corev1.SIGRTMAXMINUS14, corev1.SIGRTMAXMINUS2, corev1.SIGRTMAXMINUS3,
		corev1.SIGRTMAXMINUS4, corev1.SIGRTMAXMINUS5, corev1.SIGRTMAXMINUS6, corev1.SIGRTMAXMINUS7,
		corev1.SIGRTMAXMINUS8, corev1.SIGRTMAXMINUS9,
		corev1.SIGRTMIN, corev1.SIGRTMINPLUS1, corev1.SIGRTMINPLUS10, corev1.SIGRTMINPLUS11, corev1.SIGRTMINPLUS12,
		corev1.SIGRTMINPLUS13, corev1.SIGRTMINPLUS14, corev1.SIGRTMINPLUS15, corev1.SIGRTMINPLUS2, corev1.SIGRTMINPLUS3,
		corev1.SIGRTMINPLUS4, corev1.SIGRTMINPLUS5, corev1.SIGRTMINPLUS6, corev1.SIGRTMINPLUS7, corev1.SIGRTMINPLUS8,
		corev1.SIGRTMINPLUS9,
		corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP, corev1.SIGTSTP,
		corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH,
		corev1.SIGXCPU, corev1.SIGXFSZ,
	}
}
