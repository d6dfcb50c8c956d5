package cpu

import (
	"math"
	"runtime"
	"testing"
	"testing/fstest"
)

func TestQuota(t *testing.T) {
	const (
		v2mount = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		v1mount = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	)
	none := math.Inf(1)
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"no cgroups", nil, none},
		{"container", map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/cpu.max": "max 100000\n"}, none},
		{"least of the ancestors", map[string]string{
			"proc/self/cgroup": "0::/kube/pod/app\n", "proc/self/mountinfo": v2mount,
			"sys/fs/cgroup/kube/pod/app/cpu.max": "400000 100000\n", "sys/fs/cgroup/kube/pod/cpu.max": "150000 100000\n", "sys/fs/cgroup/kube/cpu.max": "max 100000\n",
		}, 1.5},
		{"a part of the tree is mounted", map[string]string{
			"proc/self/cgroup": "0::/kube/pod/app\n", "proc/self/mountinfo": "31 23 0:28 /kube/pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/app/cpu.max": "300000 100000\n", "sys/fs/cgroup/kube/pod/app/cpu.max": "1 100000\n",
		}, 3},
		{"another part is mounted", map[string]string{
			"proc/self/cgroup": "0::/kubelet\n", "proc/self/mountinfo": "31 23 0:28 /kube /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/let/cpu.max": "300000 100000\n", "sys/fs/cgroup/cpu.max": "300000 100000\n",
		}, none},
		{"version 1", map[string]string{
			"proc/self/cgroup": "3:cpuset:/x\n1:cpu,cpuacct:/docker/1\n0::/\n", "proc/self/mountinfo": v1mount + v2mount,
			"sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us": "1\n", "sys/fs/cgroup/cpuset/x/cpu.cfs_period_us": "100000\n",
		}, 2.5},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup": "1:cpu,cpuacct:/\n", "proc/self/mountinfo": v1mount,
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
		}, none},
		{"nonsense", map[string]string{"proc/self/cgroup": "a\nb:c\n0::../x\n", "proc/self/mountinfo": "x\n- -\n" + v2mount, "sys/fs/cgroup/cpu.max": "5 0\n"}, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, data := range tt.files {
				files[name] = &fstest.MapFile{Data: []byte(data)}
			}
			if got := quota(files); got != tt.want {
				t.Errorf("quota %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCountFollowsGOMAXPROCS(t *testing.T) {
	if n := Count(); !(n > 0) || n > float64(runtime.NumCPU()) {
		t.Errorf("count %v of %d CPUs", n, runtime.NumCPU())
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if n := Count(); n > 1 {
		t.Errorf("count %v with GOMAXPROCS 1", n)
	}
	runtime.GOMAXPROCS(1000)
	if n := Count(); n > float64(runtime.NumCPU()) {
		t.Errorf("count %v of %d CPUs with GOMAXPROCS 1000", n, runtime.NumCPU())
	}
}
