# SPDX-License-Identifier: Apache-2.0
"""The harness of the e2e tests serves here too, and how models are scored."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS.parent / "models")]
