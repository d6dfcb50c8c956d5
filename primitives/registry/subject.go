package registry

import (
	"errors"
	"fmt"
)

// A Strategy says which subject of the registry a written schema belongs to.
type Strategy int

const (
	// TopicName is the topic's name and "-value": a topic has one type.
	TopicName Strategy = iota

	// RecordName is the full name of the record or message: a type has one schema,
	// whatever topics it is in.
	RecordName

	// TopicRecordName is the topic's name, "-", and the full name of the record or
	// message.
	TopicRecordName
)

// subject returns the subject to write by: the one given, or what the strategy makes
// of the topic and the full name of the type, which may be empty.
func (s Strategy) subject(given, topic, name string) (string, error) {
	switch {
	case given != "":
		return given, nil
	case s < TopicName || s > TopicRecordName:
		return "", fmt.Errorf("registry: Strategy is %d: want TopicName, RecordName or TopicRecordName", s)
	case topic == "" && s != RecordName:
		return "", errors.New("registry: Topic is empty: set it to the name of the topic, or set Subject")
	case name == "" && s != TopicName:
		return "", errors.New("registry: Strategy needs the name of a record: set Schema to that of a record, or set Subject")
	}
	switch s {
	case RecordName:
		return name, nil
	case TopicRecordName:
		return topic + "-" + name, nil
	}
	return topic + "-value", nil
}
