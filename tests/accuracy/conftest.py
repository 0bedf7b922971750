# SPDX-License-Identifier: Apache-2.0
"""The harness of the e2e tests serves here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
