#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The images: built by a real Docker engine, document B's lines with them, and
# the services of compose.yaml doing the main job with the demo camera.
#
#   tests/deploy/test_docker.sh [BUILD_FOLDER [WORK_FOLDER]]
#
# Without an engine that answers (DOCKER_HOST counts) one is started, as root, in
# the work folder: Debian's docker.io. Where no registry can be reached,
# debian:bookworm-slim is made by debootstrap. The first build takes as long as
# Camherd takes to compile; WORK_FOLDER keeps it.

set -euo pipefail

source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
readonly source
started=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }
skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}
fail() {
  printf 'test_docker: %s\n' "$*" >&2
  exit 1
}
# await SECONDS WHAT COMMAND...: until it succeeds.
await() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "in vain waited for $what"
    sleep 0.5
  done
}

# DOCKER: the client, where the first in PATH is not the engine's.
docker=${DOCKER:-docker}
command -v "$docker" >/dev/null || skip "there is no docker (apt-get install docker.io)"
if [[ -n "${2:-}" ]]; then
  work=$(realpath -m "$2")
  mkdir -p "$work"
  keep=true
else
  work=$(mktemp -d)
  keep=false
fi

engine='' containers=() compose=''
finish() {
  local code=$?
  trap - EXIT
  set +e
  if [[ -n "$compose" ]]; then
    ((code == 0)) || in_compose logs --tail 20 >&2
    in_compose down --volumes --timeout 20 >/dev/null 2>&1
  fi
  if ((${#containers[@]})); then
    ((code == 0)) || "$docker" logs --tail 20 "${containers[0]}" >&2
    "$docker" rm --force --volumes "${containers[@]}" >/dev/null
  fi
  if [[ -n "$engine" ]]; then
    kill "$engine"
    wait "$engine" 2>/dev/null
  fi
  "$keep" || rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

if ! "$docker" info >/dev/null 2>&1; then
  ((EUID == 0)) || skip "no Docker engine answers, and only root may start one"
  command -v dockerd >/dev/null || skip "no Docker engine answers, and there is no dockerd"
  mtu=$(ip -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
  mtu=$(cat "/sys/class/net/${mtu:-lo}/mtu")
  export DOCKER_HOST=unix://$work/docker.sock
  dockerd --data-root "$work/docker" --exec-root "$work/run" --host "$DOCKER_HOST" --pidfile "$work/docker.pid" \
    --mtu "$((mtu < 1500 ? mtu : 1500))" >"$work/dockerd.log" 2>&1 &
  engine=$!
  answers() { "$docker" info || ! kill -0 "$engine" 2>/dev/null; }
  await 60 "the engine" answers
  kill -0 "$engine" 2>/dev/null || {
    engine=''
    skip "the engine does not start here: $(tail -n 1 "$work/dockerd.log")"
  }
fi
say "engine $("$docker" version --format '{{.Server.Version}}')"

if ! "$docker" image inspect debian:bookworm-slim >/dev/null 2>&1 &&
  ! "$docker" pull --quiet debian:bookworm-slim >/dev/null 2>&1; then
  command -v debootstrap >/dev/null || skip "no registry is reached, and there is no debootstrap"
  say "debian:bookworm-slim by debootstrap"
  debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log" 2>&1 ||
    skip "no registry is reached, and debootstrap fails, see $work/debootstrap.log"
  printf 'deb http://deb.debian.org/debian-security bookworm-security main\n' >"$work/base/etc/apt/sources.list.d/security.list"
  # Authorities that this machine trusts beside Debian's.
  cp -a /usr/local/share/ca-certificates/. "$work/base/usr/local/share/ca-certificates/" 2>/dev/null || true
  tar -C "$work/base" --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' \
    --exclude './var/cache/apt/archives/*.deb' -c . |
    "$docker" import --change 'CMD ["bash"]' - debian:bookworm-slim >/dev/null
  rm -rf "$work/base"
fi

build_image() {
  local began=$SECONDS
  "$docker" build "$@" "$source" >"$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log" >&2
    fail "docker build $* failed"
  }
  say "docker build $*: $((SECONDS - began)) s"
}
build_image -t exercise
for target in aggregator capture gateway inference; do
  build_image --target "$target" -t "camherd-$target"
done
build_image -f "$source/deploy/docker/camera.Dockerfile" -t camherd-camera
size_of() { "$docker" image inspect --format '{{.Size}}' "$1" | awk '{printf "%d MB", $1 / 1e6}'; }
for image in exercise camherd-aggregator camherd-capture camherd-gateway camherd-inference; do
  say "$image: $(size_of "$image")"
done

request() { curl -sS --noproxy '*' --max-time 20 "$@"; }
health_of() { "$docker" inspect --format '{{.State.Health.Status}}' "$1"; }
is_healthy() { [[ "$(health_of "$1")" == healthy ]]; }

# Document B, whose folder belongs to a user that no image knows.
mkdir -p "$work/exercise"
chown 12345:12346 "$work/exercise"
camera=$("$docker" run --detach --read-only --tmpfs /tmp camherd-camera)
containers+=("$camera")
exercise=$("$docker" run --detach --publish 127.0.0.1::8000 --volume "$work/exercise:/app" exercise)
containers+=("$exercise")
await 120 "the health of the container" is_healthy "$exercise"
address=$("$docker" port "$exercise" 8000/tcp | head -n 1)
"$docker" logs "$exercise" 2>&1 | grep 'gateway.auth is none' >/dev/null || fail "it does not warn of auth: none"
camera_ip=$("$docker" inspect --format '{{.NetworkSettings.IPAddress}}' "$camera")
# The scheme apart: this is no example for people.
scheme=rtsp
request --fail -d "rtsp_url=$scheme://$camera_ip:8554/demo&interval=1" "http://$address/start" |
  grep -Fx 'Video stream started: process_name=demo' >/dev/null || fail "/start does not start"
has_nine() { (($(request "http://$address/api/v1/streams/demo" | python3 -c 'import json,sys; print(json.load(sys.stdin)["accounting"]["captured"])') >= 9)); }
await 120 "nine frames" has_nine
request --fail -X POST -d process_name=demo -o "$work/response.html" "http://$address/stop" || fail "/stop has no grid"
grep -q 'data:image/jpeg;base64' "$work/response.html" || fail "/stop's page has no picture"
[[ -n "$(find "$work/exercise/images" -name 'demo_*.jpg')" ]] || fail "there is no picture in images/"
others=$(find "$work/exercise" ! \( -uid 12345 -gid 12346 \))
[[ -z "$others" ]] || fail "not the owner's: $others"
for pid in $("$docker" top "$exercise" -eo pid | tail -n +2); do
  grep -Eq '^Uid:\s+12345\s+12345' "/proc/$pid/status" || fail "process $pid is not the owner's"
  grep -Eq '^CapBnd:\s+0+$' "/proc/$pid/status" || fail "process $pid may get rights"
done
"$docker" stop --time 20 "$exercise" >/dev/null
[[ "$("$docker" inspect --format '{{.State.ExitCode}}' "$exercise")" == 0 ]] || fail "it does not end with 0"
say "document B's lines: a grid in the folder of user 12345"

strict=$("$docker" run --detach --read-only --tmpfs /tmp --cap-drop ALL --user 12345:12346 --volume "$work/exercise:/app" exercise)
containers+=("$strict")
await 120 "the health of the container" is_healthy "$strict"
"$docker" stop --time 20 "$strict" >/dev/null
say "with a read-only root, without any right, as that user from the first"
# A folder that is not there yet is made by the engine, for root.
new=$("$docker" run --detach --volume "$work/exercise-new:/app" exercise)
containers+=("$new")
await 120 "the health of the container" is_healthy "$new"
for pid in $("$docker" top "$new" -eo pid | tail -n +2); do
  grep -Eq '^CapBnd:\s+0+$' "/proc/$pid/status" || fail "process $pid may get rights"
done
"$docker" stop --time 20 "$new" >/dev/null
rm -rf "$work/exercise-new"
say "in a folder of root's, without root's rights"
"$docker" rm --force --volumes "${containers[@]}" >/dev/null
containers=()

# compose.yaml, by each Compose that is there: COMPOSE names others.
export CAMHERD_PORT_A=15000 CAMHERD_PORT_B=18000 COMPOSE_PROJECT_NAME=camherd-test
in_compose() {
  # shellcheck disable=SC2086  # `docker compose` is two words
  $compose --project-directory "$source" -f "$source/compose.yaml" --profile demo "$@"
}
tried=0
for compose in ${COMPOSE:-docker-compose "docker compose"}; do
  # shellcheck disable=SC2086
  $compose version >/dev/null 2>&1 || continue
  tried=$((tried + 1))
  in_compose up --detach --no-build >"$work/compose.log" 2>&1 || {
    tail -n 20 "$work/compose.log" >&2
    fail "$compose up failed"
  }
  ready() { request --fail http://127.0.0.1:15000/readyz; }
  await 120 "the services of $compose" ready
  request --fail -H 'Content-Type: application/json' -d "{\"rtsp_url\":\"$scheme://camera:8554/demo\",
    \"camera_id\":\"CAM-001\",\"models\":[\"people\"],\"interval_seconds\":0.5}" \
    http://127.0.0.1:15000/api/v1/streams >/dev/null || fail "the stream was not started"
  recorded() { request http://127.0.0.1:15000/api/v1/records | grep -q CAM-001; }
  await 120 "a record" recorded
  for name in aggregator capture gateway inference camera; do
    id=$(in_compose ps -q "$name")
    [[ "$("$docker" inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}}' "$id")" == "true 10001:10001 [ALL]" ]] ||
      fail "$name is not confined"
    ports=$("$docker" port "$id")
    [[ "$name" == gateway || -z "$ports" ]] || fail "$name is published: $ports"
    ! grep -qv -e '^$' -e '127\.0\.0\.1:' <<<"$ports" || fail "$name is published beyond this machine: $ports"
  done
  say "$($compose version --short): a record by the demo camera"
  in_compose down --volumes --timeout 20 >"$work/compose.log" 2>&1
done
((tried > 0)) || skip "the images are good; there is no docker-compose for the rest"
compose=''
