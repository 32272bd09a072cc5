package scc

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Every recorded constraint is stored, or refused, as it was. What the server's
// schema refused, this package need not refuse: that is counted.
func TestStoresConstraintsAsRecorded(t *testing.T) {
	tried, bySchema := 0, map[string]int{}
	for _, file := range recordingFiles(t) {
		_, records := load(t, file)
		for _, record := range records {
			for _, sent := range record.SCCs {
				name := nameOf(t, sent)
				tried++
				expected, given := decodedAny(t, record.Stored[name]), storing(t, sent)
				refusal := record.refusal(name)
				if _, refused := given["refused"]; refusal != "" && !refused {
					bySchema[refusal]++
				} else if !reflect.DeepEqual(expected, given) {
					t.Errorf("%s, %s: recorded %v, given %v", record.ID, name, expected, given)
				}
			}
		}
	}
	for refusal, count := range bySchema {
		t.Logf("%d of %d records have a refusal that is the schema's: %s", count, tried, refusal)
	}
	if tried == 0 {
		t.Fatal("no record has a constraint")
	}
}

// A server refuses what its schema does not allow, such as text for a number. A
// record that says so can be replayed.
func TestLeavesRefusedConstraintsOut(t *testing.T) {
	refused := record{
		SCCs: []json.RawMessage{
			json.RawMessage(`{"metadata": {"name": "wrong"}, "priority": "high", "runAsUser": {"type": "RunAsAny"}}`),
			json.RawMessage(`{"metadata": {"name": "right"}, "runAsUser": {"type": "RunAsAny"}}`),
		},
		Stored: map[string]json.RawMessage{"wrong": json.RawMessage(`{"refused": 422, "message": "priority: Invalid value: \"string\""}`)},
	}
	var names []string
	for _, constraint := range (cluster{}).constraints(t, refused) {
		names = append(names, constraint.Name)
	}
	if fmt.Sprint(names) != "[right]" {
		t.Errorf("the cluster has %v", names)
	}
	if given := storing(t, refused.SCCs[0]); len(given) > 0 {
		t.Errorf("it is for the schema to refuse, and given is %v", given)
	}
}

func decodedAny(t *testing.T, encoded json.RawMessage) map[string]any {
	t.Helper()
	decoded := map[string]any{}
	if len(encoded) > 0 {
		if err := json.Unmarshal(encoded, &decoded); err != nil {
			t.Fatal(err)
		}
	}
	return decoded
}

// storing is what differs between a constraint as it was sent and as it is
// stored. The server's schema has set userNamespaceLevel before.
func storing(t *testing.T, sent json.RawMessage) map[string]any {
	t.Helper()
	constraint := &securityv1.SecurityContextConstraints{UserNamespaceLevel: securityv1.NamespaceLevelAllowHost}
	if err := json.Unmarshal(sent, constraint); err != nil {
		return nil // the schema refuses it before anybody else sees it
	}
	fields := decodedAny(t, sent)
	Default(constraint)
	if problems := Validate(constraint); len(problems) > 0 {
		err := apierrors.NewInvalid(schema.GroupKind{Group: securityv1.GroupName, Kind: "SecurityContextConstraints"}, constraint.Name, problems)
		return map[string]any{"refused": float64(err.Status().Code), "message": err.Error()}
	}
	encoded, err := json.Marshal(constraint)
	if err != nil {
		t.Fatal(err)
	}
	different := map[string]any{}
	for key, value := range decodedAny(t, encoded) {
		if key != "metadata" && !reflect.DeepEqual(value, fields[key]) {
			different[key] = value
		}
	}
	return different
}

// What makes a constraint invalid, and in which words.
func TestRefusesConstraints(t *testing.T) {
	type constraint = securityv1.SecurityContextConstraints
	for name, test := range map[string]struct {
		change  func(*constraint)
		message string
	}{
		"negative priority": {func(c *constraint) { c.Priority = pointer(int32(-1)) }, "priority: Invalid value: -1: priority cannot be negative"},
		"negative user":     {func(c *constraint) { c.RunAsUser.UID = pointer(int64(-1)) }, "runAsUser.uid: Invalid value: -1: uid cannot be negative"},
		"group type":        {func(c *constraint) { c.FSGroup.Type = "Wrong" }, `fsGroup.type: Unsupported value: "Wrong": supported values: "MustRunAs", "RunAsAny"`},
		"turned range": {func(c *constraint) {
			c.SupplementalGroups.Ranges = []securityv1.IDRange{{Min: 2, Max: -1}}
		}, "[supplementalGroups.ranges[0].max: Invalid value: -1: max cannot be negative, supplementalGroups.ranges[0].min: Invalid value: *: min cannot be greater than max]"},
		"added and dropped": {func(c *constraint) {
			c.AllowedCapabilities, c.RequiredDropCapabilities = caps("KILL"), caps("KILL")
		}, `allowedCapabilities: Invalid value: "KILL": capability is listed in allowedCapabilities and requiredDropCapabilities`},
		"all but some": {func(c *constraint) {
			c.AllowedCapabilities, c.RequiredDropCapabilities = caps("*"), caps("KILL")
		}, "requiredDropCapabilities: Invalid value: *: required capabilities must be empty when all capabilities are allowed by a wildcard"},
		"escalation": {func(c *constraint) {
			c.DefaultAllowPrivilegeEscalation, c.AllowPrivilegeEscalation = pointer(true), pointer(false)
		}, "defaultAllowPrivilegeEscalation: Invalid value: true: Cannot set DefaultAllowPrivilegeEscalation to true without also setting AllowPrivilegeEscalation to true"},
		"none and more": {func(c *constraint) {
			c.Volumes = []securityv1.FSType{"none", "secret"}
		}, "volumes: Invalid value: *: if 'none' is specified, no other values are allowed"},
		"driver without volumes": {func(c *constraint) {
			c.AllowedFlexVolumes = []securityv1.AllowedFlexVolume{{Driver: "x"}}
		}, "allowedFlexVolumes: Invalid value: *: volumes does not include 'flexVolume' or '*', so no flex volumes are allowed"},
		"driver without name": {func(c *constraint) {
			c.Volumes, c.AllowedFlexVolumes = []securityv1.FSType{"flexVolume"}, []securityv1.AllowedFlexVolume{{}}
		}, "allowedFlexVolumes[0].driver: Required value: must specify a driver"},
		"all sysctls and more": {func(c *constraint) {
			c.ForbiddenSysctls = []string{"*", "kernel.x"}
		}, "forbiddenSysctls.items: Forbidden: if '*' is present, must not specify other sysctls"},
		"no sysctl": {func(c *constraint) { c.AllowedUnsafeSysctls = []string{""} }, `allowedUnsafeSysctls[0]: Invalid value: "": empty sysctl not allowed`},
		"allowed within forbidden": {func(c *constraint) {
			c.AllowedUnsafeSysctls, c.ForbiddenSysctls = []string{"kernel.msg*"}, []string{"kernel.*"}
		}, `allowedUnsafeSysctls[0]: Invalid value: "kernel.msg*": sysctl overlaps with kernel.*`},
		"forbidden within allowed": {func(c *constraint) {
			c.AllowedUnsafeSysctls, c.ForbiddenSysctls = []string{"kernel.*"}, []string{"kernel.msgmax"}
		}, `forbiddenSysctls[0]: Invalid value: "kernel.msgmax": sysctl overlaps with kernel.*`},
	} {
		t.Run(name, func(t *testing.T) {
			sent := anyhow("sound")
			if problems := Validate(sent); len(problems) > 0 {
				t.Fatalf("sound: %v", problems)
			}
			test.change(sent)
			problems := Validate(sent).ToAggregate()
			if problems == nil {
				t.Fatal("it is not refused")
			}
			if !like(test.message, problems.Error()) {
				t.Errorf("expected %s\n   given %s", test.message, problems)
			}
		})
	}
}

func TestFillsConstraintsIn(t *testing.T) {
	for _, test := range []struct {
		volumes  []securityv1.FSType
		hostPath bool
		stored   string
	}{
		{nil, true, "[*]"},
		{[]securityv1.FSType{}, true, "[hostPath]"},
		{[]securityv1.FSType{}, false, "[none]"},
		{[]securityv1.FSType{"secret", "emptyDir", "secret"}, true, "[emptyDir hostPath secret]"},
		{[]securityv1.FSType{"hostPath", "secret"}, false, "[secret]"},
		{[]securityv1.FSType{"*", "secret"}, true, "[* secret]"},
	} {
		constraint := &securityv1.SecurityContextConstraints{Volumes: test.volumes, AllowHostDirVolumePlugin: test.hostPath}
		Default(constraint)
		if stored := fmt.Sprint(constraint.Volumes); stored != test.stored {
			t.Errorf("%v with hostPath %v: expected %s, given %s", test.volumes, test.hostPath, test.stored, stored)
		}
	}
}
