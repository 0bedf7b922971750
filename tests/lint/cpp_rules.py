# SPDX-License-Identifier: Apache-2.0
"""Rules for C++ and the protos."""

import re
from collections.abc import Iterator

from source_tree import SourceTree, Violation

_CPP = (".cc", ".h")


def pragma_once(tree: SourceTree) -> Iterator[Violation]:
    """A header begins with #pragma once and has no include guard."""
    for file in tree.select((".h",)):
        first = next(
            (number for number, line in enumerate(file.code.splitlines(), 1) if line.strip()),
            1,
        )
        lines = file.lines
        if not lines or lines[first - 1].strip() != "#pragma once":
            yield Violation(file.path, first, "must begin with #pragma once")


def _snake(name: str) -> str:
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


_CLASS = re.compile(
    r"^(?:template\s*<[^;{]*>\s*)?class\s+(?:\w+\([^)]*\)\s+|\[\[\w+\]\]\s+)?(\w+)"
    r"(?:\s+final)?\s*(?::[^;{]*)?\{",
    re.MULTILINE,
)


def _body(code: str, begin: int) -> str:
    """What stands between the brace that ends at `begin` and its partner."""
    depth = 1
    for at in range(begin, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0:
            return code[begin:at]
    return code[begin:]


def _is_interface(body: str) -> bool:
    return "= 0;" in body and not re.search(r"\w_(?:\s*=[^;]*|\{[^}]*\})?;", body)


def one_class_a_file(tree: SourceTree) -> Iterator[Violation]:
    """A header defines one class, named as the file is; beside it may stand
    structs of data and the interfaces through which it speaks to its owner."""
    for file in tree.select((".h",), ("services/", "gateway/")):
        classes = [
            match
            for match in _CLASS.finditer(file.code)
            if not _is_interface(_body(file.code, match.end()))
        ]
        for match in classes[1:]:
            line = file.code.count("\n", 0, match.start()) + 1
            yield Violation(file.path, line, f"a second class, {match[1]}: give it a file")
        if not classes:
            continue
        snake = _snake(classes[0][1])
        # The generated code has the plain name of a gRPC service.
        names = {snake, snake.removesuffix("_impl"), snake.replace("_grpc", "")}
        if file.stem not in names:
            line = file.code.count("\n", 0, classes[0].start()) + 1
            yield Violation(file.path, line, f"class {classes[0][1]} belongs in {snake}.h")


def tests_named_after_files(tree: SourceTree) -> Iterator[Violation]:
    """tests/unit/<module>/<file>_test.cc tests <module>/<file>.h."""
    for file in tree.select(("_test.cc",), ("tests/unit/",)):
        target = file.path.removeprefix("tests/unit/").removesuffix("_test.cc") + ".h"
        if target not in tree and f"services/{target}" not in tree:
            yield Violation(file.path, 1, f"there is no {target} it could test")


_TIME = re.compile(
    r"\babsl::(Now|SleepFor|GetCurrentTimeNanos)\s*\("
    r"|\bstd::this_thread::sleep_\w+"
    r"|\b(system_clock|steady_clock|high_resolution_clock)::now\b"
    r"|(?<![\w.>:])(usleep|nanosleep|sleep|gettimeofday)\s*\("
    r"|\bCLOCK_(REALTIME|MONOTONIC|BOOTTIME)\w*"
)


# The clock, a test that is built without it, and one that sets it.
_CLOCKS = (
    "services/common/clock.cc",
    "services/common/clock.h",
    "tests/unit/inference/kernels/detection_kernels_test.cc",
    "tests/unit/common/steady_mutex_test.cc",
)


def time_from_the_clock(tree: SourceTree) -> Iterator[Violation]:
    """Nothing but clock.cc asks the system for the time or sleeps."""
    for file in tree.select(_CPP):
        if file.path in _CLOCKS:
            continue
        yield from file.matches(
            _TIME, lambda m: f"{m[0].strip('(')} is for clock.cc alone", file.code
        )


_WALL_WAIT = re.compile(
    r"\b(?:Await|LockWhen|ReaderLockWhen|Wait|WaitForNotification)With(?:Timeout|Deadline)\b"
    r"|\bsystem_clock\b|\bwait_until\b"
)


def waits_by_the_steady_clock(tree: SourceTree) -> Iterator[Violation]:
    """No service waits by the wall clock, where an hour back makes a second an
    hour: the timeouts of this Abseil do."""
    for file in tree.select(_CPP, ("services/", "gateway/")):
        yield from file.matches(
            _WALL_WAIT,
            lambda m: f"{m[0]} goes by the wall clock: wait under a SteadyMutex",
            file.code,
        )


_HTTP = re.compile(
    r"\bHTTP/1\.[01] [2-5]\d\d"
    r"|\b(?:\w*[Ss]tatus\w*|\w*[Cc]ode)\s*(?:=|==|!=|<=|>=|<|>|\(|\{)\s*"
    r"(?:20[0-6]|30[0-8]|4[0-5]\d|50[0-5])\b"
    r"|\bcase\s+(?:20[0-6]|30[0-8]|4[0-5]\d|50[0-5])\s*:"
)


def http_numbers_in_one_place(tree: SourceTree) -> Iterator[Violation]:
    """Only http_status, and the enum of http_message.h, name HTTP numbers."""
    for file in tree.select(_CPP, ("gateway/",)):
        if file.stem == "http_status" or file.path == "gateway/http_message.h":
            continue
        yield from file.matches(_HTTP, "an HTTP number outside http_status", file.code_with_strings)


_FORBIDDEN = {
    r"\babsl::optional\b": "use std::optional",
    r"\.detach\(\)": "no detached threads",
    r"\bvolatile\b": "no volatile",
    r"\bMOCK_METHOD\b": "fakes before mocks; say why in the commit and exempt it",
}


def forbidden_words(tree: SourceTree) -> Iterator[Violation]:
    """What CONVENTIONS rule out by name, and using-directives in headers."""
    for file in tree.select((".h",)):
        directive = re.compile(r"\busing\s+namespace\b")
        yield from file.matches(directive, "a using-directive in a header", file.code)
    for file in tree.select(_CPP):
        for form, message in _FORBIDDEN.items():
            yield from file.matches(re.compile(form), message, file.code)


_NOLINT = re.compile(r"//\s*NOLINT(?!END)(?:NEXTLINE|BEGIN)?+(?!\([\w.,* -]+\):? +\S)")


def nolint_says_why(tree: SourceTree) -> Iterator[Violation]:
    """NOLINT names its check and a reason."""
    for file in tree.select(_CPP):
        yield from file.matches(_NOLINT, "write // NOLINT(check): why", file.text)


_METRIC_NAME = re.compile(r"camherd_[a-z0-9]+(_[a-z0-9]+)*")


def metric_names(tree: SourceTree) -> Iterator[Violation]:
    """Metrics are named camherd_..., counters end in _total."""
    named = re.compile(r'\.Name\(\s*"([^"]*)"')
    for file in tree.select(_CPP, ("services/", "gateway/")):
        for match in named.finditer(file.code_with_strings):
            line = file.text.count("\n", 0, match.start()) + 1
            if not _METRIC_NAME.fullmatch(match[1]):
                yield Violation(file.path, line, f"no metric's name: {match[1]}")
            before = file.code[: match.start()].rstrip()
            counter = before.endswith("BuildCounter()")
            if counter != match[1].endswith("_total"):
                yield Violation(file.path, line, f"_total is for counters, and only: {match[1]}")


_ENUM = re.compile(r"\benum\s+(\w+)\s*\{([^}]*)\}", re.DOTALL)


def enums_begin_unspecified(tree: SourceTree) -> Iterator[Violation]:
    """A proto enum begins with <TYPE>_UNSPECIFIED = 0."""
    for file in tree.select((".proto",)):
        for match in _ENUM.finditer(file.code):
            want = _snake(match[1]).upper() + "_UNSPECIFIED"
            first = re.search(r"(\w+)\s*=\s*(\w+)", match[2])
            if first is None or (first[1], first[2]) != (want, "0"):
                line = file.code.count("\n", 0, match.start()) + 1
                yield Violation(file.path, line, f"must begin with {want} = 0")


RULES = [
    pragma_once,
    one_class_a_file,
    tests_named_after_files,
    time_from_the_clock,
    waits_by_the_steady_clock,
    http_numbers_in_one_place,
    forbidden_words,
    nolint_says_why,
    metric_names,
    enums_begin_unspecified,
]
