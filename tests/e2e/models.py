# SPDX-License-Identifier: Apache-2.0
"""Folders of small models, whose environments build in seconds, offline."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from harness import ROOT

# What the stub finds, worked out from the bytes alone: one dog in every
# picture, its score from the length of the JPEG.
STUB_SCORE = "0.5 + len(jpeg) % 1000 / 2500"

STUB = '''"""Finds one dog in every picture, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

CLASSES = ("person", "bird", "cat", "dog", "horse", "sheep", "cow")


def size(jpeg: bytes) -> tuple[int, int]:
    """Width and height, from the start-of-frame segment."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    height = int.from_bytes(jpeg[at + 5 : at + 7], "big")
    return int.from_bytes(jpeg[at + 7 : at + 9], "big"), height


def load(options):
    import camherd_tiny  # What the environment is for.

    assert camherd_tiny.ANSWER == 42
    print("the stub prints on standard output")

    def detect(jpeg, min_score, nms_iou):
        width, height = size(jpeg)
        box = (width * 0.1, height * 0.2, width * 0.5, height * 0.6)
        score = {score}
        return [("dog", score, box)] if {finds} else []

    return detect


def main() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from camherd_worker import Model, run

    return run(Model("{name}", "{section}", CLASSES, load), __file__)


if __name__ == "__main__":
    sys.exit(main())
'''

MANIFEST = """description: {description}
engines: [venv]
classes: [person, bird, cat, dog, horse, sheep, cow]
section: {section}
"""


def wheelhouse(folder: Path) -> Path:
    """A folder with the one tiny wheel that the stubs need."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "camherd_tiny-1.0.dist-info"
    files = {
        "camherd_tiny.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: camherd-tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "camherd_tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)
    return folder


def offline(folder: Path) -> dict[str, str]:
    """Environment in which pip and uv know that wheel and no registry."""
    house = str(wheelhouse(folder))
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": house,
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": house,
        "UV_OFFLINE": "1",
    }


def add_stub(
    models: Path,
    name: str,
    section: str = "",
    finds: bool = True,
    requirements: str = "camherd-tiny==1.0\n",
) -> None:
    """Adds a model whose environment is small, or puts it in another's place."""
    folder = models / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    section = section or name
    script = STUB.replace("{score}", STUB_SCORE).replace("{finds}", str(finds))
    script = script.replace("{name}", name).replace("{section}", section)
    (folder / "run_inference.py").write_text(script)
    (folder / f"requirements_{name}.txt").write_text(requirements)
    (folder / "model.yaml").write_text(
        MANIFEST.format(description=f"A test's stub named {name}.", section=section)
    )


def small_models(folder: Path) -> Path:
    """The models of the tree, `animals` replaced by a stub, and no weights."""
    models = folder / "models"
    shutil.copytree(
        ROOT / "models",
        models,
        ignore=lambda _, names: [n for n in names if n.endswith((".pt", ".onnx"))],
    )
    add_stub(models, "animals", section="stray_animal")
    return models
