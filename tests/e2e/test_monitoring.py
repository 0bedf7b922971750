# SPDX-License-Identifier: Apache-2.0
"""Metrics as they are used: a real Prometheus scrapes the services, by the rules
and dashboards of deploy/, and the table of all metrics is what there is."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import HerdMaker, new_herd
from harness import ROOT, SERVICES, VTEST, WITH_PARENT, Camera, Herd, free_port, wait_for

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
RULES = yaml.safe_load((PROMETHEUS / "camherd.rules.yml").read_text())["groups"]
CAMERA = "CAM-001"

# Series that carry a camera_id, of a stream that has no picture yet.
PER_STREAM = 7
SCRAPE_SECONDS = 0.5

# What Prometheus adds.
TARGET_LABELS = {"job", "instance"}
# Of Prometheus itself.
OWN_METRICS = {"up": TARGET_LABELS, "ALERTS": {"alertname", "alertstate", "severity"}}


# What the services have.

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def families(text: str) -> dict[str, set[str]]:
    """Of an exposition, each metric with the names of its labels; a histogram is
    one, with `le`. Without those that the library has of its own scrapes."""
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for name, labels in _SAMPLE.findall(text):
        if name.startswith("exposer_"):
            continue
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if kinds.get(base) != "histogram":
            base = name
        found.setdefault(base, set()).update(key for key, _ in _LABEL.findall(labels))
    return found


def series(text: str) -> int:
    """Lines of an exposition that are no comments."""
    return len(_SAMPLE.findall(text))


def table() -> dict[str, tuple[str, set[str]]]:
    """Of README.md each metric, with its service and the names of its labels."""
    found: dict[str, tuple[str, set[str]]] = {}
    service = ""
    for row in (PROMETHEUS / "README.md").read_text().splitlines():
        if heading := re.match(r"\| \*\*(all services|\w+)\*\* \|", row):
            service = heading[1]
        elif metric := re.match(r"\| `(camherd_\w+)`[^|]*\|([^|]*)\|", row):
            assert metric[1] not in found, f"{metric[1]} is there twice"
            found[metric[1]] = (service, set(re.findall(r"`(\w+)`", metric[2])))
    return found


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate and its key, as files."""
    pem, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-days", "30", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return str(pem), str(key)


class Prometheus:
    """A real one on loopback, with the rules and the jobs of deploy/prometheus,
    that scrapes the herd's services."""

    def __init__(self, folder: Path, herd: Herd) -> None:
        folder.mkdir()
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        seconds = f"{int(SCRAPE_SECONDS * 1000)}ms"
        config["global"] = {"scrape_interval": seconds, "evaluation_interval": seconds}
        config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            service = job["job_name"].removeprefix("camherd-")
            job["static_configs"] = [{"targets": herd.services[service].addresses["metrics"]}]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self.log = folder / "prometheus.log"
        # It does not tell which port it took; nobody else asks for one now.
        self.port = free_port()
        command = [*WITH_PARENT, "prometheus", f"--config.file={file}"]
        command += [f"--storage.tsdb.path={folder / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            wait_for(self._ready, 30, lambda: f"Prometheus ready\n{self.log.read_text()}")
        except BaseException:
            self.close()
            raise

    def _ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        _, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        answer = json.loads(body)
        assert answer["status"] == "success", f"{expression}: {body}"
        return answer["data"]["result"]

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Herd, Prometheus]]:
    """A herd that has done everything once, and its Prometheus, which has seen it."""
    folder = tmp_path_factory.mktemp("monitoring")
    herd = new_herd(folder / "herd")
    prometheus: Prometheus | None = None
    try:
        herd.start()
        prometheus = Prometheus(folder / "prometheus", herd)
        with Camera(f"demo,video={VTEST},gop=1,seconds=10,size=320x240") as camera:
            work(herd, camera)
            # Records come on until Prometheus has seen them grow.
            wait_for(
                lambda: prometheus.query("rate(camherd_aggregator_records_total[5m]) > 0"),
                30,
                "Prometheus has seen records",
            )
            scrape = "min(scrape_samples_scraped)"
            wait_for(lambda: prometheus.query(scrape), 10, scrape)
        yield herd, prometheus
        herd.check_accounting()
        herd.stop()
    finally:
        herd.kill_all()
        if prometheus is not None:
            prometheus.close()


def work(herd: Herd, camera: Camera) -> None:
    """What makes every series there is without TLS."""
    herd.start_stream(camera.url(), camera_id=CAMERA, interval=0.2, batch_size=2)
    herd.wait_records(2)
    grid = herd.start_stream(camera.url(), camera_id="grid", interval=0.1, models=[])
    herd.wait_captured("grid", 9)
    assert herd.stop_stream(grid["process_name"]).status == 200
    # Refused before it is a request.
    with socket.create_connection(("127.0.0.1", herd.port()), timeout=10) as broken:
        broken.sendall(b"no HTTP\r\n\r\n")
        while broken.recv(4096):
            pass


def test_the_table_of_metrics_is_what_the_services_have(
    watched: tuple[Herd, Prometheus], make_herd: HerdMaker, tmp_path: Path
) -> None:
    herd, _ = watched
    live = {name: families(herd.metrics(name)) for name in SERVICES}
    # With TLS there are more.
    pem, key = certificate(tmp_path)
    secure = make_herd(start=False, GATEWAY_TLS_CERTIFICATE=pem, GATEWAY_TLS_KEY=key)
    tls = {"CERTIFICATE_FILE": pem, "KEY_FILE": key, "CA_FILE": pem}
    secure.environment.update({f"CAMHERD_GRPC_TLS_{name}": value for name, value in tls.items()})
    secure.start(["gateway"])
    for name, labels in families(secure.metrics("gateway")).items():
        live["gateway"].setdefault(name, set()).update(labels)
    common = set.intersection(
        *(set(live[name]) for name in SERVICES),
    ) | {"camherd_grpc_certificate_expiry_timestamp_seconds", "camherd_audit_lines_total"}
    found = {
        metric: ("all services" if metric in common else service, labels)
        for service in SERVICES
        for metric, labels in live[service].items()
    }
    assert found == table()


def test_the_gateway_serves_the_same_at_its_own_port(watched: tuple[Herd, Prometheus]) -> None:
    herd, _ = watched
    answer = herd.get("/metrics")
    assert answer.status == 200
    # All but how long the first of these requests took.
    assert set(families(herd.metrics("gateway"))) == set(families(answer.text)), answer.text


def test_every_service_is_scraped_and_ready(watched: tuple[Herd, Prometheus]) -> None:
    _, prometheus = watched
    jobs = {f"camherd-{name}" for name in SERVICES}
    for metric in ("up", "camherd_ready"):
        by_job = {one["metric"]["job"]: one["value"][1] for one in prometheus.query(metric)}
        assert by_job == dict.fromkeys(jobs, "1"), metric
    assert len(prometheus.query("count by (version, commit) (camherd_build_info)")) == 1
    linked = prometheus.query("camherd_gateway_service_connected == 1")
    assert {one["metric"]["service"] for one in linked} == {"capture", "inference", "aggregator"}


def test_the_rules_are_evaluated(watched: tuple[Herd, Prometheus]) -> None:
    _, prometheus = watched
    groups = json.loads(prometheus.get("/api/v1/rules")[1])["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in RULES)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    firing = {
        alert["labels"]["alertname"]
        for alert in json.loads(prometheus.get("/api/v1/alerts")[1])["data"]["alerts"]
        if alert["state"] == "firing"
    }
    # Nobody has said where CAM-001 is; this machine's disk may be what it likes.
    assert firing - {"CamherdCaptureDiskLow", "CamherdAggregatorDiskLow"} <= {
        "CamherdCamerasWithoutPlace",
    }


def promtool(*arguments: str) -> str:
    """The output of a promtool that exits with 0."""
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, cwd=PROMETHEUS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_configuration_and_rules(tmp_path: Path) -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "camherd.rules.yml")
    # Debian's is built without Kubernetes: all but where the pods are found.
    config = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
    file = tmp_path / "kubernetes.yml"
    file.write_text(yaml.safe_dump(config))
    promtool("check", "config", str(file))


def test_each_alert_is_shown_quiet_and_firing() -> None:
    promtool("test", "rules", "camherd.rules.test.yml")
    shown: dict[str, set[bool]] = {}
    for test in yaml.safe_load((PROMETHEUS / "camherd.rules.test.yml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            shown.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    alerts = [rule for group in RULES for rule in group["rules"] if "alert" in rule]
    assert shown == {alert["alert"]: {True, False} for alert in alerts}
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), alert
        assert set(alert["annotations"]) == {"summary", "action"}, alert


# Queries.

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w:.])(camherd[\w:]+|up|ALERTS)(?![\w:(])")


def panels() -> Iterator[tuple[str, str]]:
    """(dashboard: panel, query) of every target."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.name}: {panel['title']}", target["expr"]


def queries() -> list[tuple[str, str]]:
    """(where, PromQL) of all dashboards, rules, and the adapter."""
    found = [(where, filled(query)) for where, query in panels()]
    for group in RULES:
        found += [(rule.get("alert") or rule["record"], rule["expr"]) for rule in group["rules"]]
    for rule in yaml.safe_load((PROMETHEUS / "adapter.yml").read_text())["rules"]:
        query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job=~".+"')
        found.append(("adapter.yml", query.replace("<<.GroupBy>>", "instance")))
    return found


def filled(query: str) -> str:
    """A panel's query as Grafana asks it, with "All" of each variable."""
    query = query.replace("$__rate_interval", "1m")
    return re.sub(r"\$(camera|model|instance)\b", ".+", query)


def recorded() -> dict[str, str]:
    """Recording rules: name and query."""
    return {r["record"]: r["expr"] for group in RULES for r in group["rules"] if "record" in r}


def labels_of(name: str, known: dict[str, set[str]]) -> set[str]:
    """Labels that a metric, or a recording rule, has at most."""
    records = recorded()
    if name in records:
        names = _NAME.findall(_STRING.sub('""', records[name]))
        return set.union(*(labels_of(one, known) for one in names))
    base = name if name in known else re.sub(r"_(bucket|sum|count)$", "", name)
    assert base in known, f"no service has {name}"
    return known[base] | TARGET_LABELS


def check_names(where: str, query: str, known: dict[str, set[str]]) -> None:
    """Fails where a query names what is not there."""
    plain = _STRING.sub('""', query)
    names = set(_NAME.findall(plain))
    assert names, f"{where}: {query}"
    may = set.union(*(labels_of(name, known) for name in names))
    if "ALERTS" in names:
        may |= {"camera_id", "model"}
    for name, matchers in _SELECTOR.findall(plain):
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert wanted <= labels_of(name, known), f"{where}: {name}{{{matchers}}}"
    for listed in _GROUPING.findall(plain):
        wanted = {label.strip() for label in listed.split(",") if label.strip()}
        assert wanted <= may, f"{where}: {listed} of {query}"


def test_queries_name_what_there_is() -> None:
    known = {name: labels for name, (_, labels) in table().items()} | OWN_METRICS
    for where, query in queries():
        check_names(where, query, known)
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
                assert asked[2] in labels_of(asked[1], known), variable


@pytest.mark.parametrize(
    "query",
    [
        "rate(camherd_capture_frame_total[5m])",
        'camherd_capture_streams{status="running"}',
        "sum by (camera) (camherd_capture_camera_running)",
        'camherd:capture_last_frame:age_seconds{model="x"}',
    ],
)
def test_a_query_of_what_is_not_there_is_found(query: str) -> None:
    known = {name: labels for name, (_, labels) in table().items()} | OWN_METRICS
    with pytest.raises(AssertionError):
        check_names("here", query, known)


# What shows mishaps only.
QUIET = {"fleet.json: Alerts that fire"}


def test_panels_show_something(watched: tuple[Herd, Prometheus]) -> None:
    _, prometheus = watched
    # Those that leave out what is 0 show what happens to be.
    empty = [
        f"{where}: {query}"
        for where, query in panels()
        if not prometheus.query(filled(query)) and where not in QUIET and not query.endswith("> 0")
    ]
    assert empty == []


def test_rules_and_adapter_can_be_asked(watched: tuple[Herd, Prometheus]) -> None:
    _, prometheus = watched
    for _, query in queries():
        prometheus.query(query)
    for name in recorded():
        assert prometheus.query(name) != [], name
    rule = yaml.safe_load((PROMETHEUS / "adapter.yml").read_text())["rules"][0]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job="camherd-inference"')
    [answer] = prometheus.query(query.replace("<<.GroupBy>>", "instance"))
    assert float(answer["value"][1]) >= 0


def test_dashboards_are_in_order() -> None:
    boards = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert [file.stem for file in DASHBOARDS] == ["camera", "fleet", "model", "node"]
    assert len({board["uid"] for board in boards}) == len(boards)
    for board in boards:
        check_board(board)


def check_board(board: dict[str, Any]) -> None:
    """Panels have a place of their own, variables are used, nothing is bound to
    one installation."""
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    used -= {"__rate_interval", "__all"}
    assert used == variables, board["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)), board["title"]
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & mine, f"{board['title']}: {panel['title']} overlaps"
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells |= mine
        for target in panel.get("targets", []):
            source = {"type": "prometheus", "uid": "${datasource}"}
            assert target["datasource"] == panel["datasource"] == source


# Cardinality.


def stored_streams(herd: Herd, first: int, count: int) -> None:
    """Starts streams of cameras that are not there."""
    nowhere = f"rtsp://127.0.0.1:{free_port()}/camera"

    def start(number: int) -> None:
        fields = {"rtsp_url": nowhere, "camera_id": f"camera-{number}", "models": ["animals"]}
        answer = herd.request("POST", "/api/v1/streams", fields)
        assert answer.status == 201, answer.text

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(first, first + count)))


def all_series(herd: Herd) -> dict[str, int]:
    """Series of each service."""
    return {name: series(herd.metrics(name)) for name in SERVICES}


def check_series(herd: Herd, count: int, per_camera: bool) -> None:
    """Series before and after so many more streams."""
    # What is counted from its first on: routes, answers, an environment built.
    stored_streams(herd, 0, 1)
    wait_for(
        lambda: herd.get("/api/v1/models/animals").json["state"] == "ready",
        60,
        lambda: herd.get("/api/v1/models/animals").text,
    )
    herd.get("/metrics")
    before = all_series(herd)
    stored_streams(herd, 1, count)
    after = all_series(herd)
    print(json.dumps({"streams": 1 + count, "per_camera": per_camera, **after}))
    if per_camera:
        before["capture"] += PER_STREAM * count
    assert after == before
    text = "".join(herd.metrics(name) for name in SERVICES)
    assert ("camera-" in text) == per_camera
    assert "rtsp:" not in text


def cardinality_is_bounded(make_herd: HerdMaker, count: int) -> None:
    """With and without camera_id."""
    for per_camera in (False, True):
        herd = make_herd(
            CAPTURE_PER_CAMERA_METRICS=str(per_camera).lower(),
            CAPTURE_ADMISSION="off",
            CAPTURE_RETRY_INITIAL_SECONDS="60",
            CAPTURE_RETRY_SOON_MAX_SECONDS="60",
            CAPTURE_RETRY_MAX_SECONDS="60",
        )
        check_series(herd, count, per_camera)


def test_the_number_of_series_is_known(make_herd: HerdMaker) -> None:
    cardinality_is_bounded(make_herd, 10)


@pytest.mark.long
def test_the_number_of_series_is_known_for_a_thousand_streams(make_herd: HerdMaker) -> None:
    cardinality_is_bounded(make_herd, 999)
