package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
)

var updateDeploy = flag.Bool("update", false, "write the golden files of testdata/deploy")

// withoutSystems keeps this machine's environment out of what is printed.
func withoutSystems(t *testing.T) {
	for _, name := range []string{"KAFKA_BROKERS", "NATS_URL", "FLOW_DRAIN_TIMEOUT", "FLOW_LOG_LEVEL", "FLOW_CPUS", "FLOW_HTTP", "FLOW_ADMIN"} {
		t.Setenv(name, "")
	}
}

// golden compares with a file of testdata/deploy. The manifests among them are also
// read by the module deploytest, with the types of Kubernetes and KEDA.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "deploy", name)
	if *updateDeploy {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write it with go test -run TestDeploy/golden -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got): is it meant? then -update\n%s", path, diff)
	}
}

// A workshop builds each package once for all cases.
type workshop struct {
	t      *testing.T // of all cases
	builds map[string]*build
}

func newWorkshop(t *testing.T) *workshop { return &workshop{t, map[string]*build{}} }

// deploy runs flow deploy, as inProcess does.
func (w *workshop) deploy(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	for _, c := range root.Commands() {
		if c.Name() == "deploy" {
			root.RemoveCommand(c)
		}
	}
	root.AddCommand(deployCommand(func(cmd *cobra.Command, args []string) (described, error) {
		pkg, _, err := packageArg(cmd, args)
		if err != nil {
			return described{}, err
		}
		b := w.builds[pkg]
		if b == nil {
			target, err := newTarget(pkg)
			if err != nil {
				return described{}, err
			}
			builder, err := newBuilder(target, "-buildvcs=false")
			if err != nil {
				return described{}, err
			}
			w.t.Cleanup(builder.close)
			if b, err = builder.build(t.Context()); err != nil {
				return described{}, err
			}
			w.builds[pkg] = b
		}
		return b.describe(t.Context(), cmd, os.Environ())
	}))
	code = execute(root, append([]string{"deploy"}, args...), &out, &errs)
	return out.String(), errs.String(), code
}

// TestDeploy is all that needs programs, which take longer to build than to ask.
func TestDeploy(t *testing.T) {
	shop := newWorkshop(t)
	for name, test := range map[string]func(*testing.T, *workshop){
		"golden": testDeployGolden, "out": testDeployOut, "mistakes": testDeployMistakes, "checks": testDeployChecks,
		"all": testDeployAll, "systemd": testSystemdVerify, "pod": testDeployedPod,
	} {
		t.Run(name, func(t *testing.T) { test(t, shop) })
	}
}

func testDeployGolden(t *testing.T, shop *workshop) {
	for _, tt := range []struct {
		file string
		env  map[string]string
		args []string
	}{
		{"kafka.yaml", nil, []string{"k8s", "testdata/kafka", "--image", "registry.example.com/numbers:1.0"}},
		{"kafka-per-processor.yaml", map[string]string{
			"KAFKA_BROKERS": "broker-1:9092,broker-2:9092", "FLOW_DRAIN_TIMEOUT": "90500ms",
			"FLOW_DOUBLE_MAX_REPLICAS": "8", "FLOW_DOUBLE_NUM_CPUS": "0.25", "FLOW_DOUBLE_MIN_REPLICAS": "2", "FLOW_KEEP_BUFFER_BYTES": "1000",
			"FLOW_HTTP": "127.0.0.1:9000",
		}, []string{"k8s", "testdata/kafka", "--per-processor", "--name", "numbers", "--namespace", "shop", "--max-pods", "24"}},
		{"kafka-no-keda.yaml", nil, []string{"k8s", "testdata/kafka", "--no-keda"}},
		{"service.yaml", nil, []string{"k8s", "testdata/service"}},
		{"service-nats.yaml", map[string]string{"NATS_URL": "nats://nats:4222"}, []string{"k8s", "testdata/service"}},
		{"batch.yaml", map[string]string{"BATCH_FILE": "/data/lines.txt"}, []string{"k8s", "testdata/batch", "--data", "none"}},
		{"quakes.yaml", nil, []string{"k8s", "../../examples/quakes"}},
		{"wordcount.yaml", nil, []string{"k8s", "../../examples/wordcount", "--data", "10Gi"}},
		{"kafka.Dockerfile", nil, []string{"dockerfile", "testdata/kafka"}},
		{"batch.Dockerfile", map[string]string{"BATCH_FILE": "lines.txt"}, []string{"dockerfile", "testdata/batch"}},
		{"wordcount.Dockerfile", nil, []string{"dockerfile", "../../examples/wordcount"}},
		{"kafka.service", nil, []string{"systemd", "testdata/kafka"}},
		{"quakes.service", map[string]string{"FLOW_HTTP": ":80", "FLOW_LOG_LEVEL": "WARN"}, []string{"systemd", "../../examples/quakes", "--name", "earth", "--exec", "/opt/quakes"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			withoutSystems(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			stdout, stderr, code := shop.deploy(t, tt.args...)
			if code != flow.ExitOK || stderr != "" {
				t.Fatalf("exit code %d\n%s", code, stderr)
			}
			golden(t, tt.file, stdout)
		})
	}
}

// With --out, each object has its file, and together they are what is printed without.
func testDeployOut(t *testing.T, shop *workshop) {
	withoutSystems(t)
	dir := filepath.Join(t.TempDir(), "a", "k8s")
	stdout, stderr, code := shop.deploy(t, "k8s", "testdata/kafka", "--image", "registry.example.com/numbers:1.0", "--out", dir)
	if code != flow.ExitOK || stdout != "" {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	want, err := os.ReadFile("testdata/deploy/kafka.yaml")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || !strings.Contains(string(want), string(text)) || !strings.Contains(stderr, "wrote "+filepath.Join(dir, e.Name())) {
			t.Errorf("%s: %v, %s, or it is not among what is printed:\n%s", e.Name(), err, stderr, text)
		}
	}
	files := []string{"kafka-peers.peers.yaml", "kafka-scaler.scaler.yaml", "kafka.configmap.yaml", "kafka.deployment.yaml",
		"kafka.poddisruptionbudget.yaml", "kafka.scaledobject.yaml", "kafka.service.yaml"}
	if diff := cmp.Diff(files, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	file := filepath.Join(dir, "Dockerfile")
	if _, stderr, code := shop.deploy(t, "dockerfile", "testdata/kafka", "--out", file); code != flow.ExitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "kafka.Dockerfile", string(text))
}

func testDeployMistakes(t *testing.T, shop *workshop) {
	withoutSystems(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"helm"}, `"helm" is not a command of deploy: use one of k8s, dockerfile, systemd`},
		{[]string{"k8s", "./nope"}, "there is no folder ./nope"},
		{[]string{"k8s", "--name", "Shop", "testdata/kafka"}, "--name Shop: want at most 40 lower-case letters"},
		{[]string{"k8s", "--name", "true", "testdata/kafka"}, "--name true: want"},
		{[]string{"k8s", "--namespace", "a/b"}, "--namespace a/b: want"},
		{[]string{"k8s", "--image", "a b"}, `--image "a b": want`},
		{[]string{"k8s", "--data", "much"}, "--data much: want a size"},
		{[]string{"k8s", "--max-pods", "0"}, "--max-pods is 0"},
		{[]string{"k8s", "testdata/kafka", "--out", filepath.Join(file, "x")}, "correct --out"},
		{[]string{"k8s", "testdata/service", "--per-processor"}, "keeps nats:numbers inside of one process or its data folder, which pods do not share: leave out --per-processor, or set NATS_URL"},
		{[]string{"systemd", "--exec", "bin/shop"}, `--exec "bin/shop": want the absolute path`},
		{[]string{"systemd", "--exec", "/bin/a b"}, "want the absolute path"},
		{[]string{"dockerfile", "testdata/kafka", "--out", file + "/x"}, "correct --out"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			stdout, stderr, code := shop.deploy(t, tt.args...)
			if code != flow.ExitUsage || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, tt.want)
			}
		})
	}
}

// A flow that its check refuses is not deployed.
func testDeployChecks(t *testing.T, shop *workshop) {
	withoutSystems(t)
	t.Setenv("FLOW_KEEP_NUM_CPUS", "-1")
	for _, kind := range []string{"k8s", "dockerfile", "systemd"} {
		stdout, stderr, code := shop.deploy(t, kind, "testdata/kafka")
		if code != flow.ExitUsage || stdout != "" || !strings.Contains(stderr, "num_cpus is -1") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", kind, code, stdout, stderr)
		}
	}
}

// FLOW_ONLY of this shell is not the deployment's.
func testDeployAll(t *testing.T, shop *workshop) {
	withoutSystems(t)
	t.Setenv("FLOW_ONLY", "no such processor")
	if _, stderr, code := inProcess("deploy", "systemd", "testdata/kafka"); code != flow.ExitOK {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	_, stderr, code := inProcess("deploy", "k8s", "testdata/kafka", "--", "x")
	if code != flow.ExitUsage || !strings.Contains(stderr, "takes no arguments for the program") {
		t.Errorf("arguments for the program: exit code %d, %s", code, stderr)
	}
}

// What systemd itself says of the units.
func testSystemdVerify(t *testing.T, shop *workshop) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed; TestSystemdDirectives reads the units")
	}
	withoutSystems(t)
	for _, http := range []string{"", ":80"} {
		t.Setenv("FLOW_HTTP", http)
		unit := filepath.Join(t.TempDir(), "numbers.service")
		if _, stderr, code := shop.deploy(t, "systemd", "testdata/kafka", "--name", "numbers", "--exec", "/bin/true", "--out", unit); code != flow.ExitOK {
			t.Fatalf("exit code %d, %s", code, stderr)
		}
		out, err := exec.CommandContext(t.Context(), verify, "verify", "--man=no", unit).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "numbers") { // others are about units of this machine
				t.Errorf("systemd-analyze verify: %v\n%s", err, line)
			}
		}
	}
}

// directives are those that a unit may have, by section.
var directives = map[string][]string{
	"Unit": {"Description", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst"},
	"Service": {"Type", "ExecStart", "EnvironmentFile", "Environment", "StateDirectory", "StateDirectoryMode", "WorkingDirectory",
		"KillSignal", "KillMode", "TimeoutStopSec", "Restart", "RestartSec", "RestartPreventExitStatus", "DynamicUser", "UMask",
		"NoNewPrivileges", "AmbientCapabilities", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices",
		"ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
		"ProtectProc", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
		"MemoryDenyWriteExecute", "RemoveIPC", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"},
	"Install": {"WantedBy"},
}

// A unit has known directives only, in their sections, none twice, and stops no
// earlier than the drain.
func TestSystemdDirectives(t *testing.T) {
	for _, file := range []string{"kafka.service", "quakes.service"} {
		text, err := os.ReadFile(filepath.Join("testdata", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		section, seen := "", map[string]string{}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if line[0] == '[' {
				section = strings.Trim(line, "[]")
				continue
			}
			key, value, ok := strings.Cut(line, "=")
			if _, twice := seen[key]; !ok || twice && key != "Environment" || !slices.Contains(directives[section], key) {
				t.Errorf("%s: %q is no directive of [%s], or is there twice", file, line, section)
			}
			seen[key] = value
		}
		for key, want := range map[string]string{"TimeoutStopSec": "30s", "Restart": "on-failure", "RestartPreventExitStatus": "2"} {
			if seen[key] != want {
				t.Errorf("%s: %s=%s, want %s", file, key, seen[key], want)
			}
		}
	}
}
