# SPDX-License-Identifier: Apache-2.0
"""Rules for Python, shell, and the page."""

import ast
import re
import sys
from collections.abc import Iterator

from source_tree import SourceFile, SourceTree, Violation

_HTML_SINKS = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment"
    r"|setHTMLUnsafe)\b|\bdocument\s*\.\s*write(ln)?\s*\("
)
_EVAL = re.compile(r"\beval\s*\(|\bnew\s+Function\b|\bset(?:Timeout|Interval)\s*\(\s*[\"'`]")


def no_html_from_strings(tree: SourceTree) -> Iterator[Violation]:
    """Data enters the page by textContent and DOM properties."""
    for file in tree.select((".js", ".html"), ("gateway/static/",)):
        text = file.code if file.suffix == ".js" else file.text
        yield from file.matches(_HTML_SINKS, lambda m: f"{m[0]} takes HTML", text)
        yield from file.matches(_EVAL, "runs a string as code", text)


_INLINE_SCRIPT = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE)
_HANDLER = re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.IGNORECASE)
_STYLE = re.compile(r"<style\b|<[a-z][^>]*\sstyle\s*=", re.IGNORECASE)
_JAVASCRIPT = re.compile(r"\bjavascript:", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"""(?:src|href|action)\s*=\s*["'](?:https?:)?//|@import|url\(\s*["']?https?:"""
    r"""|\b(?:import|from)\s+["']https?:""",
    re.IGNORECASE,
)


def page_keeps_its_policy(tree: SourceTree) -> Iterator[Violation]:
    """No inline scripts, handlers or styles; nothing from other hosts."""
    for file in tree.select((".html", ".js", ".css"), ("gateway/static/",)):
        if file.suffix == ".html":
            yield from file.matches(_INLINE_SCRIPT, "an inline script")
            yield from file.matches(_HANDLER, "an inline handler")
            yield from file.matches(_STYLE, "an inline style")
        yield from file.matches(_JAVASCRIPT, "a javascript: URL")
        yield from file.matches(_ELSEWHERE, "loads from another host")


_API = re.compile(r"\bfetch\s*\(|\bnew\s+(?:XMLHttpRequest|EventSource|WebSocket)\b")


def one_file_talks_to_the_api(tree: SourceTree) -> Iterator[Violation]:
    """Of the page's files one calls the API."""
    callers = [
        file for file in tree.select((".js",), ("gateway/static/",)) if _API.search(file.code)
    ]
    for file in callers[1:]:
        yield from file.matches(_API, f"{callers[0].path} talks to the API already", file.code)


def _parse(file: SourceFile) -> ast.Module | None:
    try:
        return ast.parse(file.text)
    except SyntaxError:
        return None


def _imports(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.split(".")[0]


def no_pickle(tree: SourceTree) -> Iterator[Violation]:
    """What pickle reads can run code."""
    for file in tree.select((".py",)):
        for line, name in _imports(_parse(file) or ast.Module([], [])):
            if name in ("pickle", "marshal", "shelve"):
                yield Violation(file.path, line, f"{name} runs what it reads")


def worker_protocol_is_standard(tree: SourceTree) -> Iterator[Violation]:
    """The worker protocol and the lint use the standard library only."""
    own = {file.stem for file in tree.select((".py",), ("tests/lint/",))}
    for file in tree.select((".py",), ("models/camherd_worker", "tests/lint/")):
        for line, name in _imports(_parse(file) or ast.Module([], [])):
            mine = file.path.startswith("tests/lint/") and name in own
            if name not in sys.stdlib_module_names and not mine:
                yield Violation(file.path, line, f"{name} is not standard library")


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def nothing_runs_on_import(tree: SourceTree) -> Iterator[Violation]:
    """A module defines; `main() -> int` under its guard is the entry."""
    allowed = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef,
        ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Try, ast.If,
    )  # fmt: skip
    for file in tree.select((".py",)):
        module = _parse(file)
        for node in module.body if module else []:
            if _is_main_guard(node):
                body = ast.unparse(node)
                if "main()" not in body and "main(" not in body:
                    yield Violation(file.path, node.lineno, "the entry is main()")
                continue
            if isinstance(node, ast.Expr):
                # Docstrings, sys.path changes and gi's version choice.
                call = ast.unparse(node.value)
                fine = isinstance(node.value, ast.Constant) or call.startswith(
                    ("sys.path.", "gi.require_version(", "pytest.importorskip(")
                )
                if not fine:
                    yield Violation(file.path, node.lineno, "runs on import")
            elif not isinstance(node, allowed):
                yield Violation(file.path, node.lineno, "runs on import")


def requirements_are_pinned(tree: SourceTree) -> Iterator[Violation]:
    """Each requirement has one version, and maybe hashes."""
    for file in tree:
        if not re.fullmatch(r"requirements(_\w+)?\.txt", file.name):
            continue
        for number, line in enumerate(file.lines, 1):
            requirement = line.split("#")[0].strip()
            if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", requirement):
                continue
            if requirement and not re.match(r"[\w.\[\],-]+==[\w.+!]+", requirement):
                yield Violation(file.path, number, f"not pinned: {requirement}")


def shell_stops_at_errors(tree: SourceTree) -> Iterator[Violation]:
    """A shell script sets -eu in its first lines of code."""
    for file in tree:
        if not file.text.startswith(("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash")):
            continue
        code = [line for line in file.lines if line and not line.startswith("#")]
        if not any(re.match(r"set -\w*e\w*u|set -\w*u\w*e", line) for line in code[:3]):
            yield Violation(file.path, 1, "must begin with set -eu")


RULES = [
    no_html_from_strings,
    page_keeps_its_policy,
    one_file_talks_to_the_api,
    no_pickle,
    worker_protocol_is_standard,
    nothing_runs_on_import,
    requirements_are_pinned,
    shell_stops_at_errors,
]
