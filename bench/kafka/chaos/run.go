package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flowkit-go/flow/bench/kafka/cluster"
)

// run is one run of the command.
type run struct {
	options
	mode  mode
	nodes *brokers
	c     *cluster.Cluster

	in, out, group string
	began          time.Time
	members        []*process
	thawing        *process // frozen at the moment
	made           int
	frozen         map[string]bool
	events         int // joins, leaves, kills, freezes
	failedLeaves   int // that a broker's absence explains

	mu      sync.Mutex
	settled time.Time // when all brokers will have been back for a while
}

func (r *run) say(format string, args ...any) {
	if r.verbose {
		fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (r *run) run(ctx context.Context) (v *verdict, err error) {
	r.began, r.frozen = time.Now(), map[string]bool{}
	if r.nodes, err = startBrokers(ctx, r.script, r.port); err != nil {
		return nil, err
	}
	defer r.nodes.end()
	if r.c, err = cluster.Dial(ctx, strings.Split(r.nodes.addresses, ",")); err != nil {
		return nil, err
	}
	defer r.c.Close()
	r.in, r.out, r.group = "chaos-in", "chaos-out", "chaos"
	for _, topic := range []string{r.in, r.out} {
		if err := r.c.Create(ctx, topic, r.parts); err != nil {
			return nil, err
		}
	}
	h, err := r.play(ctx)
	if err != nil {
		return nil, err
	}
	if h.inputs, h.emissions, err = collect(ctx, r.c, r.in, r.out, r.parts); err != nil {
		return nil, err
	}
	v = h.judge()
	v.FailedLeaves = r.failedLeaves
	return v, nil
}

// play lets records flow while things fail, until all is committed and the members
// have left.
func (r *run) play(ctx context.Context) (*history, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { // whatever happens, no member is left
		for _, p := range append(r.members, r.thawing) {
			if p != nil {
				p.kill()
			}
		}
	}()
	for range min(3, r.options.members) {
		if err := r.join(); err != nil {
			return nil, err
		}
	}
	h := &history{exactlyOnce: r.mode.exactlyOnce, window: r.mode.window, frozen: r.frozen, slack: 3 * time.Second}
	var wg sync.WaitGroup
	all := make(chan int64, 1)
	wg.Go(func() {
		acked, err := r.send(ctx)
		if err != nil {
			cancel(err)
			return
		}
		h.sent = acked
		var sum int64
		for _, n := range acked {
			sum += n
		}
		r.say("all %d records are sent", sum)
		all <- sum
	})
	wg.Go(func() {
		samples, err := r.watch(ctx, all)
		if err != nil {
			cancel(err)
		}
		h.samples = samples
		r.say("committed offsets are not looked at any more")
	})
	if r.brokers {
		wg.Go(func() {
			if err := r.killBrokers(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if err := r.trouble(ctx); err != nil {
		cancel(err)
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, errors.Join(err, r.logs())
	}
	h.maxRestarts = 2 * r.events
	var errs []error
	for _, p := range r.members {
		errs = append(errs, r.leave(p))
	}
	return h, errors.Join(errs...)
}

// trouble changes the members for as long as records are sent.
func (r *run) trouble(ctx context.Context) error {
	random := rand.New(rand.NewPCG(r.seed, 0))
	end := time.Now().Add(r.length)
	freeze := time.Now().Add(r.length / 4)
	var thaw time.Time
	pause := r.every
	if pause == 0 {
		pause = time.Second
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for time.Now().Before(end) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, p := range r.members {
			if err := p.ended(); err != nil {
				return err
			}
		}
		if r.thawing != nil && time.Now().After(thaw) {
			r.thaw()
		}
		if r.freeze > 0 && time.Now().After(freeze) && len(r.members) > 1 && len(r.frozen) == 0 {
			r.freezeOne(random.IntN(len(r.members)))
			thaw = time.Now().Add(r.freeze)
			continue
		}
		if r.every == 0 {
			continue
		}
		if err := r.change(random); err != nil {
			return err
		}
	}
	r.thaw()
	return nil
}

// change lets one member join, leave or die.
func (r *run) change(random *rand.Rand) error {
	n := len(r.members)
	if r.thawing != nil {
		n++
	}
	if what := random.IntN(4); n < r.options.members && (what < 2 || len(r.members) < 2) {
		return r.join()
	} else if len(r.members) < 2 {
		return nil
	} else {
		i := random.IntN(len(r.members))
		p := r.members[i]
		r.members = append(r.members[:i:i], r.members[i+1:]...)
		r.events++
		if what == 3 {
			r.say("%s is killed", p.name)
			p.kill()
			return nil
		}
		r.say("%s leaves", p.name)
		return r.leave(p)
	}
}

// leave ends a member in good order. While the brokers are not all there it may have
// to say that it could not commit.
func (r *run) leave(p *process) error {
	excused := r.unsettled()
	err := p.leave()
	if err != nil && (excused || r.unsettled()) {
		r.failedLeaves++
		r.say("%s could not leave in good order", p.name)
		return nil
	}
	return err
}

// settling is the time after which the return of a broker is no excuse any more.
const settling = 15 * time.Second

func (r *run) unsettled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.settled)
}

func (r *run) settledAt(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = t
}

func (r *run) join() error {
	r.made++
	r.events++
	p, err := startMember(r.mode.name, membership{
		name: "member-" + strconv.Itoa(r.made), brokers: r.nodes.addresses, in: r.in, out: r.out, group: r.group,
	}, r.verbose)
	if err != nil {
		return err
	}
	r.say("%s joins", p.name)
	r.members = append(r.members, p)
	return nil
}

func (r *run) freezeOne(i int) {
	p := r.members[i]
	r.members = append(r.members[:i:i], r.members[i+1:]...)
	r.say("%s is frozen", p.name)
	r.frozen[p.name] = true
	r.thawing = p
	r.events++
	p.signal(syscall.SIGSTOP)
}

func (r *run) thaw() {
	if r.thawing == nil {
		return
	}
	r.say("%s goes on", r.thawing.name)
	r.thawing.signal(syscall.SIGCONT)
	r.members = append(r.members, r.thawing)
	r.thawing = nil
	r.events++
}

// killBrokers kills one node after the other, and starts each again before the next.
func (r *run) killBrokers(ctx context.Context) error {
	for node := 1; node <= 3; node++ {
		select {
		case <-time.After(r.length / 10):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.say("broker %d is killed", node)
		r.settledAt(time.Now().Add(time.Hour))
		if _, err := r.nodes.do(ctx, "kill-node", strconv.Itoa(node)); err != nil {
			return err
		}
		select {
		case <-time.After(r.length / 10):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := r.nodes.do(ctx, "start-node", strconv.Itoa(node)); err != nil {
			return err
		}
		r.say("broker %d is back", node)
		r.settledAt(time.Now().Add(settling))
	}
	return nil
}

// logs are the ends of what the members have printed.
func (r *run) logs() error {
	var errs []error
	for _, p := range r.members {
		errs = append(errs, fmt.Errorf("%s: %s", p.name, p.log))
	}
	return errors.Join(errs...)
}
