"""The page: one offline file, harmless whatever the data is called, and it shows what it should."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix.report import Facts, Layout, render
from labelfix.report.heatmap import heatmap
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Case = tuple[Dataset, pl.DataFrame, NDArray[np.int64]]

HOSTILE = "<script>alert(1)</script>\"' onload=x &lt;\x1b[31m\u202egnp.exe"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += " " + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def case(n: int = 40, names: tuple[str, ...] = ("cat", "dog", "owl"), **columns: Any) -> Case:
    """n items in turn of each class, the first quarter flagged as the class after their own."""
    ids = columns.pop("ids", [f"item {i}" for i in range(n)])
    given = [names[i % len(names)] for i in range(n)]
    better = [names[(i + 1) % len(names)] for i in range(n)]
    flagged = [i < n // 4 for i in range(n)]
    items = pl.DataFrame({"item_id": ids, **columns.pop("items", {})})
    annotations = pl.DataFrame({"annotation_id": ids, "item_id": ids, "label": given})
    issues = pl.DataFrame(
        {
            "rank": range(1, n + 1),
            "item_id": ids,
            "annotation_id": ids,
            "kind": ["mislabeled"] * n,
            "quality": np.linspace(0, 1, n),
            "flagged": flagged,
            "given_label": given,
            "suggested_label": better,
            "kind_score": [0.5] * n,
            "evidence": ["The model says so."] * n,
        }
    )
    codes = np.arange(n) % len(names)
    joint = np.zeros((len(names), len(names)), np.int64)
    np.add.at(joint, (codes, np.where(flagged, (codes + 1) % len(names), codes)), 1)
    return Dataset(items, annotations, names, "memory", **columns), issues, joint


def facts(**changes: Any) -> Facts:
    plain = Facts(title="pets", model="knn", model_note="as given", errors_at_least=7)
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def photos(tmp_path: Path) -> Case:
    paths = [f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.new("RGB", (300, 200), (6 * i, 0, 0)).save(tmp_path / path)
    return case(ids=paths, items={"path": paths}, root=tmp_path)


def test_hostile_names_are_shown_and_never_obeyed() -> None:
    names = (HOSTILE, "b", "c")
    html = render(
        *case(names=names, ids=[f"{HOSTILE}{i}" for i in range(40)]),
        facts(
            title=HOSTILE,
            model=HOSTILE,
            made_with={HOSTILE: HOSTILE, "Command": HOSTILE},
            warnings=[HOSTILE],
            skipped=[HOSTILE],
        ),
    )
    page = Page(html)
    assert not page.all("script")
    assert not [attrs for _, attrs in page.tags if "onload" in attrs or "onerror" in attrs]
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_a_strict_policy_allows_the_style_and_nothing_else() -> None:
    html = render(*case(), facts())
    style = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = next(m["content"] for m in Page(html).all("meta") if m.get("http-equiv") is not None)
    assert policy is not None
    assert policy.split("; ")[:3] == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
    ]
    assert not [attrs for _, attrs in Page(html).tags if "style" in attrs]


def test_nothing_is_loaded_from_elsewhere(photos: Case) -> None:
    page = Page(render(*photos, facts()))
    addresses = [
        value
        for _, attrs in page.tags
        for name, value in attrs.items()
        if name in {"src", "href", "srcset", "action", "data", "xlink:href"}
    ]
    assert addresses
    assert all(address and address.startswith("data:image/") for address in addresses)
    assert "url(" not in render(*photos, facts())


def test_the_most_suspicious_images_are_shown_in_order(photos: Case) -> None:
    page = Page(render(*photos, facts(), Layout(issues=12)))
    assert [image["alt"] for image in page.all("img")] == [f"{i}.png" for i in range(12)]


def test_pictures_stay_within_their_budget(photos: Case) -> None:
    whole = render(*photos, facts())
    one = len(str(Page(whole).all("img")[0]["src"]))
    short = Page(render(*photos, facts(), Layout(image_bytes=5 * one)))
    assert 0 < len(short.all("img")) <= 5
    assert sum(len(str(image["src"])) for image in short.all("img")) <= 5 * one
    assert "39.png" in short.text


def test_pictures_are_no_larger_than_asked(photos: Case) -> None:
    page = Page(render(*photos, facts(), Layout(thumbnail_px=50)))
    data = str(page.all("img")[0]["src"]).partition(",")[2]
    assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == 50


def test_an_image_that_went_away_leaves_a_page_without_it(photos: Case, tmp_path: Path) -> None:
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no image")
    alts = {image["alt"] for image in Page(render(*photos, facts())).all("img")}
    assert {"2.png", "5.png"} <= alts
    assert not alts & {"3.png", "4.png"}


def test_rows_without_images_are_listed() -> None:
    page = Page(render(*case(), facts()))
    assert not page.all("img")
    for text in ("item 0", "item 39", "cat", "dog", "The model says so."):
        assert text in page.text


def test_numbers_agree_with_the_tables() -> None:
    text = " ".join(Page(render(*case(), facts())).text.split())
    assert "Items 40 3 classes" in text
    assert "Flagged 10 25.0% of all labels" in text
    assert "at least 7" in text


def test_class_by_class_counts_are_right() -> None:
    html = render(*case(), facts())
    text = " ".join(Page(html[html.index("Class by class") :]).text.split())
    assert "cat 14 4 28.6% dog (4)" in text
    assert "dog 13 3 23.1% owl (3)" in text
    assert "owl 13 3 23.1% cat (3)" in text


def test_classes_without_a_suggestion_are_counted_too() -> None:
    dataset, issues, joint = case()
    nothing = issues.with_columns(
        suggested_label=pl.lit(None, pl.String), kind=pl.lit("none_of_the_classes")
    )
    text = " ".join(Page(render(dataset, nothing, joint, facts())).text.split())
    assert "cat 14 4 28.6%" in text
    assert "none of the classes" in text


def test_the_picture_shows_each_count_of_the_joint_once() -> None:
    joint = np.array([[9, 2, 0], [0, 8, 3], [1, 0, 7]])
    picture = heatmap(joint, ["a", "b", "c"], 30)
    assert {(c.row, c.column, c.count) for c in picture.cells} == {(0, 1, 2), (1, 2, 3), (2, 0, 1)}
    assert max(cell.shade for cell in picture.cells) == 1


def test_the_picture_of_many_classes_keeps_the_largest_counts() -> None:
    rng = np.random.default_rng(0)
    joint = rng.integers(0, 5, (200, 200))
    joint[150, 3] = 90
    joint[7, 120] = 80
    picture = heatmap(joint, [f"class {k}" for k in range(200)], 30)
    assert len(picture.names) == 30
    assert picture.left_out == 170
    shown = {(picture.names[c.row], picture.names[c.column], c.count) for c in picture.cells}
    assert {("class 150", "class 3", 90), ("class 7", "class 120", 80)} <= shown
    assert list(picture.names) == sorted(picture.names, key=lambda name: int(name.split()[1]))


@pytest.mark.parametrize("n_classes", [2, 17, 1000])
def test_pages_of_few_and_many_classes_stay_small(n_classes: int) -> None:
    names = tuple(f"class {k}" for k in range(n_classes))
    html = render(*case(3000, names), facts())
    assert len(html) < 400_000
    assert len(re.findall(r"<svg class=\"map\"", html)) == 1


def test_nothing_flagged_is_a_page_too() -> None:
    dataset, issues, joint = case()
    text = Page(
        render(
            dataset, issues.with_columns(flagged=pl.lit(False)), np.diag(np.diag(joint)), facts()
        )
    ).text
    assert "0.0% of all labels" in " ".join(text.split())
