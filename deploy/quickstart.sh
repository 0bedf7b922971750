#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# From a fresh Debian 12 to a real RTSP camera that fills predictions.json.
# Safe to run again: what is installed, built or prepared is not done twice.

set -euo pipefail

usage() {
  cat <<'TEXT'
usage: deploy/quickstart.sh [--check] [--camera URL|-] [--model NAME] [--data DIR]

Installs the packages, builds Camherd, starts its four processes and a stream,
prints the first record, and runs until Ctrl-C, which stops all of it.

  --camera URL  your own camera instead of the test camera, such as
                rtsp://127.0.0.1:8554/demo
  --camera -    the same, the URL read from standard input: the way for URLs
                that hold a user and a password
  --model NAME  animals, people, ... (default: animals where its weights are in
                models/animals, $CAMHERD_WEIGHTS_DIR or ../shared/data/weights,
                else people)
  --data DIR    folder for everything that is written (default ./var)
  --check       end after the first record and the first grid: exit code 0, or
                another one with the reason
  --help        this text

Needs root, or sudo, only while packages are missing.
TEXT
}

# What it says.

if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m' line_start=$'\r\e[K'
else
  bold='' dim='' red='' plain='' line_start=''
fi
step() { printf '%s\n' "${bold}==> $*${plain}"; }
say() { printf '    %s\n' "$*"; }
# One line that is written over on a terminal; elsewhere only when it changes.
last_progress=''
progress() {
  [[ "$*" == "$last_progress" ]] && return
  last_progress="$*"
  if [[ -n "$line_start" ]]; then
    printf '%s    %s%s%s' "$line_start" "$dim" "$*" "$plain"
  else
    say "$*"
  fi
}
progress_end() {
  last_progress=''
  [[ -z "$line_start" ]] || printf '%s' "$line_start"
}
# percent WHAT N: each step on a terminal, elsewhere each tenth.
percent() {
  if [[ -n "$line_start" ]]; then
    progress "$1: $2 %"
  else
    progress "$1: $(($2 / 10 * 10)) %"
  fi
}
fail() {
  progress_end
  printf '%s\n' "${red}quickstart: $*${plain}" >&2
  exit 1
}
bad_usage() {
  printf 'quickstart: %s\n' "$*" >&2
  usage >&2
  exit 2
}

# Arguments.

check=false camera='' model='' data=''
while (($#)); do
  case "$1" in
    --check) check=true ;;
    --camera | --model | --data)
      (($# > 1)) || bad_usage "$1 needs a value"
      case "$1" in
        --camera) camera=$2 ;;
        --model) model=$2 ;;
        --data) data=$2 ;;
      esac
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *) bad_usage "unknown argument: $1" ;;
  esac
  shift
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=$(realpath -m -- "${data:-$root/var}")
cd "$root"

if [[ "$camera" == *@* ]]; then
  fail "this URL seems to hold credentials, and every user of this machine can
  read process arguments. Give it on standard input:
    deploy/quickstart.sh --camera -   (then type the URL, and Enter)"
fi
if [[ "$camera" == - ]]; then
  [[ ! -t 0 ]] || printf 'Camera URL (not shown): '
  IFS= read -rs camera || [[ -n "$camera" ]] || fail "no URL on standard input"
  [[ ! -t 0 ]] || printf '\n'
fi
own_camera=false
if [[ -n "$camera" ]]; then
  own_camera=true
  [[ "${camera,,}" == rtsp://* || "${camera,,}" == rtsps://* ]] ||
    fail "the camera's URL must begin with rtsp:// or rtsps://"
fi

readonly camera_port=8554
# How long a check waits for the camera, seconds.
readonly camera_wait=${QUICKSTART_CAMERA_SECONDS:-90}
readonly api=http://127.0.0.1:5000
readonly logs=$data/log
readonly build=$root/build/release

# Dependencies.

# Counts what apt-get says it fetched, unpacked and set up.
show_install() {
  local line total=0 done=0
  while IFS= read -r line; do
    if [[ "$line" =~ ([0-9]+)\ newly\ installed ]]; then
      total=$((3 * BASH_REMATCH[1])) done=0
    elif [[ "$line" =~ ^(Get:|Unpacking\ |Setting\ up\ ) ]] && ((total > done)); then
      done=$((done + 1))
      percent installing $((100 * done / total))
    fi
  done
}

step "1/6 Dependencies"
missing=$(deploy/install-dependencies.sh --missing)
if [[ -z "$missing" ]]; then
  say "all there"
else
  say "installing $(wc -l <<<"$missing") packages and what they need, several minutes"
  install_log=$(mktemp)
  trap 'rm -f "$install_log"' EXIT
  if ! deploy/install-dependencies.sh 2>&1 | tee "$install_log" | show_install; then
    progress_end
    tail -n 20 "$install_log" >&2
    fail "the packages could not be installed; the last lines are above"
  fi
  progress_end
  rm -f "$install_log"
  trap - EXIT
  say "done"
fi

mkdir -p "$data" "$logs"

# Build.

step "2/6 Build"
binaries=(camherd-aggregator camherd-inference camherd-capture camherd-gateway)

# Compilers that at most fill the cores, and take about 1 GiB each.
jobs=$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
cores=$(nproc)
((jobs >= 1)) || jobs=1
((jobs <= cores)) || jobs=$cores

build_all() {
  # A tree that tests/run.sh configured stays as it is.
  if [[ ! -f "$build/build.ninja" ]]; then
    cmake --preset release -DCAMHERD_TESTS=OFF || return 1
  fi
  NINJA_STATUS='[%f/%t] ' ninja -C "$build" -j "$jobs" "${binaries[@]}"
}

# Shows ninja's counter as it goes.
show_build() {
  local line
  while IFS= read -r line; do
    if [[ "$line" =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      percent compiling $((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
    fi
  done
}

started=$SECONDS
if ! build_all 2>&1 | tee "$logs/build.log" | show_build; then
  progress_end
  grep -A 20 -E 'FAILED|error:|CMake Error' "$logs/build.log" | head -n 40 >&2 ||
    tail -n 20 "$logs/build.log" >&2
  fail "the build failed; all of its output is in $logs/build.log"
fi
progress_end
say "ready in $((SECONDS - started)) s: $build/bin"

# One at a time, and the ports.

exec {lock}>"$data/.quickstart.lock"
flock -n "$lock" ||
  fail "another quickstart runs on $data; stop it first, or use --data"

port_is_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
check_ports() {
  local port busy=()
  local ports=(5000 8000 50051 50052 50053 50061 50062 50063 50064)
  "$own_camera" || ports+=("$camera_port")
  for port in "${ports[@]}"; do
    ! port_is_busy "$port" || busy+=("$port")
  done
  ((${#busy[@]} == 0)) ||
    fail "in use by another program: port ${busy[*]}. Stop that program (perhaps
  another Camherd) and try again."
}
check_ports

# Starting and stopping.

declare -A pids=()
order=()
stream_started=false
process_name=''

# stop NAME: SIGTERM, SIGKILL after 12 s.
stop_process() {
  local pid=${pids[$1]:-} tries
  [[ -n "$pid" ]] || return 0
  unset "pids[$1]"
  kill -TERM "$pid" 2>/dev/null || true
  for ((tries = 0; tries < 120; ++tries)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

finish() {
  local code=$? index
  trap '' INT TERM
  trap - EXIT
  progress_end
  if ((${#order[@]})); then
    step "Stopping"
    if "$stream_started"; then
      stop_stream || true
    fi
    for ((index = ${#order[@]} - 1; index >= 0; --index)); do
      stop_process "${order[index]}"
    done
    say "everything is stopped; the data stays in $data"
  fi
  exit "$code"
}
trap finish EXIT
# Ctrl-C is the ordinary end, but a check that it cut short has not passed.
trap 'if "$check"; then exit 130; else exit 0; fi' INT
trap 'exit 143' TERM

# start NAME PATTERN COMMAND...: runs it with its output in a log of its own
# until the log shows PATTERN.
start() {
  local name=$1 pattern=$2 log=$logs/$1.log tries
  shift 2
  [[ ! -f "$log" ]] || mv -f "$log" "$log.old"
  "$@" >"$log" 2>&1 {lock}>&- </dev/null &
  pids[$name]=$!
  order+=("$name")
  for ((tries = 0; tries < 600; ++tries)); do
    ! grep -Eq -- "$pattern" "$log" || return 0
    if ! kill -0 "${pids[$name]}" 2>/dev/null; then
      unset "pids[$name]"
      tail -n 15 "$log" >&2
      fail "$name ended; the last lines of $log are above"
    fi
    sleep 0.1
  done
  tail -n 15 "$log" >&2
  fail "$name did not come up within 60 s; the last lines of $log are above"
}

check_alive() {
  local name
  for name in "${!pids[@]}"; do
    if ! kill -0 "${pids[$name]}" 2>/dev/null; then
      unset "pids[$name]"
      tail -n 15 "$logs/$name.log" >&2
      fail "$name ended; the last lines of $logs/$name.log are above"
    fi
  done
}

# The model.

step "3/6 Model"
weights=''
for folder in "$root/models/animals" "${CAMHERD_WEIGHTS_DIR:-}" \
  "$root/../shared/data/weights"; do
  [[ -n "$folder" && -z "$weights" ]] || continue
  for file in yolov8n_dynamic.onnx yolov8n.onnx yolov8n.pt; do
    if [[ -z "$weights" && -f "$folder/$file" ]]; then
      weights=$(realpath -- "$folder/$file")
      export CAMHERD_WEIGHTS_DIR=${weights%/*}
    fi
  done
done

free_gib() { df -BG --output=avail "$data" | tail -n 1 | tr -dc '0-9'; }
# A .pt needs ultralytics; an .onnx runs inside the inference service.
needs_environment() {
  [[ "$weights" == *.pt && ! -f "$data/venvs/animals/.deps_installed" ]]
}

if [[ -z "$model" ]]; then
  if [[ -z "$weights" ]]; then
    model=people
    say "people (OpenCV's pedestrian detector): no YOLOv8 weights found. For the"
    say "model animals put yolov8n.onnx or yolov8n.pt into models/animals/."
  elif needs_environment && (($(free_gib) < 12)); then
    model=people
    say "people: animals needs 12 GB free in $data, there are $(free_gib)"
  else
    model=animals
  fi
fi
if [[ "$model" == people ]]; then
  say "people runs inside the inference service, nothing to install"
elif [[ "$model" == animals ]] && ! needs_environment; then
  say "animals; weights: $weights"
else
  say "$model; if it needs a Python environment, that is built now: for animals"
  say "6 GB, 20 s to minutes"
  # uv installs wheels about 4 times faster than pip; without it pip is used.
  uv=$data/tools/uv/bin/uv
  if [[ ! -x "$uv" ]] && ! command -v uv >/dev/null; then
    rm -rf "$data/tools/uv"
    if python3 -m venv "$data/tools/uv" >"$logs/uv.log" 2>&1 &&
      "$data/tools/uv/bin/pip" install --quiet uv==0.9.7 >>"$logs/uv.log" 2>&1; then
      say "uv is installed in $data/tools"
    else
      say "uv could not be installed (see $logs/uv.log): pip does the work"
    fi
  fi
  [[ ! -x "$uv" ]] || export CAMHERD_INFERENCE_UV=$uv
fi

# The processes.

step "4/6 Start"
if ! "$own_camera"; then
  video=/usr/share/doc/opencv-doc/examples/data/vtest.avi
  if [[ ! -f "$video" ]]; then
    # A container image that leaves documentation out.
    video=$data/cache/opencv-doc/vtest.avi
    if [[ ! -f "$video" ]]; then
      mkdir -p "$data/cache/opencv-doc"
      (
        cd "$data/cache/opencv-doc"
        apt-get download opencv-doc
        dpkg-deb --fsys-tarfile opencv-doc_*.deb |
          tar -x --strip-components=7 ./usr/share/doc/opencv-doc/examples/data/vtest.avi
        rm -f opencv-doc_*.deb
      ) >"$logs/video.log" 2>&1 ||
        fail "no test video: see $logs/video.log"
    fi
  fi
  start camera '^ready port=' /usr/bin/python3 "$root/tests/rtsp/camera.py" \
    --port "$camera_port" --cache "$data/cache/loops" \
    --mount "demo,video=$video,gop=2"
  camera=rtsp://127.0.0.1:$camera_port/demo
  say "test camera     $camera"
fi
# The places of the cameras; one's own list, once it is there, stays.
[[ -f "$data/camera_data.csv" ]] || cp "$root/deploy/camera_data.csv" "$data/"
for name in aggregator inference capture gateway; do
  start "$name" 'msg="?serving' "$build/bin/camherd-$name" \
    --config "$root/deploy/config/camherd.yaml" --data-dir "$data"
done
say "four services   logs in $logs"
say "page            http://localhost:5000/"

# The stream.

# Escapes a string for JSON; control characters are the gateway's to refuse.
json_string() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# request METHOD PATH [BODY]: prints the answer's body, then its HTTP code on a
# line of its own. The body travels by standard input: it may hold a password.
request() {
  printf '%s' "${3:-}" | curl -sS --noproxy '*' --max-time 20 -X "$1" \
    -H 'Content-Type: application/json' ${3:+--data-binary @-} \
    -w '\n%{http_code}\n' "$api$2"
}

# field NAME... : the value under these keys of the JSON on standard input.
field() {
  python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value.get(key, "") if isinstance(value, dict) else ""
print(value if value is not None else "")' "$@"
}

stop_stream() {
  local answer code
  stream_started=false
  answer=$(request POST /stop "{\"process_name\": $(json_string "$process_name")}") ||
    return 1
  code=${answer##*$'\n'}
  case "$code" in
    200) say "stream $process_name is stopped; its grid: $(newest_grid)" ;;
    409) say "stream $process_name is stopped; too few frames for a grid" ;;
    *) return 1 ;;
  esac
}

newest_grid() {
  find "$data/images" -maxdepth 1 -name '*.jpg' -newer "$logs/started" \
    -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-
}

record_count() {
  if [[ -f "$data/predictions.json" ]]; then
    wc -l <"$data/predictions.json"
  else
    echo 0
  fi
}

step "5/6 Stream"
touch "$logs/started"
records_before=$(record_count)
body="{\"rtsp_url\": $(json_string "$camera"), \"camera_id\": \"CAM-001\","
body+=" \"model_name\": $(json_string "$model")}"

answer=$(request POST /start_stream "$body") || fail "the gateway does not answer"
code=${answer##*$'\n'}
if [[ "$code" == 409 && "$answer" == *ALREADY_EXISTS* ]]; then
  say "CAM-001 still runs from an earlier time with other settings: stopping that"
  request POST /stop '{"process_name": "CAM-001"}' >/dev/null || true
  answer=$(request POST /start_stream "$body") || fail "the gateway does not answer"
  code=${answer##*$'\n'}
fi
answer=${answer%$'\n'*}
[[ "$code" == 200 ]] ||
  fail "the stream was not started: $(field error message <<<"$answer")"
unset body
stream_id=$(field stream_id <<<"$answer")
process_name=$(field process_name <<<"$answer")
stream_started=true
say "started as $process_name: one frame every 3 s, model $model"

# Until the first record.

# One line: state, captured frames, reason of the stream.
stream_line() {
  request GET "/api/v1/streams/$stream_id" | head -n -1 | python3 -c '
import json, sys
stream = json.load(sys.stdin)
stream = stream.get("stream", stream)
reason = stream["state_reason"] or stream["sending_reason"]
print(stream["state"], stream["accounting"]["captured"], reason or "-", sep="\t")'
}

# One line: state and progress of the model.
model_line() {
  request GET "/api/v1/models/$model" | head -n -1 | python3 -c '
import json, sys
model = json.load(sys.stdin)
model = model.get("model", model)
steps = ""
if model["progress_total"]:
    steps = "%d of %d " % (model["progress_done"], model["progress_total"])
text = model["reason"] if model["state"] == "failed" else model["progress_text"]
hint = " " + model["hint"] if model["state"] == "failed" else ""
print(model["state"], (steps + text + hint).replace("\n", "\n    ") or "-", sep="\t")'
}

was_running=false
began=$SECONDS
preparing_until=$SECONDS
while (($(record_count) <= records_before)); do
  check_alive
  IFS=$'\t' read -r state captured reason < <(stream_line) ||
    fail "the gateway does not answer; see $logs/gateway.log"
  IFS=$'\t' read -r model_state model_text < <(model_line) || model_state=unknown
  if [[ "$state" == running ]] && ! "$was_running"; then
    was_running=true
    progress_end
    say "camera is running after $((SECONDS - began)) s"
  fi
  case "$model_state" in
    failed)
      fail "the model $model cannot run: $model_text" ;;
    creating | installing | loading)
      preparing_until=$SECONDS ;;
  esac
  if [[ "$state" != running ]]; then
    progress "camera: $state, $reason"
  elif [[ "$model_state" != ready ]]; then
    # The count only where the line is written over.
    progress "${line_start:+$captured frames; }model $model is $model_state: $model_text"
  elif ((captured < 10)); then
    progress "frames captured: $captured of 10"
  else
    progress "frames captured: $captured; the first batch is in work"
  fi
  if "$check"; then
    "$was_running" || ((SECONDS - began < camera_wait)) ||
      fail "the camera is not running after $camera_wait s: $state, $reason"
    ((SECONDS - preparing_until < 150)) ||
      fail "no record after 150 s: $state, $captured frames, $reason"
  fi
  sleep 0.5
done
progress_end

# What came out.

step "6/6 First record"
sed -n "$((records_before + 1))p" "$data/predictions.json" | python3 -c '
import json, re, sys

def shorten(value):
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > 3 and isinstance(value[0], dict):
        return [shorten(item) for item in value[:3]] + [f"... {len(value) - 3} more"]
    if isinstance(value, str) and len(value) > 200:
        return f"{value[:32]}... ({len(value)} characters)"
    return value

record = shorten(json.load(sys.stdin))
record.pop("meta", None)
text = json.dumps(record, indent=2, ensure_ascii=False)
text = re.sub(r"\[\s+(-?\d+),\s+(-?\d+),\s+(-?\d+),\s+(-?\d+)\s+\]", r"[\1, \2, \3, \4]", text)
print("    " + text.replace("\n", "\n    "))'

if "$check"; then
  stop_stream || fail "the stream could not be stopped"
  grid=$(newest_grid)
  [[ -n "$grid" ]] || fail "no grid in $data/images"
else
  grid=$data/images/${process_name}_now.jpg
  mkdir -p "$data/images"
  curl -sSf --noproxy '*' --max-time 20 -o "$grid" "$api/api/v1/streams/$stream_id/grid.jpg" ||
    grid="(not yet; made when the stream stops, in $data/images)"
fi
say ""
say "records   $data/predictions.json"
say "grid      $grid"
say "page      http://localhost:5000/"
if "$check"; then
  step "Check passed"
  exit 0
fi
say ""
step "Running until Ctrl-C"
while true; do
  check_alive
  sleep 1
done
