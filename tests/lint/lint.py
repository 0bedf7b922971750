#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the tree against its conventions: the rules marked [L].

usage: lint.py [--root DIR] [--rule NAME]... [--list]

Prints a line for each violation, `path:line: message [rule]`, and exits 1 if
there is one.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cpp_rules
import includes
import script_rules
import tree_rules
from source_tree import SourceTree, Violation

Rule = Callable[[SourceTree], Iterator[Violation]]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for module in (tree_rules, includes, cpp_rules, script_rules)
    for rule in module.RULES
}

# (rule, path): why the rule does not hold there. One that is not needed is an
# error.
EXEMPT: dict[tuple[str, str], str] = {
    ("tests_named_after_files", "tests/unit/gateway/routes_test.cc"): (
        "the handlers of all *_routes.h, called without a socket"
    ),
    ("tests_named_after_files", "tests/unit/aggregator/crash_test.cc"): (
        "a crash between any two steps of store and file together"
    ),
    ("tests_named_after_files", "tests/unit/inference/shipped_models_test.cc"): (
        "what models/ holds, not a class"
    ),
}


def check(tree: SourceTree, names: Iterable[str]) -> Iterator[tuple[str, Violation]]:
    """Runs the rules of these names; exempted violations are left out."""
    for name in names:
        needed = set()
        for violation in RULES[name](tree):
            if (name, violation.path) in EXEMPT:
                needed.add(violation.path)
            else:
                yield name, violation
        for rule, path in EXEMPT:
            if rule == name and path not in needed:
                yield name, Violation(path, 1, "needs no exemption from this rule")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--rule", action="append", choices=sorted(RULES), default=[])
    parser.add_argument("--list", action="store_true", help="print the rules")
    arguments = parser.parse_args()
    chosen = arguments.rule or list(RULES)
    if arguments.list:
        for name in chosen:
            print(f"{name}: {RULES[name].__doc__}")
        return 0
    tree = SourceTree.of_git(arguments.root)
    count = 0
    for name, violation in check(tree, chosen):
        print(f"{violation} [{name}]")
        count += 1
    files = sum(1 for _ in tree)
    print(f"{len(chosen)} rules over {files} files: {count} violations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
