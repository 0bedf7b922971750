# SPDX-License-Identifier: Apache-2.0
"""Rules for every file: licence, names, sizes, words."""

import re
from collections.abc import Iterator

from source_tree import SourceFile, SourceTree, Violation

_SLASH_COMMENTS = (".h", ".cc", ".proto", ".js", ".css")
_HASH_COMMENTS = (".py", ".sh", ".cmake", ".yaml", ".yml", ".toml", ".ini")
_SPDX = "SPDX-License-Identifier: Apache-2.0"


def _is_script(file: SourceFile) -> bool:
    return file.data.startswith(b"#!")


def _is_source(file: SourceFile) -> bool:
    return (
        file.name.endswith((*_SLASH_COMMENTS, *_HASH_COMMENTS, ".html"))
        or file.name in ("CMakeLists.txt", "Dockerfile")
        or _is_script(file)
    )


def spdx_line_on_top(tree: SourceTree) -> Iterator[Violation]:
    """A source file begins with its licence, after #! or a doctype at most."""
    for file in tree:
        # Golden data is what a program wrote, byte for byte.
        if not _is_source(file) or file.path.startswith("tests/golden/"):
            continue
        lines = file.lines
        at = 1 if lines and lines[0].lower().startswith(("#!", "<!doctype")) else 0
        if len(lines) <= at or _SPDX not in lines[at]:
            comment = "//" if file.name.endswith(_SLASH_COMMENTS) else "#"
            yield Violation(file.path, at + 1, f"must have the line {comment} {_SPDX}")


_TOP_LEVEL = {
    "CHANGELOG.md",
    "CMakeLists.txt",
    "CMakePresets.json",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "compose.yaml",
    "deploy",
    "gateway",
    "models",
    "proto",
    "services",
    "tests",
}


def top_level_is_fixed(tree: SourceTree) -> Iterator[Violation]:
    """The top level is that of CONVENTIONS rule 27, and dotfiles."""
    seen = set()
    for file in tree:
        top = file.path.split("/", 1)[0]
        if top in _TOP_LEVEL or top.startswith(".") or top in seen:
            continue
        seen.add(top)
        yield Violation(file.path, 1, f"{top} is not one of the top-level names")


# Written so that this file does not find itself.
_UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")


def nothing_unfinished(tree: SourceTree) -> Iterator[Violation]:
    """What is left to do is in the README or an issue, not in the source."""
    for file in tree:
        if file.is_text and file.name != "LICENSE":
            # XX placeholders of mktemp are no marks.
            yield from file.matches(_UNFINISHED, lambda m: f"{m[0]} in the source")


_MACHINE = re.compile(r"(?<![\w./~$}-])/(?:work|ro" r"ot|ho" r"me/\w+|Users/\w+)(?:/|\b(?![\w-]))")


def no_paths_of_a_machine(tree: SourceTree) -> Iterator[Violation]:
    """Nothing names the folders of somebody's machine."""
    for file in tree:
        if file.is_text:
            yield from file.matches(_MACHINE, lambda m: f"a machine's path: {m[0]}")


_DIVIDER = re.compile(r"^[ \t]*(?://+|#+|/?\*+)[ \t]*[-=*#~_]{4,}", re.MULTILINE)
_BANNER = re.compile(
    r"(?:^|[ \t])(?://|#|\*)[ \t]*(?:@author|author:|copyright\b|created (?:on|by)\b"
    r"|last modified\b)",
    re.IGNORECASE | re.MULTILINE,
)


def no_dividers_or_banners(tree: SourceTree) -> Iterator[Violation]:
    """Comments say why: no dividers, authors, dates."""
    for file in tree:
        if _is_source(file):
            yield from file.matches(_DIVIDER, "a divider")
            yield from file.matches(_BANNER, "an author's or date's banner")


_WEIGHTS = (
    ".pt", ".pth", ".onnx", ".engine", ".safetensors", ".tflite", ".pb", ".bin",
)  # fmt: skip
_MEDIA = (".mp4", ".avi", ".mkv", ".mov", ".h264", ".h265", ".ts")
_MAX_BYTES = 300_000


def no_weights_or_large_files(tree: SourceTree) -> Iterator[Violation]:
    """No weights, no recordings, nothing large."""
    for file in tree:
        if file.name.lower().endswith(_WEIGHTS):
            yield Violation(file.path, 1, "weights are never committed")
        if file.name.lower().endswith(_MEDIA):
            yield Violation(file.path, 1, "recordings are never committed")
        if len(file.data) > _MAX_BYTES:
            yield Violation(
                file.path, 1, f"must be at most {_MAX_BYTES} bytes, got {len(file.data)}"
            )


_URL = re.compile(r"\brtsps?://(?:[^\s/@\"'`<>]*@)?(\[[^\]\s]*\]|[^\s/:?\"'`<>)\\,|]*)")
_EXAMPLE_HOST = re.compile(
    r"127\.0\.0\.1|localhost|\[::1\]|(?:[\w-]+\.)*example|\*.*|[A-Z_]+|\$?\{.*|\$.*|\.\.\.|…|", 0
)


def example_cameras_are_local(tree: SourceTree) -> Iterator[Violation]:
    """Camera URLs in documents point at 127.0.0.1, or at a name in .example."""
    for file in tree:
        if not file.name.endswith((".md", ".yaml", ".yml", ".html", ".js", ".sh")):
            continue
        for match in _URL.finditer(file.text):
            if not _EXAMPLE_HOST.fullmatch(match[1]):
                line = file.text.count("\n", 0, match.start()) + 1
                yield Violation(file.path, line, f"a camera at {match[1]}")


def text_is_clean(tree: SourceTree) -> Iterator[Violation]:
    """UTF-8, no CR, no tabs in C++ and Python, no blanks at the end of a line."""
    for file in tree:
        if not _is_source(file) and not file.name.endswith(".md"):
            continue
        if file.path.startswith("tests/golden/"):
            continue
        try:
            file.data.decode("utf-8")
        except UnicodeDecodeError:
            yield Violation(file.path, 1, "not UTF-8")
        if b"\r" in file.data:
            yield Violation(file.path, 1, "has carriage returns")
        if file.data and not file.data.endswith(b"\n"):
            yield Violation(file.path, len(file.lines), "must end with a newline")
        yield from file.matches(
            re.compile(r"[ \t]+$", re.MULTILINE), "blanks at the end of the line"
        )
        if file.name.endswith((".h", ".cc", ".py", ".proto", ".js")):
            yield from file.matches(re.compile(r"\t"), "a tab")


RULES = [
    spdx_line_on_top,
    top_level_is_fixed,
    nothing_unfinished,
    no_paths_of_a_machine,
    no_dividers_or_banners,
    no_weights_or_large_files,
    example_cameras_are_local,
    text_is_clean,
]
