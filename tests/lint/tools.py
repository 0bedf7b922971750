#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one of the ready-made checkers over the files of the tree.

usage: tools.py CHECKER [--root DIR]

Checkers: ruff-check, ruff-format, clang-format, buf, hadolint, shellcheck,
shell-syntax.
They come from Debian (tests/apt-packages.txt) and PyPI (tests/requirements.txt,
in build/test-venv); a missing one is an error.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from source_tree import SourceTree


def program(root: Path, *names: str) -> str:
    """The first of `names` in the tests' environment or in PATH."""
    for name in names:
        own = root / "build/test-venv/bin" / name
        found = str(own) if own.exists() else shutil.which(name)
        if found:
            return found
    sys.exit(f"{names[0]} is not here; tests/run.sh installs it")


_CHECKERS = (
    "ruff-check", "ruff-format", "clang-format", "buf", "hadolint", "shellcheck", "shell-syntax",
)  # fmt: skip


def shell_files(tree: SourceTree) -> list[tuple[str, str]]:
    """(shell, path) of each script."""
    found = []
    for file in tree:
        first = file.text.partition("\n")[0]
        if first.startswith("#!") and first.endswith(("sh", "bash")):
            found.append(("bash" if first.endswith("bash") else "sh", file.path))
    return found


def commands(checker: str, root: Path, tree: SourceTree) -> list[list[str]]:
    python = [file.path for file in tree.select((".py",))]
    cpp = [file.path for file in tree.select((".cc", ".h"))]
    shell = shell_files(tree)
    match checker:
        case "ruff-check":
            return [[program(root, "ruff"), "check", "--no-cache", *python]]
        case "ruff-format":
            return [[program(root, "ruff"), "format", "--no-cache", "--diff", *python]]
        case "clang-format":
            name = program(root, "clang-format-14")
            return [[name, "--dry-run", "--Werror", "--ferror-limit=3", *cpp]]
        case "buf":
            return [[program(root, "buf"), "lint", "proto"]]
        case "hadolint":
            files = [file.path for file in tree if file.name.endswith("Dockerfile")]
            return [[program(root, "hadolint"), *files]]
        case "shellcheck":
            return [[program(root, "shellcheck"), *(path for _, path in shell)]]
        case _:
            return [[program(root, interpreter), "-n", path] for interpreter, path in shell]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checker", choices=_CHECKERS)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()
    tree = SourceTree.of_git(arguments.root)
    failed = False
    for command in commands(arguments.checker, arguments.root, tree):
        failed |= subprocess.run(command, cwd=arguments.root, check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
