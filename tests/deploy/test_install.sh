#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `cmake --install` into an empty folder: the programs run from there, the
# configuration is good, and systemd takes the units.

set -euo pipefail

build=$(realpath "${1:?usage: test_install.sh BUILD_FOLDER}")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
  printf 'test_install: %s\n' "$*" >&2
  exit 1
}

DESTDIR=$root cmake --install "$build" >/dev/null
for name in aggregator capture gateway inference; do
  program=$root/usr/bin/camherd-$name
  [[ -x "$program" ]] || fail "there is no $program"
  # Nothing of the folder it was built in.
  ! readelf -d "$program" | grep -E 'R(UN)?PATH' | grep -F "$build" || fail "$name has the RPATH of its build"
  env -i "$program" --version | grep -Fx "camherd-$name $(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")" ||
    fail "$name does not run from where it is installed"
  env -i "$program" --check-config --config "$root/etc/camherd/camherd.yaml" | grep -Fx 'configuration ok' ||
    fail "$name does not take the installed configuration"
done
for line in '  data_dir: /var/lib/camherd' '  models_dir: /usr/share/camherd/models' \
  '  weights_dir: /var/lib/camherd/weights'; do
  grep -Fxq "$line" "$root/etc/camherd/camherd.yaml" || fail "camherd.yaml lacks \`$line\`"
done
[[ -f "$root/usr/share/camherd/models/people/model.yaml" ]] || fail "the models are not installed"
weights=$(find "$root/usr/share/camherd" -name '*.onnx' -o -name '*.pt')
[[ -z "$weights" ]] || fail "weights are installed: $weights"
ldd "$root/usr/bin/camherd-inference" | grep -F 'libopenvino.so' | grep -F "$root/" >/dev/null ||
  fail "inference does not find the OpenVINO that is installed with it"

if ! command -v systemd-analyze >/dev/null; then
  echo "the units are not checked: there is no systemd-analyze"
  exit 0
fi
# A root of its own, with the targets that the units name.
cp -a /usr/lib/systemd/system/. "$root/usr/lib/systemd/system/" 2>/dev/null || true
mkdir -p "$root/bin" "$root/usr/share/doc"
units=("$root"/usr/lib/systemd/system/camherd-*.service)
said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no --root="$root" \
  camherd.target "${units[@]##*/}" 2>&1) || fail "systemd-analyze verify: $said"
[[ -z "$said" ]] || fail "systemd-analyze verify: $said"
for unit in "${units[@]##*/}"; do
  # 2.0 of 10, or less exposed.
  systemd-analyze security --offline=yes --no-pager --root="$root" --threshold=20 "$unit" | tail -n 1 ||
    fail "$unit is too exposed"
done
