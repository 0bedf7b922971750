#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures Camherd against its peers and prints a table; see README.md.
#   tests/bench/run.sh [--only NAME] [--rounds N] [--models A,B] [--window S] [--minutes M] [--help]
# Builds build/release first, unless --build names another folder.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=yes
for argument in "$@"; do
  case $argument in
    --build | --build=* | --help | -h) build=no ;;
  esac
done
if [ "$build" = yes ]; then
  cd "$root"
  cmake --preset release >/dev/null
  cmake --build build/release --target \
    camherd-capture camherd-inference camherd-aggregator camherd-gateway camherd_bench >&2
fi
exec /usr/bin/python3 "$root/tests/bench/bench.py" "$@"
