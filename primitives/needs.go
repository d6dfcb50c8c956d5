package primitives

// A Need is a system outside of the process that a primitive reaches, where an
// environment variable says how.
type Need struct {
	System   string   `json:"system"`   // as "kafka"
	Variable string   `json:"variable"` // as "KAFKA_BROKERS"
	Names    []string `json:"names"`    // of what has to exist there: topics, queues
}

// Needer is implemented by primitives that take the address of their system from
// the environment. The flow command starts a stand-in for a system whose variable
// is not set.
type Needer interface {
	// Needs does no I/O and does not look at environment variables. It returns nothing
	// where the primitive's own fields say how the system is reached. For a source,
	// reader names the flow and the processor; for a sink it is nil.
	Needs(reader *Env) []Need
}
