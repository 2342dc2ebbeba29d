"""Who gets an answer from the review server, what is in it, and what is never sent."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix.cli.serve import _about_host
from labelfix.decisions import read_log
from labelfix.errors import InputError, RunError
from labelfix.review.desk import Wish
from labelfix.review.guideline import read_guideline
from labelfix.review.keys import ACTIONS, load_keys, normal
from labelfix.review.pictures import Pictures, Shelf, safe_path
from labelfix.review.security import HEADERS, Guard
from labelfix.review.server import ReviewOptions, create_app, open_desk, serve
from labelfix.run import open_run

if TYPE_CHECKING:
    from conftest import Paint

testclient = pytest.importorskip("starlette.testclient")

TOKEN = "a-secret-of-this-test"
HOST = "127.0.0.1:8765"
ORIGIN = {"Origin": f"http://{HOST}"}


def client_of(run: Path, **options: Any) -> Any:
    app = create_app(open_run(run), ReviewOptions(reviewer="ann", token=TOKEN, **options), 8765)
    return testclient.TestClient(app, base_url=f"http://{HOST}")


@pytest.fixture
def client(class_run: Path) -> Any:
    return client_of(class_run)


def first_key(client: Any) -> str:
    answer = client.post(f"/{TOKEN}/api/more", json={"have": [], "count": 1}, headers=ORIGIN)
    key: str = answer.json()["entries"][0]["key"]
    return key


def decide(client: Any, *events: dict[str, Any], **headers: str) -> Any:
    body = {"events": list(events)}
    return client.post(f"/{TOKEN}/api/decide", json=body, headers={**ORIGIN, **headers})


# Who gets an answer


@pytest.mark.parametrize(
    "path", ["", "api/groups", "api/changes", "picture/0", "static/main.js", "static/", "nothing"]
)
@pytest.mark.parametrize("token", ["", "/wrong", f"/{TOKEN}x", f"/{TOKEN[:-1]}", "/%00", "//"])
def test_without_the_secret_there_is_no_answer(client: Any, path: str, token: str) -> None:
    answer = client.get(f"{token}/{path}")
    assert answer.status_code == 403
    assert TOKEN not in answer.text


def test_with_the_secret_there_is(client: Any) -> None:
    assert client.get(f"/{TOKEN}/").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example:8765",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8766",
        "127.0.0.1:8765:8765",
        "127.0.0.1:x",
        "10.0.0.1:8765",
        "0.0.0.0:8765",
        "",
    ],
)
def test_another_name_for_this_machine_is_refused(client: Any, host: str) -> None:
    assert client.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", [HOST, "localhost:8765", "LOCALHOST:8765", "[::1]:8765"])
def test_the_machines_own_names_are_answered(client: Any, host: str) -> None:
    assert client.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8766", "http://localhost:8765"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_from_other_pages_are_refused(client: Any, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Content-Type": "application/json"}
    assert client.request(method, f"/{TOKEN}/api/undo", headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_says_cross_site_is_believed(client: Any, site: str) -> None:
    assert client.get(f"/{TOKEN}/picture/0", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_writing_needs_an_origin(client: Any, class_run: Path) -> None:
    event = {"id": "e1", "key": first_key(client), "action": "keep"}
    answer = client.post(f"/{TOKEN}/api/decide", json={"events": [event]})
    assert answer.status_code == 403
    assert not (class_run / "decisions.jsonl").exists()


def test_a_form_of_another_page_cannot_write(client: Any, class_run: Path) -> None:
    event = json.dumps({"events": [{"id": "e1", "key": first_key(client), "action": "keep"}]})
    headers = {**ORIGIN, "Content-Type": "text/plain"}
    answer = client.post(f"/{TOKEN}/api/decide", content=event, headers=headers)
    assert answer.status_code == 415
    assert not (class_run / "decisions.jsonl").exists()


def test_bound_to_all_addresses_it_answers_to_numbers_and_to_no_foreign_name(
    class_run: Path,
) -> None:
    open_to_all = client_of(class_run, host="0.0.0.0")
    for host, status in {"192.168.1.5:8765": 200, "evil.example:8765": 403}.items():
        assert open_to_all.get(f"/{TOKEN}/", headers={"Host": host}).status_code == status


def test_the_secret_is_in_no_repr(class_run: Path) -> None:
    options = ReviewOptions(reviewer="ann", token=TOKEN)
    guard = create_app(open_run(class_run), options)
    assert TOKEN not in repr(options) + repr(guard)
    assert isinstance(guard, Guard)


# What a browser may do with it


@pytest.mark.parametrize("path", [f"{TOKEN}/", f"{TOKEN}/picture/0", f"{TOKEN}/x", "", "wrong/"])
def test_every_answer_carries_the_policies(client: Any, path: str) -> None:
    headers = client.get(f"/{path}").headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not {"unsafe-inline", "unsafe-eval", "*", "data:", "http:", "https:"} & set(
        policy.replace(";", " ").split()
    )


def test_the_page_has_no_inline_code_and_loads_nothing_from_elsewhere(client: Any) -> None:
    page = client.get(f"/{TOKEN}/").text
    assert "http" not in page.replace("http://www.w3.org", "")
    assert " style=" not in page
    assert " on" not in page.partition("<body")[2].replace(" on ", " ").replace(" one", " ")


@pytest.mark.parametrize("name", ["main.js", "stage.js", "style.css"])
def test_scripts_load_nothing_from_elsewhere_and_write_no_markup(client: Any, name: str) -> None:
    text = client.get(f"/{TOKEN}/static/{name}").text
    assert "innerHTML" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


# What is never sent


@pytest.mark.parametrize(
    "path",
    [
        "static/../server.py",
        "static/%2e%2e/server.py",
        "static/..%2fserver.py",
        "static/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml",
        "static//etc/passwd",
        "picture/../../etc/passwd",
        "picture/-1",
        "picture/24",
        "picture/99999999999999999999",
        "picture/0.5",
        "picture/0/../../run.json",
        "crop/0?box=1,2,3",
        "crop/0?box=nan,0,1,1",
        "crop/0?box=inf,0,1,1",
        "crop/0?box=1e308,1e308,-1e308,-1e308",
        "crop/0?box=900,900,999,999",
        "decisions.jsonl",
        "run.json",
    ],
)
def test_no_path_leads_to_other_files(client: Any, path: str) -> None:
    answer = client.get(f"/{TOKEN}/{path}")
    assert answer.status_code in {400, 403, 404}
    assert b"root:" not in answer.content
    assert b"import" not in answer.content


def test_pictures_are_encoded_anew_and_no_larger_than_asked(client: Any) -> None:
    answer = client.get(f"/{TOKEN}/picture/0?size=100")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.content[:3] == b"\xff\xd8\xff"
    assert len(answer.content) < 20_000
    assert client.get(f"/{TOKEN}/picture/0?size=999999999").status_code == 200


@pytest.mark.parametrize("name", ["evil.svg", "evil.png"])
def test_svg_is_never_served(tmp_path: Path, name: str) -> None:
    text = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="no image"):
        Pictures(tmp_path, [name]).scaled(0, 100)


def test_links_out_of_the_dataset_are_refused_and_links_inside_are_not(
    tmp_path: Path, paint: Paint
) -> None:
    root = tmp_path / "root"
    paint(root / "a.png")
    paint(tmp_path / "private" / "b.png")
    (root / "out.png").symlink_to(tmp_path / "private" / "b.png")
    (root / "folder").symlink_to(tmp_path / "private")
    (root / "in.png").symlink_to(root / "a.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    paths = ["a.png", "in.png", "out.png", "folder/b.png", "../private/b.png", "loop.png", "\0"]
    pictures = Pictures(root, [*paths, str(tmp_path / "private" / "b.png")])
    for row in range(2):
        assert pictures.scaled(row, 50).content
    for row in range(2, len(pictures)):
        with pytest.raises(InputError):
            pictures.scaled(row, 50)
        with pytest.raises(InputError):
            pictures.crop(row, (0, 0, 5, 5), 50)


def test_a_root_that_is_a_link_itself_is_fine(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "real" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Pictures(tmp_path / "link", ["a.png"]).scaled(0, 50).content
    assert safe_path((tmp_path / "real").resolve(), "a.png").name == "a.png"


def test_images_beyond_the_limit_are_not_decoded(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "bomb.png", size=(400, 300))
    with pytest.raises(InputError, match="at most 100000 pixels"):
        Pictures(tmp_path, ["bomb.png"], max_pixels=100_000).scaled(0, 50)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no file"):
        Pictures(tmp_path, ["pipe.png"]).scaled(0, 50)


def test_pictures_carry_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    Image.new("RGB", (600, 400)).save(tmp_path / "a.jpg", exif=exif)
    assert b"where I live" not in Pictures(tmp_path, ["a.jpg"]).scaled(0, 500).content


def test_what_is_kept_in_memory_is_bounded() -> None:
    shelf: Shelf[bytes] = Shelf(100, len)
    for key in range(1000):
        shelf.get(key, lambda: bytes(30))
    assert len(shelf) == 3
    shelf.get("large", lambda: bytes(1000))
    assert len(shelf) == 3


# Pictures are right


def test_a_crop_is_the_same_whether_the_image_was_decoded_in_full_or_not(tmp_path: Path) -> None:
    image = Image.new("RGB", (3000, 2000), "white")
    image.paste("red", (1500, 1000, 2100, 1600))
    image.save(tmp_path / "a.png")
    full = Pictures(tmp_path, ["a.png"]).crop(0, (1500, 1000, 2100, 1600), 100)
    quick = Pictures(tmp_path, ["a.png"], [(3000, 2000)]).crop(0, (1500, 1000, 2100, 1600), 100)
    for picture in (full, quick):
        with Image.open(io.BytesIO(picture.content)) as drawn:
            assert drawn.size == (100, 100)
            red, *rest = np.asarray(drawn.convert("RGB"))[50, 50].tolist()
            assert red > 250
            assert max(rest) < 5


def test_every_pixel_of_a_small_image_is_seen_and_photographs_are_quick(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    picture = Pictures(tmp_path, ["digit.png"]).scaled(0, 960)
    assert picture.kind == "image/png"
    with Image.open(io.BytesIO(picture.content)) as drawn:
        assert (np.asarray(drawn) == pixels).all()
    Image.new("L", (400, 300)).save(tmp_path / "photo.png")
    assert Pictures(tmp_path, ["photo.png"]).scaled(0, 160).kind == "image/jpeg"


@pytest.mark.parametrize("known", [True, False])
def test_a_turned_image_lies_as_its_boxes_do(tmp_path: Path, known: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    pictures = Pictures(tmp_path, ["a.jpg"], [(60, 40)] if known else None)
    assert pictures.size(0) == ((60, 40) if known else (40, 60))


# Text is text


EVIL = "</script><script>alert('x')</script>\"'\u202e\x1b[31m"


def test_hostile_names_cannot_leave_their_place_in_the_page(class_run: Path) -> None:
    issues = pl.read_parquet(class_run / "issues.parquet").with_columns(evidence=pl.lit(EVIL))
    issues.write_parquet(class_run / "issues.parquet")
    record = json.loads((class_run / "run.json").read_text())
    record["dataset"]["class_names"] += [EVIL]
    (class_run / "run.json").write_text(json.dumps(record))
    page = client_of(class_run).get(f"/{TOKEN}/").text
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_markup_in_a_guideline_is_text(tmp_path: Path) -> None:
    path = tmp_path / "guideline.md"
    path.write_text(
        "# T\n<img src=x onerror=alert(1)>\n\n[x](javascript:alert(1)) ![y](http://evil.example/z)\n"
        "\n<http://evil.example>\n\n[r]: javascript:alert(1)\n\n[r]\n\n```<b>\n<script>\n```\n"
    )
    html = str(read_guideline(path))
    for bad in ("<img", "<a", "href", "src=", "<script", "<b>"):
        assert bad not in html.replace("&lt;img src=x", "")
    assert "<h1>T</h1>" in html


# What is written


def test_what_cannot_be_taken_writes_nothing(client: Any, class_run: Path) -> None:
    key = first_key(client)
    good = {"id": "e1", "key": key, "action": "keep"}
    for bad in (
        {**good, "key": "0000"},
        {**good, "action": "undo"},
        {**good, "action": "set_label", "label": 99},
        {**good, "action": "set_label", "label": -1},
        {**good, "action": "set_label"},
        {**good, "action": "set_box", "box": [0, 0, 5, 5]},
        {**good, "action": "delete"},
        {**good, "action": "mark", "mark": "multi_label", "labels": [0]},
        {**good, "subject": "another"},
        {**good, "seconds": -1},
        {**good, "surprise": 1},
        {"id": "e1"},
    ):
        answer = decide(client, good | {"id": "e0"}, bad)
        assert answer.status_code == 400, bad
        assert answer.json()["error"]
    assert read_log(class_run / "decisions.jsonl").decisions == []


def test_more_than_a_decision_needs_is_refused(client: Any) -> None:
    answer = decide(client, {"id": "x" * (1 << 20), "key": "k", "action": "keep"})
    assert answer.status_code == 413


def test_a_decision_sent_twice_is_written_once(client: Any, class_run: Path) -> None:
    event = {"id": "e1", "key": first_key(client), "action": "keep", "seconds": 1}
    assert decide(client, event).status_code == 200
    assert decide(client, {**event, "seconds": 2}).status_code == 200
    for _ in range(2):
        answer = client.post(f"/{TOKEN}/api/undo", json={"id": "e2"}, headers=ORIGIN)
        assert answer.json()["touched"]
    assert len(read_log(class_run / "decisions.jsonl").decisions) == 2


@pytest.mark.parametrize("count", [-1, 0, 101, 1e9, "x"])
def test_no_page_asks_for_more_than_a_page(client: Any, count: Any) -> None:
    body = {"have": [], "count": count}
    assert client.post(f"/{TOKEN}/api/more", json=body, headers=ORIGIN).status_code == 400


def test_a_broken_log_keeps_the_decision_waiting(client: Any, class_run: Path) -> None:
    key = first_key(client)
    (class_run / "decisions.jsonl").write_text("no event\n")
    answer = decide(client, {"id": "e1", "key": key, "action": "keep"})
    assert answer.status_code == 503
    assert "decisions.jsonl" in answer.json()["error"]
    page = client.get(f"/{TOKEN}/")
    assert (page.status_code, "decisions.jsonl" in page.text) == (503, True)


def test_nothing_sent_tells_rank_quality_or_what_others_said(class_run: Path) -> None:
    other = open_desk(open_run(class_run), "bob")
    key = other.start()["entries"][0]["key"]
    other.decide([Wish(id="b", key=key, action="flag")])
    mine = open_desk(open_run(class_run), "ann")
    entry = mine.some([key])["entries"][0]
    assert not {"rank", "quality", "flagged", "source"} & set(entry)
    assert entry["state"] is None


def test_the_nearest_images_come_with_their_labels_and_else_sure_examples(class_run: Path) -> None:
    run = open_run(class_run)
    desk = open_desk(run, "ann")
    entry = desk.start()["entries"][0]
    given, suggested = entry["alike"]
    assert {one["label"] for one in given["items"]} == {entry["given"]}
    assert {one["label"] for one in suggested["items"]} == {entry["suggested"]}
    np.save(class_run / "neighbors.npy", np.arange(24)[:, None] * [0] + [3, 9, 20])
    (near,) = open_desk(open_run(class_run), "ann").start()["entries"][0]["alike"]
    assert [one["row"] for one in near["items"]] == [3, 9, 20]
    labels = run.annotations["label"][[3, 9, 20]].to_list()
    assert [desk.entries.class_names[one["label"]] for one in near["items"]] == labels


def test_a_repeat_does_not_show_what_was_said_the_first_time(class_run: Path) -> None:
    desk = open_desk(open_run(class_run), "ann")
    key = desk.start()["entries"][0]["key"]
    first = desk.decide([Wish(id="a", key=key, action="keep")])["entries"][0]
    assert first["state"]["outcome"] == "kept"
    again = desk.some([f"{key}-again"])["entries"][0]
    assert again["state"] is None
    second = desk.decide([Wish(id="b", key=f"{key}-again", action="accept")])["entries"][0]
    assert second["state"]["outcome"] == "changed"
    assert desk.some([key])["entries"][0]["state"]["outcome"] == "kept"


# What is in the way is said


def test_a_dataset_that_moved_is_looked_for_where_root_says(
    class_run: Path, tmp_path: Path
) -> None:
    record = json.loads((class_run / "run.json").read_text())
    there = record["dataset"]["root"]
    record["dataset"]["root"] = "/no/such/place"
    (class_run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"/no/such/place.*--root"):
        client_of(class_run)
    moved = client_of(class_run, root=Path(there))
    assert moved.get(f"/{TOKEN}/picture/0").status_code == 200
    assert client_of(class_run, root=tmp_path).get(f"/{TOKEN}/picture/0").status_code == 404


def test_a_taken_port_and_a_missing_run_are_said(class_run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="cannot be taken"):
            serve(class_run, ReviewOptions(reviewer="ann", port=port))
    with pytest.raises(RunError, match="no such directory"):
        serve(tmp_path / "nothing", ReviewOptions(reviewer="ann"))


def test_another_address_than_this_machine_says_what_it_means() -> None:
    (text,) = _about_host("0.0.0.0", 9100)
    assert "lets other computers" in text
    assert "ssh -L 9100:127.0.0.1:9100" in text


# Keys


def test_no_key_means_two_things_as_they_come() -> None:
    keys = load_keys()
    assert {action.name for action in ACTIONS} == set(keys)
    for action in ACTIONS:
        assert keys[action.name] == tuple(map(normal, keys[action.name]))


def test_the_docs_list_every_action_and_every_key() -> None:
    text = (Path(__file__).parent.parent / "docs/reviewing.md").read_text(encoding="utf-8")
    numbers = {f"class_{number}" for number in range(2, 10)}
    missing = [
        one.name for one in ACTIONS if f"`{one.name}`" not in text and one.name not in numbers
    ]
    assert missing == []
    keys = {key for one in ACTIONS if one.name not in numbers for key in one.keys}
    assert [key for key in keys if "Arrow" not in key and f"`{key}`" not in text] == []


def test_every_collision_and_every_mistake_in_a_file_of_keys_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        '[keys]\nkeep = "s"\nnext = ["Entr"]\nacept = "y"\nflag = 3\nmark = "Shift+1"\nskip = "S"'
    )
    with pytest.raises(InputError) as caught:
        load_keys(path)
    text = str(caught.value)
    for part in ("s for keep and for skip", "is it Enter", "accept", "3 is neither", "Shift makes"):
        assert part in text


def test_a_key_may_mean_different_things_in_different_places(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[keys]\nmark = "m"\naccept = []\n')
    assert load_keys(path)["mark"] == ("m",)
    assert load_keys(path)["accept"] == ()


@pytest.mark.parametrize("text", ["", "[other]\n", "keys = 3", "[keys", "[keys]\n[more]\n"])
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_keys(path)
    with pytest.raises(InputError, match="no such file"):
        load_keys(tmp_path / "none.toml")
