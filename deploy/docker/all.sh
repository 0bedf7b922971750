#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# All services in one container, as the owner of /app.

set -euo pipefail

data=/app
say() { printf 'camherd: %s\n' "$*" >&2; }

# What is written into somebody's folder is to be theirs. Nothing of root's
# rights is kept, not even where the owner is root.
if ((EUID == 0)) && [[ "${1:-}" != --as-owner ]]; then
  owner=$(stat -c %u "$data") group=$(stat -c %g "$data")
  ((owner != 0)) || say "$data belongs to root: this runs as root, without its rights"
  exec setpriv --reuid "$owner" --regid "$group" --clear-groups \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs "$0" --as-owner
fi

if ! [[ -w "$data" ]]; then
  say "$data belongs to user $(stat -c %u "$data"), and this, user $EUID, cannot write there;"
  say "mount a folder that it can write, or run it without --user"
  exit 1
fi
export HOME=$data

declare -A names=()
stop() {
  trap '' TERM INT
  ((${#names[@]} == 0)) || kill -TERM "${!names[@]}" || true
}
trap stop TERM INT

start() {
  "camherd-$1" --config /etc/camherd/camherd.yaml &
  names[$!]=$1
}
# The configuration first: a key that is wrong ends the container with its name.
for name in aggregator inference capture gateway; do
  "camherd-$name" --config /etc/camherd/camherd.yaml --check-config >/dev/null
done
for name in aggregator inference capture gateway; do
  start "$name"
done
say "port 8000 and 5000; whoever reaches them may start and stop streams (auth: none)"

# Until it is told to stop; a service that ends before that is started anew, but
# for one whose configuration cannot be used.
stopping=false
result=0
while ((${#names[@]})); do
  code=0
  wait -n -p ended "${!names[@]}" || code=$?
  if [[ -z "${ended:-}" ]]; then
    # The signal; it has been passed on.
    stopping=true
    continue
  fi
  name=${names[$ended]}
  unset "names[$ended]"
  ! "$stopping" || continue
  say "$name ended with code $code"
  if ((code == 2)); then
    stopping=true result=2
    stop
    continue
  fi
  sleep 2 &
  wait $! || stopping=true
  "$stopping" || start "$name"
done
exit "$result"
