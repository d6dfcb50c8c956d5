package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// consuming is the source's part of a Topic, without its type.
type consuming struct {
	topics       []string
	group        string
	cluster      Cluster
	start        Start
	outOfRange   OutOfRange
	balance      []Balance
	staticMember string
	isolation    Isolation

	session, heartbeat, rebalance, metadata time.Duration
	fetchMin, fetchMax, fetchPartition      int
	fetchBuffer                             int
	fetchWait                               time.Duration

	serviceNames bool
	delays       []time.Duration
}

const (
	defaultSession        = 10 * time.Second
	defaultHeartbeat      = 3 * time.Second
	defaultRebalance      = 5 * time.Minute
	defaultMetadata       = time.Minute
	defaultFetchMin       = 1
	defaultFetchMax       = 8 << 20
	defaultFetchPartition = 1 << 20
	defaultFetchBuffer    = 32 << 20
	defaultFetchWait      = 250 * time.Millisecond
)

// settings fills in the defaults, without the group and the static member.
func (c *consuming) settings() driver.Consuming {
	out := driver.Consuming{
		Group: c.group, Topics: c.topics, Strategies: c.balance,
		SessionTimeout:      cmp.Or(c.session, defaultSession),
		HeartbeatInterval:   cmp.Or(c.heartbeat, defaultHeartbeat),
		RebalanceTimeout:    cmp.Or(c.rebalance, defaultRebalance),
		MetadataInterval:    cmp.Or(c.metadata, defaultMetadata),
		ReadUncommitted:     c.isolation == ReadUncommitted,
		FetchMinBytes:       int32(cmp.Or(c.fetchMin, defaultFetchMin)),
		FetchMaxBytes:       int32(cmp.Or(c.fetchMax, defaultFetchMax)),
		FetchPartitionBytes: int32(cmp.Or(c.fetchPartition, defaultFetchPartition)),
		FetchMaxWait:        cmp.Or(c.fetchWait, defaultFetchWait),
		FetchBufferBytes:    int32(cmp.Or(c.fetchBuffer, defaultFetchBuffer)),
	}
	if len(out.Strategies) == 0 {
		out.Strategies = []Balance{CooperativeSticky}
	}
	return out
}

// validate reports the fields that are filled in wrongly.
func (c *consuming) validate() error {
	var errs []error
	name := strings.Join(c.topics, ", ")
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(c.topics) == 0 {
		wrong("Names is empty: give the names of the topics")
	}
	seen := map[string]bool{}
	for _, t := range c.topics {
		switch {
		case t == "":
			wrong("Name is empty: give the name of the topic")
		case !isTopicName(t):
			wrong("Name %q: a topic's name has letters, digits, \".\", \"_\" and \"-\", at most 249 of them", t)
		case seen[t]:
			wrong("Names has %q twice: name each topic once", t)
		}
		seen[t] = true
	}
	if c.start < Stop {
		wrong("Start %d of %s: use Latest, Earliest, Stop or At", c.start, name)
	}
	if c.outOfRange < StopOutOfRange || c.outOfRange > FromLatest {
		wrong("OutOfRange %d of %s: use StopOutOfRange, FromEarliest or FromLatest", c.outOfRange, name)
	}
	if c.isolation < ReadCommitted || c.isolation > ReadUncommitted {
		wrong("Isolation %d of %s: use ReadCommitted or ReadUncommitted", c.isolation, name)
	}
	for _, b := range c.balance {
		switch b {
		case CooperativeSticky, Sticky, Range, RoundRobin:
		default:
			wrong("Balance %q of %s: use CooperativeSticky, Sticky, Range or RoundRobin", b, name)
		}
	}
	for field, d := range map[string]time.Duration{
		"SessionTimeout": c.session, "HeartbeatInterval": c.heartbeat, "RebalanceTimeout": c.rebalance,
		"MetadataInterval": c.metadata, "FetchMaxWait": c.fetchWait,
	} {
		if d < 0 || d > 0 && d < time.Millisecond || d > math.MaxInt32*time.Millisecond {
			wrong("%s %v of %s: use 0 for the default, or 1 ms to 24 days", field, d, name)
		}
	}
	for i, d := range c.delays {
		if d < time.Millisecond || d%time.Millisecond != 0 {
			wrong("RetryDelays of %s has %v: use whole milliseconds above 0", name, d)
		}
		if slices.Contains(c.delays[:i], d) {
			wrong("RetryDelays of %s has %v twice", name, d)
		}
	}
	for field, n := range map[string]int{"FetchMinBytes": c.fetchMin, "FetchMaxBytes": c.fetchMax, "FetchPartitionBytes": c.fetchPartition, "FetchBufferBytes": c.fetchBuffer} {
		if n < 0 || n > math.MaxInt32 {
			wrong("%s %d of %s: use 0 for the default, or up to 2 GiB", field, n, name)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s := c.settings()
	if s.HeartbeatInterval > s.SessionTimeout/2 {
		wrong("HeartbeatInterval %v of %s: use at most half of SessionTimeout, %v; a third is usual", s.HeartbeatInterval, name, s.SessionTimeout)
	}
	if s.SessionTimeout > s.RebalanceTimeout {
		wrong("SessionTimeout %v of %s: use no more than RebalanceTimeout, %v", s.SessionTimeout, name, s.RebalanceTimeout)
	}
	if s.FetchMinBytes > s.FetchMaxBytes {
		wrong("FetchMinBytes %d of %s: use no more than FetchMaxBytes, %d", s.FetchMinBytes, name, s.FetchMaxBytes)
	}
	if c.serviceNames {
		if _, _, err := splitGroup(c.group); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// isTopicName reports whether brokers allow a name.
func isTopicName(s string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return s != "." && s != ".." && len(s) <= 249 && strings.Trim(s, allowed) == ""
}

// settle checks what was given and fills in the rest, by the processor and the environment.
func (c *consuming) settle(env *primitives.Env) (driver.Consuming, driver.Cluster, error) {
	if err := c.validate(); err != nil {
		return driver.Consuming{}, driver.Cluster{}, err
	}
	with, err := c.of(env)
	if err != nil {
		return driver.Consuming{}, driver.Cluster{}, err
	}
	cluster, err := c.cluster.resolve()
	return with, cluster, err
}

// of fills in what depends on the processor.
func (c *consuming) of(env *primitives.Env) (driver.Consuming, error) {
	out := c.settings()
	out.Logger = env.Logger
	if out.Group == "" {
		out.Group = strings.Trim(env.Flow+"."+env.Processor, ".")
	}
	if out.Group == "" {
		return out, errors.New("kafka: Group is empty: name the consumer group")
	}
	for _, d := range c.sortedDelays() {
		out.Topics = append(slices.Clip(out.Topics), retryTopic(out.Group, d))
	}
	if c.serviceNames {
		if err := checkServiceNames(env.Processor, out.Group); err != nil {
			return out, err
		}
	}
	out.InstanceID = c.staticMember
	if c.staticMember == FromHost {
		host, err := hostName()
		if err != nil {
			return out, err
		}
		out.InstanceID = strings.Trim(host+"-"+env.Processor, "-")
	}
	return out, nil
}

func hostName() (string, error) {
	if host := cmp.Or(os.Getenv("POD_NAME"), os.Getenv("HOSTNAME")); host != "" {
		return host, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("kafka: StaticMember: set POD_NAME or HOSTNAME, or give a name: %w", err)
	}
	return host, nil
}

// describe names the settings as Kafka's own clients do.
func (c *consuming) describe() map[string]string {
	s := c.settings()
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	millis := func(d time.Duration) string { return number(d.Milliseconds()) }
	names := make([]string, len(s.Strategies))
	for i, strategy := range s.Strategies {
		names[i] = string(strategy)
	}
	reset := "latest"
	switch {
	case c.start == Earliest:
		reset = "earliest"
	case c.start == Stop:
		reset = "none"
	case c.start > 0:
		reset = "at " + time.UnixMilli(int64(c.start)).UTC().Format(time.RFC3339Nano)
	}
	isolation := "read_committed"
	if s.ReadUncommitted {
		isolation = "read_uncommitted"
	}
	return map[string]string{
		"group.id":                      s.Group,
		"auto.offset.reset":             reset,
		"enable.auto.commit":            "false",
		"enable.auto.offset.store":      "false",
		"partition.assignment.strategy": strings.Join(names, ","),
		"heartbeat.interval.ms":         millis(s.HeartbeatInterval),
		"session.timeout.ms":            millis(s.SessionTimeout),
		"max.poll.interval.ms":          millis(s.RebalanceTimeout),
		"metadata.max.age.ms":           millis(s.MetadataInterval),
		"isolation.level":               isolation,
		"fetch.min.bytes":               number(int64(s.FetchMinBytes)),
		"fetch.max.bytes":               number(int64(s.FetchMaxBytes)),
		"fetch.max.wait.ms":             millis(s.FetchMaxWait),
		"max.partition.fetch.bytes":     number(int64(s.FetchPartitionBytes)),
	}
}
