# SPDX-License-Identifier: Apache-2.0
"""Wrong fields: the answer names field and value, and nothing is made."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import struct
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from conftest import HerdMaker
from harness import Answer, Camera, Herd, wait_for

URL = "rtsp://127.0.0.1:9/demo"
LONG = "x" * 65

# What is wrong: (the fields sent, what the message must name).
WRONG: dict[str, tuple[Any, list[str]]] = {
    "rtsp_url_is_missing": ({"camera_id": "CAM-001"}, ["rtsp_url"]),
    "rtsp_url_is_empty": ({"rtsp_url": ""}, ["rtsp_url"]),
    # The value of a field that may hold a password is not shown.
    "rtsp_url_is_a_number": ({"rtsp_url": 5}, ["rtsp_url"]),
    "rtsp_url_is_null": ({"rtsp_url": None}, ["rtsp_url"]),
    "rtsp_url_is_a_list": ({"rtsp_url": [URL]}, ["rtsp_url"]),
    "scheme_http": ({"rtsp_url": "http://127.0.0.1/demo"}, ["rtsp_url", "http"]),
    "scheme_file": ({"rtsp_url": "file:///etc/passwd"}, ["rtsp_url", "file"]),
    "scheme_concat": ({"rtsp_url": "concat:rtsp://a|rtsp://b"}, ["rtsp_url"]),
    "no_scheme": ({"rtsp_url": "127.0.0.1/demo"}, ["rtsp_url"]),
    "no_host": ({"rtsp_url": "rtsp:///demo"}, ["rtsp_url"]),
    "port_too_large": ({"rtsp_url": "rtsp://127.0.0.1:70000/demo"}, ["rtsp_url"]),
    "newline_in_url": ({"rtsp_url": "rtsp://127.0.0.1/a\nb"}, ["rtsp_url"]),
    "nul_in_url": ({"rtsp_url": "rtsp://127.0.0.1/a\0b"}, ["rtsp_url"]),
    "escape_in_url": ({"rtsp_url": "rtsp://127.0.0.1/\x1b[31m"}, ["rtsp_url"]),
    "space_in_url": ({"rtsp_url": "rtsp://127.0.0.1/a b"}, ["rtsp_url"]),
    "two_at_signs": ({"rtsp_url": "rtsp://a@b@127.0.0.1/demo"}, ["rtsp_url"]),
    "camera_id_with_slash": ({"rtsp_url": URL, "camera_id": "../x"}, ["camera_id", "../x"]),
    "camera_id_with_dot_first": ({"rtsp_url": URL, "camera_id": ".x"}, ["camera_id", ".x"]),
    "camera_id_too_long": ({"rtsp_url": URL, "camera_id": LONG}, ["camera_id", "xxx"]),
    "camera_id_with_newline": ({"rtsp_url": URL, "camera_id": "a\nb"}, ["camera_id"]),
    "camera_id_is_a_number": ({"rtsp_url": URL, "camera_id": 7}, ["camera_id", "7"]),
    "model_name_with_slash": ({"rtsp_url": URL, "model_name": "../x"}, ["model", "../x"]),
    "model_name_too_long": ({"rtsp_url": URL, "model_name": LONG}, ["model", "xxx"]),
    "model_name_is_unknown": ({"rtsp_url": URL, "model_name": "unicorns"}, ["model", "unicorns"]),
    "model_name_is_a_number": ({"rtsp_url": URL, "model_name": 3}, ["model", "3"]),
    "interval_is_0": ({"rtsp_url": URL, "interval": 0}, ["interval", "0"]),
    "interval_is_negative": ({"rtsp_url": URL, "interval": -1}, ["interval", "-1"]),
    "interval_is_1e-9": ({"rtsp_url": URL, "interval": 1e-9}, ["interval", "1e-09"]),
    "interval_is_over_a_day": ({"rtsp_url": URL, "interval": 86401}, ["interval", "86401"]),
    "interval_is_nan": ({"rtsp_url": URL, "interval": "NaN"}, ["interval", "an"]),
    "interval_is_infinite": ({"rtsp_url": URL, "interval": "inf"}, ["interval", "inf"]),
    "interval_is_text": ({"rtsp_url": URL, "interval": "soon"}, ["interval", "soon"]),
    "interval_is_true": ({"rtsp_url": URL, "interval": True}, ["interval", "true"]),
    "an_unknown_field": ({"rtsp_url": URL, "colour": "red"}, ["colour"]),
}


def assert_nothing_was_made(herd: Herd) -> None:
    """No stream, no folder, no environment, no process of a model."""
    assert herd.streams() == []
    for folder in ("frames", "brightest", "venvs", "images"):
        path = herd.data / folder
        assert not path.exists() or list(path.iterdir()) == [], folder
    assert len(herd.processes()) == 4, herd.processes()


def assert_error(answer: Answer, names: list[str], status: int = 400) -> None:
    """One error object that names what is wrong."""
    assert answer.status == status, answer.text
    error = answer.json["error"]
    assert error["code"] == status
    assert error["status"]
    for name in names:
        assert name.lower() in error["message"].lower(), error["message"]


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("path", ["/start_stream", "/start", "/api/v1/streams"])
def test_a_wrong_field_in_json_is_named(module_herd: Herd, path: str, case: str) -> None:
    fields, names = WRONG[case]
    answer = module_herd.request("POST", path, fields)
    assert_error(answer, names)
    assert_nothing_was_made(module_herd)


def form(fields: dict[str, Any]) -> str:
    """The fields as a form."""
    from urllib.parse import urlencode

    return urlencode({k: v for k, v in fields.items() if v is not None})


@pytest.mark.parametrize(
    "case", [k for k, (f, _) in WRONG.items() if not any(isinstance(v, list) for v in f.values())]
)
@pytest.mark.parametrize("path", ["/start_stream", "/start"])
def test_a_wrong_field_in_a_form_is_named(module_herd: Herd, path: str, case: str) -> None:
    fields, names = WRONG[case]
    # A form has text only: numbers where text is wanted are good there.
    if case in ("camera_id_is_a_number", "interval_is_true"):
        pytest.skip("text in a form")
    answer = module_herd.request("POST", path, form(fields), listener=1)
    assert answer.status == 400, answer.text
    for name in names:
        assert name.lower() in answer.text.lower(), answer.text
    assert_nothing_was_made(module_herd)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b"[]",
        b'"rtsp_url"',
        b"null",
        b'{"rtsp_url": "rtsp://127.0.0.1/a",}',
        b'{"rtsp_url": "rtsp://127.0.0.1/a"} x',
        b'{"rtsp_url": NaN}',
        b'{"rtsp_url": "\xff\xfe"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 60000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_refused(module_herd: Herd, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = module_herd.request("POST", "/start_stream", body, headers)
    assert_error(answer, [])
    assert_nothing_was_made(module_herd)


def test_a_body_over_64_kb_is_refused(module_herd: Herd) -> None:
    body = {"rtsp_url": URL, "camera_id": "x" * (64 << 10)}
    answer = module_herd.request("POST", "/start_stream", body)
    assert answer.status == 413, answer.text
    assert_nothing_was_made(module_herd)


def test_an_unknown_process_name_lists_what_runs(module_herd: Herd) -> None:
    answer = module_herd.stop_stream("nosuch")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "nosuch" in answer.text


@pytest.mark.parametrize(
    ("body", "names"),
    [("", ["process_name"]), ("process_name=", ["process_name"]), ("name=demo", ["name"])],
    ids=["nothing", "empty", "unknown_field"],
)
def test_a_stop_without_a_process_name_is_refused(
    module_herd: Herd, body: str, names: list[str]
) -> None:
    answer = module_herd.request("POST", "/stop", body, listener=1)
    assert answer.status == 400, answer.text
    for name in names:
        assert name in answer.text


def test_a_hostile_process_name_is_escaped_in_the_page(module_herd: Herd) -> None:
    name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    answer = module_herd.stop_stream(name)
    assert answer.status in (400, 404)
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nosuch", 404),
        ("GET", "/start_stream", 405),
        ("PUT", "/stop", 405),
        ("GET", "/api/v1/streams/nosuch", 404),
        ("GET", "/api/v1/models/nosuch", 404),
        ("GET", "/api/v1/records/999999", 404),
        ("GET", "/api/v1/records/abc", 400),
        ("GET", "/api/v1/cameras/nosuch", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
    ],
)
def test_what_is_not_there_says_so(module_herd: Herd, method: str, path: str, status: int) -> None:
    answer = module_herd.request(method, path)
    assert answer.status in (status, 400), answer.text
    assert "root:" not in answer.text


HOSTILE = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "' OR '1'='1",
    "demo'; DROP TABLE streams;--",
    "a\r\nSet-Cookie: x=1",
    "a\0b",
    "\x1b[31mred",
    "gate\u202e3",
    "\u2066gate",
    "\u0085",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "x" * 900,
]
# What deceives the eye must not come back as it was sent.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
def test_a_hostile_id_is_refused_and_shown_escaped(module_herd: Herd, text: str) -> None:
    name = quote(text, safe="")
    body = {"rtsp_url": URL, "camera_id": text}
    for method, path, fields in [
        ("GET", f"/api/v1/streams/{name}", None),
        ("PATCH", f"/api/v1/streams/{name}", {"interval_seconds": 5}),
        ("DELETE", f"/api/v1/streams/{name}", None),
        ("POST", f"/api/v1/streams/{name}/stop", None),
        ("GET", f"/api/v1/streams/{name}/latest.jpg", None),
        ("GET", f"/api/v1/streams/{name}/grid.json", None),
        ("GET", f"/api/v1/records/{name}", None),
        ("GET", f"/api/v1/records/{name}/frame.jpg", None),
        ("GET", f"/api/v1/records?camera_id={name}", None),
        ("GET", f"/api/v1/records/export?camera_id={name}", None),
        ("GET", f"/api/v1/streams?page_token={name}", None),
        ("GET", f"/api/v1/cameras/{name}", None),
        ("PUT", f"/api/v1/cameras/{name}", {"name": "x"}),
        ("GET", f"/api/v1/models/{name}", None),
        ("POST", f"/api/v1/models/{name}/prepare", None),
        ("POST", "/api/v1/streams", body),
        ("POST", "/api/v1/streams", {"rtsp_url": URL, "models": [text]}),
    ]:
        answer = module_herd.request(method, path, fields)
        assert answer.status in (400, 404), f"{method} {path}: {answer.status} {answer.text}"
        assert not UNSEEN.search(answer.json["error"]["message"]), answer.text
        assert not UNSEEN.search(answer.text), answer.text
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert_nothing_was_made(module_herd)


def test_a_metadata_address_is_never_connected_to(module_herd: Herd) -> None:
    url = "rtsp://169.254.169.254/latest"
    answer = module_herd.request("POST", "/start_stream", {"rtsp_url": url, "camera_id": "meta"})
    # Refused at once, or at connect: the answer or the stream says so.
    if answer.status == 200:
        stream = module_herd.wait_stream("meta", lambda s: s["next_retry_at"], 20)
        assert "169.254.169.254" in stream["state_reason"]
        assert "metadata" in stream["state_reason"]
        assert module_herd.request("DELETE", "/api/v1/streams/meta").status == 204
    else:
        assert_error(answer, ["rtsp_url"], answer.status)


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose head says that it is of that size, and its first few bytes."""
    small = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


# What is no picture, and what the message must name.
NO_PICTURES = {
    "nothing": (b"", ["JPEG"]),
    "text": (b"hello", ["JPEG"]),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), ["JPEG"]),
    "head": (b"\xff\xd8\xff", []),
    "zeros": (b"\xff\xd8\xff\xe0" + bytes(5000), []),
    "no_width": (jpeg_of(0, 16), []),
    # Gigabytes of pixels in a few hundred bytes.
    "bomb": (jpeg_of(65500, 65500), ["65500"]),
}


def test_detect_refuses_what_is_no_picture(make_herd: HerdMaker) -> None:
    herd = make_herd()
    herd.request("POST", "/api/v1/models/animals/prepare")
    model = "/api/v1/models/animals"
    wait_for(lambda: herd.get(model).json["state"] == "ready", 60, lambda: herd.get(model).text)

    def detect(picture: bytes, kind: str = "image/jpeg") -> Answer:
        return herd.request("POST", "/api/v1/detect?model=animals", picture, {"Content-Type": kind})

    for case, (picture, names) in NO_PICTURES.items():
        answer = detect(picture)
        assert answer.status == 400, f"{case}: {answer.status} {answer.text}"
        assert_error(answer, names)
    assert_error(detect(jpeg_of(16, 16), "application/json"), ["Content-Type", "json"], 415)
    assert detect(jpeg_of(16, 16)).status == 200


CSV = """cameraID,latitude,longitude
CAM-001,26.4499,80.3319
CAM-002,91.0,80.0
CAM-003,12.5,77.5
CAM-001,1.0,2.0
CAM-004,north,80.0
bad/id,1.0,2.0
CAM-005,10.0
CAM-006,45.0,181
"""


def test_bad_rows_of_the_csv_are_reported_with_their_line_and_the_others_load(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(start=False)
    (herd.data / "camera_data.csv").write_text(CSV)
    herd.start()

    def loaded() -> set[str]:
        return {c["camera_id"] for c in herd.get("/api/v1/cameras").json["cameras"]}

    wait_for(lambda: {"CAM-001", "CAM-003"} <= loaded(), 10, lambda: str(loaded()))
    assert loaded() == {"CAM-001", "CAM-003"}
    log = herd.log("aggregator")
    for line in (3, 5, 6, 7, 8, 9):
        assert any(
            f"line={line}" in text or f"line {line}" in text or f":{line}:" in text
            for text in log.splitlines()
        ), f"line {line} in\n{log}"
    # The import by REST answers the same rows.
    answer = herd.request(
        "POST", "/api/v1/cameras/import", CSV.encode(), {"Content-Type": "text/csv"}
    )
    assert answer.status == 200, answer.text
    assert [e["line"] for e in answer.json["errors"]] == [3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "text",
    ["", "cameraID,latitude\nCAM-001,1\n", "id,lat,lon\nCAM-001,1,2\n"],
    ids=["empty", "missing_column", "other_columns"],
)
def test_a_csv_without_the_columns_is_reported_and_the_service_runs(
    make_herd: HerdMaker, text: str
) -> None:
    herd = make_herd(start=False)
    (herd.data / "camera_data.csv").write_text(text)
    herd.start()
    assert herd.get("/api/v1/cameras").json["cameras"] == []
    assert "camera_data.csv" in herd.log("aggregator")
    answer = herd.request(
        "POST", "/api/v1/cameras/import", text.encode(), {"Content-Type": "text/csv"}
    )
    assert answer.status == 400 or answer.json["errors"], answer.text


# What lies in the data folder: (name, content; "": a newer version's database),
# what the message must name.
IN_THE_WAY: dict[str, tuple[str, bytes, str]] = {
    "frames_is_a_file": ("frames", b"x", "/frames: Not a directory"),
    "brightest_is_a_file": ("brightest", b"x", "/brightest: Not a directory"),
    "the_store_is_none": ("capture.db", b"x" * 20000, "capture.db: cannot open: file is not"),
    "a_newer_version": ("capture.db", b"", "capture.db has schema version 999"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_a_capture_that_cannot_start_names_what_is_in_its_way(
    make_herd: HerdMaker, case: str
) -> None:
    name, content, named = IN_THE_WAY[case]
    herd = make_herd(start=False)
    path = herd.data / name
    path.write_bytes(content)
    if not content:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version=999")
    with pytest.raises(AssertionError, match="capture ended at its start"):
        herd.start(["capture"])
    assert herd.services["capture"].process.wait(10) == 1
    assert named in herd.log("capture")
    if content:
        assert path.read_bytes() == content


def test_an_unknown_key_or_a_bad_value_of_the_configuration_stops_the_start(
    make_herd: HerdMaker,
) -> None:
    import subprocess

    from harness import BUILD, SERVICES

    herd = make_herd(start=False)
    for name in SERVICES:
        path = herd.folder / "bad.yaml"
        path.write_text(f"{name}:\n  colour: red\n")
        out = subprocess.run(
            [BUILD / "bin" / f"camherd-{name}", "--config", path, "--data-dir", herd.data],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert out.returncode == 2
        assert "colour" in out.stderr and "2" in out.stderr, out.stderr
    assert json.loads("[]") == list(herd.data.iterdir())
