// Marks the root of the module. The real files are in `versions`, one for each
// version of Kubernetes: go build -modfile=versions/1.32.5.mod
module local/kubernetes

go 1.23.0
