#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What Camherd needs on Debian 12, installed where it is not there yet; called by
# deploy/quickstart.sh and tests/run.sh.

set -euo pipefail

usage() {
  cat <<'TEXT'
usage: deploy/install-dependencies.sh [--tests] [--missing] [--help]

Installs the packages of deploy/apt-packages.txt by apt-get, and those of
deploy/requirements_sdk.txt from PyPI, by hash, into build/sdk. Needs root, or
sudo, only while Debian's packages are missing.

  --tests    the packages of tests/apt-packages.txt too
  --missing  only print what is missing, one a line
TEXT
}

lists=(deploy/apt-packages.txt) only_print=false
while (($#)); do
  case "$1" in
    --tests) lists+=(tests/apt-packages.txt) ;;
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

# The SDKs are there if the marker, written last, holds the hash of the list.
readonly sdk=build/sdk
sdk_wanted=$(sha256sum <deploy/requirements_sdk.txt)
missing=$(missing_packages)
sdk_missing=false
[[ "$(cat "$sdk/.installed" 2>/dev/null)" == "$sdk_wanted" ]] || sdk_missing=true

if "$only_print"; then
  [[ -z "$missing" ]] || printf '%s\n' "$missing"
  ! "$sdk_missing" || grep -oE '^[a-z][a-z0-9-]*==[0-9.]+' deploy/requirements_sdk.txt
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
    --require-hashes --requirement deploy/requirements_sdk.txt
  printf '%s\n' "$sdk_wanted" >"$sdk/.installed"
fi
