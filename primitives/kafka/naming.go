package kafka

import (
	"fmt"
	"strings"
)

// processorPrefix is what the rule of ServiceNames wants a processor's name to
// start with.
const processorPrefix = "kafka_consumer."

// splitGroup splits "{service}.{group}" at its first dot.
func splitGroup(group string) (service, name string, err error) {
	service, name, ok := strings.Cut(group, ".")
	if !ok || service == "" || name == "" {
		return "", "", fmt.Errorf("kafka: Group %q: with ServiceNames it must be \"{service}.{group}\", both parts not empty", group)
	}
	return service, name, nil
}

// checkServiceNames applies the rule of ServiceNames: what is counted and shown
// of a processor then names the group, and the group names the service.
func checkServiceNames(processor, group string) error {
	_, name, err := splitGroup(group)
	if err != nil {
		return err
	}
	if want := processorPrefix + name; processor != want {
		return fmt.Errorf("kafka: processor %q reads with Group %q: with ServiceNames the processor must be called %q", processor, group, want)
	}
	return nil
}
