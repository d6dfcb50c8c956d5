// Package pulse makes records at an interval: fixed items in turn ([Items]), or
// what a function returns ([Func]). It is for demonstrations, for tests, and for
// work that is to be done every so often.
//
// It is called by package runtime, through the interfaces of package primitives.
// It needs no system behind it, keeps nothing over a restart, and never makes up
// for a beat that was missed: when a flow is slower than the interval, records
// come as fast as it takes them.
//
// There is one sequence per processor and process. Replicas and tasks share it.
package pulse
