#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plants a violation of every lint rule, and its legal neighbour."""

import sys
import unittest

import lint
from source_tree import SourceFile, SourceTree, Violation

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HASH_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"


def violations(rule: str, files: dict[str, str | bytes]) -> list[Violation]:
    tree = SourceTree(
        {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    )
    return list(lint.RULES[rule](tree))


# rule: trees with (path, line) of what must be found in them, and only that.
# The words are cut where this file would find itself.
PLANTED: dict[str, list[tuple[dict[str, str | bytes], list[tuple[str, int]]]]] = {
    "spdx_line_on_top": [
        ({"a.cc": "int a;\n"}, [("a.cc", 1)]),
        ({"a.py": "#!/usr/bin/python3\nimport os\n"}, [("a.py", 2)]),
        ({"run": "#!/bin/sh\nset -eu\n"}, [("run", 2)]),
        ({"CMakeLists.txt": "project(x)\n"}, [("CMakeLists.txt", 1)]),
        ({"a.html": "<!doctype html>\n<html>\n"}, [("a.html", 2)]),
        ({"a.h": "\n" + SPDX}, [("a.h", 1)]),
        ({"a.yaml": ""}, [("a.yaml", 1)]),
    ],
    "top_level_is_fixed": [
        ({"src/a.cc": "", "src/b.cc": "", "deploy/x": ""}, [("src/a.cc", 1)]),
        ({"notes.md": ""}, [("notes.md", 1)]),
    ],
    "nothing_unfinished": [
        ({"a.cc": "\n// TO" + "DO: later\n"}, [("a.cc", 2)]),
        ({"a.md": "FIX" + "ME\n"}, [("a.md", 1)]),
        ({"deploy/Dockerfile": "# X" + "XX\n"}, [("deploy/Dockerfile", 1)]),
    ],
    "no_paths_of_a_machine": [
        ({"a.sh": "cd /wo" + "rk/main\n"}, [("a.sh", 1)]),
        ({"a.md": "\nin `/ro" + "ot/.cache`\n"}, [("a.md", 2)]),
        ({"a.py": 'X = "/ho' + 'me/someone/x"\n'}, [("a.py", 1)]),
    ],
    "no_dividers_or_banners": [
        ({"a.cc": "// ---" + "- out\n"}, [("a.cc", 1)]),
        ({"a.py": "\n#####" + "\n"}, [("a.py", 2)]),
        ({"a.css": "/*****" + "\n"}, [("a.css", 1)]),
        ({"a.h": "// Author" + ": me\n"}, [("a.h", 1)]),
        ({"a.sh": "# Copy" + "right 2026 me\n"}, [("a.sh", 1)]),
    ],
    "no_weights_or_large_files": [
        ({"models/a/a.pt": b"x"}, [("models/a/a.pt", 1)]),
        ({"models/a/A.ONNX": b"x"}, [("models/a/A.ONNX", 1)]),
        ({"tests/a.mp4": b"x"}, [("tests/a.mp4", 1)]),
        ({"a.json": b"x" * 300_001}, [("a.json", 1)]),
    ],
    "example_cameras_are_local": [
        ({"a.md": "rtsp://user:pass@10.1.2.3:554/x\n"}, [("a.md", 1)]),
        ({"a.html": '\n<input placeholder="rtsp://cam.vendor.com/x">\n'}, [("a.html", 2)]),
    ],
    "text_is_clean": [
        ({"a.cc": "int a; \n"}, [("a.cc", 1)]),
        ({"a.py": "if x:\n\tpass\n"}, [("a.py", 2)]),
        ({"a.sh": "echo\r\n"}, [("a.sh", 1)]),
        ({"a.h": "int a;"}, [("a.h", 1)]),
        ({"a.proto": b"// \xff\n"}, [("a.proto", 1)]),
    ],
    "own_header_first": [
        (
            {
                "services/capture/a.h": "",
                "services/capture/a.cc": '#include <map>\n#include "services/capture/a.h"\n',
            },
            [("services/capture/a.cc", 1)],
        ),
        (
            {
                "gateway/a.h": "",
                "tests/unit/gateway/a_test.cc": "#include <gtest/gtest.h>\n",
            },
            [("tests/unit/gateway/a_test.cc", 1)],
        ),
    ],
    "absolute_includes": [
        ({"gateway/a.cc": '#include "a.h"\n'}, [("gateway/a.cc", 1)]),
        ({"gateway/a.cc": '#include "../services/a.h"\n'}, [("gateway/a.cc", 1)]),
        ({"gateway/a.cc": "#include <gateway/a.h>\n"}, [("gateway/a.cc", 1)]),
    ],
    "modules_apart": [
        (
            {"services/capture/a.cc": '#include "services/inference/b.h"\n'},
            [("services/capture/a.cc", 1)],
        ),
        (
            {"services/capture/a.cc": '#include "gateway/b.h"\n'},
            [("services/capture/a.cc", 1)],
        ),
        (
            {"services/common/a.h": '\n#include "services/capture/b.h"\n'},
            [("services/common/a.h", 2)],
        ),
        (
            {"gateway/a.h": '#include "tests/support/fake_clock.h"\n'},
            [("gateway/a.h", 1)],
        ),
    ],
    "libraries_in_their_files": [
        (
            {"services/capture/spool.cc": "#include <sqlite3.h>\n"},
            [("services/capture/spool.cc", 1)],
        ),
        (
            {"services/capture/spool.cc": '#include "camherd/v1/x.grpc.pb.h"\n'},
            [("services/capture/spool.cc", 1)],
        ),
        ({"gateway/html.cc": "#include <nlohmann/json.hpp>\n"}, [("gateway/html.cc", 1)]),
        ({"gateway/html.cc": "#include <boost/asio.hpp>\n"}, [("gateway/html.cc", 1)]),
        (
            {"services/common/a.cc": '#include "camherd/v1/frame.pb.h"\n'},
            [("services/common/a.cc", 1)],
        ),
        (
            {"services/capture/spool.h": "#include <prometheus/counter.h>\n"},
            [("services/capture/spool.h", 1)],
        ),
    ],
    "pragma_once": [
        ({"a.h": SPDX + "#ifndef A_H\n"}, [("a.h", 2)]),
        ({"a.h": SPDX + "int a;\n#pragma once\n"}, [("a.h", 2)]),
        ({"a.h": ""}, [("a.h", 1)]),
    ],
    "one_class_a_file": [
        (
            {"gateway/one.h": "class One {\n  int x_;\n};\nclass Two final : public D {\n};\n"},
            [("gateway/one.h", 4)],
        ),
        ({"gateway/spool.h": "class Reader {\n};\n"}, [("gateway/spool.h", 1)]),
        (
            {"gateway/a.h": "class A {\n};\ntemplate <typename T>\nclass B {\n};\n"},
            [("gateway/a.h", 3)],
        ),
    ],
    "tests_named_after_files": [
        ({"tests/unit/gateway/b_test.cc": ""}, [("tests/unit/gateway/b_test.cc", 1)]),
    ],
    "time_from_the_clock": [
        ({"gateway/a.cc": "auto t = absl::Now();\n"}, [("gateway/a.cc", 1)]),
        ({"tests/a_test.cc": "absl::SleepFor(x);\n"}, [("tests/a_test.cc", 1)]),
        ({"a.cc": "std::this_thread::sleep_for(1s);\n"}, [("a.cc", 1)]),
        ({"a.cc": "std::chrono::steady_clock::now();\n"}, [("a.cc", 1)]),
        ({"a.cc": "\nusleep(3);\n"}, [("a.cc", 2)]),
        ({"a.cc": "clock_gettime(CLOCK_MONOTONIC, &t);\n"}, [("a.cc", 1)]),
    ],
    "waits_by_the_steady_clock": [
        ({"services/a/a.cc": "mu_.AwaitWithTimeout(c, t);\n"}, [("services/a/a.cc", 1)]),
        ({"gateway/a.h": "\nn.WaitForNotificationWithTimeout(t);\n"}, [("gateway/a.h", 2)]),
        ({"services/a/a.cc": "wake_.wait_until(lock, t);\n"}, [("services/a/a.cc", 1)]),
        ({"gateway/a.cc": "std::chrono::system_clock::time_point t;\n"}, [("gateway/a.cc", 1)]),
    ],
    "http_numbers_in_one_place": [
        ({"gateway/a.cc": "response.status = 404;\n"}, [("gateway/a.cc", 1)]),
        ({"gateway/a.cc": "if (status_code == 200) {\n"}, [("gateway/a.cc", 1)]),
        ({"gateway/a.cc": 'x = "HTTP/1.1 503 No\\r\\n";\n'}, [("gateway/a.cc", 1)]),
        ({"gateway/a.cc": "\ncase 401:\n"}, [("gateway/a.cc", 2)]),
    ],
    "forbidden_words": [
        ({"a.cc": "absl::optional<int> a;\n"}, [("a.cc", 1)]),
        ({"a.cc": "thread.detach();\n"}, [("a.cc", 1)]),
        ({"a.h": "using namespace std;\n"}, [("a.h", 1)]),
        ({"a.h": "volatile bool stop;\n"}, [("a.h", 1)]),
        ({"a_test.cc": "MOCK_METHOD(void, A, ());\n"}, [("a_test.cc", 1)]),
    ],
    "nolint_says_why": [
        ({"a.cc": "int a;  // NOLINT\n"}, [("a.cc", 1)]),
        ({"a.cc": "int a;  // NOLINT(bugprone-x)\n"}, [("a.cc", 1)]),
        ({"a.cc": "// NOLINTNEXTLINE(bugprone-x):\n"}, [("a.cc", 1)]),
    ],
    "metric_names": [
        (
            {"gateway/m.cc": 'prometheus::BuildCounter().Name("camherd_x").Help("")\n'},
            [("gateway/m.cc", 1)],
        ),
        (
            {"gateway/m.cc": 'prometheus::BuildGauge()\n.Name("camherd_x_total")\n'},
            [("gateway/m.cc", 2)],
        ),
        (
            {"gateway/m.cc": 'prometheus::BuildGauge().Name("frames")\n'},
            [("gateway/m.cc", 1)],
        ),
    ],
    "enums_begin_unspecified": [
        ({"a.proto": "enum State {\n  STATE_READY = 0;\n}\n"}, [("a.proto", 1)]),
        ({"a.proto": "\nenum State {\n  UNSPECIFIED = 0;\n}\n"}, [("a.proto", 2)]),
        ({"a.proto": "enum MyState { MY_STATE_UNSPECIFIED = 1; }\n"}, [("a.proto", 1)]),
    ],
    "no_html_from_strings": [
        ({"gateway/static/a.js": "x.innerHTML = y;\n"}, [("gateway/static/a.js", 1)]),
        ({"gateway/static/a.js": "\nx.insertAdjacentHTML(y);\n"}, [("gateway/static/a.js", 2)]),
        ({"gateway/static/a.js": "document.write(y);\n"}, [("gateway/static/a.js", 1)]),
        ({"gateway/static/a.js": "eval(x);\n"}, [("gateway/static/a.js", 1)]),
        ({"gateway/static/a.js": "setTimeout('x()', 1);\n"}, [("gateway/static/a.js", 1)]),
    ],
    "page_keeps_its_policy": [
        ({"gateway/static/a.html": "<script>x()</script>\n"}, [("gateway/static/a.html", 1)]),
        ({"gateway/static/a.html": '<p onclick="x()">\n'}, [("gateway/static/a.html", 1)]),
        ({"gateway/static/a.html": '<p style="x">\n'}, [("gateway/static/a.html", 1)]),
        (
            {"gateway/static/a.html": '<script src="https://cdn.example/x.js"></script>\n'},
            [("gateway/static/a.html", 1)],
        ),
        ({"gateway/static/a.css": "@import 'x.css';\n"}, [("gateway/static/a.css", 1)]),
        ({"gateway/static/a.js": 'a.href = "java' + 'script:x";\n'}, [("gateway/static/a.js", 1)]),
    ],
    "one_file_talks_to_the_api": [
        (
            {
                "gateway/static/api.js": "fetch(x);\n",
                "gateway/static/b.js": "\nnew EventSource(x);\n",
            },
            [("gateway/static/b.js", 2)],
        ),
    ],
    "no_pickle": [
        ({"a.py": "import json, pickle\n"}, [("a.py", 1)]),
        ({"a.py": "def f() -> None:\n    from pickle import loads\n"}, [("a.py", 2)]),
    ],
    "worker_protocol_is_standard": [
        ({"models/camherd_worker.py": "import numpy as np\n"}, [("models/camherd_worker.py", 1)]),
        ({"tests/lint/a.py": "from yaml import load\n"}, [("tests/lint/a.py", 1)]),
    ],
    "nothing_runs_on_import": [
        ({"a.py": "import os\nprint(1)\n"}, [("a.py", 2)]),
        ({"a.py": "for x in y:\n    pass\n"}, [("a.py", 1)]),
        ({"a.py": "if __name__ == '__main__':\n    print(1)\n"}, [("a.py", 1)]),
    ],
    "requirements_are_pinned": [
        (
            {"models/a/requirements_a.txt": "# x\nultralytics>=8\nnumpy==2.1\n"},
            [("models/a/requirements_a.txt", 2)],
        ),
        ({"tests/requirements.txt": "ruff\n"}, [("tests/requirements.txt", 1)]),
    ],
    "shell_stops_at_errors": [
        ({"a.sh": "#!/bin/sh\n# x\necho\n"}, [("a.sh", 1)]),
        ({"run": "#!/usr/bin/env bash\nset -e\n"}, [("run", 1)]),
    ],
}

# rule: a tree it must pass.
LEGAL: dict[str, dict[str, str | bytes]] = {
    "spdx_line_on_top": {
        "a.cc": SPDX,
        "a.py": "#!/usr/bin/python3\n" + HASH_SPDX,
        "a.html": "<!doctype html>\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n",
        "a.md": "text\n",
        "a.json": "{}\n",
        "requirements.txt": "a==1\n",
        "tests/golden/a.yaml": "x: 1\n",
    },
    "top_level_is_fixed": {"README.md": "", ".ci/run": "", "proto/x": "", ".ruff.toml": ""},
    "nothing_unfinished": {"a.cc": "// Hackney, todos\n", "a.sh": "mktemp x.XX" + "XXXX\n"},
    "no_paths_of_a_machine": {
        "a.sh": "cd $x/home/a; cd ./root/x; ls ../home/\n",
        "a.md": "https://example.org/home/page and /var/lib/camherd, network/root/x\n",
    },
    "no_dividers_or_banners": {
        "a.cc": "// +----+----+\n// | id | n  |\n//  - item\n/* text */\n",
        "a.sh": "# -- option\n",
        "a.py": "# the author: a field\n",
    },
    "no_weights_or_large_files": {"a.json": b"x" * 300_000, "models/a/model.yaml": ""},
    "example_cameras_are_local": {
        "a.md": "rtsp://127.0.0.1:8554/x rtsp://u:p@camera.example:8554/x rtsp://[::1]/\n"
        "rtsp://YOUR_RTSP `rtsp://` rtsp://${host}/x rtsp://localhost/x\n",
        "a.cc": '"rtsp://10.0.0.5/x"\n',
    },
    "text_is_clean": {"a.cc": "int a;\n", "a.md": "text\n", "a.h": "", "a.bin": b"\xff\t "},
    "own_header_first": {
        "services/capture/a.h": "",
        "services/capture/a.cc": '// x\n#include "services/capture/a.h"\n\n#include <map>\n',
        "services/capture/main.cc": "#include <map>\n",
        "tests/unit/capture/a_test.cc": '#include "services/capture/a.h"\n',
    },
    "absolute_includes": {
        "gateway/a.cc": '#include <map>\n#include "absl/time/time.h"\n'
        '#include "camherd/v1/a.pb.h"\n#include "gateway/a.h"\n// #include "b.h"\n',
    },
    "modules_apart": {
        "services/capture/a.cc": '#include "services/capture/b.h"\n'
        '#include "services/common/c.h"\n',
        "gateway/a.cc": '#include "gateway/b.h"\n#include "services/common/c.h"\n',
        "tests/a.cc": '#include "services/capture/b.h"\n#include "gateway/b.h"\n',
    },
    "libraries_in_their_files": {
        "services/common/sqlite_db.cc": "#include <sqlite3.h>\n",
        "services/capture/capture_metrics.cc": "#include <prometheus/counter.h>\n",
        "services/capture/main.cc": "#include <grpcpp/server.h>\n",
        "services/common/grpc_server.h": "#include <grpcpp/server.h>\n",
        "services/capture/spool.cc": "#include <sys/stat.h>\n#include <unistd.h>\n"
        '#include <vector>\n#include <stdint.h>\n#include "absl/time/time.h"\n'
        '#include "camherd/v1/frame.pb.h"\n#include <google/protobuf/message.h>\n',
        "tests/a.cc": "#include <sqlite3.h>\n",
    },
    "pragma_once": {"a.h": SPDX + "\n// About.\n#pragma once\n\nint a;\n"},
    "one_class_a_file": {
        "gateway/http_server.h": "class Route;\nstruct Options {\n  int a = 1;\n};\n"
        "class HttpServer {\n public:\n  class Nested {\n  };\n private:\n  int a_;\n};\n",
        "services/a/a_service.h": "class AServiceImpl final : public V1::B {\n  int a_;\n};\n",
        "services/a/store.h": "class Owner {\n public:\n  virtual ~Owner() = default;\n"
        "  virtual void Lost(int a) = 0;\n};\nclass Store {\n  int a_ = 0;\n};\n",
        "tests/support/two.h": "class A {\n};\nclass B {\n};\n",
    },
    "tests_named_after_files": {
        "services/capture/spool.h": "",
        "tests/unit/capture/spool_test.cc": "",
        "gateway/html.h": "",
        "tests/unit/gateway/html_test.cc": "",
        "tests/unit/gateway/fake_backends.cc": "",
    },
    "time_from_the_clock": {
        "services/common/clock.cc": "absl::Now();\n",
        "a.cc": '// absl::Now()\nx = "absl::Now()";\nclock.SleepFor(x);\n'
        "clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);\nmy_sleep(3);\n",
    },
    "waits_by_the_steady_clock": {
        "services/a/a.cc": "// AwaitWithTimeout\nmu_.AwaitFor(c, t);\nwake_.wait_for(lock, t);\n",
        "tests/a_test.cc": "n.WaitForNotificationWithTimeout(t);\n",
    },
    "http_numbers_in_one_place": {
        "gateway/http_status.cc": "case 404:\n",
        "gateway/a.cc": "// 404 for the unknown\nlimit = 500;\nstatus = kNotFound;\n"
        "code.size() == 64;\nabsl::Milliseconds(200);\n",
        "services/capture/libav_packet_source.cc": "if (code == 401) {\n",
    },
    "forbidden_words": {"a.cc": "std::optional<int> a;\n// detach()\nusing namespace camherd;\n"},
    "nolint_says_why": {
        "a.cc": "int a;  // NOLINT(bugprone-x): the API wants it\n"
        "// NOLINTNEXTLINE(google-x): so\n// NOLINTEND(google-x)\n",
    },
    "metric_names": {
        "gateway/m.cc": 'prometheus::BuildCounter().Name("camherd_x_total")\n'
        'prometheus::BuildGauge().Name("camherd_stream_bytes")\n',
    },
    "enums_begin_unspecified": {
        "a.proto": "// enum X { A = 1; }\nenum MyState {\n  // None.\n"
        "  MY_STATE_UNSPECIFIED = 0;\n  MY_STATE_A = 1;\n}\n",
    },
    "no_html_from_strings": {
        "gateway/static/a.js": "// innerHTML\nx.textContent = 'innerHTML';\nsetTimeout(f, 1);\n",
    },
    "page_keeps_its_policy": {
        "gateway/static/a.html": '<script type="module" src="app.js"></script>\n'
        '<link rel="stylesheet" href="style.css"><p class="on">\n',
        "gateway/static/a.js": 'import { a } from "./b.js";\nx.onclick = f;\n',
    },
    "one_file_talks_to_the_api": {
        "gateway/static/api.js": "fetch(x);\nnew EventSource(y);\n",
        "gateway/static/b.js": "// fetch(x)\napi.fetchAll();\n",
    },
    "no_pickle": {"a.py": "import json\n"},
    "worker_protocol_is_standard": {
        "models/camherd_worker.py": "import json\nimport socket\n",
        "models/a/run_inference.py": "import numpy\n",
        "tests/lint/a.py": "import b\n",
        "tests/lint/b.py": "import re\n",
    },
    "nothing_runs_on_import": {
        "a.py": '"""Doc."""\nimport sys\n\nX: int = 1\n\n\ndef main() -> int:\n    return 0\n\n\n'
        'if __name__ == "__main__":\n    sys.exit(main())\n',
    },
    "requirements_are_pinned": {
        "models/a/requirements_a.txt": "# x\nultralytics==8.4.190\ntorch[x]==2.1+cpu  # y\n",
        "requirements.txt": "x==1 \\\n  --hash=sha256:" + 64 * "0" + "\n",
    },
    "shell_stops_at_errors": {
        "a.sh": "#!/bin/sh\n# x\nset -eu\n",
        "b": "#!/bin/bash\nset -euo pipefail\n",
        "c.py": "#!/usr/bin/python3\n",
    },
}


class RulesTest(unittest.TestCase):
    def test_every_rule_has_a_planted_violation_and_a_legal_tree(self) -> None:
        self.assertEqual(set(PLANTED), set(lint.RULES))
        self.assertEqual(set(LEGAL), set(lint.RULES))

    def test_every_planted_violation_is_found_where_it_is(self) -> None:
        for rule, cases in PLANTED.items():
            for number, (files, expected) in enumerate(cases):
                with self.subTest(rule=rule, number=number):
                    found = [(v.path, v.line) for v in violations(rule, files)]
                    self.assertEqual(found, expected)

    def test_what_is_legal_is_passed(self) -> None:
        for rule, files in LEGAL.items():
            with self.subTest(rule=rule):
                self.assertEqual([str(v) for v in violations(rule, files)], [])

    def test_every_rule_says_what_it_checks(self) -> None:
        for name, rule in lint.RULES.items():
            self.assertTrue(rule.__doc__, name)


class ExemptionsTest(unittest.TestCase):
    def test_an_exempted_file_passes_and_an_unneeded_exemption_does_not(self) -> None:
        before = dict(lint.EXEMPT)
        try:
            lint.EXEMPT.clear()
            lint.EXEMPT[("no_pickle", "a.py")] = "reason"
            tree = SourceTree({"a.py": b"import pickle\n", "b.py": b"import pickle\n"})
            self.assertEqual([v.path for _, v in lint.check(tree, ["no_pickle"])], ["b.py"])
            tree = SourceTree({"a.py": b"import json\n"})
            said = [str(v) for _, v in lint.check(tree, ["no_pickle"])]
            self.assertEqual(said, ["a.py:1: needs no exemption from this rule"])
        finally:
            lint.EXEMPT.clear()
            lint.EXEMPT.update(before)


class SourceFileTest(unittest.TestCase):
    def test_code_has_neither_comments_nor_what_strings_hold(self) -> None:
        text = 'a /* b\n c */ "d\\"e" // f\n\'g\' R"x(h\n)" i)x" 1\'000 j'
        file = SourceFile("a.cc", text.encode())
        code = file.code
        self.assertEqual(code.count("\n"), text.count("\n"))
        self.assertEqual([c for c in code if c.isalpha()], ["a", "R", "j"])
        self.assertIn("1'000", code)
        self.assertIn('"d\\"e"', file.code_with_strings)
        self.assertNotIn("f", file.code_with_strings)

    def test_binary_files_have_no_text(self) -> None:
        self.assertEqual(SourceFile("a.jpg", b"\0TODO").text, "")


def main() -> int:
    program = unittest.main(exit=False, verbosity=1)
    return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
