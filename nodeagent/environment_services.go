package nodeagent

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// serviceVariables tell a container where Services are: "kubernetes" always, those of its namespace if the pod wants to
// know. A Service of its namespace with that name counts for more.
func serviceVariables(p *corev1.Pod, services []*corev1.Service) map[string]string {
	vars := map[string]string{}
	for _, own := range []bool{false, true} {
		for _, s := range services {
			root := s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
			wanted := s.Namespace == p.Namespace && ptr.Deref(p.Spec.EnableServiceLinks, true)
			if own && wanted || !own && root {
				addServiceVariables(s, vars)
			}
		}
	}
	return vars
}

func addServiceVariables(s *corev1.Service, vars map[string]string) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := variableName(s.Name)
	vars[prefix+"_SERVICE_HOST"] = ip
	vars[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, port := range s.Spec.Ports {
		number, protocol := strconv.Itoa(int(port.Port)), string(port.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		if port.Name != "" {
			vars[prefix+"_SERVICE_PORT_"+variableName(port.Name)] = number
		}
		lower := strings.ToLower(protocol)
		url := lower + "://" + net.JoinHostPort(ip, number)
		if i == 0 {
			vars[prefix+"_PORT"] = url
		}
		link := fmt.Sprintf("%s_PORT_%s_%s", prefix, number, strings.ToUpper(protocol))
		vars[link], vars[link+"_PROTO"], vars[link+"_PORT"], vars[link+"_ADDR"] = url, lower, number, ip
	}
}

func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
