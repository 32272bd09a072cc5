package policy

import "strings"

// exempt are the namespaces of OpenShift's own payload, whose labels are never
// synced (cluster-policy-controller, pkg/psalabelsyncer/nsexemptions; the list is
// the same from release-4.18 to 5.1). `openshift-operators` is not among them.
var exempt = func() map[string]bool {
	names := map[string]bool{
		"default": true, "kube-node-lease": true, "kube-public": true, "kube-system": true, "openshift": true,
	}
	for _, name := range strings.Fields(`
		apiserver apiserver-operator authentication authentication-operator
		cloud-controller-manager cloud-controller-manager-operator
		cloud-credential-operator cloud-network-config-controller
		cluster-csi-drivers cluster-machine-approver cluster-node-tuning-operator
		cluster-samples-operator cluster-storage-operator cluster-version
		config config-managed config-operator
		console console-operator console-user-settings
		controller-manager controller-manager-operator
		dns dns-operator etcd etcd-operator host-network image-registry infra
		ingress ingress-canary ingress-operator insights kni-infra
		kube-apiserver kube-apiserver-operator
		kube-controller-manager kube-controller-manager-operator
		kube-scheduler kube-scheduler-operator
		kube-storage-version-migrator kube-storage-version-migrator-operator
		machine-api machine-config-operator marketplace monitoring multus
		network-diagnostics network-operator node nutanix-infra oauth-apiserver
		openstack-infra operator-lifecycle-manager ovirt-infra sdn
		service-ca service-ca-operator user-workload-monitoring vsphere-infra`) {
		names["openshift-"+name] = true
	}
	return names
}()
