# SPDX-License-Identifier: Apache-2.0
"""Turns an ultralytics checkpoint into an ONNX file for the native engines.

usage: export_onnx.py SOURCE.pt TARGET.onnx

Run by the inference service in the model's environment. Height and width stay
free, so that a wide camera can have a smaller input. TARGET comes into being at
once, by a rename.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Exports one file."""
    if len(sys.argv) != 3:
        print("usage: export_onnx.py SOURCE.pt TARGET.onnx", file=sys.stderr)
        return 2
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    from ultralytics import YOLO

    # ultralytics writes beside its input, and a model's folder may be read-only.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(folder) / "model.pt"
        shutil.copyfile(source, copy)
        model = YOLO(str(copy), task="detect")
        made = model.export(format="onnx", dynamic=True, simplify=False, device="cpu")
        os.replace(made, target)
    print(f"exported {source.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
