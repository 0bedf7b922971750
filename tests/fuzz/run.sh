#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# One fuzz target: replays its corpus, then looks for new inputs.
# usage: run.sh BUILD-FOLDER TARGET SECONDS [LIBFUZZER-OPTION...]
#
# What is found lies in BUILD-FOLDER/fuzz/TARGET: new inputs in corpus/, those
# that break something in findings/. Nothing is written elsewhere.

set -euo pipefail

(($# >= 3)) || {
  sed -n 's/^# usage: /usage: /p' "$0" >&2
  exit 2
}
build=$1 target=$2 seconds=$3
shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$build/bin/${target}_fuzzer
found=$build/fuzz/$target
mkdir -p "$found/corpus" "$found/findings"

options=(-timeout=20 -rss_limit_mb=2048 "-artifact_prefix=$found/findings/")
# Longer inputs only take longer: nothing that reads them has a larger limit.
case $target in
  camera_csv | predictions | json | worker_protocol) options+=(-max_len=65536) ;;
  *) options+=(-max_len=20000) ;;
esac
for dictionary in "$here/$target.dict" "$here/request.dict"; do
  case $dictionary:$target in
    */request.dict:json | */request.dict:form | */"$target.dict":*)
      [[ ! -f $dictionary ]] || options+=("-dict=$dictionary")
      ;;
  esac
done

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
# Each committed input once, which takes seconds.
"$program" "${options[@]}" "$@" -runs=0 "$here/corpus/$target"
((seconds == 0)) ||
  "$program" "${options[@]}" -max_total_time="$seconds" -print_final_stats=1 "$@" \
    "$found/corpus" "$here/corpus/$target"
