// Package kedatest tests the command scaler against KEDA: with the gRPC client of KEDA's
// own Go package, which is why it is a module of its own. It has nothing to import.
//
//	cd autoscale/keda/kedatest && go test ./...
package kedatest
