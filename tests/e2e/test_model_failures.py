# SPDX-License-Identifier: Apache-2.0
"""Models whose environment cannot be built, and models without weights."""

from __future__ import annotations

from conftest import HerdMaker
from harness import Camera, Herd, wait_for

from models import add_stub


def model(herd: Herd, name: str) -> dict:
    """A model, by REST."""
    answer = herd.get(f"/api/v1/models/{name}")
    assert answer.status == 200, answer.text
    return answer.json


def test_an_environment_that_cannot_be_built_fails_with_the_log_and_touches_no_other(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(start=False)
    add_stub(herd.folder / "models", "broken", requirements="no-such-package-of-ours==9.9\n")
    herd.start()
    herd.start_stream(camera.url("demo"), camera_id="BAD", model_name="broken", interval=0.2)
    herd.start_stream(camera.url("second"), camera_id="GOOD", interval=0.2)

    failed = wait_for(
        lambda: (m := model(herd, "broken"))["state"] == "failed" and m,
        60,
        lambda: str(model(herd, "broken")),
    )
    assert any("no-such-package-of-ours" in line for line in failed["log_tail"]), failed
    assert failed["reason"]
    # A's troubleshooting case: wheels that are missing.
    assert "3.10" in failed["hint"] and "3.12" in failed["hint"], failed["hint"]
    assert not (herd.data / "venvs" / "broken" / ".deps_installed").exists()

    # The other model is unaffected.
    lines = herd.wait_records(2)
    assert {line["basic"]["camID"] for line in lines} == {"GOOD"}

    # The frames are kept, and the stream says why they wait.
    stream = herd.wait_stream(
        "BAD", lambda s: s["accounting"]["spooled"] >= 20 and s["sending_reason"], 30
    )
    assert "broken" in stream["sending_reason"]
    assert stream["accounting"]["recorded"] == 0

    # Once it can be built, all that was kept is recorded.
    add_stub(herd.folder / "models", "broken")
    answer = herd.request("POST", "/api/v1/models/broken/prepare", {})
    assert answer.status in (200, 202), answer.text
    wait_for(lambda: model(herd, "broken")["state"] == "ready", 60, "broken is repaired")
    herd.stop_stream("BAD")
    stream = herd.wait_stream("BAD", lambda s: s["accounting"]["spooled"] == 0, 60)
    assert stream["accounting"]["recorded"] == stream["accounting"]["captured"]


def test_frames_of_a_failed_model_stay_within_the_quota(
    make_herd: HerdMaker, camera: Camera
) -> None:
    quota = 1_500_000
    herd = make_herd(start=False, **{QUOTA: str(quota)})
    add_stub(herd.folder / "models", "broken", requirements="no-such-package-of-ours==9.9\n")
    herd.start()
    herd.start_stream(camera.url("demo"), model_name="broken", interval=0.1)
    stream = herd.wait_stream(
        "demo", lambda s: s["accounting"]["dropped"].get("quota", 0) >= 10, 60
    )
    assert stream["spool_bytes"] <= quota
    on_disk = sum(f.stat().st_size for f in herd.data.glob("frames/*/*.jpg"))
    assert on_disk <= quota * 1.2
    # Whole batches are dropped, never single frames of one.
    assert stream["accounting"]["dropped"]["quota"] % 10 == 0


def test_a_model_without_weights_answers_at_once_which_file_to_put_where(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(WEIGHTS_DIR="/nonexistent")
    body = {"rtsp_url": camera.url("demo"), "model_name": "pothole"}
    answer = herd.request("POST", "/start_stream", body)
    assert answer.status == 409, answer.text
    assert answer.json["error"]["status"] == "FAILED_PRECONDITION"
    assert ".onnx" in answer.json["error"]["message"]
    assert "models/pothole" in answer.json["error"]["message"]
    assert herd.streams() == []
    assert not list(herd.data.glob("frames/*"))


def test_progress_of_building_an_environment_is_visible(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    states = []
    with herd.stub("inference") as inference:
        from camherd.v1 import inference_service_pb2

        request = inference_service_pb2.PrepareModelRequest(name="animals")
        for answer in inference.PrepareModel(request, timeout=60):
            states.append(answer.model.state)
    from camherd.v1 import model_pb2

    names = [model_pb2.ModelState.Name(s).removeprefix("MODEL_STATE_") for s in states]
    assert names[-1] == "READY"
    assert "INSTALLING" in names, names
    assert "animals" in herd.log("inference")


def test_without_uv_an_environment_is_built_by_venv_and_pip(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd(INFERENCE_UV="off", INFERENCE_PYTHON="/usr/bin/python3")
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1, 120)
    assert "installer=pip" in herd.log("inference")
    assert (herd.data / "venvs" / "animals" / "bin" / "pip").exists()


def test_a_worker_that_is_killed_is_started_again_and_the_batch_is_recorded(
    make_herd: HerdMaker, camera: Camera
) -> None:
    import os
    import signal

    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)
    workers = [pid for pid, line in herd.processes() if "run_inference.py" in line]
    assert len(workers) == 1, herd.processes()
    os.kill(workers[0], signal.SIGKILL)
    herd.wait_records(4)
    assert herd.stream("CAM-001")["accounting"]["dropped"] == {}


def test_no_worker_outlives_a_killed_inference_service(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)
    herd.kill("inference")
    wait_for(
        lambda: not [x for x in herd.processes() if "run_inference.py" in x[1]],
        10,
        lambda: f"workers gone: {herd.processes()}",
    )


# Bytes one stream may hold in the spool.
QUOTA = "CAPTURE_SPOOL_STREAM_MAX_BYTES"
