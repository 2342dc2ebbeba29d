"""The review app in a real browser: decided by keys and by mouse, with nothing lost on the way."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from labelfix.decisions import read_log
from labelfix.run import FindOptions, find, open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, Route

    from labelfix.decisions import Decision, Verdict

sync_api = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30
"""Seconds that anything may take on a busy machine; then the test fails."""
SHOWN = "performance.getEntriesByName('labelfix:shown').length"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or the one that `playwright install chromium` brings."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium here; `playwright install chromium` brings one")
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Server:
    """A running app, and what its log says."""

    run: Path
    address: str

    def verdicts(self, reviewer: str = "ann") -> dict[str, Verdict]:
        """What the reviewer says now, by annotation, proposed box or new box."""
        replay = read_log(self.run / "decisions.jsonl")
        return {
            subject: one
            for subject in replay.sessions
            for one in replay.verdicts(subject)
            if one.reviewer == reviewer
        }

    def outcomes(self) -> dict[str, str]:
        """In a word each."""
        return {subject: one.outcome for subject, one in self.verdicts().items()}

    @property
    def events(self) -> list[Decision]:
        return read_log(self.run / "decisions.jsonl").decisions


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serve a run from a thread of this process."""
    import uvicorn

    from labelfix.review.server import ReviewOptions, create_app

    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(run: Path, **options: Any) -> Server:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        asked = ReviewOptions(reviewer="ann", **options)
        app = create_app(open_run(run), asked, port)
        config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return Server(run, f"http://127.0.0.1:{port}/{asked.token}/")

    yield start
    for server, thread in running:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages that share one browser profile; what goes wrong in them fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(1000 * PATIENCE)
    errors: list[str] = []

    def open_page(address: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda one: errors.append(one.text) if _is_bad(one) else None)
        page.goto(address)
        until(page, f"{SHOWN} > 0")
        return page

    yield open_page
    context.close()
    assert errors == []


def _is_bad(message: Any) -> bool:
    return message.type == "error" and "Failed to load resource" not in message.text


def shown(page: Page) -> str:
    return page.locator(".path").inner_text()


def until(page: Page, expression: str, seconds: float = PATIENCE) -> None:
    """Wait for something in the page. Playwright's own way would need the policy bent for it."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(15)


def arrive(page: Page, item_id: str) -> None:
    """Wait until an item is on the screen."""
    page.locator(".path", has_text=item_id).wait_for()
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other, each once what the one before led to is on the screen."""
    for key in keys:
        before = page.evaluate(SHOWN)
        page.keyboard.press(key)
        with contextlib.suppress(AssertionError):  # many keys show nothing new
            until(page, f"{SHOWN} > {before}", 0.25)


def saved(page: Page) -> None:
    until(page, "document.getElementById('saved').textContent === 'Saved'")


def queue_of(run: Path) -> pl.DataFrame:
    return open_run(run).issues


# Class labels


def test_class_labels_reviewed_by_keys_alone(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    ids = queue_of(class_run)["item_id"].to_list()
    assert shown(page) == ids[0]
    press(page, "Enter", "k", "3", "f", "s", "o")
    page.keyboard.press("m")
    page.keyboard.press("Control+Enter")  # given and suggested are chosen already
    arrive(page, ids[7])
    page.keyboard.press("/")
    page.keyboard.type("gre")
    page.keyboard.press("Enter")
    arrive(page, ids[8])
    saved(page)
    verdicts = server.verdicts()
    assert [verdicts[one].outcome for one in ids[:8]] == [
        "changed",
        "kept",
        "changed" if "red" not in ids[2] else "kept",
        "flagged",
        "skipped",
        "marked",
        "marked",
        "changed" if "green" not in ids[7] else "kept",
    ]
    assert verdicts[ids[0]].label == "red"
    mark = verdicts[ids[6]].mark
    assert mark is not None
    assert len(mark.labels) == 2


def test_a_whole_queue_comes_to_its_end(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    for number in range(24):
        until(page, f"{SHOWN} > {number}")
        page.keyboard.press("k")
    page.get_by_text("Nothing left to decide").wait_for()
    saved(page)
    assert server.outcomes() == dict.fromkeys(queue_of(class_run)["item_id"].to_list(), "kept")
    page.keyboard.press("ArrowLeft")
    page.get_by_text("Kept").first.wait_for()


def test_what_was_skipped_is_offered_at_the_end(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    first = shown(page)
    for number in range(24):
        until(page, f"{SHOWN} > {number}")
        page.keyboard.press("k" if number else "s")
    page.get_by_role("button", name="Go through what was skipped").click()
    arrive(page, first)
    page.keyboard.press("k")
    page.get_by_text("Nothing left to decide").wait_for()
    saved(page)
    assert set(server.outcomes().values()) == {"kept"}


def test_class_labels_reviewed_by_mouse_alone(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    first, second, third = queue_of(class_run)["item_id"].head(3)
    page.locator("button.main").click()
    arrive(page, second)
    page.locator(".decide .second").click()
    arrive(page, third)
    page.locator(".classes button", has_text="green").click()
    saved(page)
    assert server.outcomes() == {first: "changed", second: "kept", third: "changed"}
    page.get_by_role("button", name="Undo").click()
    arrive(page, third)
    saved(page)
    assert server.outcomes() == {first: "changed", second: "kept"}


def test_the_grid_decides_all_but_the_exceptions_as_one_act(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    issues = pl.read_parquet(class_run / "issues.parquet")
    alike = issues.with_columns(
        kind=pl.lit("mislabeled"), suggested_label=pl.lit("red"), flagged=pl.lit(value=True)
    )
    alike.write_parquet(class_run / "issues.parquet")
    blue = alike.filter(given_label="blue")["item_id"].to_list()
    server = serve(class_run)
    page = visit(server.address)
    page.keyboard.press("t")
    page.locator(".groups button", has_text="blue").click()
    page.locator(".many h2", has_text="blue").wait_for()
    cells = page.locator(".cells-grid li")
    until(page, "document.querySelectorAll('.cells-grid img').length === 8")
    cells.nth(2).click()  # the mouse marks one exception, keys another
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.locator(".cells-grid .marked").count() == 2
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.cells-grid .marked').length === 0")
    saved(page)
    expected = [name for number, name in enumerate(blue) if number not in (2, 3)]
    assert server.outcomes() == dict.fromkeys(expected, "changed")
    page.keyboard.press("u")
    until(page, "document.getElementById('counts').textContent.startsWith('0 decided')")
    assert server.outcomes() == {}
    assert len(server.events) == 7


def test_any_of_a_thousand_classes_is_a_few_letters_away(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    import msgspec

    record = msgspec.json.decode((class_run / "run.json").read_bytes())
    more = [f"class number {n}" for n in range(997)]
    record["dataset"]["class_names"] += more
    (class_run / "run.json").write_bytes(msgspec.json.encode(record))
    server = serve(class_run)
    page = visit(server.address)
    page.keyboard.press("/")
    page.keyboard.type("number 99")
    options = page.locator("#search [role=option]")
    assert options.first.inner_text() == "class number 99"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    arrive(page, queue_of(class_run)["item_id"][1])
    saved(page)
    assert next(iter(server.verdicts().values())).label == "class number 990"


def test_keys_work_at_once_after_a_dialog_was_left(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    for opens, decides in (("/", "k"), ("?", "Enter")):
        page.keyboard.press(opens)
        page.locator("dialog[open]").wait_for()
        page.keyboard.press("Escape")
        press(page, decides)
    saved(page)
    assert [event.action for event in server.events] == ["keep", "accept"]


def test_a_class_chosen_right_after_a_dialog_was_left_is_taken(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    page.keyboard.press("m")
    page.locator("dialog[open]").wait_for()
    page.evaluate(  # the event of the first one's closing comes when the second is open
        "document.getElementById('search').close();"
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true }))"
    )
    page.keyboard.type("gre")
    page.keyboard.press("Enter")
    arrive(page, queue_of(class_run)["item_id"][1])
    saved(page)
    assert len(server.events) == 1


def test_numbers_of_a_table_stand_in_one_line(
    serve: Callable[..., Server], visit: Callable[..., Page], tmp_path: Path
) -> None:
    lines = ["a_column_with_a_rather_long_name,another,label"]
    lines += [f"{n * 12345.678:.2f},{n % 7},{('cup', 'dish')[n // 30]}_of_tea" for n in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    options = FindOptions(path=str(tmp_path / "table.csv"), label="label", model="logistic")
    page = visit(serve(find(options, tmp_path / "run").path).address)
    broken = page.evaluate(
        "[...document.querySelectorAll('.cells td')].filter(cell => {"
        "const range = document.createRange(); range.selectNodeContents(cell);"
        "return new Set([...range.getClientRects()].map(one => one.top)).size > 1;})"
        ".map(cell => cell.textContent)"
    )
    assert page.locator(".cells td").count() > 0
    assert broken == []


def test_a_held_key_decides_once_and_nothing_unseen_is_decided(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    for _ in range(3):
        page.keyboard.down("k")
    page.keyboard.up("k")
    arrive(page, queue_of(class_run)["item_id"][1])
    page.evaluate(  # no frame is drawn in between
        "for (let i = 0; i < 30; i++) document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { key: 'k', bubbles: true }))"
    )
    saved(page)
    assert len(server.events) <= 2


# Boxes


def test_boxes_reviewed_by_keys_alone(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    issues = queue_of(box_run)
    assert issues["kind"].head(5).to_list() == [
        *("wrong_class", "spurious", "missing", "missing", "bad_location")
    ]
    press(page, "Enter", "Enter", "Enter", "k")  # change, delete, add, nothing is missing
    press(page, "e", "Shift+ArrowLeft", "Shift+ArrowLeft", "ArrowDown", "Escape")
    saved(page)
    outcomes = server.outcomes()
    assert [outcomes.get("2"), outcomes.get("8"), outcomes.get("4")] == [
        *("changed", "deleted", "changed")
    ]
    verdicts = server.verdicts()
    assert verdicts["2"].label == "dish"
    assert list(verdicts["4"].box or ()) == [400, 241, 580, 401]
    assert sorted(outcomes.values()) == ["added", "changed", "changed", "deleted", "kept"]


def test_zero_is_the_tenth_of_many_classes(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    import msgspec

    record = msgspec.json.decode((box_run / "run.json").read_bytes())
    record["dataset"]["class_names"] += [f"class number {n}" for n in range(10)]
    (box_run / "run.json").write_bytes(msgspec.json.encode(record))
    server = serve(box_run)
    page = visit(server.address)
    assert page.locator(".classes li").last.inner_text() == "0\nclass number 7"
    page.keyboard.press("0")
    saved(page)
    assert server.verdicts()["2"].label == "class number 7"


def test_a_new_box_needs_no_mouse(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    page.keyboard.press("n")
    page.keyboard.press("ArrowRight")  # one in the middle, moved by a pixel
    page.keyboard.press("r")
    page.keyboard.press("r")  # its last corner
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("2")
    saved(page)
    (box,) = server.verdicts().values()
    assert (box.outcome, box.label) == ("added", "dish")
    x1, y1, x2, y2 = box.box or (0, 0, 0, 0)
    assert (y2 - y1) - (x2 - x1) == pytest.approx(10, abs=1)
    page.keyboard.press("x")
    saved(page)
    assert server.outcomes()[box.subject] == "kept"  # there is no box


def test_tab_goes_through_the_boxes_and_x_deletes_the_chosen_one(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    selected = page.locator(".boxes [aria-selected=true]")
    assert selected.inner_text() == "cup"
    page.keyboard.press("Tab")
    page.keyboard.press("x")
    saved(page)
    assert server.outcomes() == {"1": "deleted"}
    assert "2" not in server.outcomes()  # the issue is still open


def test_boxes_drawn_moved_and_resized_by_mouse(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)

    def at(x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is on the screen."""
        place = page.locator(".holder img").first.bounding_box()
        assert place is not None
        return place["x"] + x * place["width"] / 640, place["y"] + y * place["height"] / 480

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        page.mouse.move(*at(*start))
        page.mouse.down()
        page.mouse.move(*at(*end), steps=4)
        page.mouse.up()
        saved(page)

    page.mouse.click(*at(100, 100))  # choose the cup on the left
    drag((100, 100), (120, 130))
    drag((230, 230), (250, 260))  # its last corner
    page.get_by_role("button", name="New", exact=False).first.click()
    drag((300, 20), (400, 120))
    page.locator(".classes button", has_text="cup").click()
    saved(page)
    verdicts = server.verdicts()
    assert verdicts["1"].box == pytest.approx((80, 110, 250, 260), abs=2)
    (new,) = (one for one in verdicts.values() if one.outcome == "added")
    assert new.label == "cup"
    assert new.box == pytest.approx((300, 20, 400, 120), abs=2)


def test_a_proposed_box_can_be_mended_before_it_is_taken(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    press(page, "ArrowRight", "ArrowRight", "e", "ArrowLeft", "Escape")
    saved(page)
    (box,) = server.verdicts().values()
    assert (box.outcome, box.label, box.box) == ("added", "dish", (359, 200, 539, 360))
    press(page, "Enter")  # goes on, and adds no second one
    saved(page)
    assert len(server.events) == 1


def test_undo_says_what_was_undone_whatever_else_stands(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    page = visit(serve(box_run).address)
    press(page, "e", "ArrowDown", "Escape", "n", "ArrowRight", "2")
    saved(page)
    for said in ("Changed to dish", "Moved", "Added a box: cup", "Moved"):
        press(page, "u")
        page.locator("#notice", has_text=f"Undone: {said}.").wait_for()
        saved(page)
    press(page, "u")
    page.locator("#notice", has_text="Nothing to undo.").wait_for()
    press(page, "Control+Shift+z")
    page.locator("#notice", has_text="Done again: Moved.").wait_for()


def test_what_is_still_open_of_a_suggestion_is_taken_without_undoing_the_rest(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    press(page, "e", "ArrowDown", "Escape")
    saved(page)
    press(page, "Enter")  # moved already; the suggested class comes on top
    saved(page)
    (box,) = server.verdicts().values()
    assert (box.label, list(box.box or ())) == ("dish", [360, 201, 540, 361])


def test_overlays_predictions_and_before_change_the_view_alone(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    server = serve(box_run)
    page = visit(server.address)
    count = page.locator(".overlay .box").count()
    page.keyboard.press("p")
    assert page.locator(".overlay .prediction").count() == 2
    page.keyboard.press("h")
    assert page.locator(".overlay .box").count() == 0
    page.keyboard.press("h")
    page.keyboard.press("p")
    assert page.locator(".overlay .box").count() == count
    page.keyboard.press("2")  # the issue's box becomes a dish
    saved(page)
    assert page.locator(".overlay .issue text").text_content() == "dish"
    page.keyboard.press("b")
    assert page.locator(".overlay .issue text").text_content() == "cup"
    assert len(server.events) == 1


# Nothing is lost, and nothing is decided by itself


def test_looking_and_going_back_decide_nothing(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    press(page, *["ArrowRight"] * 3, *["ArrowLeft"] * 3, "?", "Escape", "t", "t", "z", "+", "End")
    page.reload()
    until(page, f"{SHOWN} > 0")
    assert not (class_run / "decisions.jsonl").exists() or server.events == []


def test_undo_works_across_a_reload(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    first, second, third = queue_of(class_run)["item_id"].head(3)
    press(page, "Enter", "k")
    saved(page)
    page.reload()
    until(page, f"{SHOWN} > 0")
    assert shown(page) == third
    press(page, "u")
    arrive(page, second)
    saved(page)
    assert server.outcomes() == {first: "changed"}
    page.keyboard.press("Control+Shift+z")
    page.get_by_text("Done again: Kept.").wait_for()
    assert server.outcomes() == {first: "changed", second: "kept"}


def test_two_tabs_see_each_others_decisions(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    one, other = visit(server.address), visit(server.address)
    first = shown(one)
    assert shown(other) == first
    one.keyboard.press("k")
    saved(one)
    other.locator(".state.kept").wait_for()  # shown there too, within seconds
    other.keyboard.press("Enter")
    saved(other)
    assert server.outcomes() == {first: "changed"}
    assert [event.action for event in server.events] == ["keep", "accept"]


def test_a_decision_shows_as_saved_only_once_it_is_on_the_disk(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    held: list[Route] = []
    page.route("**/api/decide", lambda route: held.append(route))
    page.keyboard.press("Enter")
    until(page, "document.getElementById('saved').textContent === 'Saving…'")
    page.keyboard.press("ArrowLeft")
    page.locator(".state.saving").wait_for()
    assert "0 decided" in page.locator("#counts").inner_text()
    held[0].continue_()
    saved(page)
    page.locator(".state.changed").wait_for()
    assert "1 decided" in page.locator("#counts").inner_text()
    assert len(server.events) == 1


def test_a_full_disk_keeps_the_decision_and_tries_again(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    sent: list[str] = []

    def refuse_twice(route: Route) -> None:
        sent.append(route.request.post_data or "")
        if len(sent) <= 2:
            route.fulfill(status=503, json={"error": "the disk refuses it: no space left"})
        else:
            route.continue_()

    page.route("**/api/decide", refuse_twice)
    page.keyboard.press("k")
    page.get_by_text("no space left").wait_for()
    saved(page)
    assert len(set(sent)) == 1
    assert len(server.events) == 1


def start_process(run: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "labelfix", "review", str(run), "--no-browser"]
    command += ["--port", str(port), "--reviewer", "ann"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    watch = threading.Timer(PATIENCE, process.kill)
    watch.start()
    address = re.search(r"http\S+", process.stdout.readline())
    watch.cancel()
    assert address is not None
    return process, address[0]


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=PATIENCE)


def test_a_killed_server_loses_nothing(visit: Callable[..., Page], class_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, address = start_process(class_run, port)
    try:
        page = visit(address)
        ids = queue_of(class_run)["item_id"].to_list()
        press(page, "Enter", "k")
        saved(page)
        end(process)
        press(page, "k", "k")
        page.get_by_text("2 decisions kept here").wait_for()
        assert Server(class_run, "").outcomes() == {ids[0]: "changed", ids[1]: "kept"}
        process, address = start_process(class_run, port)
        again = visit(address)  # another tab, as the command opens one
        saved(again)
        page.wait_for_url(f"{address}**")  # the old tab moves to the new address by itself
        saved(page)
        outcomes = Server(class_run, "").outcomes()
        assert outcomes == {ids[0]: "changed", **dict.fromkeys(ids[1:4], "kept")}
        assert len(Server(class_run, "").events) == 4
    finally:
        end(process)


def test_a_broken_log_says_what_to_do_and_the_app_goes_on_once_it_is_mended(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    server = serve(class_run)
    page = visit(server.address)
    press(page, "k")
    saved(page)
    log = class_run / "decisions.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b"oops\n")
    page.keyboard.press("Enter")
    page.locator("#saved", has_text="decisions.jsonl:2").wait_for()
    trouble = page.locator("#saved").inner_text()
    assert "mend the line" in trouble
    assert "1 decision kept here; tried again every few seconds" in trouble
    below = page.locator(".where").bounding_box()
    bar = page.locator("#saved").bounding_box()
    assert below is not None
    assert bar is not None
    assert bar["y"] + bar["height"] <= below["y"]  # and covers nothing
    log.write_bytes(whole)
    saved(page)
    assert [one.action for one in server.events] == ["keep", "accept"]
    press(page, "u")
    page.get_by_text("Undone: ").wait_for()


# The page itself


def test_the_next_pictures_are_fetched_before_they_are_asked_for(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    page = visit(serve(class_run).address)
    large = "performance.getEntriesByType('resource').filter(e => /size=(9|1)/.test(e.name)).length"
    until(page, f"{large} >= 5")


def test_keys_follow_their_file(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys]\naccept = "y"\nkeep = ["Enter"]\n')
    server = serve(class_run, keys=keys)
    page = visit(server.address)
    press(page, "a", "k", "y", "Enter")
    saved(page)
    assert [event.action for event in server.events] == ["accept", "keep"]
    page.keyboard.press("?")
    assert "Y\naccept the suggestion" in page.locator("#help").inner_text()


def test_the_guideline_stands_beside_the_item(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    (class_run / "guideline.md").write_text("# Rules\n\nTeal is **green**.\n")
    page = visit(serve(class_run).address)
    page.keyboard.press("g")
    assert page.locator("#guideline strong").inner_text() == "green"
    assert page.locator(".decide").is_visible()
    page.keyboard.press("g")
    assert page.locator("#guideline").is_hidden()


def test_hostile_names_are_text(
    serve: Callable[..., Server], visit: Callable[..., Page], class_run: Path
) -> None:
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    issues = pl.read_parquet(class_run / "issues.parquet").with_columns(evidence=pl.lit(evil))
    issues.write_parquet(class_run / "issues.parquet")
    page = visit(serve(class_run).address)
    assert page.locator(".evidence").inner_text() == evil
    assert page.locator(".evidence *").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 720), (820, 1180)])
def test_everything_needed_is_on_the_screen(
    serve: Callable[..., Server],
    visit: Callable[..., Page],
    box_run: Path,
    size: tuple[int, int],
    scheme: Any,
) -> None:
    page = visit(serve(box_run).address)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    time.sleep(0.1)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for selector in (".decide .main", ".decide .second", ".more button", ".classes button"):
        for button in page.locator(selector).all():
            place = button.bounding_box()
            assert place is not None
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= size[0]
            assert place["y"] + place["height"] <= size[1]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(246, 245, 241)"
    assert dark == (scheme == "dark")


def test_a_screen_reader_finds_a_name_for_everything(
    serve: Callable[..., Server], visit: Callable[..., Page], box_run: Path
) -> None:
    page = visit(serve(box_run).address)
    nameless = page.evaluate(
        """() =>
        [...document.querySelectorAll("button, [role=listbox], [role=toolbar], main section")]
        .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()))
        .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("img:not([alt])").count() == 0
    press(page, "ArrowRight")
    said = page.locator("#live").inner_text()
    assert "images/3.jpg: given cup, suggestion: Delete the box" in said
