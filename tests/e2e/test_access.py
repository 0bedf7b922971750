# SPDX-License-Identifier: Apache-2.0
"""Tokens at the gateway and between the services, and the log of who changed what."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import HerdMaker
from harness import SERVICES, Camera, Herd, wait_for
from test_cli import CAMHERD, environment
from test_grpcurl import GRPCURL
from test_transports import CURVE

ADMIN = "canary-admin-4b1f0c77aa"
GUARD = "canary-guard-9d20e1c3bb"
SHARED = "canary-shared-61f2d0a9cc"
LIST = "camherd.v1.CaptureService/ListStreams"


def write(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    path.touch(0o600)
    path.write_text(text)
    return path


def line(token: str, rest: str) -> str:
    """A line of the tokens' file."""
    return f"{hashlib.sha256(token.encode()).hexdigest()} {rest}\n"


def tokens(folder: Path) -> dict[str, str]:
    """Settings of a gateway with two tokens."""
    both = line(ADMIN, "admin root") + line(GUARD, "operator guard camera=CAM-001")
    return {
        "GATEWAY_AUTH": "tokens",
        "GATEWAY_TOKENS_FILE": str(write(folder / "tokens", both)),
    }


def audit(herd: Herd) -> list[dict[str, str]]:
    """The lines of the audit log."""
    path = herd.data / "audit.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def list_streams(herd: Herd, *arguments: str) -> subprocess.CompletedProcess[str]:
    """ListStreams of the capture service by grpcurl."""
    address = herd.services["capture"].addresses["grpc"][0]
    return subprocess.run(
        [str(GRPCURL), *arguments, address, LIST],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_tokens_open_what_they_are_for_and_changes_are_written_down(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    herd = make_herd(start=False, **tokens(tmp_path))
    shared = write(tmp_path / "shared", SHARED + "\n")
    herd.environment["CAMHERD_GRPC_TOKEN_FILE"] = str(shared)
    herd.token = GUARD
    herd.start()

    # From the camera to the record every call between the services has passed.
    body = {"rtsp_url": camera.url("demo"), "camera_id": "CAM-001", "interval": 0.2}
    herd.start_stream(**{"url": body["rtsp_url"]}, camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)
    answer = herd.request("POST", "/start", {**body, "camera_id": "CAM-002"})
    assert answer.status == 403
    herd.token = ADMIN
    herd.start_stream(camera.url("second"), camera_id="CAM-002", interval=0.2)
    herd.token = GUARD
    assert [s["camera_id"] for s in herd.streams()] == ["CAM-001"]
    assert herd.get("/api/v1/streams/CAM-002").status == 404
    assert herd.request("DELETE", "/api/v1/streams/CAM-002").status == 404
    assert {r["camera_id"] for r in herd.get("/api/v1/records").json["records"]} == {"CAM-001"}
    assert herd.get("/metrics").status == 403
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer nosuch"}):
        assert herd.request("GET", "/api/v1/streams", headers=headers).status == 401
    assert herd.get("/readyz").json["ready"]

    # Straight to the service: who has no token gets no further than health.
    assert "Unauthenticated" in list_streams(herd, "-plaintext").stderr
    wrong = list_streams(herd, "-plaintext", "-H", "authorization: Bearer wrong")
    assert "Unauthenticated" in wrong.stderr
    right = list_streams(herd, "-plaintext", "-H", f"authorization: Bearer {SHARED}")
    assert "CAM-002" in right.stdout, right.stderr

    path = herd.data / "audit.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    starts = [entry for entry in audit(herd) if entry["method"] == "StartStream"]
    assert [(e["caller"], e["role"], e["camera_id"], e["result"]) for e in starts] == [
        ("guard", "operator", "CAM-001", "OK"),
        ("root", "admin", "CAM-002", "OK"),
    ]
    assert {e["address"] for e in starts} == {"127.0.0.1"}
    # Rotated away: the next line begins a new file.
    path.rename(path.with_suffix(".1"))
    assert herd.request("POST", "/stop", {"process_name": "CAM-001"}).status in (200, 409)
    assert [e["method"] for e in audit(herd)] == ["StopStream"]

    # Who is taken out of the file is out within a second or two.
    (tmp_path / "tokens").write_text(line(ADMIN, "admin root"))
    wait_for(lambda: herd.get("/api/v1/streams").status == 401, 10, lambda: "the token to go")

    herd.token = ADMIN
    told = [herd.log(name) + herd.metrics(name) for name in SERVICES]
    told += [p.read_text() for p in herd.data.glob("audit*")]
    told += [command for _, command in herd.processes()]
    herd.stop()
    for canary in (ADMIN, GUARD, SHARED):
        assert not any(canary in text for text in told), canary


def certificates(folder: Path, name: str) -> dict[str, str]:
    """An authority of that name and its certificate for 127.0.0.1, as environment."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    ca = ("-keyout", f"ca-{name}.key", "-out", f"ca-{name}.pem", "-subj", f"/CN=ca-{name}")
    openssl("req", "-x509", *CURVE, *ca, "-days", "30")
    openssl("req", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ("-CA", f"ca-{name}.pem", "-CAkey", f"ca-{name}.key", "-CAcreateserial", "-days", "30")
    extensions = ("-extfile", f"{name}.ext", "-out", f"{name}.pem")
    openssl("x509", "-req", "-in", f"{name}.csr", *sign, *extensions)
    return {
        "CAMHERD_GRPC_TLS_CERTIFICATE_FILE": str(folder / f"{name}.pem"),
        "CAMHERD_GRPC_TLS_KEY_FILE": str(folder / f"{name}.key"),
        "CAMHERD_GRPC_TLS_CA_FILE": str(folder / f"ca-{name}.pem"),
    }


def test_with_certificates_the_services_know_each_other_and_nobody_else(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    herd = make_herd(start=False)
    ours, theirs = certificates(tmp_path, "ours"), certificates(tmp_path, "theirs")
    herd.environment.update(ours)
    herd.start()
    herd.start_stream(camera.url("demo"), interval=0.2)
    herd.wait_records(1)

    def shown(name: str, ca: str) -> tuple[str, ...]:
        pair = ("-cert", str(tmp_path / f"{name}.pem"), "-key", str(tmp_path / f"{name}.key"))
        return ("-cacert", str(tmp_path / f"ca-{ca}.pem"), *pair)

    assert "demo" in list_streams(herd, *shown("ours", "ours")).stdout
    refused = [
        ("-plaintext",),
        ("-cacert", str(tmp_path / "ca-ours.pem")),
        shown("theirs", "ours"),
        shown("ours", "theirs"),
    ]
    for arguments in refused:
        assert list_streams(herd, "-connect-timeout", "1", *arguments).returncode != 0, arguments

    # Nor is the command line another.
    for pair, code in ((ours, 0), (theirs, 3), ({}, 3)):
        listed = subprocess.run(
            [CAMHERD, "ls"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment(herd) | pair,
        )
        assert listed.returncode == code, listed
        assert ("demo" in listed.stdout) == (code == 0), listed

    # A gateway of another authority reaches nobody.
    herd.terminate("gateway")
    herd.own["gateway"] = theirs
    herd.services["gateway"].addresses.clear()
    herd.start()
    answer = herd.get("/api/v1/streams")
    assert answer.status == 503, answer.text
    assert "cannot be reached" in answer.text
    herd.stop()


@pytest.mark.parametrize("service", ["capture", "inference", "aggregator"])
def test_beyond_loopback_nothing_listens_without_a_token(
    make_herd: HerdMaker, service: str
) -> None:
    herd = make_herd(start=False, **{f"{service.upper()}_LISTEN": "0.0.0.0:0"})
    with pytest.raises(AssertionError):
        herd.start([service])
    assert "listen must stay on loopback" in herd.log(service)
