# SPDX-License-Identifier: Apache-2.0
"""Debian's chromium without a screen."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import BUILD, wait_for

# Kept from one run to the next, for people to look at.
SHOTS = BUILD / "e2e" / "screenshots"


def program() -> str:
    """Where it is; skips where it is not installed."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


def chromium(folder: Path, *arguments: str, timeout: float = 60) -> str:
    """Runs it and returns what it prints."""
    out = subprocess.run(
        [program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        + [f"--user-data-dir={folder / 'browser'}", "--window-size=1280,1600", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return out.stdout


class Browser:
    """A browser that a test drives, and what went wrong in its pages."""

    def __init__(self, driven: Any) -> None:  # noqa: ANN401
        """`driven`: playwright's."""
        self._driven = driven
        # What pages wrote to their consoles as errors or warnings, and what threw.
        self.errors: list[str] = []

    def open(
        self,
        address: str,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        prepare: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """A page of its own, with cookies of its own; `prepare`: called before it loads."""
        context = self._driven.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"{error}"))
        if prepare is not None:
            prepare(page)
        page.goto(address)
        return page

    def _console(self, message: Any) -> None:  # noqa: ANN401
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Runs it; at the end no page may have written an error that a test has not taken away."""
    path = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        driven = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            opened = Browser(driven)
            yield opened
            assert opened.errors == [], opened.errors
        finally:
            driven.close()


def shot(page: Any, name: str) -> None:  # noqa: ANN401
    """Keeps a picture of what is shown."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def loaded(page: Any, selector: str, timeout: float = 15) -> str:  # noqa: ANN401
    """Waits until the picture that fits is there and has come; its address."""
    script = """selector => {
        const image = document.querySelector(selector);
        return image && image.complete && image.naturalWidth > 0 ? image.getAttribute("src") : "";
    }"""
    return wait_for(lambda: page.evaluate(script, selector), timeout, f"a picture {selector}")
