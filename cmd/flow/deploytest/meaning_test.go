package deploytest

import (
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Mistakes are what does not fit together in a manifest.
type mistakes []string

func (m *mistakes) check(ok bool, format string, args ...any) {
	if !ok {
		*m = append(*m, fmt.Sprintf(format, args...))
	}
}

func TestManifests(t *testing.T) {
	for file, m := range manifests(t) {
		for _, mistake := range m.check() {
			t.Errorf("%s: %s", file, mistake)
		}
	}
}

// The checks find what they are there for.
func TestChecksFail(t *testing.T) {
	text, err := os.ReadFile("../testdata/deploy/kafka-per-processor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"path: /readyz", "path: /ready", "the readiness probe asks /ready"},
		{"port: admin", "port: metrics", "probe asks port metrics"},
		{"targetPort: http", "targetPort: web", "leads to port web"},
		{"containerPort: 9000", "containerPort: 9001", `FLOW_HTTP is ":9000"`},
		{"flow-workload: numbers-keep", "flow-workload: numbers-double", "selects the pods of"},
		{"terminationGracePeriodSeconds: 101", "terminationGracePeriodSeconds: 96", "the drain takes 91 s after 5 s"},
		{"maxUnavailable: 1\n  #", "minAvailable: 1\n  #", "may keep the last pod"},
		{"scaleTargetRef:\n    name: numbers-keep", "scaleTargetRef:\n    name: numbers", "scales numbers, which there is not"},
		{"numbers-scaler.shop.svc", "numbers-scaler.default.svc", "asks numbers-scaler.default.svc"},
		{"numbers-peers:9650", "numbers-peer:9650", "looks for the processes under"},
		{"  name: numbers-peers\n  namespace: shop", "  name: numbers-peers\n  namespace: default", "want one"},
		{"mountPath: /data", "mountPath: /var/data", "nothing is mounted at FLOW_DATA"},
		{"drop: [ALL]", "drop: []", "may do more"},
		{"configMapRef:\n                name: numbers", "configMapRef:\n                name: other", "there is no ConfigMap other"},
		{"value: 230MiB", "value: 300MiB", "GOMEMLIMIT=300MiB"},
		{"limits:\n", "limits:\n              cpu: 1\n", "limited: true"},
		{"maxReplicaCount: 24", "maxReplicaCount: 0", "1 to 0 pods"},
	} {
		if !strings.Contains(string(text), tt.old) {
			t.Errorf("the manifest has no %q", tt.old)
			continue
		}
		m, err := decode([]byte(strings.ReplaceAll(string(text), tt.old, tt.new)))
		if err != nil {
			t.Errorf("%s: %v", tt.new, err)
			continue
		}
		if found := m.check(); !strings.Contains(strings.Join(found, "\n"), tt.want) {
			t.Errorf("%q in place of %q: want %q, found %q", tt.new, tt.old, tt.want, found)
		}
	}
}

// check finds what the types allow and a cluster, or a user, would trip over.
func (m *manifest) check() mistakes {
	var found mistakes
	namespaces := map[string]bool{}
	for _, o := range m.objects {
		namespaces[o.GetNamespace()] = true
		for _, wrong := range validation.IsDNS1035Label(o.GetName()) {
			found.check(false, "name %s: %s", o.GetName(), wrong)
		}
		for k, v := range o.GetLabels() {
			found.check(len(validation.IsQualifiedName(k)) == 0 && len(validation.IsValidLabelValue(v)) == 0, "%s: label %s=%s", o.GetName(), k, v)
		}
	}
	found.check(len(namespaces) == 1 && !namespaces[""], "the namespaces are %v, want one", slices.Collect(maps.Keys(namespaces)))

	pods := m.pods()
	for name, d := range m.deployments {
		selects, err := meta.LabelSelectorAsSelector(d.Spec.Selector)
		found.check(err == nil, "Deployment %s: %v", name, err)
		for other, pod := range pods {
			matches := err == nil && selects.Matches(labels.Set(pod.Labels))
			found.check(matches == (other == name), "Deployment %s selects the pods of %s: %v", name, other, matches)
		}
		_, scaled := m.scaled[name]
		found.check(scaled == (d.Spec.Replicas == nil), "Deployment %s: scaled is %v, and it has replicas: %v", name, scaled, d.Spec.Replicas)
		if name != d.Labels["app.kubernetes.io/name"]+"-scaler" {
			m.checkBudget(&found, name, pods)
		}
	}
	for name, pod := range pods {
		m.checkPod(&found, name, pod)
	}
	for name, s := range m.services {
		m.checkService(&found, name, s, pods)
	}
	m.checkScaling(&found)
	return found
}

// pods are the templates of all workloads.
func (m *manifest) pods() map[string]*core.PodTemplateSpec {
	all := map[string]*core.PodTemplateSpec{}
	for name, d := range m.deployments {
		all[name] = &d.Spec.Template
	}
	for name, j := range m.jobs {
		all[name] = &j.Spec.Template
	}
	return all
}

// drain is how long it may take: what the ConfigMap says, in milliseconds, or the default.
func (m *manifest) drain() int {
	for _, c := range m.configs {
		if v, err := strconv.ParseFloat(strings.TrimSuffix(c.Data["FLOW_DRAIN_TIMEOUT"], "ms"), 64); err == nil {
			return int(math.Ceil(v / 1000))
		}
	}
	return 25
}

func (m *manifest) checkBudget(found *mistakes, name string, pods map[string]*core.PodTemplateSpec) {
	b := m.budgets[name]
	if b == nil {
		found.check(false, "Deployment %s has no PodDisruptionBudget", name)
		return
	}
	found.check(b.Spec.MinAvailable == nil && b.Spec.MaxUnavailable != nil, "PodDisruptionBudget %s may keep the last pod from leaving", name)
	selects, err := meta.LabelSelectorAsSelector(b.Spec.Selector)
	found.check(err == nil, "PodDisruptionBudget %s: %v", name, err)
	for other, pod := range pods {
		matches := err == nil && selects.Matches(labels.Set(pod.Labels))
		found.check(matches == (other == name), "PodDisruptionBudget %s selects the pods of %s: %v", name, other, matches)
	}
}

func (m *manifest) checkPod(found *mistakes, name string, pod *core.PodTemplateSpec) {
	c := pod.Spec.Containers[0]
	scaler := c.Args[0] == "scaler"
	grace, pause := int(*pod.Spec.TerminationGracePeriodSeconds), 0
	if c.Lifecycle != nil {
		pause = int(c.Lifecycle.PreStop.Sleep.Seconds)
	}
	found.check(scaler || grace > m.drain()+pause, "%s: %d s to end, and the drain takes %d s after %d s", name, grace, m.drain(), pause)

	ports := map[string]int32{}
	for _, p := range c.Ports {
		found.check(ports[p.Name] == 0 && len(validation.IsValidPortName(p.Name)) == 0, "%s: port %s", name, p.Name)
		ports[p.Name] = p.ContainerPort
	}
	probes := map[string]*core.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe}
	for what, p := range probes {
		if p == nil {
			found.check(ports["admin"] == 0 && !scaler, "%s has no %s probe", name, what)
			continue
		}
		var at intstr.IntOrString
		path := map[string]string{"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}[what]
		switch {
		case p.HTTPGet != nil:
			at = p.HTTPGet.Port
			found.check(p.HTTPGet.Path == path, "%s: the %s probe asks %s", name, what, p.HTTPGet.Path)
		case p.TCPSocket != nil:
			at = p.TCPSocket.Port
		}
		found.check(ports[at.StrVal] != 0, "%s: the %s probe asks port %v, and there are %v", name, what, at.String(), ports)
	}
	m.checkEnvironment(found, name, c, ports)
	m.checkResources(found, name, c)

	sec := c.SecurityContext
	found.check(sec != nil && *sec.ReadOnlyRootFilesystem && !*sec.AllowPrivilegeEscalation &&
		slices.Equal(sec.Capabilities.Drop, []core.Capability{"ALL"}) && *pod.Spec.SecurityContext.RunAsNonRoot, "%s may do more than it needs", name)
	volumes := map[string]core.Volume{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v
		if v.PersistentVolumeClaim != nil {
			claim := v.PersistentVolumeClaim.ClaimName
			found.check(m.claims[claim] != nil, "%s uses claim %s, which there is not", name, claim)
			d := m.deployments[name]
			found.check(d == nil || d.Spec.Strategy.Type == "Recreate" && *d.Spec.Replicas == 1 && m.scaled[name] == nil,
				"%s: several pods may have the volume %s", name, claim)
		}
	}
	for _, v := range c.VolumeMounts {
		_, ok := volumes[v.Name]
		found.check(ok, "%s mounts %s, which there is not", name, v.Name)
	}
	if j := m.jobs[name]; j != nil {
		found.check(pod.Spec.RestartPolicy == core.RestartPolicyNever, "Job %s: its failure policy needs restartPolicy Never", name)
		for _, r := range j.Spec.PodFailurePolicy.Rules {
			found.check(r.OnExitCodes == nil || *r.OnExitCodes.ContainerName == c.Name, "Job %s: a rule names another container", name)
		}
	}
}

// checkEnvironment compares ports with the addresses that the program is given.
func (m *manifest) checkEnvironment(found *mistakes, name string, c core.Container, ports map[string]int32) {
	env := map[string]core.EnvVar{}
	for _, e := range c.Env {
		_, twice := env[e.Name]
		found.check(!twice, "%s: %s is set twice", name, e.Name)
		env[e.Name] = e
	}
	for variable, port := range map[string]string{"FLOW_HTTP": "http", "FLOW_ADMIN": "admin"} {
		want := ""
		if n := ports[port]; n != 0 {
			want = fmt.Sprintf(":%d", n)
		}
		found.check(env[variable].Value == want, "%s: %s is %q, and port %s is %q", name, variable, env[variable].Value, port, want)
	}
	mounted := slices.ContainsFunc(c.VolumeMounts, func(v core.VolumeMount) bool { return v.MountPath == env["FLOW_DATA"].Value })
	found.check(mounted, "%s: nothing is mounted at FLOW_DATA, and the root file system cannot be written", name)
	for _, from := range c.EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			found.check(m.configs[ref.Name] != nil, "%s: there is no ConfigMap %s", name, ref.Name)
		}
	}
	if c.Args[0] != "scaler" {
		from := env["POD_NAME"].ValueFrom
		found.check(from != nil && from.FieldRef.FieldPath == "metadata.name", "%s: POD_NAME is not the pod's name", name)
	}
}

var goMemory = regexp.MustCompile(`^(\d+)MiB$`)

func (m *manifest) checkResources(found *mistakes, name string, c core.Container) {
	requests, limits := c.Resources.Requests, c.Resources.Limits
	_, limited := limits[core.ResourceCPU]
	found.check(requests.Cpu().Sign() > 0 && !limited, "%s: CPU %v, limited: %v", name, requests.Cpu(), limited)
	found.check(limits.Memory().Sign() > 0 && requests.Memory().Cmp(*limits.Memory()) == 0, "%s: memory %v of %v", name, requests.Memory(), limits.Memory())
	for _, e := range c.Env {
		if e.Name != "GOMEMLIMIT" {
			continue
		}
		n := goMemory.FindStringSubmatch(e.Value)
		if n == nil {
			found.check(false, "%s: GOMEMLIMIT=%s", name, e.Value)
			continue
		}
		below, err := resource.ParseQuantity(n[1] + "Mi")
		found.check(err == nil && below.Cmp(*limits.Memory()) < 0, "%s: GOMEMLIMIT=%s, and the limit is %v", name, e.Value, limits.Memory())
	}
}

// checkService wants a Service to select pods that all have the port that it names.
func (m *manifest) checkService(found *mistakes, name string, s *core.Service, pods map[string]*core.PodTemplateSpec) {
	selected := 0
	for other, pod := range pods {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			continue
		}
		selected++
		for _, p := range s.Spec.Ports {
			has := slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(c core.ContainerPort) bool {
				return p.TargetPort.StrVal != "" && c.Name == p.TargetPort.StrVal && (s.Spec.ClusterIP != core.ClusterIPNone || c.ContainerPort == p.Port)
			})
			found.check(has, "Service %s leads to port %s of %s, which it has not, or another than %d", name, p.TargetPort.String(), other, p.Port)
		}
	}
	switch {
	case s.Spec.ClusterIP == core.ClusterIPNone:
		want := 0
		for _, pod := range pods {
			if pod.Labels["app.kubernetes.io/component"] != "scaler" {
				want++
			}
		}
		found.check(selected == want, "Service %s finds the pods of %d workloads, want all %d", name, selected, want)
	default:
		found.check(selected == 1, "Service %s leads to the pods of %d workloads, want one", name, selected)
	}
}

// checkScaling follows the way of a question: from the ScaledObject to the scaler, and
// from there to the processes.
func (m *manifest) checkScaling(found *mistakes) {
	for name, s := range m.scaled {
		found.check(m.deployments[s.Spec.ScaleTargetRef.Name] != nil, "ScaledObject %s scales %s, which there is not", name, s.Spec.ScaleTargetRef.Name)
		found.check(*s.Spec.MinReplicaCount <= *s.Spec.MaxReplicaCount && *s.Spec.MaxReplicaCount > 0, "ScaledObject %s: %d to %d pods", name, *s.Spec.MinReplicaCount, *s.Spec.MaxReplicaCount)
		found.check(len(s.Spec.Triggers) > 0, "ScaledObject %s has no trigger", name)
		for _, trigger := range s.Spec.Triggers {
			address, port, _ := strings.Cut(trigger.Metadata["scalerAddress"], ":")
			service, namespace, _ := strings.Cut(address, ".")
			to := m.services[service]
			found.check(trigger.Type == "external" && trigger.Metadata["processor"] != "", "ScaledObject %s: trigger %+v", name, trigger)
			if to == nil {
				found.check(false, "ScaledObject %s asks %s, which there is not", name, service)
				continue
			}
			found.check(namespace == to.Namespace+".svc" && port == fmt.Sprint(to.Spec.Ports[0].Port), "ScaledObject %s asks %s", name, trigger.Metadata["scalerAddress"])
		}
	}
	for name, d := range m.deployments {
		args := d.Spec.Template.Spec.Containers[0].Args
		if args[0] != "scaler" {
			continue
		}
		i := slices.Index(args, "--peers")
		service, port, _ := strings.Cut(args[i+1], ":")
		peers := m.services[service]
		found.check(i > 0 && peers != nil && peers.Spec.ClusterIP == core.ClusterIPNone && port == fmt.Sprint(peers.Spec.Ports[0].Port),
			"Deployment %s looks for the processes under %v", name, args)
		found.check(len(m.scaled) > 0, "Deployment %s: nothing asks it", name)
	}
}
