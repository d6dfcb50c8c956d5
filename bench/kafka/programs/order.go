package programs

import (
	"fmt"
	"strconv"
	"time"
)

// An Order is what all topics carry: about 180 bytes of JSON, in and out.
type Order struct {
	Seq      int64  `json:"seq"` // the first field, so that a checker finds it without a decoder
	Customer string `json:"customer"`
	Status   string `json:"status"`
	Cents    int64  `json:"cents"`
	Quantity int64  `json:"quantity"`
	Region   string `json:"region"`
	At       int64  `json:"at"` // nanoseconds since 1970
	Note     string `json:"note"`
}

// NewOrder makes the input number seq; customers is the number of keys.
func NewOrder(seq int64, customers int) Order {
	return Order{
		Seq: seq, Customer: "c-" + strconv.FormatInt(seq%int64(customers)*7919%int64(customers), 10), Status: "new",
		Cents: price(seq), Quantity: quantity(seq), Region: "eu-west-1", At: time.Now().UnixNano(), Note: "leave it at the door, please",
	}
}

func price(seq int64) int64    { return 100 + seq%9973 }
func quantity(seq int64) int64 { return 1 + seq%7 }

// Handle is the work of every program.
func Handle(o Order) Order {
	o.Status = "billed"
	o.Cents *= o.Quantity
	return o
}

// Check says what is wrong with an output.
func (o Order) Check() error {
	if want := price(o.Seq) * quantity(o.Seq); o.Status != "billed" || o.Cents != want || o.Quantity != quantity(o.Seq) || o.Note == "" {
		return fmt.Errorf("output %d is %+v, want status billed and %d cents", o.Seq, o, want)
	}
	return nil
}

// Key is the key of an order, in and out.
func Key(o Order) string { return o.Customer }
