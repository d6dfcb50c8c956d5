package flow_test

import (
	"strings"
	"testing"

	"github.com/flowkit-go/flow"
)

// A value that cannot be read is one mistake: not also that of being 0.
func TestUnreadableValueIsOneMistake(t *testing.T) {
	for name, value := range map[string]string{
		"FLOW_BILL_NUM_CONCURRENT_TASKS": "four", "FLOW_BILL_NUM_CPUS": "half", "FLOW_BILL_STALL_AFTER": "5",
		"FLOW_BILL_AUTOSCALE_FREQUENCY_SECS": "often", "FLOW_BILL_SKIP_FAILED": "maybe",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			app := flow.New("shop")
			flow.Consumer(app, "bill", invoices, archive, pass[invoice])
			err := app.Validate()
			if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), name) {
				t.Errorf("want one line about %s, got:\n%v", name, err)
			}
		})
	}
}
