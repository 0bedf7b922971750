# SPDX-License-Identifier: Apache-2.0
"""Rows of a document: a sentence of it, and the check that it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

Story = TypeVar("Story")


class Rows(Generic[Story]):
    """Collects rows in the order of the document."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, Callable[[Story], None]]] = []

    def __call__(self, sentence: str) -> Callable[[Callable[[Story], None]], None]:
        """Decorates the check of a sentence."""

        def add(check: Callable[[Story], None]) -> None:
            self._rows.append((sentence, check))

        return add

    def params(self) -> list[Any]:
        """The rows, for pytest.mark.parametrize."""
        return [pytest.param(check, id=sentence) for sentence, check in self._rows]
