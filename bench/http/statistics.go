package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A comparison holds the medians of two sides, and that of the ratios of their
// neighbouring rounds with its confidence interval.
type comparison struct {
	flow, chi        float64
	ratio, low, high float64
}

func compare(seen [2][]sample, f func(sample) float64) comparison {
	var values [2][]float64
	for side, samples := range seen {
		for _, s := range samples {
			values[side] = append(values[side], f(s))
		}
	}
	ratios := make([]float64, len(values[chiSide]))
	for i, chi := range values[chiSide] {
		ratios[i] = values[flowSide][i] / chi
	}
	low, high := interval(ratios)
	return comparison{median(values[flowSide]), median(values[chiSide]), median(ratios), low, high}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// least is the lowest CPU time per request of a round: that which other programs
// on the machine disturbed least.
func least(samples []sample) time.Duration {
	return slices.MinFunc(samples, func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) }).cpu
}

// interval returns where the median of what the values were drawn from is with
// 95 % confidence. It assumes nothing of their distribution: each value is below
// that median with a chance of one half, so how many are is binomial.
func interval(values []float64) (low, high float64) {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	rank, tail := 0, math.Pow(0.5, float64(n)) // tail: the chance that rank or fewer values are below
	for term := tail; tail <= 0.025 && rank < n/2; {
		rank++
		term *= float64(n-rank+1) / float64(rank)
		tail += term
	}
	rank = max(rank-1, 0)
	return values[rank], values[n-1-rank]
}
