#!/usr/bin/env bash
# Measures a model, compares the run with the one that this machine has stored, and stores it in
# the place of that one where nothing got worse. Ends with pytest's status: 1 for a regression.
#
# usage: benchmark.sh MODEL [PYTEST_ARGUMENT ...]
#
#   YOURAI_RESULTS  the folder that everything is written into (benchmark-results)
#   YOURAI_STORE    the folder of this machine's stored runs, which outlives jobs
#   YOURAI_QUICK    false: the full matrix
#   YOURAI_FAIL_ON  what counts as worse, as --yourai-fail-on takes it, with spaces or line breaks
#                   between (its default)
#   YOURAI_KEEP     true: a run that passes becomes the stored one
#   YOURAI_ACCEPT   true: do not look at the stored run, so that this one may take its place
set -euo pipefail
model=${1:?name a model}
shift
results=${YOURAI_RESULTS:-benchmark-results}
store=${YOURAI_STORE:-$HOME/pytest-yourai/${RUNNER_NAME:-$(hostname -s)}}
name=${model//[^A-Za-z0-9._-]/-}
arguments=(
  "--yourai-model=$model"
  "--yourai-output=$results/profile.json"
  "--yourai-log=$results/journal.jsonl"
  "--yourai-markdown=$results/summary.md"
  "--yourai-report=$results/report.html"
  "--benchmark-json=$results/pytest-benchmark.json"
)
# Runs of other matrices have other configurations: each is compared with its like.
if [ "${YOURAI_QUICK:-true}" = true ]; then
  arguments+=(--yourai-quick)
  name+=-quick
fi
stored=$store/$name.json
if [ ! -f "$stored" ]; then
  echo "No run is stored in $stored: there is nothing to compare with"
elif [ "${YOURAI_ACCEPT:-false}" = true ]; then
  echo "Accepting this run: it is not compared with $stored"
else
  arguments+=("--yourai-compare=$stored")
  limits=${YOURAI_FAIL_ON:-}
  # read takes one line.
  read -r -a limits <<< "${limits//$'\n'/ }"
  for limit in ${limits[@]+"${limits[@]}"}; do
    arguments+=("--yourai-fail-on=$limit")
  done
fi
mkdir -p "$results"
python -m pytest "${arguments[@]}" "$@"
if [ "${YOURAI_KEEP:-false}" = true ]; then
  mkdir -p "$store"
  cp "$results/profile.json" "$stored.new"
  mv -f "$stored.new" "$stored"
  echo "Stored in $stored"
fi
