#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# From a fresh Debian 12 to all tests. Safe to run again: what is installed or
# built is not done twice.

set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/run.sh [--fast] [-L LABEL] [--help]

Installs what is needed, builds Camherd with GCC and runs its tests; then builds
it with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs the unit
and integration tests under them, and each fuzz target for a minute. Tests with the
label `long` are left out.

  --fast    without the second build
  -L LABEL  only the tests with this label (unit, integration, e2e, accuracy, lint),
            and without the second build
  --help    this text

Needs root, or sudo, only while packages are missing. Once built:
  ctest --test-dir build/release -L unit     one label
  ctest --test-dir build/release -R Spool    by name
  ctest --test-dir build/release -L long     the long ones
  ctest --test-dir build/release -R many_streams_long    of these: fifty cameras for
                                             ten minutes, a thousand starts and stops
  tests/fuzz/run.sh build/clang-asan json 3600    one fuzz target for an hour
                                             (tests/fuzz/README.md)
  cmake --preset tsan && cmake --build build/tsan && ctest --test-dir build/tsan \
    -L 'unit|integration'                    under ThreadSanitizer
  cmake --preset clang && cmake --build build/clang --target tidy    clang-tidy
TEXT
}

fast=false label=''
while (($#)); do
  case "$1" in
    --fast) fast=true ;;
    -L)
      (($# > 1)) || {
        echo "run.sh: -L needs a label" >&2
        exit 2
      }
      label=$2 fast=true
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      echo "run.sh: unknown argument: $1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."

bold='' red='' plain=''
if [[ -t 1 ]]; then
  bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'
fi

# Stages: a headline, and the time of the one before.
stage_name='' stage_began=0 times=()
stage() {
  end_stage
  stage_name=$1 stage_began=$SECONDS
  printf '\n%s==> %s%s\n' "$bold" "$1" "$plain"
}
end_stage() {
  [[ -n "$stage_name" ]] || return 0
  local seconds=$((SECONDS - stage_began))
  times+=("$(printf '%3d min %02d s  %s' $((seconds / 60)) $((seconds % 60)) "$stage_name")")
  stage_name=''
}
fail() {
  printf '%srun.sh: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

# Runs a command whose output only matters when it fails.
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 60 "$log" >&2
    rm -f "$log"
    fail "failed: $*"
  fi
}

stage "Dependencies"
missing=$(deploy/install-dependencies.sh --tests --missing)
if [[ -z "$missing" ]]; then
  echo "all there"
else
  echo "installing $(wc -l <<<"$missing") packages"
  quietly deploy/install-dependencies.sh --tests
fi

stage "Python packages"
# With Debian's packages in sight: gi and grpc exist only there.
venv=$PWD/build/test-venv
requirements=(tests/requirements.txt tests/e2e/requirements.txt)
want=$(cat "${requirements[@]}" | sha256sum)
if [[ -x "$venv/bin/python" && "$(cat "$venv/.installed" 2>/dev/null)" == "$want" ]]; then
  echo "all there"
else
  mkdir -p build
  quietly /usr/bin/python3 -m venv --clear --system-site-packages "$venv"
  quietly "$venv/bin/pip" install --quiet --disable-pip-version-check \
    "${requirements[@]/#/--requirement=}"
  printf '%s\n' "$want" >"$venv/.installed"
  echo "installed into build/test-venv"
fi

# Compilers that at most fill the cores, and take up to 1.5 GiB each.
jobs=$(awk '/^MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo)
cores=$(nproc)
((jobs >= 1)) || jobs=1
((jobs <= cores)) || jobs=$cores

# build FOLDER CMAKE-ARGUMENT...: configures and builds; prints what fails.
build() {
  local folder=$1 log
  shift
  quietly cmake -B "$folder" "$@"
  log=$folder/build.log
  if ! NINJA_STATUS='[%f/%t] ' cmake --build "$folder" -j "$jobs" >"$log" 2>&1; then
    grep -A 30 -E '^FAILED|error:' "$log" | head -n 100 >&2 || tail -n 50 "$log" >&2
    fail "the build failed; all of its output is in $log"
  fi
  # ninja's last count, or that there was nothing to do.
  tail -n 1 "$log"
}

ran=0 failed=0
# tests FOLDER JOBS CTEST-ARGUMENT...: runs ctest and adds up what it says.
tests() {
  local folder=$1 at_once=$2 log line
  shift 2
  log=$(mktemp)
  ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$at_once" \
    -LE '^long$' "$@" 2>&1 | tee "$log" || true
  # `98% tests passed, 2 tests failed out of 100`
  line=$(grep -E 'tests passed, [0-9]+ tests? failed out of [0-9]+' "$log" | tail -n 1 || true)
  rm -f "$log"
  if [[ "$line" =~ passed,\ ([0-9]+)\ tests?\ failed\ out\ of\ ([0-9]+) ]]; then
    failed=$((failed + BASH_REMATCH[1])) ran=$((ran + BASH_REMATCH[2]))
  else
    failed=$((failed + 1)) ran=$((ran + 1))
    echo "ctest in $folder ended without a result" >&2
  fi
}

stage "Build with GCC"
build build/release --preset release -DCAMHERD_TESTS=ON

if [[ -n "$label" ]]; then
  stage "Tests: $label"
  tests build/release 1 -L "^$label\$"
else
  stage "Tests: unit, integration, lint"
  tests build/release "$cores" -L '^(unit|integration|lint)$'
  stage "Tests: e2e, accuracy"
  # They wait more than they compute; those that measure run alone.
  tests build/release "$cores" -L '^(e2e|accuracy)$'
fi

if ! $fast; then
  stage "Build with clang and sanitizers"
  build build/clang-asan --preset asan -DCMAKE_CXX_COMPILER=clang++-14 -DCAMHERD_TESTS=ON \
    -DCAMHERD_FUZZ_SECONDS=60
  stage "Tests under sanitizers: unit, integration"
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  tests build/clang-asan "$cores" -L '^(unit|integration)$'
  stage "Fuzzing: each target for a minute"
  tests build/clang-asan "$cores" -L '^fuzz$'
fi

end_stage
printf '\n%s==> Times%s\n' "$bold" "$plain"
printf '%s\n' "${times[@]}"
printf '%3d min %02d s  in all\n\n' $((SECONDS / 60)) $((SECONDS % 60))
# As ctest says it, over all of its runs.
printf '%d%% tests passed, %d tests failed out of %d\n' \
  $((ran > 0 ? 100 * (ran - failed) / ran : 0)) "$failed" "$ran"
((failed == 0))
