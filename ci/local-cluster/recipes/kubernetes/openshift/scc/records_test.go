package scc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/registry/core/pod"
)

func TestMain(m *testing.M) {
	// The recorded servers had these on. From Kubernetes 1.36 on they always are.
	for _, gate := range []string{"UserNamespacesSupport", "ProcMountType", "ImageVolume"} {
		if err := utilfeature.DefaultMutableFeatureGate.Set(gate + "=true"); err != nil {
			fmt.Fprintf(os.Stderr, "gate %s: %v\n", gate, err)
		}
	}
	os.Exit(m.Run())
}

// Every recorded pod gets the recorded answer.
func TestAnswersAsRecorded(t *testing.T) {
	for _, file := range recordingFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cluster, records := load(t, file)
			release, err := ParseRelease(cluster.Release)
			if err != nil {
				t.Fatal(err)
			}
			if len(records) == 0 {
				t.Fatal("the recording has no records")
			}
			for _, record := range records {
				t.Run(record.ID, func(t *testing.T) {
					expected, given := record.answer(t), cluster.create(t, release, record)
					if !reflect.DeepEqual(expected, given) {
						t.Errorf("recorded %s\n   given %s", shown(t, expected), shown(t, given))
					}
				})
			}
		})
	}
}

func shown(t *testing.T, value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// create answers as an API server does that has this package in its chain.
func (c cluster) create(t *testing.T, release Release, r record) answer {
	t.Helper()
	created, err := c.admit(t, release, r)
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return answer{Code: int(status.Status().Code), Refused: &refused{string(status.Status().Reason), status.Status().Message}}
	} else if err != nil {
		t.Fatal(err)
	}
	return answer{Code: 201, Admitted: plain(t, written(t, created))}
}

func (c cluster) admit(t *testing.T, release Release, r record) (*core.Pod, error) {
	t.Helper()
	sent := decoded(t, withAccount(t, r.Pod))
	sent.Namespace = c.Namespace.Name
	pods := schema.GroupResource{Resource: "pods"}
	if account := sent.Spec.ServiceAccountName; account == "missing" {
		// The plugin ServiceAccount comes first.
		return nil, apierrors.NewForbidden(pods, sent.Name, fmt.Errorf("error looking up service account %s/%s: %w", c.Namespace.Name, account,
			apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, account)))
	}
	decision, err := Decide(Request{
		Release:     release,
		Namespace:   Namespace{c.Namespace.Name, c.Namespace.Annotations},
		Constraints: c.constraints(t, r),
		MayUse:      c.mayUse(r, release, sent.Spec.ServiceAccountName),
		Mutation:    MutateAll,
		Pod:         sent,
	})
	if err != nil {
		return nil, apierrors.NewForbidden(pods, sent.Name, err)
	}
	if decision.Pod == nil {
		return nil, apierrors.NewForbidden(pods, sent.Name, decision.Refusal())
	}
	decision.Annotate()
	ctx := request.WithNamespace(context.Background(), c.Namespace.Name)
	pod.Strategy.PrepareForCreate(ctx, decision.Pod)
	if problems := pod.Strategy.Validate(ctx, decision.Pod); len(problems) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, sent.Name, problems)
	}
	return decision.Pod, nil
}

// withAccount names the pod's service account as the plugin ServiceAccount does.
// Newer Kubernetes wants the field of old to say the same.
func withAccount(t *testing.T, sent json.RawMessage) json.RawMessage {
	t.Helper()
	pod := decodedAny(t, sent)
	spec := pod["spec"].(map[string]any)
	if spec["serviceAccountName"] == nil {
		spec["serviceAccountName"] = "default"
	}
	spec["serviceAccount"] = spec["serviceAccountName"]
	return json.RawMessage(shown(t, pod))
}

func decoded(t *testing.T, sent json.RawMessage) *core.Pod {
	t.Helper()
	object, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), sent)
	if err != nil {
		t.Fatal(err)
	}
	return object.(*core.Pod)
}

// written is what a record keeps of an admitted pod.
func written(t *testing.T, admittedPod *core.Pod) admitted {
	t.Helper()
	var external corev1.Pod
	if err := legacyscheme.Scheme.Convert(admittedPod, &external, nil); err != nil {
		t.Fatal(err)
	}
	return admittedOf(t, &external)
}

func admittedOf(t *testing.T, pod *corev1.Pod) admitted {
	t.Helper()
	raw := func(value any) json.RawMessage {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	contexts := func(list []corev1.Container) map[string]json.RawMessage {
		byName := map[string]json.RawMessage{}
		for _, container := range list {
			byName[container.Name] = raw(container.SecurityContext)
		}
		return byName
	}
	return admitted{
		Annotations:     recorded(pod.Annotations),
		HostUsers:       pod.Spec.HostUsers,
		SecurityContext: raw(pod.Spec.SecurityContext),
		Containers:      contexts(pod.Spec.Containers),
		InitContainers:  contexts(pod.Spec.InitContainers),
	}
}

// recorded leaves the annotations out that the recorder left out: what AppArmor
// and seccomp once used, and by whose right the pod was admitted.
func recorded(annotations map[string]string) map[string]string {
	kept := maps.Clone(annotations)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		return strings.Contains(key, "apparmor.security.beta") || strings.Contains(key, "seccomp.security.alpha") ||
			key == securityv1.ValidatedSCCSubjectTypeAnnotation
	})
	return kept
}
