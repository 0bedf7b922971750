# SPDX-License-Identifier: Apache-2.0
"""The files of the repository as the lint rules see them."""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Violation:
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class SourceFile:
    # From the repository root, with slashes.
    path: str
    data: bytes

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0]

    @property
    def suffix(self) -> str:
        return "." + self.name.rsplit(".", 1)[1] if "." in self.name[1:] else ""

    # The folder that counts as a module: services/capture, gateway.
    @property
    def module(self) -> str:
        parts = self.path.split("/")
        return "/".join(parts[:2]) if parts[0] == "services" else parts[0]

    @property
    def is_text(self) -> bool:
        return b"\0" not in self.data[:8192]

    @cached_property
    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace") if self.is_text else ""

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    # The text of C++ or JavaScript with comments, and what strings hold, blank;
    # lines keep their numbers.
    @cached_property
    def code(self) -> str:
        return _PIECES.sub(_blank, self.text)

    # The same with strings kept.
    @cached_property
    def code_with_strings(self) -> str:
        return _PIECES.sub(_blank_comment, self.text)

    # Violations where `pattern` matches in `text` (the file's own text if None).
    def matches(
        self,
        pattern: re.Pattern[str],
        message: Callable[[re.Match[str]], str] | str,
        text: str | None = None,
    ) -> Iterator[Violation]:
        text = self.text if text is None else text
        for match in pattern.finditer(text):
            said = message if isinstance(message, str) else message(match)
            yield Violation(self.path, text.count("\n", 0, match.start()) + 1, said)


# Comments, raw strings, strings and characters of C++; the backquoted strings
# of JavaScript too. A quote between digits (1'000) is none.
_PIECES = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<raw> \bR"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)" )
  | (?P<string> "(?:\\.|[^"\\\n])*" | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'
    | `(?:\\.|[^`\\])*` )
    """,
    re.DOTALL | re.VERBOSE,
)


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _blank(match: re.Match[str]) -> str:
    text = match.group()
    if match.lastgroup == "comment" or match.group("comment") is not None:
        return _spaces(text)
    return text[0] + _spaces(text[1:-1]) + text[-1]


def _blank_comment(match: re.Match[str]) -> str:
    text = match.group()
    return text if match.group("comment") is None else _spaces(text)


class SourceTree:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = {path: SourceFile(path, data) for path, data in sorted(files.items())}

    # Every file that git has or would add; deleted ones are gone, links are
    # left out.
    @classmethod
    def of_git(cls, root: Path) -> "SourceTree":
        listed = subprocess.run(
            # A checkout of another user's, as root sees it, is fine to read.
            ["git", "-c", "safe.directory=*", "ls-files", "-z"]
            + ["--cached", "--others", "--exclude-standard"],
            cwd=root,
            check=True,
            capture_output=True,
        ).stdout.decode()
        files = {}
        for path in listed.split("\0"):
            full = root / path
            if path and full.is_file() and not full.is_symlink():
                files[path] = full.read_bytes()
        return cls(files)

    def __iter__(self) -> Iterator[SourceFile]:
        return iter(self._files.values())

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def get(self, path: str) -> SourceFile | None:
        return self._files.get(path)

    # Files with one of these endings under one of these folders (all if none).
    def select(
        self, suffixes: tuple[str, ...], folders: tuple[str, ...] = ()
    ) -> Iterator[SourceFile]:
        for file in self:
            if file.name.endswith(suffixes) and (not folders or file.path.startswith(folders)):
                yield file
