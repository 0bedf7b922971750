# SPDX-License-Identifier: Apache-2.0
"""Runs the four real services on free ports with a folder of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TEST_BUILD_DIR", ROOT / "build" / "release"))
LOOPS = Path(os.environ.get("TEST_LOOPS_DIR", ROOT / "build" / "loops"))
KEEP_FRAMES = BUILD / "tests" / "e2e" / "libcamherd_keep_frames.so"
DISK_SHIM = BUILD / "tests" / "support" / "libcamherd_disk_shim.so"
SHARED = ROOT.parent / "shared" / "data"
VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")

# Before a command: the process ends when this one does.
WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")

# gRPC's own handling of fork aborts when a process is started beside a channel.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# In order of starting: each needs those before it.
SERVICES = ("aggregator", "inference", "capture", "gateway")

T = TypeVar("T")


def weights_dir() -> Path | None:
    """Where model weights are on this machine; None: nowhere."""
    places = [os.environ.get("CAMHERD_WEIGHTS_DIR", ""), str(SHARED / "weights")]
    for place in places:
        if place and (Path(place) / "yolov8n.pt").is_file():
            return Path(place)
    return None


def wait_for(
    condition: Callable[[], T],
    timeout: float = 30.0,
    what: str | Callable[[], str] = "",
    every: float = 0.05,
) -> T:
    """Calls until the answer is true, and returns it; fails after `timeout`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"after {timeout:g} s still not: {text or condition}")
        threading.Event().wait(every)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Service:
    """One process, and what is known of it."""

    name: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    # Addresses by name, from its last `serving` line.
    addresses: dict[str, list[str]] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """True from start to end of the process."""
        return self.process is not None and self.process.poll() is None


def compile_protos(out: Path) -> None:
    """Makes the Python messages and stubs of proto/."""
    sources = sorted(str(p) for p in (ROOT / "proto" / "camherd" / "v1").glob("*.proto"))
    plugin = shutil.which("grpc_python_plugin")
    subprocess.run(
        ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
        + [f"--plugin=protoc-gen-grpc_python={plugin}", *sources],
        check=True,
    )


def import_protos() -> None:
    """Makes `import camherd.v1...` work in this process."""
    if "camherd_protos" in sys.modules:
        return
    out = Path(tempfile.mkdtemp(prefix="camherd-protos-"))
    try:
        compile_protos(out)
        sys.path.insert(0, str(out))
        import camherd.v1.aggregator_service_pb2_grpc
        import camherd.v1.capture_service_pb2_grpc
        import camherd.v1.inference_service_pb2_grpc  # noqa: F401
    finally:
        shutil.rmtree(out)
    sys.modules["camherd_protos"] = sys.modules[__name__]


class Herd:
    """The four services of one test, from start() to stop().

    Addresses are free ports, kept over restarts of a service. Everything is
    under `folder`: data/, logs, models/ where the test has its own.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str] | None = None,
        preload: dict[str, str] | None = None,
    ) -> None:
        """`settings`: CAMHERD_* variables without the prefix. `preload`: more
        variables of the capture process only."""
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.services = {name: Service(name, folder / f"{name}.log") for name in SERVICES}
        self.settings = {**FAST, **(settings or {})}
        # More variables: of one service, and of all.
        self.own: dict[str, dict[str, str]] = {"capture": preload or {}}
        self.environment: dict[str, str] = {}
        # Of the requests to the gateway that bring no header of their own.
        self.token = ""

    # Processes.

    def start(self, names: Sequence[str] = SERVICES) -> Herd:
        """Starts the services that are not running, in their order."""
        for name in SERVICES:
            if name in names and not self.services[name].running:
                self._start_one(self.services[name])
        return self

    def _environment(self, name: str) -> dict[str, str]:
        known = {k: v for k, v in os.environ.items() if not k.startswith("CAMHERD_")}
        weights = weights_dir()
        if weights is not None:
            known["CAMHERD_WEIGHTS_DIR"] = str(weights)
        settings = dict(self.settings)

        def address(service: str, key: str = "grpc") -> str:
            listed = self.services[service].addresses.get(key)
            return ",".join(listed) if listed else ""

        any_port = "127.0.0.1:0"
        for service in SERVICES:
            upper = service.upper()
            listen = "127.0.0.1:0,127.0.0.1:0" if service == "gateway" else any_port
            key = "http" if service == "gateway" else "grpc"
            settings.setdefault(f"{upper}_LISTEN", address(service, key) or listen)
            settings.setdefault(f"{upper}_METRICS_LISTEN", address(service, "metrics") or any_port)
        for key, service in TARGETS.items():
            settings.setdefault(key, address(service))
        own = f"{name.upper()}_"
        for key, value in settings.items():
            if key.startswith((own, "COMMON_")) or key in ("WEIGHTS_DIR",):
                known[f"CAMHERD_{key}"] = value
        known.update(self.environment)
        known.update(self.own.get(name, {}))
        return known

    def _start_one(self, service: Service) -> None:
        start = service.log.stat().st_size if service.log.exists() else 0
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                [*WITH_PARENT, str(BUILD / "bin" / f"camherd-{service.name}")]
                + ["--config", str(ROOT / "deploy" / "config" / "camherd.yaml")]
                + ["--data-dir", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(service.name),
                cwd=self.folder,
            )

        def serving() -> re.Match[str] | None:
            if not service.running:
                raise AssertionError(
                    f"{service.name} ended at its start:\n{self.tail(service.name)}"
                )
            with service.log.open(errors="replace") as log:
                log.seek(start)
                return re.search(r'msg="?serving"?( .*)?$', log.read(), re.MULTILINE)

        found = wait_for(serving, 30, lambda: f"{service.name} serving\n{self.tail(service.name)}")
        for key, value in re.findall(r'(\w+)="?([^\s"]+)"?', found.group(1) or ""):
            if key in ("grpc", "metrics", "http"):
                service.addresses[key] = value.split(",")

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to a service; does not wait."""
        process = self.services[name].process
        assert process is not None
        process.send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL, and waits for the end."""
        self.signal(name, signal.SIGKILL)
        self.services[name].process.wait(10)

    def terminate(self, name: str) -> None:
        """SIGTERM; fails unless it exits with 0 within 10 s."""
        self.signal(name, signal.SIGTERM)
        try:
            code = self.services[name].process.wait(10)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{name} runs 10 s after SIGTERM:\n{self.tail(name)}") from error
        assert code == 0, f"{name} exited with {code} after SIGTERM:\n{self.tail(name)}"

    def restart(self, name: str) -> None:
        """Starts a service that ended, on the addresses it had."""
        assert not self.services[name].running
        self._start_one(self.services[name])
        if name != "gateway" and self.services["gateway"].running:
            # The gateway's connection to it comes back after a pause.
            wait_for(
                lambda: self.get("/readyz").json["services"][name]["ready"],
                15,
                lambda: f"{name} ready: {self.get('/readyz').text}",
            )

    def stop(self) -> None:
        """SIGTERM to all in reverse order; fails unless all exit with 0."""
        failures = []
        for name in reversed(SERVICES):
            if self.services[name].running:
                try:
                    self.terminate(name)
                except AssertionError as error:
                    failures.append(str(error))
        self.kill_all()
        assert not failures, "\n".join(failures)

    def kill_all(self) -> None:
        """Whatever still runs, ends."""
        for service in self.services.values():
            if service.running:
                service.process.kill()
                service.process.wait()

    def processes(self) -> list[tuple[int, str]]:
        """Processes that have this herd's folder in their command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(self.folder) in line:
                    found.append((int(path.name), line))
        return found

    def log(self, name: str) -> str:
        """All that a service has logged."""
        path = self.services[name].log
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, name: str, lines: int = 25) -> str:
        """The end of a service's log."""
        return "\n".join(self.log(name).splitlines()[-lines:])

    # HTTP.

    def port(self, listener: int = 0) -> int:
        """The gateway's port: 0 the one of 5000, 1 the one of 8000."""
        return int(self.services["gateway"].addresses["http"][listener].rsplit(":", 1)[1])

    def url(self, path: str = "", listener: int = 0) -> str:
        """A gateway address."""
        return f"http://127.0.0.1:{self.port(listener)}{path}"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | dict[str, Any] | list[Any] | None = None,
        headers: dict[str, str] | None = None,
        listener: int = 0,
    ) -> Answer:
        """One HTTP request; a dict or list is sent as JSON, a string as a form."""
        headers = dict(headers or {})
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, dict | list):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        elif isinstance(body, str):
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = http.client.HTTPConnection("127.0.0.1", self.port(listener), timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            lowered = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, lowered, response.read())

    def get(self, path: str) -> Answer:
        """GET of a path."""
        return self.request("GET", path)

    def start_stream(self, url: str, expect: int = 200, **fields: Any) -> Any:  # noqa: ANN401
        """POST /start_stream; the JSON answered."""
        answer = self.request("POST", "/start_stream", {"rtsp_url": url, **fields})
        assert answer.status == expect, f"{answer.status}: {answer.text}"
        return answer.json

    def stop_stream(self, process_name: str) -> Answer:
        """POST /stop."""
        return self.request("POST", "/stop", f"process_name={process_name}", listener=1)

    def streams(self) -> list[dict[str, Any]]:
        """All streams, by REST."""
        listed: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.get(f"/api/v1/streams?page_size=1000&page_token={token}").json
            listed += page["streams"]
            token = page.get("next_page_token") or ""
            if not token:
                return listed

    def stream(self, name: str) -> dict[str, Any]:
        """One stream, by REST."""
        answer = self.get(f"/api/v1/streams/{name}")
        assert answer.status == 200, answer.text
        return answer.json

    def wait_stream(
        self,
        name: str,
        condition: Callable[[dict[str, Any]], Any],
        timeout: float = 30.0,
        what: str = "",
    ) -> dict[str, Any]:
        """Waits until a stream is as wanted, and returns it."""
        last: dict[str, Any] = {}

        def check() -> dict[str, Any] | None:
            nonlocal last
            answer = self.get(f"/api/v1/streams/{name}")
            last = answer.json
            if answer.status == 503:
                return None
            assert answer.status == 200, answer.text
            return last if condition(last) else None

        return wait_for(check, timeout, lambda: f"{what} {json.dumps(last, indent=1)}")

    def wait_state(self, name: str, state: str, timeout: float = 30.0) -> dict[str, Any]:
        """Waits for a state."""
        return self.wait_stream(name, lambda s: s["state"] == state, timeout, f"state {state}")

    def wait_captured(self, name: str, count: int, timeout: float = 60.0) -> dict[str, Any]:
        """Waits until so many frames are captured."""
        return self.wait_stream(
            name, lambda s: s["accounting"]["captured"] >= count, timeout, f"{count} frames"
        )

    # Records.

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of predictions.json."""
        path = self.data / "predictions.json"
        if not path.exists():
            return []
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_records(self, count: int, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Waits until predictions.json has so many lines."""

        def enough() -> list[dict[str, Any]] | None:
            lines = self.lines()
            return lines if len(lines) >= count else None

        return wait_for(enough, timeout, lambda: f"{count} records, {len(self.lines())} there")

    # gRPC.

    @contextlib.contextmanager
    def stub(self, name: str) -> Iterator[Any]:
        """A stub of one service."""
        import_protos()
        import grpc
        from camherd.v1 import (
            aggregator_service_pb2_grpc,
            capture_service_pb2_grpc,
            inference_service_pb2_grpc,
        )

        stubs = {
            "aggregator": aggregator_service_pb2_grpc.AggregatorServiceStub,
            "inference": inference_service_pb2_grpc.InferenceServiceStub,
            "capture": capture_service_pb2_grpc.CaptureServiceStub,
        }
        with grpc.insecure_channel(self.services[name].addresses["grpc"][0]) as channel:
            yield stubs[name](channel)

    def metrics(self, name: str) -> str:
        """A service's metrics, as text."""
        host, port = self.services[name].addresses["metrics"][0].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    # What holds at every moment.

    def check_accounting(self) -> None:
        """The identities of the design's rule 3, by RPC, by REST and in the
        metrics, and that each recorded frame is in exactly one record."""
        if not self.services["capture"].running:
            return
        import_protos()
        from camherd.v1 import capture_service_pb2

        with self.stub("capture") as capture:
            listed = capture.ListStreams(
                capture_service_pb2.ListStreamsRequest(page_size=1000), timeout=10
            ).streams
        for stream in listed:
            a = stream.accounting
            missed, dropped = sum(a.missed.values()), sum(a.dropped.values())
            text = f"{stream.process_name}: {a}"
            assert a.due == a.captured + missed, text
            assert a.captured == a.recorded + dropped + a.spooled + a.ranked_only, text
        if self.services["gateway"].running:
            for stream in self.streams():
                check_identities(stream["accounting"], stream["process_name"])
        check_metrics(self.metrics("capture"))
        self._check_records({s.session_id: s for s in listed})

    def _check_records(self, by_session: dict[str, Any]) -> None:
        """Exactly once: every recorded batch is one line, and no line is more."""
        frames: dict[str, int] = {}
        seen = set()
        for line in self.lines():
            meta = line["meta"]
            key = (meta["session_id"], meta["batch_seq"], meta.get("frame_index"))
            assert key not in seen, f"recorded twice: {key}"
            seen.add(key)
            frames[key[0]] = frames.get(key[0], 0) + len(meta["frames"])
        if "AGGREGATOR_PER_FRAME_RECORDS" in self.settings:
            return
        for session, stream in by_session.items():
            a = stream.accounting
            # Recorded but not yet acknowledged: in both counts for a moment.
            assert a.recorded <= frames.get(session, 0) <= a.recorded + a.spooled, (
                f"{stream.process_name}: {frames.get(session, 0)} frames in records, {a}"
            )


def check_identities(accounting: dict[str, Any], name: str = "") -> None:
    """due = captured + missed; captured = recorded + dropped + spooled + ranked_only."""
    a = accounting
    missed, dropped = sum(a["missed"].values()), sum(a["dropped"].values())
    assert a["due"] == a["captured"] + missed, f"{name}: {a}"
    parts = a["recorded"] + dropped + a["spooled"] + a["ranked_only"]
    assert a["captured"] == parts, f"{name}: {a}"


def check_metrics(text: str) -> None:
    """The same over all streams, from one exposition."""
    total: dict[str, float] = {}
    pattern = r"^camherd_capture_frames_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$"
    for name, value in re.findall(pattern, text, re.MULTILINE):
        total[name] = total.get(name, 0) + float(value)
    assert total["due"] == total["captured"] + total["missed"], total
    parts = ("recorded", "dropped", "spooled", "ranked_only")
    assert total["captured"] == sum(total[part] for part in parts), total


# What a service needs to know of the others.
TARGETS = {
    "INFERENCE_AGGREGATOR": "aggregator",
    "CAPTURE_INFERENCE": "inference",
    "CAPTURE_AGGREGATOR": "aggregator",
    "GATEWAY_CAPTURE": "capture",
    "GATEWAY_INFERENCE": "inference",
    "GATEWAY_AGGREGATOR": "aggregator",
}

# Times short enough for tests.
FAST = {
    # Makes a small environment in a tenth of pip's time; pip has a test of its own.
    "INFERENCE_UV": str(Path(sys.executable).parent / "uv"),
    "CAPTURE_RETRY_INITIAL_SECONDS": "0.2",
    "CAPTURE_RETRY_SOON_MAX_SECONDS": "1",
    "CAPTURE_RETRY_MAX_SECONDS": "1",
    "CAPTURE_RETRY_SLOW_SECONDS": "1",
    "CAPTURE_STALL_TIMEOUT_SECONDS": "2",
    "CAPTURE_CONNECT_TIMEOUT_SECONDS": "4",
    "CAPTURE_CONNECTS_PER_SECOND_PER_HOST": "100",
    "CAPTURE_CONNECTS_PER_SECOND": "100",
    "CAPTURE_SEND_RETRY_INITIAL_SECONDS": "0.2",
    "CAPTURE_SEND_RETRY_MAX_SECONDS": "1",
    "CAPTURE_SEND_RETRY_SLOW_SECONDS": "1",
    "INFERENCE_ADMISSION_RETRY_SECONDS": "0.2",
    "INFERENCE_MODEL_RETRY_SECONDS": "0.3",
    "INFERENCE_AGGREGATOR_RETRY_SECONDS": "0.3",
    "INFERENCE_FETCH_WEIGHTS": "false",
    "AGGREGATOR_CSV_POLL_SECONDS": "0.2",
}


class Camera:
    """tests/rtsp/camera.py as a process; its port stays over restarts."""

    def __init__(
        self,
        *mounts: str,
        auth: str = "none",
        user: str = "admin",
        password: str = "",
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        """`tls`: certificate and key, for rtsps."""
        self._tls = tls
        self._mounts = mounts
        self._auth = auth
        self.user = user
        self.password = password
        self.port = port
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Starts it; returns when it serves."""
        command = ["/usr/bin/python3", str(ROOT / "tests" / "rtsp" / "camera.py")]
        command += ["--port", str(self.port), "--cache", str(LOOPS), "--with-parent"]
        command += ["--auth", self._auth, "--user", self.user]
        if self._tls is not None:
            command += ["--tls-cert", str(self._tls[0]), "--tls-key", str(self._tls[1])]
        for mount in self._mounts:
            command += ["--mount", mount]
        environment = {**os.environ, "CAM_PASSWORD": self.password}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, stdin=subprocess.DEVNULL
        )
        line = self._process.stdout.readline()
        found = re.fullmatch(r"ready port=(\d+)\n", line)
        assert found, f"camera did not start: {line!r}"
        self.port = int(found.group(1))

    def signal(self, number: int) -> None:
        """SIGSTOP: half-open connections; SIGCONT: on again."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """As if unplugged and rebooting."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def url(self, path: str = "demo", user: str | None = None, password: str = "") -> str:
        """An address of this camera, with its own credentials by default."""
        if user is None and self._auth != "none":
            user, password = self.user, self.password
        info = f"{user}:{password}@" if user else ""
        scheme = "rtsp" if self._tls is None else "rtsps"
        return f"{scheme}://{info}127.0.0.1:{self.port}/{path}"

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port() -> int:
    """A port nobody has now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
