// Command chaos shows what holds when brokers and members of a consumer group fail.
// It starts three Kafka brokers and up to five member processes that copy keyed
// records from one topic to another, and for a minute does to them what it can:
//
//   - members join, leave in good order, and are killed with SIGKILL, one every two seconds
//   - one member is frozen (SIGSTOP) for longer than its session lasts, and goes on after that
//   - each broker is killed with SIGKILL once and started again
//
// Meanwhile records flow, and the committed offsets are looked at ten times a
// second. In the end every output is compared with the input; see model.go for what must hold.
//
//	go run ./chaos
//	go run ./chaos -mode exactly-once -seed 7 -v
//	go run ./chaos -records 20000 -length 15s -brokers=false
//
// It needs what scripts/kafka/kafka needs, and stops the brokers that it has
// started. It exits with 1 when something that must hold does not.
package main
