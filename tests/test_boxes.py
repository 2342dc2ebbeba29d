"""Boxes survive every convention bit for bit, and overlap as by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfix import boxes
from labelfix.boxes import COCO, ODDITIES, VOC, VOC_CONTINUOUS, YOLO, Convention

CONVENTIONS = {"coco": COCO, "voc": VOC, "voc_continuous": VOC_CONTINUOUS, "yolo": YOLO}
SIZE = st.integers(1, 60_000)


def written(draw: st.DrawFn, name: str) -> list[float]:
    """Four numbers with at most nine decimals, as a file of this format holds them."""
    places = draw(st.integers(0, 9))
    limit = 1.0 if name == "yolo" else 10_000.0
    number = st.integers(0, int(limit * 10**places)).map(lambda i: float(f"{i / 10**places}"))
    return [round(draw(number), places) for _ in range(4)]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[list[float]], list[list[int]]]:
    name = draw(st.sampled_from(sorted(CONVENTIONS)))
    rows = draw(st.integers(1, 4))
    sizes = [[draw(SIZE), draw(SIZE)] for _ in range(rows)]
    return name, [written(draw, name) for _ in range(rows)], sizes


@given(files())
def test_numbers_as_files_hold_them_come_back_bit_for_bit(
    case: tuple[str, list[list[float]], list[list[int]]],
) -> None:
    name, values, sizes = case
    convention = CONVENTIONS[name]
    back = convention.from_pixels(convention.to_pixels(values, sizes), sizes)
    assert back.tolist() == values


@given(
    st.sampled_from(sorted(CONVENTIONS)),
    st.lists(st.floats(0.01, 5000), min_size=4, max_size=4),
    st.tuples(SIZE, SIZE),
)
def test_any_box_is_written_so_that_it_reads_back(
    name: str, box: list[float], size: tuple[int, int]
) -> None:
    convention = CONVENTIONS[name]
    read = convention.to_pixels(convention.from_pixels([box], [size]), [size])
    np.testing.assert_allclose(read, [box], rtol=1e-12, atol=1e-10)


@given(
    st.lists(st.floats(0, 900), min_size=2, max_size=2),
    st.lists(st.floats(0.01, 90), min_size=2, max_size=2),
    st.integers(0, 6),
)
def test_rounding_keeps_edges_within_half_a_pixel_and_boxes_from_vanishing(
    corner: list[float], size: list[float], decimals: int
) -> None:
    box = [*corner, corner[0] + size[0], corner[1] + size[1]]
    for convention in CONVENTIONS.values():
        values = convention.from_pixels([box], [(1000, 1000)], decimals=decimals)
        read = convention.to_pixels(values, [(1000, 1000)])
        assert np.abs(read - [box]).max() <= 0.5 + 1e-6
        assert boxes.area(read)[0] > 0


def test_rounding_keeps_the_decimals_asked_for_where_they_do() -> None:
    values = YOLO.from_pixels([[10.3, 20.7, 333.3, 99.9]], [(640, 480)], decimals=6)
    assert np.array_equal(values, np.round(values, 6))
    assert VOC.from_pixels([[10.3, 20.7, 333.3, 99.9]], decimals=0).tolist() == [[11, 22, 333, 100]]


def test_voc_counts_the_last_pixel_in() -> None:
    assert VOC.to_pixels([[1, 1, 1, 1]]).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("layout", ["corners", "corner_size", "centre_size"])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
def test_every_combination_of_conventions_undoes_itself(
    layout: boxes.Layout, normalised: bool, inclusive: bool
) -> None:
    convention = Convention(layout, normalised, inclusive)
    box, size = [[12.0, 24.0, 48.0, 96.0]], [(96, 192)]
    read = convention.to_pixels(convention.from_pixels(box, size), size)
    np.testing.assert_allclose(read, box, rtol=1e-13)


def test_no_boxes_are_no_boxes() -> None:
    none = np.empty((0, 4))
    assert YOLO.from_pixels(YOLO.to_pixels(none, np.empty((0, 2))), np.empty((0, 2))).shape == (
        0,
        4,
    )
    assert list(boxes.iou_blocks(none, none)) == []


def by_hand(a: list[int], b: list[int]) -> float:
    cells = [
        {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (a, b)
    ]
    union = cells[0] | cells[1]
    return len(cells[0] & cells[1]) / len(union) if union else 0.0


INT_BOX = st.lists(st.integers(0, 6), min_size=4, max_size=4)


@given(
    st.lists(INT_BOX, min_size=1, max_size=5),
    st.lists(INT_BOX, min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_iou_counts_pixels_and_no_block_size_changes_it(
    a: list[list[int]], b: list[list[int]], block: int
) -> None:
    left, right = np.array(a, float), np.array(b, float)
    blocks = list(boxes.iou_blocks(left, right, block_pairs=block))
    found = np.vstack([values for _, values in blocks])
    assert np.allclose(found, [[by_hand(x, y) for y in b] for x in a])
    assert max(values.size for _, values in blocks) <= max(block, len(b))
    pairs = min(len(a), len(b))
    assert np.array_equal(boxes.iou(left[:pairs], right[:pairs]), np.diag(found)[:pairs])


def test_oddities_say_the_worst_of_a_box() -> None:
    nan, inf = float("nan"), float("inf")
    rows = [
        ([0, 0, 10, 10], ""),
        ([-0.4, 0, 10.4, 10], ""),
        ([nan, 0, 1, 1], "no finite numbers"),
        ([0, 0, inf, 1], "no finite numbers"),
        ([3, 0, 2, 99], "inverted"),
        ([3, 0, 3, 99], "empty"),
        ([-1, 0, 3, 3], "outside the image"),
        ([0, 0, 3, 10.6], "outside the image"),
    ]
    found = boxes.oddities(np.array([box for box, _ in rows], float), np.full((len(rows), 2), 10.0))
    assert [ODDITIES[code] for code in found] == [name for _, name in rows]


def test_without_an_image_size_no_box_is_outside() -> None:
    assert boxes.oddities(np.array([[0.0, 0, 1e9, 1]]), np.full((1, 2), np.nan)).tolist() == [0]


def test_the_examples_run() -> None:
    assert doctest.testmod(boxes).failed == 0
