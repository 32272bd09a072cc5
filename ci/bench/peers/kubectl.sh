# The simplest workload as a script: namespace, pod, one command in it, and all gone again.
# Environment: KUBECTL, NAMESPACE, OBJECTS.
set -eu
"$KUBECTL" create namespace "$NAMESPACE"
"$KUBECTL" create --namespace "$NAMESPACE" --filename "$OBJECTS"
"$KUBECTL" wait --namespace "$NAMESPACE" --for=condition=Ready pod/workspace --timeout=60s
"$KUBECTL" exec --namespace "$NAMESPACE" workspace -- /nestcheck/probe facts
"$KUBECTL" delete pod workspace --namespace "$NAMESPACE" --wait=false
"$KUBECTL" delete namespace "$NAMESPACE"
