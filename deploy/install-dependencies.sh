#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What Camherd needs on Debian 12, installed where it is not there yet; called by
# deploy/quickstart.sh and tests/run.sh.

set -euo pipefail

usage() {
  cat <<'TEXT'
usage: deploy/install-dependencies.sh [--tests] [--cuda] [--missing] [--help]

Installs the packages of deploy/apt-packages.txt by apt-get, and into build/sdk
those of deploy/requirements_sdk.txt from PyPI, by hash, and the headers of ONNX
Runtime from Debian 13. Needs root, or sudo, only while packages of
deploy/apt-packages.txt are missing.

  --tests    the packages of tests/apt-packages.txt too
  --cuda     ONNX Runtime with its providers for NVIDIA's GPUs, 250 MB; it is
             kept by later calls without this
  --missing  only print what is missing, one a line
TEXT
}

lists=(deploy/apt-packages.txt) only_print=false cuda=false
readonly sdk=build/sdk
while (($#)); do
  case "$1" in
    --tests) lists+=(tests/apt-packages.txt) ;;
    --cuda) cuda=true ;;
    --missing) only_print=true ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      echo "install-dependencies.sh: unknown argument: $1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "packages are missing and only root may install them: run this as root" >&2
    exit 1
  fi
}

missing_packages() {
  local wanted installed
  wanted=$(grep -hEv '^[[:space:]]*(#|$)' "${lists[@]}" | sort -u)
  # shellcheck disable=SC2086  # package names hold no spaces
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^installed //p' || true)
  grep -Fxv -f <(printf '%s\n' "$installed") <<<"$wanted" || true
}

# The SDKs are there if the marker, written last, holds the hash of the lists.
[[ ! -e "$sdk/.cuda" ]] || cuda=true
onnxruntime=deploy/requirements_onnxruntime.txt
! "$cuda" || onnxruntime=deploy/requirements_onnxruntime_cuda.txt
sdk_lists=(deploy/requirements_sdk.txt "$onnxruntime")
sdk_wanted=$(cat "${sdk_lists[@]}" | sha256sum)
missing=$(missing_packages)
sdk_missing=false
[[ "$(cat "$sdk/.installed" 2>/dev/null)" == "$sdk_wanted" ]] || sdk_missing=true

# The headers of ONNX Runtime, which its wheel lacks; Debian 12 has no package of
# them. Fetched by apt, with the lists of Debian 13 in a folder of their own, and
# unpacked, not installed.
install_onnxruntime_headers() {
  local apt=$PWD/$sdk/apt mirror options
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
    'Codename: bookworm' 2>/dev/null | head -n 1 || true)
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  cat >"$apt/debian13.sources" <<TEXT
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
TEXT
  options=(-o "Dir::Etc::sourcelist=$apt/debian13.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=)
  apt-get "${options[@]}" update
  (cd "$apt" && apt-get "${options[@]}" download libonnxruntime-dev)
  dpkg -x "$apt"/libonnxruntime-dev_*.deb "$apt/root"
  rm -rf "$sdk/include/onnxruntime"
  mkdir -p "$sdk/include"
  mv "$apt/root/usr/include/onnxruntime" "$sdk/include/"
  rm -rf "$apt"
}

if "$only_print"; then
  [[ -z "$missing" ]] || printf '%s\n' "$missing"
  ! "$sdk_missing" || grep -hoE '^[a-z][a-z0-9-]*==[0-9.]+' "${sdk_lists[@]}"
  exit 0
fi

if [[ -n "$missing" ]]; then
  as_root apt-get update
  # shellcheck disable=SC2086  # one argument a package
  # A machine that has just booted may be installing updates.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
    -o DPkg::Lock::Timeout=300 --no-install-recommends $missing
fi
if "$sdk_missing"; then
  mkdir -p build
  /usr/bin/python3 -m venv --clear "$sdk"
  "$sdk/bin/pip" install --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes "${sdk_lists[@]/#/--requirement=}"
  install_onnxruntime_headers
  # The name that programs look for.
  (cd "$sdk"/lib/python3*/site-packages/onnxruntime/capi && ln -s libonnxruntime.so.1.* libonnxruntime.so.1)
  ! "$cuda" || touch "$sdk/.cuda"
  printf '%s\n' "$sdk_wanted" >"$sdk/.installed"
fi
