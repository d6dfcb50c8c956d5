// Command kafka measures Flow on Kafka against the same work written by hand with
// other clients and frameworks, side by side on real brokers:
//
//	scripts/kafka/kafka start
//	cd bench/kafka && go run . -brokers 127.0.0.1:19092
//	go run . -job copy -records 2000000 -rounds 5 -json copy.json
//	go run . -smoke
//
// Every program runs as a process of its own, one at a time, in rounds in which they
// take turns. Each round of a job has the same input, a new consumer group and a new
// output topic. The jobs:
//
//	copy     topic to topic over a backlog: records per second and CPU per record
//	latency  topic to topic at a steady rate: time from input to output
//	waiting  topic to topic with handlers that wait: records per second of the ideal
//	each     every record committed before the next of its partition
//	collect  HTTP to topic, acknowledged before the answer: requests per second
//	memory   the most memory with slow handlers and a backlog
//	soak     memory over a time of steady load (-job soak; not part of all)
//
// The rate of copy and waiting is that of the brokers' clocks from the first output
// to the last. Outputs are read back and checked after each round: one is missing,
// or wrong, or out of order within its key, and the run fails; repeated ones are
// counted. So are commits: they must be at the end of the input.
//
// It prints tables, of medians with the lowest and highest, and with -json writes all
// figures. It exits with 1 when a program fails or does not keep its promises.
package main
