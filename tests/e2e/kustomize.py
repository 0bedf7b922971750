# SPDX-License-Identifier: Apache-2.0
"""Renders a kustomization as `kubectl kustomize` does, in the part of it that
deploy/kubernetes uses: resources, namespace, images, and patches by strategic
merge. Anything else is an error, so that nothing is passed over in silence."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

_FIELDS = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
# Lists of objects that are merged by a key, as Kubernetes' API has them; other
# lists are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_CLUSTER_WIDE = {"Namespace", "PersistentVolume", "StorageClass", "ClusterRole"}


def render(folder: Path) -> list[Document]:
    """The documents of the kustomization in `folder`."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - _FIELDS
    assert not unknown, f"{folder}: this reader does not know {unknown}"
    documents: list[Document] = []
    for name in kustomization["resources"]:
        path = folder / name
        documents += render(path.resolve()) if path.is_dir() else _load(path)
    identities = [_identity(document) for document in documents]
    assert len(identities) == len(set(identities)), f"{folder}: something is there twice"
    for patch in kustomization.get("patches", []):
        assert set(patch) == {"path"}, f"{folder}: {patch}"
        for change in _load(folder / patch["path"]):
            [target] = [d for d in documents if _identity(d) == _identity(change)]
            merged = _merge(target, change)
            target.clear()
            target.update(merged)
    for document in documents:
        if document["kind"] not in _CLUSTER_WIDE and "namespace" in kustomization:
            document["metadata"]["namespace"] = kustomization["namespace"]
        for container in containers(document):
            for image in kustomization.get("images", []):
                container["image"] = _image(container["image"], image)
    return documents


def containers(document: Document) -> list[Document]:
    """Containers of a workload; of anything else none."""
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    return pod.get("initContainers", []) + pod.get("containers", [])


def _load(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _identity(document: Document) -> tuple[str, str, str]:
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


def _image(current: str, change: Document) -> str:
    assert set(change) <= {"name", "newName", "newTag"}, change
    name, _, tag = current.partition(":")
    if name != change["name"]:
        return current
    tag = change.get("newTag", tag)
    return change.get("newName", name) + (f":{tag}" if tag else "")


def _merge(base: Any, change: Any, key: str = "") -> Any:  # noqa: ANN401
    if isinstance(base, dict) and isinstance(change, dict):
        merged = copy.deepcopy(base)
        for name, value in change.items():
            assert not name.startswith("$"), f"this reader does not know {name}"
            if value is None:
                merged.pop(name, None)
            elif name in merged:
                merged[name] = _merge(merged[name], value, name)
            else:
                merged[name] = copy.deepcopy(value)
        return merged
    if isinstance(base, list) and isinstance(change, list) and key in _MERGE_KEYS:
        return _merge_lists(base, change, _MERGE_KEYS[key])
    return copy.deepcopy(change)


def _merge_lists(base: list[Any], change: list[Any], by: str) -> list[Any]:
    merged = [copy.deepcopy(one) for one in base]
    for one in change:
        found = [at for at, old in enumerate(merged) if old[by] == one[by]]
        if found:
            merged[found[0]] = _merge(merged[found[0]], one)
        else:
            merged.append(copy.deepcopy(one))
    return merged
