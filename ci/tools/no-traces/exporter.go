// Package autoexport replaces the package with which the registry exports its traces. Nobody reads them
// here, and without gRPC and each protocol of OpenTelemetry the registry is built in two thirds of the time.
package autoexport

import (
	"context"

	"go.opentelemetry.io/otel/sdk/trace"
)

// NewSpanExporter returns an exporter that drops everything.
func NewSpanExporter(context.Context, ...any) (trace.SpanExporter, error) {
	return dropper{}, nil
}

type dropper struct{}

func (dropper) ExportSpans(context.Context, []trace.ReadOnlySpan) error { return nil }

func (dropper) Shutdown(context.Context) error { return nil }
