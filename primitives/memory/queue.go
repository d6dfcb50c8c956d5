package memory

// A queue lends records.
type queue struct{}
