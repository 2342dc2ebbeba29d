from __future__ import annotations

import io
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from labelfix import InputError, LabelfixWarning, duplicates
from labelfix.duplicates import duplicate_groups, identical_rows, label_conflicts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Paint
    from numpy.typing import NDArray


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Paint noise of which a photo has as much: the more, the coarser it is."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3))
    for side in (3, 6, 12, 24, 48):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        layers += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), float) / side
    layers = (layers - layers.min()) / (layers.max() - layers.min()) * 255
    return Image.fromarray(layers.astype(np.uint8))


def saved_again(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def cropped(image: Image.Image, edge: int) -> Image.Image:
    return image.crop((edge, edge, image.width - edge, image.height - edge))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: saved_again(image, 75),
    "saved badly": lambda image: saved_again(image, 30),
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "doubled": lambda image: image.resize((image.width * 2, image.height * 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "cropped by 1": lambda image: cropped(image, 1),
    "cropped by 2": lambda image: cropped(image, 2),
    "cropped on one side": lambda image: image.crop((2, 1, image.width, image.height)),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    originals = [photo(seed) for seed in range(40)]
    paths = []
    for number, image in enumerate(originals):
        paths += [tmp_path / f"{number}.png", tmp_path / f"{number} copy.png"]
        image.save(paths[-2])
        COPIES[name](image).save(paths[-1])
    assert duplicate_groups(paths).tolist() == np.arange(40).repeat(2).tolist()


def test_the_same_pixels_in_another_format_are_found(tmp_path: Path) -> None:
    paths = []
    for seed in range(5):
        for suffix in (".png", ".bmp", ".tif", ".webp"):
            paths.append(tmp_path / f"{seed}{suffix}")
            photo(seed).save(paths[-1], lossless=True)
    assert duplicate_groups(paths).tolist() == np.arange(5).repeat(4).tolist()
    assert duplicate_groups(paths, tolerance=0).tolist() == np.arange(5).repeat(4).tolist()


def test_what_is_no_copy_is_left_alone(tmp_path: Path) -> None:
    image = photo(0)
    others = [image, ImageOps.invert(image), image.rotate(180), cropped(image, 30)]
    others += [ImageEnhance.Brightness(image).enhance(0.3)]
    stack = np.stack([np.asarray(other.resize((160, 120))) for other in others])
    assert len(set(duplicate_groups(stack))) == len(others)


def test_digits_of_one_person_are_not_copies_of_each_other() -> None:
    images = (load_digits().images * 15.9).astype(np.uint8)
    sizes = np.bincount(duplicate_groups(images))
    assert sizes.max() <= 3
    assert sizes[sizes > 1].sum() <= 0.02 * len(images)


def drawing(seed: int) -> NDArray[np.uint8]:
    """Draw one, two or three bars between two lines, by a hand that shakes."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (120, 120), 255)
    pen = ImageDraw.Draw(image)
    along = np.linspace(20, 100, 6)
    strokes = [np.stack([np.full(6, at), along], 1) for at in (30, 60, 90)[: 1 + seed % 3]]
    strokes += [np.stack([along, np.full(6, row)], 1) for row in (20, 100)]
    for stroke in strokes:
        points = (stroke + rng.normal(scale=4, size=(6, 2))).ravel().tolist()
        pen.line(points, fill=0, width=5, joint="curve")
    return np.asarray(image)


def test_drawings_of_the_same_thing_are_not_copies() -> None:
    images = np.stack([drawing(seed) for seed in range(300)])
    groups = duplicate_groups(images, threshold=15)  # most are proposed, and pixels decide
    assert np.bincount(groups).max() == 1


def test_images_of_one_colour_are_copies_only_if_it_is_the_same() -> None:
    colours = [(0, 0, 0), (255, 255, 255), (254, 254, 254), (255, 0, 0), (0, 130, 0), (0, 0, 0)]
    images = np.stack([np.full((20, 20, 3), colour, np.uint8) for colour in colours])
    assert duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 0]


def test_shapes_of_another_colour_or_shade_are_no_copies() -> None:
    images = np.full((4, 64, 64, 3), 255, np.uint8)
    for image, colour in zip(
        images, [(255, 0, 0), (0, 130, 0), (60, 60, 60), (0, 0, 0)], strict=True
    ):
        image[20:40, 10:50] = colour
    assert duplicate_groups(images, threshold=19)[:3].tolist() == [0, 1, 2]


def test_chains_are_one_group_and_numbers_follow_first_appearance() -> None:
    image = photo(0)
    steps = [ImageEnhance.Brightness(image).enhance(x) for x in (0.5, 0.6, 0.72, 0.85, 1.0)]
    others = [photo(1), photo(2)]
    stack = np.stack([np.asarray(x) for x in (others[0], *steps, others[1])])
    assert duplicate_groups(stack).tolist() == [0, 1, 1, 1, 1, 1, 2]
    ends = duplicate_groups(stack[[1, 5]], shade=0.1)
    assert ends.tolist() == [0, 1]


def mixed(n: int = 60) -> NDArray[np.uint8]:
    """Make photos of which some come two or three times, a little changed."""
    images = []
    for seed in range(n):
        image = photo(seed, (48, 48))
        images += [image, *(COPIES["darker"](image) for _ in range(seed % 3))]
    return np.stack([np.asarray(image) for image in images])


def test_the_order_of_rows_does_not_matter() -> None:
    images = mixed()
    groups = duplicate_groups(images)
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = duplicate_groups(images[order])
    together = groups[order][:, None] == groups[order]
    assert np.array_equal(shuffled[:, None] == shuffled, together)


def test_how_the_work_is_cut_up_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images = mixed()
    groups = duplicate_groups(images)
    for name, value in (("_IMAGES", 7), ("_PAIRS", 3), ("_BLOCK", 5)):
        monkeypatch.setattr(duplicates, name, value)
    assert np.array_equal(duplicate_groups(images), groups)


def test_images_that_all_look_alike_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    part = np.asarray(photo(0, (48, 48))).astype(int)
    seen = np.stack([part + rng.integers(-6, 7, part.shape) for _ in range(30)]).clip(0, 255)
    with pytest.warns(LabelfixWarning, match="one group of duplicates holds 30 of 30 images"):
        groups = duplicate_groups(seen.astype(np.uint8))
    assert not groups.any()


def test_files_and_their_pixels_give_the_same_groups(tmp_path: Path) -> None:
    images = mixed(20)
    paths = [tmp_path / f"{row}.png" for row in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    assert np.array_equal(duplicate_groups(paths), duplicate_groups(images))


def test_many_copies_of_one_image_take_no_time() -> None:
    images = np.asarray(photo(0, (16, 16)))[None].repeat(5_000, axis=0)
    assert not duplicate_groups(images).any()


@pytest.mark.parametrize("n", [0, 1])
def test_few_images_are_fine(n: int) -> None:
    assert duplicate_groups(np.zeros((n, 8, 8), np.uint8)).tolist() == [0] * n
    assert duplicate_groups([]).tolist() == []


def test_every_broken_image_is_named_at_once(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_IMAGES", 2)
    paths = [paint(tmp_path / f"{row}.png", row) for row in range(7)]
    for row in (0, 4, 5):
        paths[row].write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        duplicate_groups(paths)
    assert [p.where for p in caught.value.problems] == [str(paths[row]) for row in (0, 4, 5)]


@pytest.mark.parametrize("threshold", [-1, 20])
def test_a_threshold_out_of_range_is_refused(threshold: int) -> None:
    with pytest.raises(InputError, match="from 0 to 19"):
        duplicate_groups(np.zeros((2, 8, 8), np.uint8), threshold=threshold)


def test_progress_reaches_the_total() -> None:
    last: dict[str, tuple[int, int]] = {}

    def progress(what: str, done: int, total: int) -> None:
        last[what] = done, total

    duplicate_groups(mixed(5), progress=progress)
    assert set(last) == {"hashing images", "looking for duplicates"}
    assert all(done == total for done, total in last.values())


@settings(deadline=None, max_examples=25)
@given(
    centres=hnp.arrays(np.uint64, st.integers(1, 4)),
    flips=st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 63), max_size=9))),
    threshold=st.sampled_from([0, 3, 4, 7, 10, 12]),
)
def test_all_close_pairs_are_proposed_once(
    centres: NDArray[np.uint64], flips: list[tuple[int, set[int]]], threshold: int
) -> None:
    codes = np.array(
        [
            int(centres[which % len(centres)]) ^ sum(1 << bit for bit in bits)
            for which, bits in flips
        ],
        np.uint64,
    )
    found = [
        tuple(pair) for block in duplicates._proposed(codes, threshold, None) for pair in block
    ]
    expected = [
        (i, j)
        for i, j in combinations(range(len(codes)), 2)
        if (int(codes[i]) ^ int(codes[j])).bit_count() <= threshold
    ]
    assert sorted(found) == expected


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), max_size=30),
    st.booleans(),
)
def test_conflicts_are_rows_whose_group_has_another_label(
    rows: list[tuple[int, str]], coded: bool
) -> None:
    groups = [group for group, _ in rows]
    labels = [ord(label) if coded else label for _, label in rows]
    expected = [
        row
        for row in range(len(rows))
        if {label for group, label in zip(groups, labels, strict=True) if group == groups[row]}
        != {labels[row]}
    ]
    assert label_conflicts(groups, labels).tolist() == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, 0.0, 1.5, float("nan")]), st.sampled_from([None, "", "x"])
        ),
        max_size=30,
    )
)
def test_equal_rows_of_a_table_share_a_group(rows: list[tuple[float | None, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.String}, orient="row")
    seen: dict[str, int] = defaultdict(lambda: len(seen))
    assert identical_rows(frame).tolist() == [seen[repr(row)] for row in rows]


def test_a_table_without_columns_has_no_equal_rows() -> None:
    assert identical_rows(pl.DataFrame(height=3)).tolist() == [0, 1, 2]


def test_known_duplicates_between_train_and_test_of_cifar10_are_found(data_dir: Path) -> None:
    folder = data_dir / "cifar10"
    if not folder.is_dir():
        pytest.skip("no CIFAR-10 here")
    # seen by eye, among those of Barz and Denzler 2020, "Do We Train on Test Data?"
    pairs = [(398, 37250), (1103, 12009), (3396, 19632), (4809, 9510), (5382, 8086), (104, 20304)]
    test, train = (cifar(folder / f"cifar10_{part}_jpeg.npz") for part in ("test", "train"))
    images = [test(a) for a, _ in pairs] + [train(b) for _, b in pairs]
    images += [train(row) for row in range(300)]
    groups = duplicate_groups(np.stack(images))
    assert groups[:6].tolist() == groups[6:12].tolist() == list(range(6))
    assert np.bincount(groups)[6:].max() == 1


def cifar(path: Path) -> Callable[[int], NDArray[np.uint8]]:
    with np.load(path) as arrays:
        blob, offsets = arrays["blob"].tobytes(), arrays["offsets"]
    return lambda row: np.asarray(
        Image.open(io.BytesIO(blob[offsets[row] : offsets[row + 1]])).convert("RGB")
    )


def test_handwritten_digits_are_not_copies_of_each_other(data_dir: Path) -> None:
    path = data_dir / "mnist" / "mnist_test.npz"
    if not path.is_file():
        pytest.skip("no MNIST here")
    with np.load(path) as arrays:
        images = arrays["x"][:4000]
    sizes = np.bincount(duplicate_groups(images))
    assert sizes.max() <= 2
    assert (sizes > 1).sum() <= 4
