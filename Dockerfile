# SPDX-License-Identifier: Apache-2.0
#
#   docker build -t exercise .
#   docker run -p 8000:8000 -v /path/to/exercise:/app exercise
#
# is all of Camherd in one container, its data in /app. One service, as
# compose.yaml and Kubernetes run it:
#
#   docker build --target capture -t camherd-capture .
#
# with capture, inference, aggregator or gateway.

FROM debian:bookworm-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY deploy/apt-packages.txt deploy/requirements_*.txt deploy/install-dependencies.sh deploy/
# Without what only the test camera needs.
RUN sed -i '/^# quickstart/,$d' deploy/apt-packages.txt && deploy/install-dependencies.sh
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY deploy/CMakeLists.txt deploy/README.md deploy/camera_data.csv deploy/
COPY deploy/config deploy/config
COPY deploy/debian deploy/debian
COPY deploy/systemd deploy/systemd
COPY proto proto
COPY models models
COPY services services
COPY gateway gateway
# One compiler for each 1.5 GiB, as many as there are cores at most.
RUN set -eu \
  && jobs=$(awk '/^MemAvailable/ {print int($2 / 1572864) + 1}' /proc/meminfo) \
  && cores=$(nproc) \
  && cmake --preset release -DCAMHERD_TESTS=OFF \
  && cmake --build build/release -j "$((jobs < cores ? jobs : cores))" \
  && cpack --config build/release/CPackConfig.cmake -B /packages -D CPACK_DEBIAN_COMPRESSION_TYPE=none \
  # The command line may not be there.
  && mkdir -p /out/camherd-cli && touch /out/camherd-cli.depends \
  # Of each package its files, and the names of those of Debian that it needs: an
  # image then holds no .deb.
  && for deb in /packages/*.deb; do \
    name=$(dpkg-deb -f "$deb" Package); \
    dpkg-deb -x "$deb" "/out/$name"; \
    dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/[(|].*//; s/ //g; /^camherd/d; /^adduser$/d; /^init-system/d; /^$/d' \
      | sort -u >"/out/$name.depends"; \
  done

# What all services have: who they run as, the configuration, the data folder.
FROM debian:bookworm-slim AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
  && apt-get upgrade -y \
  && apt-get install -y --no-install-recommends ca-certificates tzdata \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
  && groupadd --gid 10001 camherd \
  && useradd --uid 10001 --gid 10001 --home-dir /var/lib/camherd --no-create-home --shell /usr/sbin/nologin camherd \
  && install -d -o 10001 -g 10001 -m 0750 /var/lib/camherd /var/lib/camherd/weights /run/camherd
COPY --from=build /out/camherd-common/ /
WORKDIR /var/lib/camherd
STOPSIGNAL SIGTERM

FROM base AS aggregator
COPY --from=build /out/camherd-aggregator.depends /tmp/depends
RUN apt-get update \
  && xargs -a /tmp/depends apt-get install -y --no-install-recommends \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/depends
COPY --from=build /out/camherd-aggregator/ /
USER 10001:10001
VOLUME /var/lib/camherd
EXPOSE 50053 50063
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["camherd-aggregator", "--config", "/etc/camherd/camherd.yaml", "--health"]
ENTRYPOINT ["camherd-aggregator", "--config", "/etc/camherd/camherd.yaml"]

FROM base AS gateway
COPY --from=build /out/camherd-gateway.depends /tmp/depends
RUN apt-get update \
  && xargs -a /tmp/depends apt-get install -y --no-install-recommends \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/depends
COPY --from=build /out/camherd-gateway/ /
USER 10001:10001
VOLUME /var/lib/camherd
EXPOSE 5000 8000 50064
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["camherd-gateway", "--config", "/etc/camherd/camherd.yaml", "--health"]
ENTRYPOINT ["camherd-gateway", "--config", "/etc/camherd/camherd.yaml"]

FROM base AS capture
COPY --from=build /out/camherd-capture.depends /tmp/depends
RUN apt-get update \
  && xargs -a /tmp/depends apt-get install -y --no-install-recommends \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/depends
COPY --from=build /out/camherd-capture/ /
USER 10001:10001
VOLUME /var/lib/camherd
EXPOSE 50051 50061
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["camherd-capture", "--config", "/etc/camherd/camherd.yaml", "--health"]
ENTRYPOINT ["camherd-capture", "--config", "/etc/camherd/camherd.yaml"]

# With Python, for models that have an environment of their own.
FROM base AS inference
COPY --from=build /out/camherd-inference.depends /tmp/depends
RUN apt-get update \
  && xargs -a /tmp/depends apt-get install -y --no-install-recommends python3 python3-venv \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/depends
COPY --from=build /out/camherd-inference/ /
USER 10001:10001
VOLUME /var/lib/camherd
EXPOSE 50052 50062
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["camherd-inference", "--config", "/etc/camherd/camherd.yaml", "--health"]
ENTRYPOINT ["camherd-inference", "--config", "/etc/camherd/camherd.yaml"]

# All of it; what `docker build .` makes.
FROM inference AS all
# As root only until it has seen whose /app is.
# hadolint ignore=DL3002
USER 0:0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --from=build /out/camherd-aggregator.depends /out/camherd-capture.depends /out/camherd-gateway.depends /out/camherd-cli.depends /tmp/
RUN apt-get update \
  && cat /tmp/*.depends | xargs apt-get install -y --no-install-recommends \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/*.depends \
  && install -d -o 10001 -g 10001 /app
COPY --from=build /out/camherd-aggregator/ /out/camherd-capture/ /out/camherd-gateway/ /out/camherd-cli/ /
COPY deploy/docker/all.sh /usr/lib/camherd/all.sh
# In a container 0.0.0.0 is what -p leads to, and whoever publishes the port
# decides who reaches it.
RUN sed -i -e 's|^  data_dir: .*|  data_dir: /app|' \
    -e 's|^  listen: \[localhost:5000, localhost:8000\]|  listen: [0.0.0.0:5000, 0.0.0.0:8000]|' \
    -e 's|^  auth: unset|  auth: none|' \
    -e 's|^  weights_dir: .*|  weights_dir: /app/weights|' /etc/camherd/camherd.yaml \
  && test "$(grep -c -e '^  data_dir: /app$' -e '^  listen: \[0.0.0.0:5000, 0.0.0.0:8000\]$' \
    -e '^  auth: none$' -e '^  weights_dir: /app/weights$' /etc/camherd/camherd.yaml)" = 4
WORKDIR /app
VOLUME /app
EXPOSE 5000 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["camherd-gateway", "--config", "/etc/camherd/camherd.yaml", "--health"]
ENTRYPOINT ["/usr/lib/camherd/all.sh"]
