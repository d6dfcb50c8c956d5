package autoscale

import (
	"fmt"
	"math"
)

// RuleOngoing sizes a collector or an endpoint for its requests in progress.
const RuleOngoing Rule = "ongoing"

// DecideOngoing returns the number of replicas of a collector or an endpoint: its
// requests in progress and waiting, by what a replica should have,
//
//	ceil(n * ongoing per replica / TargetOngoing) = ceil(Ongoing / TargetOngoing)
//
// at least 1, within limits and free CPUs as in Decide. An Ongoing that is not known
// holds. It is pure and total. The formula is that of Ray Serve, which BuildFlow
// leaves its services and collectors to.
func DecideOngoing(s Signals, l Limits) Decision {
	return settle(s, l, wishOngoing(s, l))
}

func wishOngoing(s Signals, l Limits) want {
	n, o := s.Replicas, s.Ongoing
	switch {
	case n < 1:
		return want{max(l.Start, 1), RuleStart, "no replicas yet"}
	case math.IsNaN(o) || math.IsInf(o, 0) || o < 0:
		return want{n, RuleUnknown, "requests in progress not known"}
	}
	r := max(roundUp(o/float64(max(l.TargetOngoing, 1)), n), 1)
	return want{r, RuleOngoing, fmt.Sprintf("%s requests in progress, target %d per replica", rate(o), l.TargetOngoing)}
}
