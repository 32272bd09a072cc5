#!/usr/bin/env bash
# The commands of nestcheck-ref.yaml. Prow sets KUBECONFIG, ARTIFACT_DIR and SHARED_DIR.
set -euo pipefail

# Clusters behind a proxy have this file.
if [[ -f $SHARED_DIR/proxy-conf.sh ]]; then
    # shellcheck source=/dev/null
    . "$SHARED_DIR/proxy-conf.sh"
fi
if [[ $NESTCHECK == *.tar.gz ]]; then
    unpacked=$(mktemp -d)
    trap 'rm -rf -- "$unpacked"' EXIT
    tar -xzf "$NESTCHECK" -C "$unpacked" --strip-components=1
    NESTCHECK=$unpacked/bin/nestcheck
fi
report=$ARTIFACT_DIR/nestcheck
read -r -d '' -a options <<<"$NESTCHECK_ARGUMENTS" || true

"$NESTCHECK" run ${NESTCHECK_WORKSPACE_IMAGE:+--image "$NESTCHECK_WORKSPACE_IMAGE"} \
    --report-dir "$report" --report-archive "$report.tar.gz" --no-ci "${options[@]}" &
run=$!
# Prow signals this script alone, and twice. nestcheck deletes its objects after the first signal; a
# second one would shorten that.
trap 'trap : INT TERM; kill "$run"' INT TERM
code=0
wait "$run" || code=$?
# A signal ends `wait` before nestcheck ends.
while kill -0 "$run" 2>/dev/null; do
    code=0
    wait "$run" || code=$?
done
if [[ -f $report/events.jsonl ]]; then
    "$NESTCHECK" report "$report" --exit-zero --format junit --dialect openshift >"$ARTIFACT_DIR/junit_nestcheck.xml"
    "$NESTCHECK" report "$report" --exit-zero --format markdown >"$ARTIFACT_DIR/nestcheck-summary.md"
    # Spyglass reads every JUnit file, and would show each case twice.
    rm -f -- "$report/junit.xml"
fi

case $code in
    0) message='conformant' ;;
    1) message='not conformant: a case failed' ;;
    2) message='bad input: nestcheck did nothing' ;;
    3) message='partial: a core case was blocked, or the cluster is unsupported' ;;
    4) message='infrastructure error: the cluster is unreachable, or the run broke. Run it again' ;;
    5) message='infrastructure error: the run left objects in the cluster. Remove them with nestcheck sweep' ;;
    *) message='interrupted, or nestcheck did not start' ;;
esac
echo "nestcheck: $message (exit code $code)" >&2
if [[ $code == 3 && $NESTCHECK_ALLOW_PARTIAL == true ]]; then
    code=0
fi
exit "$code"
