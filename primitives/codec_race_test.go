//go:build race

package primitives

// raceEnabled: under the race detector a sync.Pool forgets at random, so that
// allocations cannot be counted.
const raceEnabled = true
