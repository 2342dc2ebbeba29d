from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from labelfix import InputError
from labelfix.images import FORMATS, SUFFIXES, has_image_name, load, probe, shrink, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Paint


def test_pixels_are_those_that_pillow_gives(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "a.png", size=(20, 20))
    assert np.array_equal(load([path], 20)[0], np.asarray(Image.open(path)))
    luma = np.asarray(Image.open(path).convert("L"))
    assert np.array_equal(load([path], 20, "L")[0, :, :, 0], luma)


def test_padding_keeps_the_aspect_ratio_and_stretching_fills(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("L", (40, 10), 100).save(path)
    padded = load([path], 8, "L")[0, :, :, 0]
    assert (padded[:3] == 255).all()
    assert (padded[3:5] == 100).all()
    assert (padded[5:] == 255).all()
    assert (load([path], 8, "L", fill=7)[0, 0] == 7).all()
    assert (load([path], 8, "L", fit="stretch") == 100).all()


def test_images_of_one_pixel_and_of_extreme_shape_are_loaded(tmp_path: Path) -> None:
    paths = [tmp_path / "dot.png", tmp_path / "hair.png"]
    Image.new("RGB", (1, 1), "red").save(paths[0])
    Image.new("RGB", (3000, 1), "red").save(paths[1])
    assert load(paths, 32).shape == (2, 32, 32, 3)
    assert load(paths, 32, fit="stretch").shape == (2, 32, 32, 3)


MODES: dict[str, tuple[Any, str, tuple[int, int, int]]] = {
    "1": (1, "png", (255, 255, 255)),
    "L": (77, "png", (77, 77, 77)),
    "LA": ((77, 0), "png", (255, 255, 255)),
    "P": (1, "gif", (10, 20, 30)),
    "RGB": ((1, 2, 3), "bmp", (1, 2, 3)),
    "RGBA": ((255, 0, 0, 0), "png", (255, 255, 255)),
    "CMYK": ((0, 0, 0, 255), "tif", (0, 0, 0)),
    "YCbCr": ((200, 128, 128), "tif", (200, 200, 200)),
    "I;16": (257 * 77, "png", (77, 77, 77)),
    "I": (257 * 77, "tif", (77, 77, 77)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_image_becomes_eight_bit_over_white(tmp_path: Path, mode: str) -> None:
    colour, suffix, expected = MODES[mode]
    image = Image.new(mode, (6, 6), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 20, 30])
    path = tmp_path / f"x.{suffix}"
    image.save(path)
    assert load([path], 6)[0, 3, 3].tolist() == list(expected)


def test_transparent_palette_entries_are_white(tmp_path: Path) -> None:
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "x.png", transparency=bytes([255, 0]))
    assert (load([tmp_path / "x.png"], 6) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (6, 6), (0, 0, 0, 128)).save(tmp_path / "x.png")
    assert load([tmp_path / "x.png"], 6)[0, 3, 3].tolist() == [127, 127, 127]


def test_float_pixels_span_their_own_range(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert load([tmp_path / "x.tif"], 2, "L")[0, :, :, 0].tolist() == [[0, 128], [255, 0]]


def test_sixteen_bits_keep_the_same_scale_in_every_image(tmp_path: Path) -> None:
    for name, top in (("dim", 1000), ("bright", 65535)):
        Image.fromarray(np.array([[0, top]], np.uint16)).save(tmp_path / f"{name}.png")
    dim, bright = load([tmp_path / "dim.png", tmp_path / "bright.png"], 2, "L", fit="stretch")
    assert dim.max() == 4
    assert bright.max() == 255


def test_an_image_is_turned_upright_as_exif_says(tmp_path: Path) -> None:
    image = Image.new("L", (8, 16), 0)
    image.paste(255, (0, 0, 8, 8))
    exif = image.getexif()
    exif[0x0112] = 6  # turn right by a quarter
    image.save(tmp_path / "x.png", exif=exif)
    turned = load([tmp_path / "x.png"], 8, "L", fit="stretch")[0, :, :, 0]
    assert (turned[:, :3] == 0).all()
    assert (turned[:, 5:] == 255).all()


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"x.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert load([path], 5)[0, 2, 2].tolist() == [255, 0, 0]


def test_large_jpegs_shrink_to_what_a_full_decode_gives(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "x.jpg", size=(640, 480))
    whole = np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    quick = load([path], 32, fit="stretch")[0].astype(int)
    assert np.abs(whole - quick).max() <= 6


def test_content_decides_what_an_image_is_and_not_its_name(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert load([tmp_path / "x.jpg"], 8).shape == (1, 8, 8, 3)


def png_of(width: int, height: int) -> bytes:
    """Make a PNG whose header promises any number of pixels, in a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def broken_images(folder: Path, paint: Paint) -> dict[str, str]:
    """Write one file of every way to be broken; give what should be said of each."""
    whole = {suffix: paint(folder / f"whole{suffix}", size=(64, 48)) for suffix in (".jpg", ".png")}
    jpeg, png = whole[".jpg"].read_bytes(), whole[".png"].read_bytes()
    contents = {
        "empty.png": (b"", "an empty file"),
        "text.jpg": (b"<html>not found</html>", "no image"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "bomb.png": (png_of(30_000, 30_000), "900000000 pixels"),
        "large.png": (png_of(10_000, 9_500), "10000 x 9500"),
        "flipped.png": (png[:60] + bytes(64) + png[124:], "a broken image"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return {name: said for name, (_, said) in contents.items()} | {
        "folder.png": "no file",
        "pipe.png": "no file",
        "absent.png": "no such file",
    }


@pytest.mark.skipif(os.name == "nt", reason="no pipes with a name there")
def test_every_broken_image_is_named_at_once(tmp_path: Path, paint: Paint) -> None:
    said = broken_images(tmp_path, paint)
    good = [tmp_path / "whole.jpg", tmp_path / "whole.png"]
    paths = [good[0], *(tmp_path / name for name in said), good[1]]
    sizes, problems = probe(paths)
    assert list(problems) == list(range(1, len(paths) - 1))
    for row, problem in problems.items():
        assert problem.where == str(paths[row])
        assert said[paths[row].name].lower() in str(problem).lower()
    assert sizes[[0, -1]].tolist() == [[64, 48], [64, 48]]
    assert not sizes[1:-1].any()
    with pytest.raises(InputError) as caught:
        load(paths, 8)
    assert [p.where for p in caught.value.problems] == [p.where for p in problems.values()]


def test_headers_alone_are_read_where_that_is_asked_for(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "x.jpg", size=(64, 48))
    path.write_bytes(path.read_bytes()[:-100])
    sizes, problems = probe([path], decode=False)
    assert sizes.tolist() == [[64, 48]]
    assert not problems


def test_the_limit_on_pixels_is_the_users(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "x.png", size=(20, 10))
    assert not probe([path], max_pixels=200)[1]
    assert "at most 199 pixels" in str(probe([path], max_pixels=199)[1][0])
    with pytest.raises(InputError, match="at most 199 pixels"):
        load([path], 8, max_pixels=199)
    with pytest.raises(InputError, match="at most 199 pixels"):
        thumbnail(path, max_pixels=199)


def test_an_unreadable_file_is_a_problem(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "x.png")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("permissions do not bind this user")
    assert "may not be read" in str(probe([path])[1][0])


def test_truncation_is_seen_wherever_a_file_is_cut(tmp_path: Path, paint: Paint) -> None:
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif"):
        whole = paint(tmp_path / f"x{suffix}", size=(64, 48)).read_bytes()
        paths = []
        for part in range(1, 10):
            paths.append(tmp_path / f"{part}{suffix}")
            paths[-1].write_bytes(whole[: len(whole) * part // 10])
        assert len(probe(paths)[1]) == len(paths)


def test_no_images_give_an_empty_array() -> None:
    assert load([], 8).shape == (0, 8, 8, 3)
    assert probe([])[0].shape == (0, 2)


def test_progress_reaches_the_total(tmp_path: Path, paint: Paint) -> None:
    paths = [paint(tmp_path / "x.png")] * 150
    calls: list[tuple[str, int, int]] = []
    load(paths, 4, progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == [64, 128, 150]
    assert {total for *_, total in calls} == {150}


def test_an_interrupted_load_stops(tmp_path: Path, paint: Paint) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load([paint(tmp_path / "x.png")] * 1000, 4, progress=stop)


@pytest.mark.parametrize("shape", [(3, 9, 7), (3, 9, 7, 1), (3, 9, 7, 3)])
def test_decoded_pixels_are_treated_like_files(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    paths = [tmp_path / f"{row}.png" for row in range(3)]
    for path, image in zip(paths, pixels.squeeze(), strict=True):
        Image.fromarray(image).save(path)
    assert np.array_equal(shrink(pixels, 5), load(paths, 5, fit="stretch"))


def test_thumbnails_are_small_upright_and_in_the_shorter_encoding(
    tmp_path: Path, paint: Paint
) -> None:
    photo = paint(tmp_path / "photo.jpg", size=(300, 200))
    drawing = tmp_path / "drawing.png"
    Image.new("L", (300, 600), 255).save(drawing)
    expected = {photo: ("image/jpeg", (96, 64)), drawing: ("image/png", (48, 96))}
    for path, (kind, size) in expected.items():
        content, found = thumbnail(path, 96)
        image = Image.open(io.BytesIO(content))
        assert (found, image.size, len(image.getexif())) == (kind, size, 0)
    tiny = paint(tmp_path / "tiny.png", size=(8, 6))
    assert Image.open(io.BytesIO(thumbnail(tiny)[0])).size == (8, 6)


def test_a_broken_thumbnail_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.png: found no image"):
        thumbnail(tmp_path / "x.png")


def test_what_pillow_opens_includes_nothing_that_runs_or_fetches() -> None:
    assert not {"EPS", "PDF", "PSD", "WMF", "FPX"} & set(FORMATS)
    assert ".svg" not in SUFFIXES
    assert has_image_name("A.JPeG")
    assert not has_image_name("jpg")


def test_libraries_that_take_over_pillow_do_not_change_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Image.open

    def taken_over(*args: Any, **kwargs: Any) -> Image.Image:
        try:
            return opened(*args, **kwargs)
        except UnidentifiedImageError:
            raise ModuleNotFoundError("No module named 'a_plugin'")  # noqa: B904 # as Ultralytics does

    monkeypatch.setattr(Image, "open", taken_over)
    path = tmp_path / "x.png"
    path.touch()
    _, broken = probe([path])
    assert broken[0].found == "an empty file"
