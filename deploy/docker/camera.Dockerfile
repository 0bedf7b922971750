# SPDX-License-Identifier: Apache-2.0
#
# The test camera, for a first look:
#   docker build -f deploy/docker/camera.Dockerfile -t camherd-camera .
FROM debian:bookworm-slim
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /camera
RUN apt-get update \
  && apt-get upgrade -y \
  && apt-get install -y --no-install-recommends ffmpeg python3-gi gir1.2-gst-rtsp-server-1.0 \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
  && apt-get download opencv-doc \
  && dpkg-deb --fsys-tarfile opencv-doc_*.deb \
    | tar -x --strip-components=7 ./usr/share/doc/opencv-doc/examples/data/vtest.avi \
  && rm -rf opencv-doc_*.deb /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY tests/rtsp/camera.py .
# The loop is made here, not at each start.
RUN python3 -B camera.py --prepare --cache loops --mount demo,video=vtest.avi,gop=2
USER 10001:10001
EXPOSE 8554
ENTRYPOINT ["/usr/bin/python3", "-B", "camera.py"]
CMD ["--host", "0.0.0.0", "--port", "8554", "--cache", "loops", "--mount", "demo,video=vtest.avi,gop=2"]
