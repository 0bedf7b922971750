# SPDX-License-Identifier: Apache-2.0
"""CONVENTIONS rules 8 and 35: how files include, and which may include what."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch

from source_tree import SourceFile, SourceTree, Violation

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)

# library: pattern of its headers.
LIBRARIES = {
    "gRPC": r"grpc(pp)?/|.*\.grpc\.pb\.h$",
    "prometheus": r"prometheus/",
    "yaml-cpp": r"yaml-cpp/",
    "spdlog": r"(spdlog|fmt)/",
    "FFmpeg": r"lib(avformat|avcodec|avutil|swscale)/",
    "libjpeg-turbo": r"(jpeglib|jerror|turbojpeg)\.h$",
    "SQLite": r"sqlite3\.h$",
    "libpq": r"libpq-fe\.h$",
    "OpenCV": r"opencv2/",
    "JSON": r"nlohmann/",
    "libcurl": r"curl/",
    "OpenSSL": r"openssl/",
    "GnuTLS": r"gnutls/",
    "cpp-httplib": r"httplib\.h$",
    "CLI11": r"CLI/",
    "OpenVINO": r"openvino/",
    "ONNX Runtime": r"onnxruntime",
    "libsystemd": r"systemd/",
}

# module: library: the files (without ending) that may include it.
TABLE = {
    "services/common": {
        "gRPC": ["grpc_*"],
        "prometheus": ["metrics_exporter"],
        "yaml-cpp": ["yaml_config"],
        "spdlog": ["log"],
        "SQLite": ["sqlite_db"],
        "JSON": ["proto_json"],
        # SHA-256; when a certificate ends.
        "OpenSSL": ["file", "metrics_exporter"],
        "libsystemd": ["systemd_notifier"],
    },
    "services/capture": {
        "FFmpeg": ["*packet_source", "decoder", "libav_connection", "libav_listener"],
        "libjpeg-turbo": ["jpeg_encoder", "jpeg_draw"],
        "GnuTLS": ["tls_verifier"],
        "gRPC": ["capture_service", "*_client", "call_registry"],
    },
    "services/inference": {
        "OpenCV": ["*_engine", "letterbox"],
        "libjpeg-turbo": ["jpeg_decoder"],
        "JSON": ["venv_engine", "venv_worker"],
        "libcurl": ["weights_fetcher"],
        "OpenSSL": ["weights_fetcher"],
        "yaml-cpp": ["model_manifest"],
        "OpenVINO": ["openvino_engine"],
        "ONNX Runtime": ["onnxruntime_engine"],
        "gRPC": ["inference_service", "kserve_engine", "aggregator_client"],
    },
    "services/aggregator": {
        "libpq": ["postgres_record_store*"],
        "OpenCV": ["grid_renderer", "record_picture"],
        "JSON": ["predictions_file*", "imported_line"],
        "gRPC": ["aggregator_service", "import_client"],
    },
    "services/cli": {
        "gRPC": ["herd_client"],
        "yaml-cpp": ["herd_file"],
        "CLI11": ["command_line"],
    },
    "gateway": {
        "cpp-httplib": ["http_server", "livez_check"],
        "OpenSSL": ["tls_server"],
        "JSON": ["openapi_routes"],
        "gRPC": ["backend_clients"],
    },
}

# What needs no permission: Abseil, protobuf, the system.
_FREE = re.compile(
    r"absl/|google/protobuf/"
    r"|(sys|netinet|arpa|linux|net)/\w+\.h$|[a-z_]+$|std\w+\.h$"
    r"|(arpa|dlfcn|fcntl|getopt|malloc|netdb|poll|pthread|pwd|sched|signal|spawn|termios|time|unistd"
    r"|dirent|errno|limits|string|syscall|wait|math|assert|inttypes)\.h$"
)


def _includes(file: SourceFile) -> list[tuple[int, str, str]]:
    found = []
    for match in _INCLUDE.finditer(file.code_with_strings):
        line = file.text.count("\n", 0, match.start()) + 1
        found.append((line, match.group(1), match.group(2)))
    return found


def _own_header(tree: SourceTree, file: SourceFile) -> str | None:
    stem = file.path.removesuffix(".cc")
    candidates = [stem + ".h"]
    unit = re.fullmatch(r"tests/(?:unit|integration)/(.*)_test", stem)
    if unit:
        candidates = [f"services/{unit[1]}.h", f"{unit[1]}.h"]
    return next((path for path in candidates if path in tree), None)


def own_header_first(tree: SourceTree) -> Iterator[Violation]:
    """A .cc, and a test, includes the header it is about first."""
    for file in tree.select((".cc",)):
        own = _own_header(tree, file)
        includes = _includes(file)
        if own is not None and includes and includes[0][2] != own:
            yield Violation(file.path, includes[0][0], f'must include "{own}" first')


def absolute_includes(tree: SourceTree) -> Iterator[Violation]:
    """Quoted includes start at the repository root, or are Abseil's."""
    roots = ("services/", "gateway/", "tests/", "camherd/v1/", "absl/", "google/")
    for file in tree.select((".cc", ".h")):
        for line, quote, path in _includes(file):
            if ".." in path.split("/") or (quote == '"' and not path.startswith(roots)):
                yield Violation(file.path, line, f"include from the repository root, got {path}")
            ours = path.startswith(("services/", "gateway/", "tests/"))
            if ours and quote == "<":
                yield Violation(file.path, line, f"include ours by quotes, got <{path}>")


def modules_apart(tree: SourceTree) -> Iterator[Violation]:
    """No service includes another or the gateway; nobody includes tests."""
    for file in tree.select((".cc", ".h"), ("services/", "gateway/")):
        for line, _, path in _includes(file):
            if path.startswith("tests/"):
                yield Violation(file.path, line, f"includes a test's file {path}")
            if not path.startswith(("services/", "gateway/")):
                continue
            target = SourceFile(path, b"").module
            if target not in (file.module, "services/common"):
                yield Violation(file.path, line, f"{file.module} must not include {path}")


def libraries_in_their_files(tree: SourceTree) -> Iterator[Violation]:
    """Only the files of the table include a library; main.cc is free."""
    for file in tree.select((".cc", ".h"), ("services/", "gateway/")):
        if file.name == "main.cc":
            continue
        allowed = TABLE.get(file.module, {})
        for line, _, path in _includes(file):
            library = next((name for name, form in LIBRARIES.items() if re.match(form, path)), None)
            if library is None:
                known = path.startswith(("services/", "gateway/", "camherd/v1/"))
                if not known and not _FREE.match(path):
                    yield Violation(file.path, line, f"unknown library: {path}")
                elif path.startswith("camherd/v1/") and file.module == "services/common":
                    yield Violation(file.path, line, "common knows no proto of ours")
                continue
            if library == "prometheus" and file.stem.endswith("_metrics"):
                continue
            if not any(fnmatch(file.stem, form) for form in allowed.get(library, [])):
                places = ", ".join(allowed.get(library, [])) or "no file"
                yield Violation(
                    file.path,
                    line,
                    f"{library} is for {places} of {file.module}, got {path}",
                )


RULES = [
    own_header_first,
    absolute_includes,
    modules_apart,
    libraries_in_their_files,
]
