# SPDX-License-Identifier: Apache-2.0
"""The page, in a real browser."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import cv2
from browser import browser, chromium, loaded, shot
from conftest import MOUNTS, HerdMaker
from harness import Camera, Herd, wait_for
from records import decode, page_picture
from test_access import line, write

from models import add_stub

CSV = """cameraID,latitude,longitude,name
CAM-001,26.4499,80.3319,Mall Road
CAM-002,26.4650,80.3500,Station
CAM-003,91,80.1,Nowhere
"""


def tile(page: Any, name: str) -> Any:  # noqa: ANN401
    """A stream's tile on the wall."""
    return page.locator(".tile", has=page.get_by_role("heading", name=name, exact=True))


def test_a_stream_from_its_start_to_its_grid(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd()
    herd.request("POST", "/api/v1/cameras/import", CSV, {"Content-Type": "text/csv"})
    with browser() as chrome:
        page = chrome.open(herd.url("/#/start"))
        start = page.locator("#view-start")
        start.get_by_label("Camera URL").fill(camera.url("demo"))
        start.get_by_label("Camera id").fill("CAM-001")
        start.get_by_label("Model").select_option("animals")
        start.get_by_label("Seconds between frames").fill("0.01")
        start.get_by_role("button", name="Start").click()
        # What is wrong is said by the API, at the field that it names.
        field = page.locator("#interval_seconds[aria-invalid=true]")
        field.wait_for()
        assert "interval_seconds must be in" in page.locator("#start-message").inner_text()
        assert field.evaluate("field => field === document.activeElement")
        # The browser tells of the answer, too.
        assert [text for text in chrome.errors if "400" in text] == chrome.errors
        chrome.errors.clear()
        field.fill("0.3")
        # So it is where a field is folded away.
        more = start.get_by_text("More models")
        more.click()
        start.get_by_label("Stops after seconds").fill("soon")
        more.click()
        start.get_by_role("button", name="Start").click()
        page.locator("#ttl_seconds[aria-invalid=true]").wait_for()
        chrome.errors.clear()
        start.get_by_label("Stops after seconds").fill("3600")
        start.get_by_role("button", name="Start").click()
        page.get_by_text("CAM-001 is starting.").wait_for()

        # The wall: a picture that changes.
        page.get_by_role("link", name="Wall").click()
        tile(page, "CAM-001").get_by_text("running", exact=True).wait_for()
        first = loaded(page, ".tile img[src*='/latest.jpg']")
        wait_for(lambda: loaded(page, ".tile img[src*='/latest.jpg']") != first, 5, "another")
        tile(page, "CAM-001").get_by_text("dog").wait_for()
        loaded(page, "#records-list img[src*='/frame.jpg']")
        shot(page, "wall")
        page.get_by_label("newest results with boxes").check()
        loaded(page, ".tile img[src*='/frame.jpg?boxes=true']")
        page.get_by_label("newest results with boxes").uncheck()

        # Its own view.
        page.get_by_role("link", name="Open", exact=True).click()
        page.get_by_role("heading", name="CAM-001").wait_for()
        loaded(page, ".stream img[src*='/latest.jpg']")
        loaded(page, ".stream img[alt^='Newest result of CAM-001: dog'][src*='boxes=true']")
        loaded(page, ".stream img[alt^='The brightest frames']")
        wait_for(lambda: page.locator(".cells li").count() == 9, 15, "nine cells")
        assert page.locator(".chart polyline").count() == 1
        assert page.locator(".chart .bar-line").count() >= 10
        accounting = page.locator(".stream table").first.inner_text()
        assert re.search(r"due\s+\d+\s+= \d+ captured \+ \d+ missed", accounting), accounting
        assert re.search(r"captured\s+\d+\s+= \d+ recorded \+ \d+ dropped", accounting)
        page.locator(".notes").get_by_text("dog").first.wait_for()
        assert herd.stream("CAM-001")["ttl_seconds"] == 3600
        shot(page, "stream")

        # Editing.
        page.get_by_role("button", name="Edit").click()
        page.locator("#edit").get_by_label("Seconds between frames").fill("0.25")
        page.locator("#edit").get_by_role("button", name="Save").click()
        page.get_by_text("every 0.25 s, auto").wait_for()
        page.locator(".notes").get_by_text("interval seconds: 0.3").wait_for()
        assert herd.stream("CAM-001")["interval_seconds"] == 0.25

        # Stopping, with a question before it.
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Cancel").click()
        assert herd.stream("CAM-001")["state"] == "running"
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Stop it").click()
        loaded(page, "#viewer-picture[src^='data:image/jpeg']")
        assert "The 9 brightest frames" in page.locator("#viewer-text").inner_text()
        page.keyboard.press("Escape")
        page.locator(".stream .head .pill", has_text="stopped").wait_for()

        # A page that was not there knows what happened before.
        page.reload()
        loaded(page, ".stream img[alt^='The brightest frames']")
        for text in ("#1: dog", "running", "interval seconds: 0.3", "stopped"):
            page.locator(".notes").get_by_text(text).first.wait_for()
        notes = page.locator(".notes li > :last-child").all_inner_texts()
        assert "stopped" in notes[:5], notes
        page.get_by_role("link", name="All streams").click()
        page.get_by_text("No stream is running.").wait_for()
        page.locator("#wall-filter").select_option("stopped")
        tile(page, "CAM-001").get_by_role("button", name="Remove").wait_for()

        # What it left: records, with the JSON beside the picture.
        page.get_by_role("link", name="Records").click()
        page.locator("#filter-class").fill("cow")
        page.get_by_role("button", name="Show", exact=True).click()
        page.get_by_text("No record fits.").wait_for()
        page.locator("#filter-class").fill("dog")
        page.get_by_role("button", name="Show", exact=True).click()
        loaded(page, "#gallery img")
        assert "class_name=dog" in page.url
        export = page.locator("#export-link").get_attribute("href")
        assert herd.get(export).headers["content-disposition"].startswith("attachment")
        page.locator("#gallery .picture").first.click()
        loaded(page, "#viewer-picture[src*='boxes=true']")
        record = json.loads(page.locator("#viewer-raw").text_content())
        assert record["camera_id"] == "CAM-001"
        shot(page, "record")
        page.keyboard.press("Escape")

        # The map knows what was seen where.
        page.get_by_role("link", name="Cameras").click()
        pin = page.locator(".map-pin", has_text="Mall Road")
        pin.wait_for()
        assert page.locator(".map-pin").count() == 2
        pin.click()
        page.locator(".leaflet-popup").get_by_text("Seen lately: dog").wait_for()
        shot(page, "cameras")


def test_masks_and_zones_are_drawn_on_the_picture(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("second"), camera_id="CAM-001", interval=0.2)
    herd.wait_captured("CAM-001", 1)
    with browser() as chrome:
        page = chrome.open(herd.url("/#/streams/CAM-001"))
        page.get_by_role("button", name="Masks and zones").click()
        loaded(page, "#areas-picture")
        dialog = page.locator("#areas")
        dialog.get_by_role("button", name="Add a mask").click()
        drawing = page.locator("#areas-drawing")
        box = drawing.bounding_box()

        def click(x: float, y: float) -> None:
            drawing.click(position={"x": box["width"] * x, "y": box["height"] * y})

        click(0.1, 0.1)
        click(0.5, 0.1)
        # What is wrong is said at the field, and nothing is lost.
        dialog.get_by_role("button", name="Save").click()
        dialog.get_by_text("privacy_masks[0].points must number 3..64, got 2").wait_for()
        assert dialog.locator("[aria-invalid=true]").get_attribute("name") == (
            "privacy_masks[0].points"
        )
        chrome.errors.clear()
        click(0.5, 0.5)
        click(0.1, 0.5)
        # A corner is dragged.
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.9, steps=3)
        page.mouse.up()
        # By keyboard alone: a zone.
        dialog.get_by_role("button", name="Add a zone").focus()
        page.keyboard.press("Enter")
        page.keyboard.type("road")
        page.keyboard.press("Tab")
        page.keyboard.type("cow, dog")
        page.keyboard.press("Tab")
        page.keyboard.type("0,0.5 1,0.5 1,1 0,1")
        shot(page, "masks")
        page.keyboard.press("Escape")
        page.get_by_text("Leave without saving?").wait_for()
        page.get_by_role("button", name="Cancel").click()
        dialog.get_by_role("button", name="Save").click()
        dialog.get_by_text("Saved. It holds within seconds.").wait_for()
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")

        stored = herd.get("/api/v1/cameras/CAM-001").json
        [mask] = stored["privacy_masks"]
        corners = [(round(point["x"], 1), round(point["y"], 1)) for point in mask["points"]]
        assert corners == [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.9)]
        [zone] = stored["zones"]
        assert (zone["name"], zone["classes"]) == ("road", ["cow", "dog"])
        assert zone["area"]["points"][2] == {"x": 1, "y": 1}

        def black() -> bool:
            picture = decode(herd.get("/api/v1/streams/CAM-001/latest.jpg").body)
            height, width = picture.shape[:2]
            return picture[int(height * 0.3), int(width * 0.3)].max() < 16

        wait_for(black, 15, "the mask in the newest picture")

        # The camera's form leaves them alone.
        page.get_by_role("link", name="Cameras").click()
        page.get_by_role("button", name="Edit CAM-001").click()
        page.get_by_text("It has 1 privacy mask and the zone road.").wait_for()
        page.locator("#camera-name").fill("North gate")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("CAM-001 is saved.").wait_for()
        stored = herd.get("/api/v1/cameras/CAM-001").json
        assert stored["name"] == "North gate"
        assert len(stored["privacy_masks"]) == len(stored["zones"]) == 1


def test_a_camera_that_dies_and_a_server_that_goes_are_shown_at_once(
    make_herd: HerdMaker,
) -> None:
    herd = make_herd()
    with Camera(*MOUNTS[:1]) as own, browser() as chrome:
        herd.start_stream(own.url("demo"), camera_id="CAM-001", interval=0.2, model_name="people")
        page = chrome.open(herd.url("/"))
        shown = tile(page, "CAM-001")
        shown.get_by_text("running", exact=True).wait_for()
        begin = time.monotonic()
        own.kill()
        shown.get_by_text("reconnecting", exact=True).wait_for(timeout=5000)
        shown.get_by_text("the connection was refused").wait_for(timeout=5000)
        died = time.monotonic() - begin
        shown.get_by_text(re.compile("^(Next try in|Trying now)")).wait_for()
        shown.get_by_role("link", name="Find out why").click()
        page.get_by_role("button", name="Test the camera").click()
        page.locator(".stream .steps").get_by_text("failed").wait_for()
        assert page.locator(".stream .steps .reason").count() == 1
        shot(page, "diagnosis")
        page.get_by_role("link", name="All streams").click()
        own.start()
        begin = time.monotonic()
        shown.get_by_text("running", exact=True).wait_for(timeout=5000)
        came = time.monotonic() - begin
        print(f"shown {died:.1f} s after it died, {came:.1f} s after it came back")

        herd.kill("gateway")
        page.get_by_text("The connection to the server was lost").wait_for(timeout=5000)
        shot(page, "lost")
        herd.restart("gateway")
        page.get_by_text("The connection is back.").wait_for(timeout=10_000)
        assert page.locator("#connection").inner_text() == "connected"
        # A browser tells of connections that fail by itself.
        chrome.errors[:] = [text for text in chrome.errors if "ERR_" not in text]

        # One service away: what it told stays, and the page says so.
        herd.kill("inference")
        page.get_by_text("No news of models").wait_for()
        herd.restart("inference")
        page.get_by_text("No news of models").wait_for(state="hidden")


def test_the_building_of_a_models_environment_is_shown(make_herd: HerdMaker) -> None:
    herd = make_herd(start=False)
    add_stub(Path(herd.settings["INFERENCE_MODELS_DIR"]), "slow")
    add_stub(
        Path(herd.settings["INFERENCE_MODELS_DIR"]), "broken", requirements="no-such-package==1\n"
    )
    herd.start()
    with browser() as chrome:
        page = chrome.open(herd.url("/#/models"))
        model = page.locator("#models-list > li", has_text="named slow")
        model.wait_for()
        # Whatever its state was for a moment.
        page.evaluate("""() => {
            window.seen = [];
            const look = () => {
                for (const card of document.querySelectorAll("#models-list > li")) {
                    const bar = card.querySelector("progress");
                    const state = card.querySelector(".pill").textContent;
                    window.seen.push(state + (bar.hidden ? "" : " bar"));
                }
            };
            new MutationObserver(look).observe(document.getElementById("models-list"),
                { subtree: true, childList: true, attributes: true, characterData: true });
        }""")
        model.get_by_role("button", name="Prepare").click()
        model.get_by_text("ready", exact=True).wait_for(timeout=60_000)
        seen = set(page.evaluate("window.seen"))
        assert seen & {"creating bar", "installing bar", "loading bar"}, seen
        model.get_by_role("button", name="Unload").click()
        page.get_by_role("button", name="Unload it").click()
        model.get_by_text("not prepared").wait_for()

        broken = page.locator("#models-list > li", has_text="named broken")
        broken.get_by_role("button", name="Prepare").click()
        broken.get_by_text("failed", exact=True).wait_for(timeout=60_000)
        assert "no-such-package" in broken.locator(".log").inner_text()
        shot(page, "models")


def made_up(herd: Herd, count: int) -> list[dict[str, Any]]:
    """Streams that look like a real one, with text that would be script if it were HTML."""
    real = herd.streams()[0]
    evil = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    return [
        {
            **real,
            "stream_id": f"s{number}",
            "process_name": f"cam-{number:03d}{evil if number < 3 else ''}",
            "camera_id": evil if number < 3 else f"cam-{number:03d}",
            "state": "auth_failed" if number % 50 == 7 else "running",
            "state_reason": f"the camera said {evil}",
        }
        for number in range(count)
    ]


def test_hundreds_of_streams_stay_quick_and_their_text_is_text(
    make_herd: HerdMaker, camera: Camera
) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("third"), camera_id="CAM-001", interval=1)
    herd.wait_captured("CAM-001", 1)
    jpeg = herd.get("/api/v1/streams/CAM-001/latest.jpg").body
    streams = made_up(herd, 600)
    # No events of its own among the others.
    assert herd.request("DELETE", "/api/v1/streams/CAM-001").status == 204
    asked: list[str] = []

    def prepare(page: Any) -> None:  # noqa: ANN401
        def answer(route: Any) -> None:  # noqa: ANN401
            live = [] if "state=stopped" in route.request.url else streams
            route.fulfill(json={"streams": live, "next_page_token": ""})

        def picture(route: Any) -> None:  # noqa: ANN401
            asked.append(route.request.url)
            route.fulfill(body=jpeg, content_type="image/jpeg")

        page.route("**/api/v1/streams?*", answer)
        page.route("**/latest.jpg*", picture)
        page.route("**/api/v1/records?*", lambda r: r.fulfill(json={"records": []}))

    with browser() as chrome:
        begin = time.monotonic()
        page = chrome.open(herd.url("/"), prepare=prepare)
        page.get_by_text("600 streams").wait_for()
        loaded(page, ".tile img")
        first = time.monotonic() - begin
        # Tiles beyond the view are not even filled.
        assert len(set(asked)) < 60, len(set(asked))
        assert page.locator(".tile").count() == 600
        assert page.locator(".tile h3").count() < 60
        took = page.evaluate("""async () => {
            const search = document.getElementById("wall-search");
            search.value = "cam-599";
            const begin = performance.now();
            search.dispatchEvent(new Event("input"));
            await new Promise(requestAnimationFrame);
            return performance.now() - begin;
        }""")
        assert page.locator(".tile").count() == 1
        print(f"first picture after {first:.1f} s, 600 tiles filtered in {took:.0f} ms")
        assert took < 1000
        page.locator("#wall-search").fill("")
        page.locator("#wall-filter").select_option("trouble")
        wait_for(lambda: page.locator(".tile").count() == 12, 5, "those in trouble")
        page.locator("#wall-filter").select_option("live")
        tile(page, streams[0]["process_name"]).wait_for()
        assert page.evaluate("window.hacked") is None


def test_a_narrow_screen_a_dark_one_and_a_keyboard(make_herd: HerdMaker, camera: Camera) -> None:
    herd = make_herd()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.wait_records(1)
    with browser() as chrome:
        page = chrome.open(herd.url("/"), 360, 740, "dark")
        tile(page, "CAM-001").get_by_text("dog").wait_for()
        stream = herd.stream("CAM-001")["stream_id"]
        for name in ("", "records", "cameras", "models", "start", f"streams/{stream}"):
            page.goto(herd.url(f"/#/{name}"))
            page.locator("main > .view:not([hidden]) h2").first.wait_for()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, f"{name} is {wide} pixels wide"
            shot(page, f"narrow-{name.split('/')[0] or 'wall'}")

        # By keyboard alone: past the navigation, into a tile, a dialog that keeps the focus.
        page = chrome.open(herd.url("/"))
        tile(page, "CAM-001").get_by_text("running", exact=True).wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "streams-title"
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Stop":
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Stop it").wait_for()
        inside = (
            "document.activeElement === document.body || document.activeElement.closest('dialog')"
        )
        for _ in range(5):
            page.keyboard.press("Tab")
            assert page.evaluate(f"Boolean({inside})")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "Stop"
        assert herd.stream("CAM-001")["state"] == "running"


def test_the_map_has_tiles_where_they_are_configured(make_herd: HerdMaker) -> None:
    tiles = "http://tiles.example.org/{z}/{x}/{y}.png"
    herd = make_herd(GATEWAY_MAP_TILE_URL=tiles, GATEWAY_MAP_ATTRIBUTION="\u00a9 <someone>")
    policy = herd.get("/").headers["content-security-policy"]
    assert "img-src http://tiles.example.org 'self' data:;" in policy
    asked: list[str] = []

    def prepare(page: Any) -> None:  # noqa: ANN401
        def tile_of(route: Any) -> None:  # noqa: ANN401
            asked.append(route.request.url)
            pixel = '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"/>'
            route.fulfill(
                body=pixel,
                content_type="image/svg+xml",
                headers={"Cross-Origin-Resource-Policy": "cross-origin"},
            )

        page.route("http://tiles.example.org/**", tile_of)

    with browser() as chrome:
        page = chrome.open(herd.url("/#/cameras"), prepare=prepare)
        page.locator("img.leaflet-tile-loaded").first.wait_for()
        assert re.fullmatch(r"http://tiles\.example\.org/2/\d/\d\.png", asked[0]), asked
        assert page.locator("#map-attribution").inner_text() == "\u00a9 <someone>"


def test_a_login_is_asked_for_and_what_a_role_may_not_is_not_offered(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    roles = {"root": "admin root", "alice": "viewer alice", "guard": "operator guard"}
    roles["guard"] += " camera=CAM-001"
    lines = {name: line(f"token-of-{name}", rest) for name, rest in roles.items()}
    known = write(tmp_path / "tokens", "".join(lines.values()))
    herd = make_herd(start=False, GATEWAY_AUTH="tokens", GATEWAY_TOKENS_FILE=str(known))
    herd.token = "token-of-root"
    herd.start()
    herd.start_stream(camera.url("demo"), camera_id="CAM-001", interval=0.2)
    herd.start_stream(camera.url("second"), camera_id="CAM-002", interval=0.2)
    with browser() as chrome:
        page = chrome.open(herd.url("/"))

        def login(token: str) -> None:
            page.get_by_label("Token").fill(token)
            page.keyboard.press("Enter")

        login("wrong")
        page.locator("#login-message.bad").wait_for()
        assert [text for text in chrome.errors if "401" in text] == chrome.errors
        chrome.errors.clear()
        shot(page, "login")
        login("token-of-alice")
        shown = tile(page, "CAM-001")
        shown.get_by_text("running", exact=True).wait_for()
        loaded(page, ".tile img[src*='/latest.jpg']")
        assert page.locator("#who").inner_text() == "alice, viewer"
        assert page.get_by_role("link", name="Start a stream").count() == 0
        assert shown.get_by_role("button", name="Stop").count() == 0
        page.get_by_role("link", name="Cameras").click()
        page.get_by_role("heading", name="Cameras").wait_for()
        assert page.get_by_role("button", name="Save").count() == 0
        assert page.get_by_role("button", name="Import").count() == 0
        page.get_by_role("button", name="Log out").click()

        # One camera's operator sees that camera, and may do what concerns it.
        page.get_by_label("Token").wait_for()
        login("token-of-guard")
        page.goto(herd.url("/#/"))
        shown.get_by_role("button", name="Stop").wait_for()
        assert page.locator(".tile").count() == 1
        page.get_by_role("link", name="Models").click()
        page.get_by_role("heading", name="animals", exact=True).wait_for()
        assert page.get_by_role("button", name="Load anew").count() == 0
        assert page.get_by_role("button", name="Prepare").count() == 0

        # A token that is taken away takes the page along.
        known.write_text(lines["root"])
        page.get_by_text("The login has ended.").wait_for(timeout=20_000)
        assert page.locator("#view-models").is_hidden()
        chrome.errors[:] = [text for text in chrome.errors if "401" not in text]


def test_the_page_of_stop_opens_from_disk_and_shows_the_grid(
    make_herd: HerdMaker, camera: Camera, tmp_path: Path
) -> None:
    herd = make_herd()
    body = f"rtsp_url={camera.url('demo')}&interval=0.2"
    assert herd.request("POST", "/start", body, listener=1).status == 200
    herd.wait_captured("demo", 10)
    page = herd.stop_stream("demo")
    path = tmp_path / "response.html"
    path.write_bytes(page.body)
    herd.stop()

    shot = tmp_path / "shot.png"
    chromium(tmp_path, f"--screenshot={shot}", path.as_uri())
    screen = cv2.imread(str(shot))
    grid = decode(page_picture(page.text))
    # The grid, somewhere on the screen, at whatever width the page gives it; at a
    # quarter of the size, since the search is long.
    small = cv2.resize(screen, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    best = 0.0
    for width in range(100, small.shape[1] + 1):
        scaled = cv2.resize(grid, (width, round(width * 9 / 16)), interpolation=cv2.INTER_AREA)
        if scaled.shape[0] <= small.shape[0]:
            found = cv2.matchTemplate(small, scaled, cv2.TM_CCOEFF_NORMED).max()
            best = max(best, float(found))
    assert best > 0.9


def test_the_page_loads_nothing_from_elsewhere_and_has_a_policy(module_herd: Herd) -> None:
    answer = module_herd.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    for path in re.findall(r'(?:src|href)="(/[^"#]+)"', answer.text):
        assert module_herd.get(path).status == 200, path


def test_livez_readyz_and_metrics_answer(make_herd: HerdMaker) -> None:
    herd = make_herd()
    assert herd.get("/livez").status == 200
    ready = wait_for(lambda: (a := herd.get("/readyz")).status == 200 and a, 10)
    assert ready.json["ready"] is True
    assert "camherd_" in herd.get("/metrics").text
    for name in ("capture", "inference", "aggregator", "gateway"):
        assert "camherd_build_info" in herd.metrics(name)
    herd.kill("inference")
    unready = wait_for(lambda: (a := herd.get("/readyz")).status == 503 and a, 10)
    assert unready.json["services"]["inference"]["ready"] is False
    assert unready.json["services"]["inference"]["reason"]
    herd.restart("inference")
    wait_for(lambda: herd.get("/readyz").status == 200, 15, "ready again")
