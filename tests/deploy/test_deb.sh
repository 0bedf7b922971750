#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The packages on a clean Debian 12 that systemd-nspawn boots: installed, the
# main job done with a real RTSP camera, services that hang or die, an upgrade
# with a running stream, removal, backup and restore into another root, purge.
#
#   tests/deploy/test_deb.sh [BUILD_FOLDER [WORK_FOLDER]]
#
# WORK_FOLDER (2.5 GB) keeps the clean root for the next run; left out, it is a
# temporary one.

set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
readonly here source
readonly video=/usr/share/doc/opencv-doc/examples/data/vtest.avi

started=${CAMHERD_TEST_STARTED:-$SECONDS}
say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }
skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}
fail() {
  printf 'test_deb: %s\n' "$*" >&2
  exit 1
}

# As root, with the network of the host: what needs a mirror of Debian.

# new_root NAME: a clean one, with the packages and all that they need.
new_root() {
  rm -rf "${work:?}/$1"
  cp -a "$work/clean" "$work/$1"
  mkdir "$work/$1/debs"
  cp "$work"/debs/* "$work/$1/debs/"
  printf 'deb [trusted=yes] file:/debs ./\n' >"$work/$1/etc/apt/sources.list.d/camherd.list"
  chroot "$work/$1" apt-get update >"$work/$1.log" 2>&1
  chroot "$work/$1" apt-get install -y --no-install-recommends --download-only camherd >>"$work/$1.log" 2>&1 ||
    fail "the packages' dependencies cannot be had, see $work/$1.log"
}

prepare() {
  local deb
  if [[ ! -f "$work/clean/.complete" ]]; then
    say "debootstrap"
    rm -rf "$work/clean"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm "$work/clean" \
      >"$work/debootstrap.log" 2>&1 || skip "debootstrap failed, see $work/debootstrap.log"
    touch "$work/clean/.complete"
  fi
  say "cpack"
  rm -rf "$work/debs" "$work/next"
  (cd "$work" && cpack -G DEB -B "$work/debs" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip \
    --config "$build/CPackConfig.cmake") >"$work/cpack.log" 2>&1 || fail "cpack failed, see $work/cpack.log"
  rm -rf "$work/debs/_CPack_Packages"
  (cd "$work/debs" && dpkg-scanpackages . >Packages 2>/dev/null)
  # The next version: the same files under a higher number.
  mkdir "$work/next"
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -R "$deb" "$work/repack"
    sed -i -E "s/^(Version: .*)/\\1.1/; s/\\(= ([^)]*)\\)/(= \\1.1)/g" "$work/repack/DEBIAN/control"
    dpkg-deb -Zgzip -b "$work/repack" "$work/next" >/dev/null
    rm -rf "$work/repack"
  done
  (cd "$work/next" && dpkg-scanpackages . >Packages 2>/dev/null)
  say "two roots"
  new_root first
  new_root second
}

if [[ "${1:-}" != --inside ]]; then
  ((EUID == 0)) || skip "only root may boot a machine by systemd-nspawn"
  for tool in systemd-nspawn debootstrap dpkg-scanpackages dpkg-shlibdeps nsenter unshare; do
    command -v "$tool" >/dev/null ||
      skip "there is no $tool (apt-get install systemd-container debootstrap dpkg-dev)"
  done
  build=$(realpath "${1:-$source/build/release}")
  [[ -x "$build/bin/camherd-gateway" ]] || skip "nothing is built in $build"
  [[ -f "$video" ]] || skip "there is no $video for the test camera (apt-get install opencv-doc)"
  unshare --net true || skip "no network namespace can be made here"
  if [[ -n "${2:-}" ]]; then
    work=$(realpath -m "$2")
    mkdir -p "$work"
  else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
  fi
  prepare
  # The rest has a network of its own, loopback only: no port of the host, and
  # nothing leaves.
  CAMHERD_TEST_STARTED=$((started - SECONDS)) unshare --net "${BASH_SOURCE[0]}" --inside "$work"
  exit
fi

work=$2
ip link set lo up
machine='' leader='' camera=''

finish() {
  local code=$?
  trap - EXIT
  if ((code != 0)) && [[ -n "$leader" ]]; then
    inside journalctl --no-pager -n 60 -u 'camherd*' | cut -c1-400 >&2 || true
  fi
  [[ -z "$machine" ]] || halt
  [[ -z "$camera" ]] || kill "$camera" 2>/dev/null || true
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# await SECONDS WHAT COMMAND...: until it succeeds.
await() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "in vain waited for $what"
    sleep 0.2
  done
}

inside() {
  nsenter --target "$leader" --mount --uts --ipc --pid --cgroup -- \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

# boot NAME
boot() {
  root=$work/$1
  systemd-nspawn --register=no --keep-unit --quiet --directory "$root" --boot --machine camherd-test \
    >"$work/$1.console" 2>&1 </dev/null &
  machine=$!
  await 60 "the machine" pgrep --parent "$machine"
  leader=$(pgrep --parent "$machine")
  await 120 "systemd" sh -c "nsenter --target $leader --mount --pid -- systemctl is-system-running | grep running"
}

halt() {
  kill -RTMIN+4 "$leader" 2>/dev/null || true
  wait "$machine" 2>/dev/null || true
  machine='' leader=''
}

request() { curl -sS --noproxy '*' --max-time 20 "$@"; }
records() { wc -l <"$root/var/lib/camherd/predictions.json" 2>/dev/null || echo 0; }
has_records() { (($(records) >= $1)); }
is_ready() { request --fail http://127.0.0.1:5000/readyz; }
any_runs() { pgrep --ns "$leader" --nslist pid -f '^(/usr/bin/)?camherd-'; }
property() { inside systemctl show -P "$2" "camherd-$1.service"; }
# version_of PACKAGE
version_of() { inside dpkg-query -W -f "\${Version}" "$1"; }
readonly services=(aggregator inference capture gateway)

# The longest that a service was away, by asking it ten times a second: runs
# until the file `stop` is there, then writes the milliseconds into `$1.away`.
watch_away() {
  local service=$1 last now most=0
  last=$(date +%s%3N)
  while [[ ! -f "$work/stop" ]]; do
    if inside "camherd-$service" --config /etc/camherd/camherd.yaml --health >/dev/null 2>&1; then
      now=$(date +%s%3N)
      ((now - last <= most)) || most=$((now - last))
      last=$now
    fi
    sleep 0.1
  done
  echo "$most" >"$work/$service.away"
}

/usr/bin/python3 -B "$source/tests/rtsp/camera.py" --port 8554 --cache "$work/loops" \
  --mount "demo,video=$video,gop=2" >"$work/camera.log" 2>&1 &
camera=$!
await 120 "the test camera" grep '^ready' "$work/camera.log"

say "boot"
boot first
install_log=$work/install.log
inside apt-get install -y --no-install-recommends camherd >"$install_log" 2>&1 || fail "install failed, see $install_log"
await 60 "all services" is_ready
for name in "${services[@]}"; do
  [[ "$(property "$name" ActiveState) $(property "$name" StatusText) $(property "$name" User)" == "active serving camherd" ]] ||
    fail "camherd-$name is $(property "$name" ActiveState) ($(property "$name" StatusText))"
done
units=("${services[@]/#/camherd-}")
said=$(inside systemd-analyze verify --man=no camherd.target "${units[@]/%/.service}" 2>&1) || fail "systemd-analyze verify: $said"
[[ -z "$said" ]] || fail "systemd-analyze verify: $said"
say "installed; $(inside systemd-analyze security --no-pager camherd-inference.service | tail -n 1)"


# The main job.
request --fail -H 'Content-Type: application/json' -d '{"rtsp_url":"rtsp://127.0.0.1:8554/demo",
  "camera_id":"CAM-001","models":["people"],"interval_seconds":0.5}' \
  http://127.0.0.1:5000/api/v1/streams >"$work/stream.json" || fail "the stream was not started"
await 120 "two records" has_records 2
owners=$(inside find /var/lib/camherd ! -user camherd)
[[ -z "$owners" ]] || fail "not the service's own: $owners"
say "a stream runs, $(records) records"

# mark NAME: what is to be another after a new start.
declare -A pids=()
mark() { pids[$1]=$(property "$1" MainPID); }
is_anew() {
  local pid
  pid=$(property "$1" MainPID)
  [[ "$pid" != 0 && "$pid" != "${pids[$1]}" && "$(property "$1" ActiveState)" == active ]]
}
all_anew() {
  local name
  for name in "${services[@]}"; do is_anew "$name" || return 1; done
}

# Those that are stopped feed no watchdog.
for name in "${services[@]}"; do
  mark "$name"
  inside systemctl kill --kill-whom main --signal STOP "camherd-$name.service"
done
await 150 "the watchdog" all_anew
for name in "${services[@]}"; do
  inside journalctl --no-pager -u "camherd-$name" | grep 'Watchdog timeout' >/dev/null ||
    fail "camherd-$name came back, but not by its watchdog"
done
await 60 "all services" is_ready
count=$(records)
await 60 "a record after the watchdog" has_records $((count + 1))
say "four hung services: the watchdog brought them back"

for name in "${services[@]}"; do
  mark "$name"
  inside systemctl kill --kill-whom main --signal KILL "camherd-$name.service"
done
await 60 "services that were killed" all_anew
await 60 "all services" is_ready
count=$(records)
await 60 "a record after the kills" has_records $((count + 1))
say "four killed services came back"

# A configuration that cannot be used: the reason, and no loop of starts.
inside sed -i 's/^  jpeg_quality: 85$/  jpeg_quality: 850/' /etc/camherd/camherd.yaml
inside systemctl restart camherd-capture 2>/dev/null || true
capture_has_failed() { [[ "$(property capture ActiveState)" == failed ]]; }
await 30 "the refusal" capture_has_failed
inside journalctl --no-pager -u camherd-capture | grep -E 'jpeg_quality.*850' >/dev/null ||
  fail "the journal does not name the key that is wrong"
inside sed -i 's/^  jpeg_quality: 850$/  jpeg_quality: 85/' /etc/camherd/camherd.yaml
inside systemctl start camherd-capture
await 60 "all services" is_ready
say "a bad configuration is named, and not tried again"

# change_to VERSION: an upgrade or a rollback with a running stream; nobody is
# away for 10 s, and no record is lost.
change_to() {
  local version=$1 name before watchers=() packages=()
  for name in camherd common "${services[@]}"; do
    [[ "$name" == camherd ]] || name=camherd-$name
    packages+=("$name=$version")
  done
  before=$(records)
  rm -f "$work/stop"
  for name in "${services[@]}"; do
    watch_away "$name" &
    watchers+=($!)
  done
  inside apt-get install -y --allow-downgrades --no-install-recommends "${packages[@]}" >>"$install_log" 2>&1 ||
    fail "the change to $version failed, see $install_log"
  await 60 "all services" is_ready
  await 60 "a record of version $version" has_records $((before + 2))
  touch "$work/stop"
  wait "${watchers[@]}"
  for name in "${services[@]}"; do
    (($(<"$work/$name.away") < 10000)) || fail "camherd-$name was away for $(<"$work/$name.away") ms"
  done
  [[ "$(version_of camherd-capture)" == "$version" ]] || fail "it is not $version"
  grep -Fxq '# mine' "$root/etc/camherd/camherd.yaml" || fail "the change to $version lost /etc/camherd/camherd.yaml"
  check_accounts
  say "changed to $version; away, ms: $(for name in "${services[@]}"; do printf '%s %s, ' "$name" "$(<"$work/$name.away")"; done)$((before)) -> $(records) records"
}
# Every frame is accounted for, and the file has each batch once.
check_accounts() {
  request --fail http://127.0.0.1:5000/api/v1/streams/CAM-001 | python3 -c '
import json, sys
a = json.load(sys.stdin)["accounting"]
missed, dropped = sum(a["missed"].values()), sum(a["dropped"].values())
assert a["due"] == a["captured"] + missed, a
assert a["captured"] == a["recorded"] + dropped + a["spooled"] + a["ranked_only"], a
assert dropped == 0, a' || fail "the accounts do not balance"
  python3 -c '
import json, sys
seen = [json.loads(line)["meta"]["record_id"] for line in open(sys.argv[1]) if line.endswith("\n")]
assert len(seen) == len(set(seen)), "a record twice"' "$root/var/lib/camherd/predictions.json" ||
    fail "predictions.json is not whole"
}
echo '# mine' >>"$root/etc/camherd/camherd.yaml"
version=$(version_of camherd)
cp "$work"/next/*.deb "$root/debs/"
(cd "$root/debs" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null)
inside apt-get update >>"$install_log" 2>&1
change_to "$version.1"
change_to "$version"

# Removal keeps what was recorded, and the stream.
before=$(records)
inside apt-get remove -y 'camherd*' >>"$install_log" 2>&1 || fail "removal failed, see $install_log"
! any_runs || fail "a service runs after its removal"
[[ "$(records)" -ge "$before" && -f "$root/etc/camherd/camherd.yaml" ]] || fail "removal took the data"
inside apt-get install -y --no-install-recommends camherd >>"$install_log" 2>&1 || fail "install failed, see $install_log"
await 60 "all services" is_ready
await 60 "a record after the installation" has_records $((before + 2))
check_accounts
say "removed and installed again: $(records) records"

# Backup here, restore in another root, where the user may have another number.
inside systemctl stop camherd.target 'camherd-*'
! any_runs || fail "a service runs after its stop"
inside tar -C / -cpf /backup.tar etc/camherd var/lib/camherd
before=$(records)
mv "$root/backup.tar" "$work/second/"
halt
boot second
inside useradd --system --uid 990 somebody
inside apt-get install -y --no-install-recommends camherd >>"$install_log" 2>&1 || fail "install failed, see $install_log"
inside systemctl stop camherd.target 'camherd-*'
inside rm -rf /var/lib/camherd
inside tar -C / -xpf /backup.tar
inside chown -R camherd:camherd /var/lib/camherd
[[ "$(records)" == "$before" ]] || fail "the backup has other records"
inside systemctl start camherd.target
await 60 "all services" is_ready
await 60 "a record of the restored stream" has_records $((before + 2))
check_accounts
say "restored in another root: $before -> $(records) records"

inside apt-get purge -y 'camherd*' >>"$install_log" 2>&1 || fail "purge failed, see $install_log"
left=$(inside find / -xdev -name '*camherd*' -not -path '/debs/*' -not -path '/proc/*' -not -path '/var/cache/*' \
  -not -path '/var/lib/apt/*' -not -path '/etc/apt/*')
[[ -z "$left" ]] || fail "purge left: $left"
! inside getent passwd camherd >/dev/null || fail "purge left the user"
say "purged, nothing is left"
