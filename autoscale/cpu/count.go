package cpu

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Count returns how many CPUs the process may use: the least of the machine's CPUs that
// the process may run on, the limit of its cgroup and of those above it, and
// GOMAXPROCS. It may be a fraction, such as 0.5 in a container with half a CPU.
//
// GOMAXPROCS alone would not do: Go takes it from the cgroup too, but rounds up, and to
// no less than 2. Where somebody has set it below the other two it counts, because the process
// cannot run more Go code than that at a time, whatever the machine has. Where it was
// set above them it does not make CPUs.
func Count() float64 {
	n := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	return min(float64(n), quota(os.DirFS("/")))
}

// quota is the CPU limit of the process's cgroup; +Inf when there is none, or when it is
// not known.
func quota(root fs.FS) float64 {
	limit := math.Inf(1)
	mounts := lines(root, "proc/self/mountinfo")
	for _, line := range lines(root, "proc/self/cgroup") { // id:controllers:path
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		v2 := f[0] == "0" && f[1] == ""
		if !v2 && !slices.Contains(strings.Split(f[1], ","), "cpu") {
			continue
		}
		for _, m := range mounts {
			base, at, ok := mounted(m, v2)
			if !ok {
				continue
			}
			in, ok := below(f[2], base)
			if !ok {
				continue
			}
			for dir := path.Join(at, in); ; dir = path.Dir(dir) { // a limit above holds as well
				limit = min(limit, limitOf(root, dir[1:], v2))
				if dir == at || dir == "/" {
					break
				}
			}
		}
	}
	return limit
}

// mounted reads a line of mountinfo: the cgroup that is mounted, and where, if it is one
// with limits of CPUs.
func mounted(line string, v2 bool) (base, at string, ok bool) {
	before, after, _ := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if len(f) < 5 || len(g) < 3 || !path.IsAbs(f[4]) {
		return "", "", false
	}
	if v2 {
		return f[3], path.Clean(f[4]), g[0] == "cgroup2"
	}
	return f[3], path.Clean(f[4]), g[0] == "cgroup" && slices.Contains(strings.Split(g[2], ","), "cpu")
}

// below is where a cgroup is below the one that is mounted.
func below(group, base string) (string, bool) {
	base = strings.TrimSuffix(base, "/")
	rest, ok := strings.CutPrefix(group, base)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return rest, true
}

// limitOf is the limit of one cgroup, without those above it.
func limitOf(root fs.FS, dir string, v2 bool) float64 {
	var f []string
	if v2 {
		f = strings.Fields(strings.Join(lines(root, path.Join(dir, "cpu.max")), " "))
	} else {
		f = append(lines(root, path.Join(dir, "cpu.cfs_quota_us")), lines(root, path.Join(dir, "cpu.cfs_period_us"))...)
	}
	if len(f) != 2 {
		return math.Inf(1)
	}
	most, err := strconv.ParseFloat(f[0], 64) // "max" and -1 are none
	period, err2 := strconv.ParseFloat(f[1], 64)
	if err != nil || err2 != nil || !(most > 0) || !(period > 0) {
		return math.Inf(1)
	}
	return most / period
}

// lines are those of a small file, without the empty ones; none when it cannot be read.
func lines(root fs.FS, name string) (all []string) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
