package scc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	atOnce = 20
	rounds = 25
)

// measure creates pods, many at once, and prints how long admission took. It
// asserts nothing: the machine may be busy.
func (l *live) measure(t *testing.T) {
	t.Helper()
	pod := json.RawMessage(`{"metadata":{"name":"plain"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	before := l.buckets(t)
	took := make([]time.Duration, atOnce*rounds)
	var wait sync.WaitGroup
	for client := range atOnce {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := range rounds {
				began := time.Now()
				if given := l.create(t, l.actors["user"], pod); given.Code != 201 {
					t.Errorf("a plain pod: %+v", given.Refused)
				}
				took[client*rounds+i] = time.Since(began)
			}
		}()
	}
	wait.Wait()
	slices.Sort(took)
	t.Logf("%d creates, %d at once: a whole request took %v (median), %v (p99)", len(took), atOnce, took[len(took)/2], took[len(took)*99/100])
	after := l.buckets(t)
	for phase := range after {
		t.Logf("phase %s of the plugin: p99 %s", phase, percentile(before[phase], after[phase]))
	}
}

// histogram counts the observations up to each bound, in seconds.
type histogram map[float64]float64

// buckets reads the API server's own measurement of the plugin, by phase.
func (l *live) buckets(t *testing.T) map[string]histogram {
	t.Helper()
	text, err := l.admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]histogram{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		labels, isBucket := strings.CutPrefix(lines.Text(), "apiserver_admission_controller_admission_duration_seconds_bucket{")
		if !isBucket || label(labels, "name") != "security.openshift.io/SecurityContextConstraint" ||
			label(labels, "operation") != "CREATE" || label(labels, "rejected") != "false" {
			continue
		}
		bound, boundErr := strconv.ParseFloat(label(labels, "le"), 64)
		count, countErr := strconv.ParseFloat(labels[strings.LastIndex(labels, " ")+1:], 64)
		if boundErr != nil || countErr != nil {
			t.Fatalf("a metric that can't be read: %s", lines.Text())
		}
		phase := label(labels, "type")
		if found[phase] == nil {
			found[phase] = histogram{}
		}
		found[phase][bound] += count
	}
	return found
}

func label(labels, name string) string {
	_, value, _ := strings.Cut(","+labels, ","+name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// percentile is the bound that 99 of 100 new observations are within.
func percentile(before, after histogram) string {
	total := after[math.Inf(1)] - before[math.Inf(1)]
	bounds := make([]float64, 0, len(after))
	for bound := range after {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	for _, bound := range bounds {
		if within := after[bound] - before[bound]; total > 0 && within >= total*0.99 {
			return fmt.Sprintf("at most %g ms (%.0f observations, %.1f%% of them within 5 ms)", bound*1000, total, 100*(after[0.005]-before[0.005])/total)
		}
	}
	return "unknown: nothing was observed"
}

func TestReadsHistograms(t *testing.T) {
	before, after := histogram{0.005: 10, 0.025: 10, math.Inf(1): 10}, histogram{0.005: 100, 0.025: 110, math.Inf(1): 110}
	if given := percentile(before, after); given != "at most 25 ms (100 observations, 90.0% of them within 5 ms)" {
		t.Error(given)
	}
	if given := label(`name="a",le="0.005"} 3`, "le"); given != "0.005" {
		t.Error(given)
	}
}
