package memory

import "slices"

// A group is the readers that share a topic, and their progress. Everything in
// it is guarded by the broker's mu.
type group struct {
	topic   *topic
	name    string
	members []*reader // in the order in which they joined
	shares  []*share  // by partition ID
	joined  int       // members so far, to name them
	changed signal    // shares or members
}

// A share is what a group knows of one partition.
type share struct {
	committed int64   // -1: nothing yet
	owner     *reader // has a lane for it
	epoch     int64   // of the lane that may commit
	writer    any     // whose transactions count: the last that claimed it
	target    *reader // should have one; nil: nobody, or elsewhere
	elsewhere bool    // taken away by Revoke or Lose until Assign
}

// group returns the group of that name. The caller holds the broker's mu.
func (t *topic) group(name string) *group {
	g := t.groups[name]
	if g == nil {
		g = &group{topic: t, name: name}
		t.groups[name] = g
		g.balance()
	}
	return g
}

// balance decides which member should have which partition. Each gets an equal
// number, the first to join one more where it does not divide; what a member has
// it keeps, up to that number. The readers follow in their own time: see
// reader.Run.
func (g *group) balance() {
	for len(g.shares) < len(g.topic.parts) {
		g.shares = append(g.shares, &share{committed: -1})
	}
	here := 0
	for _, s := range g.shares {
		if !s.elsewhere {
			here++
		}
	}
	room := make(map[*reader]int, len(g.members))
	for i, r := range g.members {
		room[r] = here / len(g.members)
		if i < here%len(g.members) {
			room[r]++
		}
	}
	var open []*share
	for _, s := range g.shares {
		switch {
		case s.elsewhere:
			s.target = nil
		case s.target != nil && room[s.target] > 0:
			room[s.target]--
		default:
			s.target = nil
			open = append(open, s)
		}
	}
	for _, s := range open {
		for _, r := range g.members {
			if room[r] > 0 {
				room[r]--
				s.target = r
				break
			}
		}
	}
	g.changed.broadcast()
}

func (g *group) join(r *reader) {
	g.joined++
	g.members = append(g.members, r)
	g.balance()
}

// leave gives up all that r has, at once.
func (g *group) leave(r *reader) {
	g.members = slices.DeleteFunc(g.members, func(m *reader) bool { return m == r })
	for _, s := range g.shares {
		if s.owner == r {
			s.owner = nil
		}
		if s.target == r {
			s.target = nil
		}
	}
	g.balance()
}

// Revoke takes partitions of a topic away from a group, as if another process
// had joined it and got them: the reader that has one gives it back in good
// order. None means all. It does not wait for that; Wait does, see State.Holder.
// Assign gives them back.
func (b *Broker) Revoke(group, topic string, partitions ...int32) {
	b.each(group, topic, partitions, func(s *share) { s.elsewhere = true })
}

// Lose takes partitions of a topic away from a group at once, as if the reader's
// session had run out: commits for them fail from now on, and the reader drops
// their lanes. None means all. Assign gives them back.
func (b *Broker) Lose(group, topic string, partitions ...int32) {
	b.each(group, topic, partitions, func(s *share) { s.elsewhere, s.owner = true, nil })
}

// Assign gives partitions back to a group that Revoke or Lose took away. None
// means all. Which reader gets them is decided as when one joins.
func (b *Broker) Assign(group, topic string, partitions ...int32) {
	b.each(group, topic, partitions, func(s *share) { s.elsewhere = false })
}

func (b *Broker) each(group, topic string, partitions []int32, change func(*share)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.topic(topic, 1).group(group)
	for i, s := range g.shares {
		if len(partitions) == 0 || slices.Contains(partitions, int32(i)) {
			change(s)
		}
	}
	g.balance()
	b.changed.broadcast()
}
