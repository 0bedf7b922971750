# SPDX-License-Identifier: Apache-2.0
"""Debian's chromium without a screen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def chromium(folder: Path, *arguments: str, timeout: float = 60) -> str:
    """Runs it and returns what it prints; skips where it is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    out = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        + [f"--user-data-dir={folder / 'browser'}", "--window-size=1280,1600", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return out.stdout
