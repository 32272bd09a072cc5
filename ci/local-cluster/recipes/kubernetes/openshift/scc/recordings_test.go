package scc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
)

// Where the recordings are, seen from this package.
const recordings = "../../../../../../fixtures/recordings/scc"

// cluster is the first line of a recording.
type cluster struct {
	Release   string            `json:"release"`
	Server    string            `json:"server"`
	User      string            `json:"user"`
	Shipped   []json.RawMessage `json:"shipped"`
	Namespace struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"namespace"`
}

// record is one of the other lines: a pod that somebody sent, and the answer.
type record struct {
	ID         string                     `json:"id"`
	Actor      string                     `json:"actor"`
	UserMay    []string                   `json:"user_may"`
	AccountMay []string                   `json:"account_may"`
	SCCs       []json.RawMessage          `json:"sccs"`
	Stored     map[string]json.RawMessage `json:"stored_differently"`
	Pod        json.RawMessage            `json:"pod"`
	Code       int                        `json:"code"`
	Admitted   *admitted                  `json:"admitted"`
	Refused    *refused                   `json:"refused"`
}

type admitted struct {
	Annotations     map[string]string          `json:"annotations"`
	HostUsers       *bool                      `json:"hostUsers"`
	SecurityContext json.RawMessage            `json:"securityContext"`
	Containers      map[string]json.RawMessage `json:"containers"`
	InitContainers  map[string]json.RawMessage `json:"initContainers"`
}

type refused struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// answer is what a record expects, in a form that can be compared.
type answer struct {
	Code     int
	Admitted any
	Refused  *refused
}

func (r record) answer(t *testing.T) answer {
	t.Helper()
	expected := answer{Code: r.Code, Refused: r.Refused}
	if r.Admitted != nil {
		expected.Admitted = plain(t, r.Admitted)
	}
	return expected
}

// plain is the value as maps and lists, without what is null or empty: a
// container without a context and one with an empty context are the same.
func plain(t *testing.T, value any) any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return pruned(decoded)
}

func pruned(value any) any {
	object, isObject := value.(map[string]any)
	if !isObject {
		return value
	}
	for key, member := range object {
		if member = pruned(member); member == nil {
			delete(object, key)
		} else {
			object[key] = member
		}
	}
	if len(object) == 0 {
		return nil
	}
	return object
}

// load reads a recording.
func load(t *testing.T, path string) (cluster, []record) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var first cluster
	var records []record
	for lines.Scan() {
		var line record
		target := any(&line)
		if first.Release == "" {
			target = &first
		}
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(target); err != nil {
			t.Fatalf("%s, record %d: %v", path, len(records)+1, err)
		}
		if target == any(&line) {
			records = append(records, line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return first, records
}

// recordingFiles are the recordings: all, or the one that the environment names.
func recordingFiles(t *testing.T) []string {
	t.Helper()
	if file := os.Getenv("NESTCHECK_RECORDINGS_FILE"); file != "" {
		return []string{file}
	}
	files, err := filepath.Glob(filepath.Join(recordings, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", recordings, err)
	}
	return files
}

// stored is a constraint as the recorded API server stored it.
func stored(t *testing.T, sent json.RawMessage) *securityv1.SecurityContextConstraints {
	t.Helper()
	constraint := &securityv1.SecurityContextConstraints{}
	if err := json.Unmarshal(sent, constraint); err != nil {
		t.Fatal(err)
	}
	Default(constraint)
	return constraint
}

// constraints are what the cluster has while a record is tried. Those that it
// refused are left out, whether its schema or its plugin did.
func (c cluster) constraints(t *testing.T, r record) []*securityv1.SecurityContextConstraints {
	t.Helper()
	var list []*securityv1.SecurityContextConstraints
	for _, shipped := range c.Shipped {
		constraint := &securityv1.SecurityContextConstraints{}
		// A shipped constraint is written with its name beside the fields.
		named := struct {
			Name string `json:"name"`
			*securityv1.SecurityContextConstraints
		}{SecurityContextConstraints: constraint}
		if err := json.Unmarshal(shipped, &named); err != nil {
			t.Fatal(err)
		}
		if named.Name != "" {
			constraint.Name = named.Name
		}
		list = append(list, constraint)
	}
	for _, sent := range r.SCCs {
		if r.refusal(nameOf(t, sent)) == "" {
			list = append(list, stored(t, sent))
		}
	}
	return list
}

func nameOf(t *testing.T, sent json.RawMessage) string {
	t.Helper()
	var object struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(sent, &object); err != nil {
		t.Fatal(err)
	}
	return object.Metadata.Name
}

// refusal is the message with which the server refused to store the constraint;
// empty if it stored it.
func (r record) refusal(name string) string {
	var outcome struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(r.Stored[name], &outcome) // without an entry it is empty
	return outcome.Message
}

// everybody may use these, by a ClusterRoleBinding of the release.
var everybody = []string{"restricted-v2", "restricted-v3"}

// mayUse answers from the record who may use a constraint.
func (c cluster) mayUse(r record, release Release, account string) func(*securityv1.SecurityContextConstraints) Subject {
	userGroups := []string{"system:authenticated"}
	if r.Actor == "admin" {
		userGroups = append(userGroups, "system:masters")
	}
	accountGroups := []string{"system:serviceaccounts", "system:serviceaccounts:" + c.Namespace.Name, "system:authenticated"}
	return func(constraint *securityv1.SecurityContextConstraints) Subject {
		named := func(name string, groups []string) bool {
			return slices.Contains(constraint.Users, name) || slices.ContainsFunc(groups, func(group string) bool {
				return slices.Contains(constraint.Groups, group)
			})
		}
		byAccount := named("system:serviceaccount:"+c.Namespace.Name+":"+account, accountGroups) ||
			slices.Contains(everybody, constraint.Name) ||
			account == "default" && slices.Contains(r.AccountMay, constraint.Name)
		byUser := named(c.User, userGroups) || slices.Contains(everybody, constraint.Name) ||
			slices.Contains(r.UserMay, constraint.Name) || r.Actor == "admin"
		switch {
		case byAccount:
			return Account
		case byUser:
			return User
		default:
			return Nobody
		}
	}
}
