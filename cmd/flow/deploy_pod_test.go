package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
)

var (
	podVariable = regexp.MustCompile(`- name: ([A-Z_]+)\n +value: "?([^"\n]*)"?\n`)
	podArgs     = regexp.MustCompile(`args: \[([^]]*)\]`)
	podGrace    = regexp.MustCompile(`terminationGracePeriodSeconds: (\d+)`)
	podProbe    = regexp.MustCompile(`path: (/\w+)\n +port: admin`)
)

// What a pod is told to run runs: with the arguments and variables of the manifest the
// program listens where the probes and the Service look for it, and ends in its time.
func testDeployedPod(t *testing.T, shop *workshop) {
	withoutSystems(t)
	ports := freePorts(t, 2)
	t.Setenv("FLOW_HTTP", "127.0.0.1:"+ports[0])
	t.Setenv("FLOW_ADMIN", "127.0.0.1:"+ports[1])
	manifest, stderr, code := shop.deploy(t, "k8s", "testdata/service")
	if code != flow.ExitOK {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	_, manifest, _ = strings.Cut(manifest, "kind: Deployment")
	grace, err := strconv.Atoi(first(podGrace.FindStringSubmatch(manifest)))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(first(podArgs.FindStringSubmatch(manifest)), ", ")
	pod := exec.CommandContext(t.Context(), shop.builds["testdata/service"].path, args...)
	pod.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing of this shell
	for _, v := range podVariable.FindAllStringSubmatch(manifest, -1) {
		if v[1] == "FLOW_DATA" {
			v[2] = t.TempDir()
		}
		pod.Env = append(pod.Env, v[1]+"="+v[2])
	}
	pod.Dir = t.TempDir()
	pod.WaitDelay = time.Second
	out, err := pod.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); { // to the end, if it never is ready
		if strings.HasPrefix(lines.Text(), "  admin ") {
			break
		}
	}
	probes := podProbe.FindAllStringSubmatch(manifest, -1)
	if len(probes) != 3 {
		t.Errorf("probes %q, want 3", probes)
	}
	for _, p := range probes {
		checkGet(t, "http://127.0.0.1:"+ports[1]+p[1])
	}
	checkGet(t, "http://127.0.0.1:"+ports[0]+"/version")
	if err := pod.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	late := time.AfterFunc(time.Duration(grace)*time.Second, func() { _ = pod.Process.Kill() })
	defer late.Stop()
	_, _ = io.Copy(io.Discard, out)
	if err := pod.Wait(); err != nil {
		t.Errorf("the end within %d s: %v", grace, err)
	}
}

// first is what a pattern's group has matched, "" if it has not.
func first(match []string) string {
	if len(match) < 2 {
		return ""
	}
	return match[1]
}

func checkGet(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", url, resp.Status)
	}
}

func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // not before all are known
		ports = append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}
