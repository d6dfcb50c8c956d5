package flow

// Look returns the state of a flow that runs.
func Look(f *Flow) Snapshot { return f.engine.Snapshot() }
