# SPDX-License-Identifier: Apache-2.0
"""How pictures travel: over UDP, and over TLS with certificates that are verified."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import HerdMaker
from harness import VTEST, Camera, Herd

MOUNT = f"demo,video={VTEST},gop=2"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but itself vouches for, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "camera.pem", folder / "camera.key"
    subprocess.run(
        ["openssl", "req", "-x509", *CURVE, "-keyout", str(key), "-out", str(pem)]
        + ["-days", "30", "-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    return pem, key


def test_udp_is_asked_for_per_stream_and_changed_in_its_session(herd: Herd, camera: Camera) -> None:
    answer = herd.request(
        "POST",
        "/api/v1/streams",
        {"rtsp_url": camera.url("demo"), "interval_seconds": 0.5, "transport": "udp"},
    )
    assert answer.status == 201, answer.text
    stream = herd.wait_captured("demo", 3)
    assert (stream["transport"], stream["connects"]) == ("udp", 1)

    again = {"rtsp_url": camera.url("demo"), "interval_seconds": 0.5, "transport": "tcp"}
    answer = herd.request("POST", "/api/v1/streams", again)
    assert answer.status == 409
    assert "transport is udp, asked for tcp" in answer.text

    answer = herd.request("PATCH", "/api/v1/streams/demo", {"transport": "tcp"})
    assert answer.status == 200, answer.text
    assert answer.json["transport"] == "tcp"
    stream = herd.wait_stream("demo", lambda s: s["connects"] == 2)
    herd.wait_captured("demo", stream["accounting"]["captured"] + 3)
    assert herd.stream("demo")["session_id"] == stream["session_id"]


def test_an_unknown_certificate_is_refused_until_the_camera_is_exempted(
    herd: Herd, certificate: tuple[Path, Path]
) -> None:
    with Camera(MOUNT, auth="basic", password="s3cret", tls=certificate) as camera:
        herd.start_stream(camera.url(), interval=0.5)
        stream = herd.wait_stream("demo", lambda s: "certificate" in s["state_reason"])
        assert stream["state"] == "reconnecting"
        assert "NOT trusted" in stream["state_reason"]
        assert stream["tls_verify"] is True
        assert stream["accounting"]["captured"] == 0
        answer = herd.request("PATCH", "/api/v1/streams/demo", {"tls_verify": False})
        assert answer.status == 200, answer.text
        stream = herd.wait_captured("demo", 3)
        assert stream["tls_verify"] is False
        # Nothing may travel beside the encryption.
        answer = herd.request("PATCH", "/api/v1/streams/demo", {"transport": "udp"})
        assert answer.status == 400
        assert "rtsps" in answer.text


def test_a_certificate_of_the_ca_file_is_trusted_for_its_address_only(
    make_herd: HerdMaker, certificate: tuple[Path, Path]
) -> None:
    herd = make_herd(CAPTURE_TLS_CA_FILE=str(certificate[0]))
    with Camera(MOUNT, tls=certificate) as camera:
        herd.start_stream(camera.url(), interval=0.5)
        assert herd.wait_captured("demo", 3)["tls_verify"] is True
        herd.start_stream(camera.url().replace("127.0.0.1", "localhost"), camera_id="named")
        stream = herd.wait_stream("named", lambda s: "certificate" in s["state_reason"])
        assert "does not match" in stream["state_reason"]
