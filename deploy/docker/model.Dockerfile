# SPDX-License-Identifier: Apache-2.0
#
# The inference service with the Python environment of a model in it, for sites
# without a network:
#
#   docker build --target inference -t camherd-inference .
#   docker build -f deploy/docker/model.Dockerfile --build-arg MODEL=pothole -t camherd-inference-pothole .
#
# A data folder that has no environment of that model gets a link to the image's
# at the start, and the service takes it as its own. Weights are not in it.
ARG BASE=camherd-inference
# hadolint ignore=DL3006
FROM ${BASE}
ARG MODEL=pothole
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
USER 0:0
# As the service makes it, with the marker that the service looks for
# (services/inference/environment.h).
RUN requirements=/usr/share/camherd/models/$MODEL/requirements_$MODEL.txt \
  && venv=/usr/lib/camherd/venvs/$MODEL \
  && python3 -m venv "$venv" \
  && "$venv/bin/pip" install --no-cache-dir --disable-pip-version-check --only-binary :all: --requirement "$requirements" \
  && hash=$({ printf '%s:' "$(stat -c %s "$requirements")"; cat "$requirements"; } | sha256sum | cut -d ' ' -f 1) \
  && version=$(python3 -c 'import platform; print(platform.python_version())') \
  && printf 'camherd-environment 1\nrequirements %s\npython %s %s\n' "$hash" "$version" "$(command -v python3)" \
    >"$venv/.deps_installed"
USER 10001:10001
ENTRYPOINT ["/bin/sh", "-euc", "mkdir -p venvs; for venv in /usr/lib/camherd/venvs/*; do test -e \"venvs/${venv##*/}\" || ln -sfn \"$venv\" \"venvs/${venv##*/}\"; done; exec camherd-inference --config /etc/camherd/camherd.yaml \"$@\"", "camherd-inference"]
