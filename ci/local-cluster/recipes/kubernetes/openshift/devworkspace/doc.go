// Package devworkspace is a test double of the DevWorkspace Operator 0.42.0: it
// plays back what the operator was recorded to do (fixtures/recordings/
// devworkspace-operator-0.42.0). It is not the operator, and nobody but a test
// should run it.
//
// A DevWorkspace that has the shape of a recorded one gets the objects, the
// conditions and the messages that the operator gave to that one, with its own
// names and values. Any other DevWorkspace fails, and its message names every
// field that the recording does not have.
//
// Where the recording shows only the outcome, the rule behind it is that of the
// operator's public sources (devfile/devworkspace-operator). Decisions are pure
// functions; reconcile.go, command.go, install.go and server.go do what talks to
// a cluster.
//
// The recording is of OpenShift. platform.go has what the sources do otherwise on
// Kubernetes.
package devworkspace
