#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A test camera: real video, looped for ever, over RTSP.

    camera.py --port 8554 --mount demo,video=/usr/share/.../vtest.avi
    ready port=8554

Each --mount is a path and options, separated by commas:

    video=FILE      what is looped; made into a loop file by ffmpeg at the start
                    and kept in --cache
    codec=h264      h264, h265, mjpeg; audio (no video at all); copy (the H.264
                    of the file as it is, with its GOP and B frames)
    fps=10          pictures a second (default: the file's)
    gop=2           seconds between keyframes (default 2)
    size=640x360    scaled to that size (default: the file's)
    seconds=10      length of the loop (default: the whole file)
    bframes=0       B frames in a row
    slices=1        slices of a picture (h264)
    then=320x240    the loop is shown a second time in this size, then in the
                    first again, and so on
    start=7         first access unit sent: a late join in the middle of a GOP
    loss=0.01       share of the RTP packets (h264) that get lost: take UDP
    tags=bt709      colour tags and conversion: bt709, bt601; add `-full` for
                    full range (default bt601, limited)
    filter=...      ffmpeg filters; the last option, commas belong to it

Credentials: --auth basic|digest, user by --user, password in the environment
variable CAM_PASSWORD, so that no process argument holds it.

--tls-cert and --tls-key, PEM files, make it an rtsps camera.

Needs /usr/bin/python3 with gi and gst-rtsp-server, ffmpeg and ffprobe.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

CODECS = ("h264", "h265", "mjpeg", "audio", "copy")
TAGS = {
    "bt601": ("smpte170m", "tv"),
    "bt709": ("bt709", "tv"),
    "bt601-full": ("smpte170m", "pc"),
    "bt709-full": ("bt709", "pc"),
}


@dataclass
class Mount:
    """What one path of the camera shows."""

    path: str
    codec: str = "h264"
    video: str = ""
    fps: Fraction | None = None
    gop: float = 2.0
    size: str = ""
    seconds: float = 0.0
    bframes: int = 0
    slices: int = 1
    then: str = ""
    start: int = 0
    loss: float = 0.0
    tags: str = "bt601"
    filter: str = ""


@dataclass
class Loop:
    """A loop in memory: coded pictures with their times in picture periods."""

    units: list[bytes]
    pts: list[int]
    fps: Fraction
    # Parameter sets, sent first where the feed begins in the middle of a GOP.
    parameters: bytes = b""


def parse_mount(text: str) -> Mount:
    """Reads one --mount; raises ValueError with a sentence."""
    head, _, filters = text.partition(",filter=")
    path, *options = head.split(",")
    mount = Mount(path="/" + path.lstrip("/"), filter=filters)
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in Mount.__dataclass_fields__ or key == "path":
            raise ValueError(f"--mount {text}: unknown option {option!r}")
        if key == "fps":
            mount.fps = Fraction(value)
        elif key in ("gop", "seconds", "loss"):
            setattr(mount, key, float(value))
        elif key in ("bframes", "slices", "start"):
            setattr(mount, key, int(value))
        else:
            setattr(mount, key, value)
    if mount.codec not in CODECS:
        raise ValueError(f"--mount {text}: codec must be one of {', '.join(CODECS)}")
    if mount.tags not in TAGS:
        raise ValueError(f"--mount {text}: tags must be one of {', '.join(TAGS)}")
    if mount.codec != "audio" and not Path(mount.video).is_file():
        raise ValueError(f"--mount {text}: no such video: {mount.video!r}")
    return mount


def probe_fps(video: str) -> Fraction:
    """Pictures a second of a video file."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0"]
        + ["-show_entries", "stream=r_frame_rate", "-of", "csv=p=0", video],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return Fraction(out.strip().rstrip(",").splitlines()[0])


def encode_arguments(mount: Mount, fps: Fraction) -> list[str]:
    """ffmpeg's arguments between input and output."""
    if mount.codec == "copy":
        return ["-c:v", "copy"]
    space, color_range = TAGS[mount.tags]
    size = mount.size.replace("x", ":") if mount.size else "iw:ih"
    matrix = "bt709" if space == "bt709" else "bt601"
    filters = [
        f"fps={fps}",
        f"scale={size}:out_color_matrix={matrix}:out_range={color_range}",
    ]
    if mount.filter:
        filters.insert(0, mount.filter)
    gop = max(1, round(mount.gop * fps))
    arguments = ["-vf", ",".join(filters)]
    if mount.codec == "mjpeg":
        # RFC 2435 carries no Huffman tables: only the default ones work.
        return (
            arguments
            + ["-c:v", "mjpeg", "-huffman", "default", "-q:v", "4"]
            + [
                "-pix_fmt",
                "yuvj420p",
            ]
        )
    arguments += ["-pix_fmt", "yuv420p", "-g", str(gop), "-keyint_min", str(gop)]
    arguments += ["-preset", "veryfast", "-color_range", color_range]
    arguments += ["-colorspace", space, "-color_primaries", space, "-color_trc", space]
    if mount.codec == "h264":
        # Fixed keyframe distance: no keyframes at scene cuts.
        return (
            arguments
            + ["-c:v", "libx264", "-sc_threshold", "0", "-bf", str(mount.bframes)]
            + ["-slices", str(mount.slices)] * (mount.slices > 1)
        )
    x265 = f"log-level=error:scenecut=0:open-gop=0:bframes={mount.bframes}"
    return arguments + ["-c:v", "libx265", "-x265-params", x265]


def run_ffmpeg(arguments: list[str], output: Path, form: str) -> None:
    """Writes `output` atomically, so that two cameras may share a cache."""
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, "-f", form]
    subprocess.run([*command, str(part)], check=True)
    part.rename(output)


def make_loop(mount: Mount, cache: Path) -> Loop:
    """The mount's video as coded pictures, from the cache where it is there."""
    first = make_part(mount, cache)
    if not mount.then:
        return first
    second = make_part(replace(mount, size=mount.then), cache)
    later = [len(first.units) + place for place in second.pts]
    return replace(first, units=first.units + second.units, pts=first.pts + later)


def make_part(mount: Mount, cache: Path) -> Loop:
    """One size of a loop."""
    fps = mount.fps or probe_fps(mount.video)
    form = {"h265": "hevc", "mjpeg": "mjpeg"}.get(mount.codec, "h264")
    encode = encode_arguments(mount, fps)
    source = Path(mount.video).stat()
    key = [mount.video, source.st_size, source.st_mtime_ns, mount.seconds, *encode]
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    coded, container = cache / f"{name}.{form}", cache / f"{name}.mkv"
    if not coded.exists():
        cache.mkdir(parents=True, exist_ok=True)
        length = ["-t", str(mount.seconds)] if mount.seconds else []
        read = ["-i", mount.video, *length, "-an", "-map", "0:v:0"]
        run_ffmpeg([*read, *encode], container, "matroska")
        # Annex B: start codes, and the parameter sets with each keyframe.
        filters = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
        bitstream = ["-bsf:v", filters[form]] if form in filters else []
        run_ffmpeg(["-i", str(container), "-c", "copy", *bitstream], coded, form)
    data = coded.read_bytes()
    if form == "mjpeg":
        units = split_jpegs(data)
        return Loop(units, list(range(len(units))), fps)
    units, parameters = split_access_units(data, hevc=form == "hevc")
    order = list(range(len(units)))
    if mount.bframes > 0 or mount.codec == "copy":
        order = presentation_order(container, len(units))
    return Loop(units, order, fps, parameters)


def presentation_order(container: Path, count: int) -> list[int]:
    """Place of each coded picture in the order of showing."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0"]
        + ["-show_entries", "packet=pts", "-of", "csv=p=0", str(container)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    times = [int(line.strip().rstrip(",")) for line in out.split()]
    if len(times) != count:
        raise ValueError(f"{container}: {len(times)} packets, {count} access units")
    place = {time: index for index, time in enumerate(sorted(times))}
    return [place[time] for time in times]


def split_jpegs(data: bytes) -> list[bytes]:
    """One bytes object per JPEG of a Motion JPEG file."""
    starts, at = [], data.find(b"\xff\xd8\xff")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\xff\xd8\xff", at + 3)
    ends = [*starts[1:], len(data)]
    return [data[a:b] for a, b in zip(starts, ends, strict=True)]


def split_access_units(data: bytes, hevc: bool) -> tuple[list[bytes], bytes]:
    """The coded pictures of an Annex B stream, and its first parameter sets."""
    starts, at = [], data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at - (at > 0 and data[at - 1] == 0))
        at = data.find(b"\0\0\1", at + 3)
    units, current, has_picture, parameters = [], b"", False, b""
    for a, b in zip(starts, [*starts[1:], len(data)], strict=True):
        nal = data[a:b]
        header = nal.find(b"\1") + 1
        if hevc:
            kind = nal[header] >> 1 & 63
            picture = kind < 32
            first = picture and nal[header + 2] & 0x80
            opens = first or 32 <= kind <= 35 or kind == 39
        else:
            kind = nal[header] & 31
            picture = kind in (1, 5)
            first = picture and nal[header + 1] & 0x80
            opens = first or kind in (6, 7, 8, 9)
        if not units and kind in ((32, 33, 34) if hevc else (7, 8)):
            parameters += nal
        if has_picture and opens:
            units.append(current)
            current, has_picture = b"", False
        current += nal
        has_picture = has_picture or picture
    return [*units, current], parameters


class Factory(GstRtspServer.RTSPMediaFactory):
    """Feeds one mount's loop to whoever asks; its clients share one feed."""

    def __init__(self, mount: Mount, loop: Loop | None) -> None:
        super().__init__()
        self._loop = loop
        self._start = mount.start
        self.set_shared(True)
        self.set_launch(self._launch(mount, loop))
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_role("user")
        for permission in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("user", permission, True)
        self.set_permissions(permissions)

    @staticmethod
    def _launch(mount: Mount, loop: Loop | None) -> str:
        if loop is None:
            return "( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 )"
        rate = f"framerate={loop.fps.numerator}/{loop.fps.denominator}"
        source = "appsrc name=src is-live=true format=time block=true caps="
        if mount.codec == "mjpeg":
            return f"( {source}image/jpeg,{rate} ! jpegparse ! rtpjpegpay name=pay0 pt=26 )"
        name = "h265" if mount.codec == "h265" else "h264"
        caps = f"video/x-{name},stream-format=byte-stream,alignment=au,{rate}"
        return f"( {source}{caps} ! {name}parse ! rtp{name}pay name=pay0 pt=96 config-interval=1 )"

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        """Called by the server for each new feed."""
        loop = self._loop
        if loop is None:
            return
        index = self._start
        # A picture is shown at the earliest when it is decoded.
        delay = max(k - place for k, place in enumerate(loop.pts))

        def need_data(source: Gst.Element, _size: int) -> None:
            nonlocal index
            rounds, k = divmod(index, len(loop.units))
            unit = loop.units[k]
            if index == self._start > 0:
                unit = loop.parameters + unit
            buffer = Gst.Buffer.new_wrapped(unit)
            shown = rounds * len(loop.units) + loop.pts[k] + delay - self._start
            decoded = index - self._start
            buffer.pts = int(max(0, shown) * Gst.SECOND / loop.fps)
            buffer.dts = int(decoded * Gst.SECOND / loop.fps)
            index += 1
            source.emit("push-buffer", buffer)

        source = media.get_element().get_child_by_name("src")
        source.connect("need-data", need_data)


class LossyFactory(Factory):
    """Loses packets on their way out."""

    def __init__(self, mount: Mount, loop: Loop | None) -> None:
        super().__init__(mount, loop)
        # All but the payloader.
        self._head = self._launch(mount, loop).rpartition(" ! ")[0] + " )"
        self._loss = mount.loss

    def do_create_element(self, _url: GstRtsp.RTSPUrl) -> Gst.Element:
        """Called by the server for each new feed."""
        head = Gst.parse_launch(self._head.replace(" ! h264parse", " ! h264parse name=parse"))
        tail = f"rtph264pay pt=96 config-interval=1 ! netsim drop-probability={self._loss}"
        payloader = Gst.parse_bin_from_description(tail, True)
        payloader.set_name("pay0")
        head.add(payloader)
        head.get_by_name("parse").link(payloader)
        return head


def make_auth(method: str, user: str, password: str) -> GstRtspServer.RTSPAuth:
    """Asks every client for the one user, or nobody for anything."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if method == "none":
        auth.set_default_token(token)
    elif method == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        basic = GstRtspServer.RTSPAuth.make_basic(user, password)
        auth.add_basic(basic, token)
    return auth


def end_with_parent() -> None:
    """Asks the kernel for SIGTERM when the parent process ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)


def main() -> int:
    """Runs the camera until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mount", action="append", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--auth", choices=("none", "basic", "digest"), default="none")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--tls-cert", help="PEM; with its key: rtsps")
    parser.add_argument("--tls-key", help="PEM")
    parser.add_argument("--cache", type=Path, default=Path("build/loops"), help="for loop files")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent ends")
    parser.add_argument("--prepare", action="store_true", help="only make the loop files")
    args = parser.parse_args()
    if args.with_parent:
        end_with_parent()
    try:
        mounts = [parse_mount(text) for text in args.mount]
        loops = [None if m.codec == "audio" else make_loop(m, args.cache) for m in mounts]
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"camera.py: {error}", file=sys.stderr)
        return 2
    if args.prepare:
        return 0

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.host)
    server.set_service(str(args.port))
    if args.auth != "none" or args.tls_cert:
        auth = make_auth(args.auth, args.user, os.environ.get("CAM_PASSWORD", ""))
        if args.tls_cert:
            files = (args.tls_cert, args.tls_key)
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*files))
        server.set_auth(auth)
    for mount, loop in zip(mounts, loops, strict=True):
        factory = (LossyFactory if mount.loss else Factory)(mount, loop)
        server.get_mount_points().add_factory(mount.path, factory)
    if server.attach(None) == 0:
        print(f"camera.py: port {args.port} is in use", file=sys.stderr)
        return 1
    print(f"ready port={server.get_bound_port()}", flush=True)
    main_loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, main_loop.quit)
    # A shell that starts it in the background has it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, main_loop.quit)
    main_loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
