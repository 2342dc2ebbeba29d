"""Pascal VOC files are read whole, and patched without touching another byte."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.formats import voc
from labelfix.schema import BOX, CORRECTIONS, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DATA = Path(os.environ.get("LABELFIX_DATA", Path(__file__).parents[2] / "shared" / "data"))
BCCD = DATA / "bccd"

OBJECT = """
	<object>
		<name>{name}</name>
		<pose>Left</pose>
		<truncated>1</truncated>
		<difficult>0</difficult>
		<bndbox>
			<xmin>{0}</xmin>
			<ymin>{1}</ymin>
			<xmax>{2}</xmax>
			<ymax>{3}</ymax>
		</bndbox>
	</object>"""


def xml(*objects: str, name: str = "a.png", head: str = "", size: str | None = None) -> str:
    if size is None:
        size = "\n\t<size><width>64</width><height>48</height><depth>3</depth></size>"
    return (
        f"{head}<annotation verified='yes'>\n\t<filename>{escape(name)}</filename>"
        f"\n\t<path>C:\\x\\{escape(name)}</path>{size}{''.join(objects)}\n</annotation>\n"
    )


def one(name: str = "cat", *corners: float) -> str:
    return OBJECT.format(*(corners or (1, 1, 32, 48)), name=escape(name))


def write(
    root: Path, files: Mapping[str, str | bytes], images: Sequence[str] | None = None
) -> Path:
    """Files in `Annotations`, with images called like them, or those named."""
    for name, content in files.items():
        path = root / "Annotations" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for image in images if images is not None else [f"{Path(name).stem}.png" for name in files]:
        path = root / "JPEGImages" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48)).save(path)
    return root


def corrections(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(CORRECTIONS)
    return pl.DataFrame([{**empty, **row} for row in rows], schema=CORRECTIONS)


def change(dataset: Dataset, row: int, action: str, **values: Any) -> dict[str, Any]:
    given_row = dataset.annotations.row(row, named=True)
    named = {name: given_row[name] for name in ("annotation_id", "item_id")}
    return {"action": action, **named, **values}


def new_box(label: str, *edges: float, item: str = "JPEGImages/a.png") -> dict[str, Any]:
    return {"action": "add_box", "item_id": item, "label": label, **box(*edges)}


def box(*edges: float) -> dict[str, float]:
    return dict(zip(BOX, edges, strict=True))


def apply(dataset: Dataset, *rows: dict[str, Any]) -> dict[str, bytes]:
    """Write the patched files, and give them."""
    assert dataset.root is not None
    done = {str(path): data for path, data in voc.patched(dataset, corrections(*rows))}
    for path, data in done.items():
        (dataset.root / path).write_bytes(data)
    return done


def problems(path: Path, **options: Any) -> list[labelfix.Problem]:
    with pytest.raises(labelfix.InputError) as caught:
        labelfix.read(path, **options)
    return list(caught.value.problems)


# ---------------------------------------------------------------- reading


def test_objects_become_boxes_in_pixels(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(one("dog", 1, 1, 64, 48), one("cat", 10, 20, 10, 20))})
    dataset = labelfix.read(tmp_path)
    assert dataset.format == "voc"
    assert dataset.class_names == ("cat", "dog")
    image = "JPEGImages/a.png"
    assert dataset.items.rows() == [(image, image, 64, 48)]
    assert dataset.annotations.drop("difficult", "truncated", "occluded").rows() == [
        ("Annotations/a.xml#1", image, "dog", 0, 0, 64, 48, False),
        ("Annotations/a.xml#2", image, "cat", 9, 19, 10, 20, False),
    ]


def test_continuous_coordinates_are_read_and_written_as_such(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(one("dog", 1, 2, 30, 40))})
    dataset = labelfix.read(tmp_path, voc_pixels="continuous")
    assert dataset.annotations.select(BOX).rows() == [(1, 2, 30, 40)]
    done = apply(dataset, change(dataset, 0, "set_box", **box(0, 2, 31, 40)))
    assert done["Annotations/a.xml"].decode() == xml(one("dog", 0, 2, 31, 40))


def test_flags_are_columns_and_difficult_boxes_count_neither_way(tmp_path: Path) -> None:
    hard = one().replace("difficult>0", "difficult> 1 ").replace("<truncated>1</truncated>", "")
    other = one().replace("<difficult>0</difficult>", "<occluded>1</occluded>")
    dataset = labelfix.read(write(tmp_path, {"a.xml": xml(hard, other)}))
    columns = ["crowd", "difficult", "truncated", "occluded"]
    assert dataset.annotations.select(columns).rows() == [
        (True, True, None, None),
        (False, None, True, True),
    ]


def test_parts_of_objects_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>12</xmax>"
    part += "<ymax>12</ymax></bndbox></part>"
    text = xml(one().replace("<bndbox>", part + "<bndbox>"))
    dataset = labelfix.read(write(tmp_path, {"a.xml": text}))
    assert dataset.annotations.select("label", *BOX).rows() == [("cat", 0, 0, 32, 48)]
    done = apply(
        dataset,
        change(dataset, 0, "set_box", **box(0, 0, 12, 48)),
        change(dataset, 0, "set_label", label="cat"),
    )
    assert done["Annotations/a.xml"].decode() == text.replace(">32<", ">12<")


@pytest.mark.parametrize(
    ("annotations_at", "images_at", "path", "root"),
    [
        ("Annotations", "JPEGImages", ".", "."),
        ("Annotations", "JPEGImages", "Annotations", "."),
        ("boxes/v1", "boxes/v1", "boxes/v1", "boxes/v1"),
        ("train", "train", "train", "train"),
        ("labels_v1", "images", "labels_v1", "."),
        ("annotations", "images", ".", "."),
        ("xml", "images", ".", "."),
        ("annotations/night", "images/night", ".", "."),
        ("Annotations/night", "JPEGImages/night", ".", "."),
        ("Annotations/night", "JPEGImages", ".", "."),
    ],
)
def test_images_are_found_where_people_have_them(
    tmp_path: Path, annotations_at: str, images_at: str, path: str, root: str
) -> None:
    (tmp_path / annotations_at).mkdir(parents=True)
    (tmp_path / images_at).mkdir(parents=True, exist_ok=True)
    (tmp_path / annotations_at / "a.xml").write_text(xml(one()))
    Image.new("L", (64, 48)).save(tmp_path / images_at / "a.png")
    dataset = labelfix.read(tmp_path / path)
    assert dataset.root == tmp_path / root
    assert dataset.image_paths == [tmp_path / images_at / "a.png"]
    [(where, _)] = voc.patched(dataset, corrections())
    assert tmp_path / root / where == tmp_path / annotations_at / "a.xml"


def test_the_caller_can_say_where_the_images_are(tmp_path: Path) -> None:
    write(tmp_path / "x", {"a.xml": xml(one())}, images=[])
    (tmp_path / "y").mkdir()
    Image.new("L", (64, 48)).save(tmp_path / "y/a.png")
    dataset = labelfix.read(tmp_path / "x", images=tmp_path / "y")
    assert dataset.root == tmp_path
    assert dataset.items["item_id"].to_list() == ["y/a.png"]
    assert dataset.annotations["annotation_id"].to_list() == ["x/Annotations/a.xml#1"]


def test_awkward_names_stay_apart(tmp_path: Path) -> None:
    names = ["with space", "ünï·日本", "two.dots", "UPPER", "sub/same", "other/same", "a&b"]
    files = {
        f"{name}.xml": xml(one("cat", 1, 1, i + 2, 9), name=f"{Path(name).name}.PNG")
        for i, name in enumerate(names)
    }
    write(tmp_path, files, images=[f"{name}.PNG" for name in names])
    dataset = labelfix.read(tmp_path)
    assert set(dataset.items["item_id"]) == {f"JPEGImages/{name}.PNG" for name in names}
    for path, data in voc.patched(dataset, corrections()):
        assert data.decode() == files[path.relative_to("Annotations").as_posix()]


@pytest.mark.parametrize(
    ("filename", "images", "found"),
    [
        ("a.png", ["a.png", "a.jpg"], "a.png"),
        ("a.jpg", ["a.png", "a.jpg"], "a.jpg"),
        ("stale.png", ["a.JPG", "stale.png"], "a.JPG"),
        ("other.png", ["other.png"], "other.png"),
        ("other", ["other.png"], "other.png"),
        ("C:\\x\\other.png", ["other.png"], "other.png"),
        ("", ["a.png"], "a.png"),
    ],
)
def test_a_file_finds_its_image(
    tmp_path: Path, filename: str, images: list[str], found: str
) -> None:
    write(tmp_path, {"a.xml": xml(one(), name=filename)}, images=images)
    assert labelfix.read(tmp_path).items["item_id"].to_list() == [f"JPEGImages/{found}"]


def test_images_missing_shared_or_in_doubt_are_all_told(tmp_path: Path) -> None:
    files = {
        "a.xml": xml(one()),
        "b.xml": xml(one(), name="b.png"),
        "c.xml": xml(one(), name="a.png"),
        "d.xml": xml(one(), name="e.png"),
    }
    write(tmp_path, files, images=["a.png", "d.jpg", "d.png"])
    found = problems(tmp_path)
    assert [problem.where for problem in found] == [f"Annotations/{x}.xml" for x in "bcd"]
    assert "no image called 'b'" in found[0].found
    assert "again" in found[1].found
    assert "several images (d.jpg, d.png)" in found[2].found
    dataset = labelfix.read(tmp_path, skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["JPEGImages/a.png"]
    assert dataset.skipped == tuple(found)
    given_back = {path.name: data.decode() for path, data in voc.patched(dataset, corrections())}
    assert given_back == files


def test_images_that_are_cut_short_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(one()), "b.xml": xml(one("dog"), name="b.png")})
    picture = tmp_path / "JPEGImages/a.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    [problem] = problems(tmp_path)
    assert problem.where == "JPEGImages/a.png"
    dataset = labelfix.read(tmp_path, skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["JPEGImages/b.png"]
    assert dataset.annotations["label"].to_list() == ["dog"]
    assert dataset.skipped == (problem,)


def test_without_any_picture_the_dataset_has_none_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(one()), "b.xml": xml(one(), name="")}, images=[])
    with pytest.warns(labelfix.LabelfixWarning, match="without pictures"):
        dataset = labelfix.read(tmp_path)
    assert dataset.image_paths is None
    assert dataset.items["item_id"].to_list() == ["Annotations/a.png", "Annotations/b"]


def test_a_size_that_is_not_stated_is_the_images(tmp_path: Path) -> None:
    zero = "<size><width>0</width><height>0</height></size>"
    write(tmp_path, {"a.xml": xml(one(), size=""), "b.xml": xml(one(), size=zero)})
    dataset = labelfix.read(tmp_path)
    assert dataset.items.select("width", "height").rows() == [(64, 48)] * 2
    (tmp_path / "JPEGImages/a.png").write_bytes(b"")
    [problem] = problems(tmp_path)
    assert problem.where == "Annotations/a.xml"


def test_files_without_objects_are_images_without_boxes(tmp_path: Path) -> None:
    dataset = labelfix.read(write(tmp_path, {"a.xml": xml(), "b.xml": xml(one())}))
    assert len(dataset) == 2
    assert dataset.annotations["item_id"].to_list() == ["JPEGImages/b.png"]


def test_class_names_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml(one("dog"), one("cat"))})
    dataset = labelfix.read(tmp_path, class_names=["dog", "cat", "fox"])
    assert dataset.class_names == ("dog", "cat", "fox")
    [problem] = problems(tmp_path, class_names=["dog"])
    assert "cat" in problem.found
    assert problem.line == 17
    skipped = labelfix.read(tmp_path, class_names=["dog"], skip_bad=True)
    assert skipped.annotations["annotation_id"].to_list() == ["Annotations/a.xml#1"]


def test_a_folder_without_any_object_needs_class_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": xml()})
    assert "no objects" in problems(tmp_path)[0].found
    assert labelfix.read(tmp_path, class_names=["cat"]).class_names == ("cat",)


def test_all_bad_objects_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    bad = [
        one().replace("<name>cat</name>", "<name> </name>"),
        one().replace("bndbox", "polygon"),
        one().replace("bndbox", "robndbox"),
        one().replace("<xmin>1</xmin>", "<xmin>one</xmin>"),
        one().replace("<xmin>1</xmin>", "<xmin>1_0</xmin>"),
        one().replace("<ymax>48</ymax>", ""),
        one().replace("</object>", "<bndbox/></object>"),
    ]
    text = xml(*bad, one("dog", 3, 3, 9, 9))
    found = problems(write(tmp_path, {"a.xml": text, "b.xml": xml(one()), "c.xml": "<annotation>"}))
    assert [problem.where for problem in found] == [
        *(f"Annotations/a.xml#{i}" for i in range(1, 8)),
        "Annotations/c.xml",
    ]
    lines = text.splitlines()
    assert all(lines[(problem.line or 0) - 1] == "\t<object>" for problem in found[:7])
    assert "oriented" in found[2].found
    dataset = labelfix.read(tmp_path, skip_bad=True)
    assert dataset.annotations["annotation_id"].to_list() == [
        "Annotations/a.xml#8",
        "Annotations/b.xml#1",
    ]
    done = apply(dataset, change(dataset, 0, "set_label", label="cat"), new_box("dog", 0, 0, 4, 4))
    assert done["Annotations/a.xml"].decode() == xml(
        *bad,
        one("cat", 3, 3, 9, 9),
        one("dog", 1, 1, 4, 4).replace("Left", "Unspecified").replace("truncated>1", "truncated>0"),
    )


def test_odd_boxes_are_told_and_kept(tmp_path: Path) -> None:
    boxes = [("nan", 1, 2, 2), (9, 1, 7, 2), (9, 1, 8, 2), (0, 1, 70, 2)]
    write(tmp_path, {"a.xml": xml(*(OBJECT.format(*corners, name="x") for corners in boxes))})
    with pytest.warns(labelfix.LabelfixWarning) as caught:
        dataset = labelfix.read(tmp_path)
    [message] = [str(warning.message) for warning in caught]
    for kind in ("no finite numbers", "inverted", "empty", "outside the image"):
        assert f"1 {kind}" in message
    assert dataset.annotations["x2"].to_list()[1:] == [7, 8, 70]


BOMB = """<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>"""
OUTSIDE = """<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]>"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (xml(one(), head=BOMB).replace("cat", "&b;"), "refused"),
        (xml(one(), head=OUTSIDE).replace("cat", "&a;"), "refused"),
        (xml(one(), head="<!DOCTYPE annotation SYSTEM 'http://localhost/x.dtd'>"), "refused"),
        (xml(one()).replace("cat", "&b;"), "undefined entity"),
        (xml(one())[:200], "broken XML"),
        ("", "broken XML"),
        ("<annotations></annotations>", "a document of <annotations>"),
        (xml(one("größe"), head="<?xml version='1.0' encoding='utf-8'?>").encode("latin-1"), "XML"),
        (xml(one(), head="<?xml version='1.0' encoding='utf-99'?>"), "unknown encoding"),
        (xml(one(), head="<?xml version='1.0' encoding='zlib'?>"), "text that is not zlib"),
    ],
)
def test_entities_document_types_and_broken_files_are_refused(
    tmp_path: Path, text: str | bytes, found: str
) -> None:
    write(tmp_path, {"a.xml": text, "b.xml": xml(one())})
    [problem] = problems(tmp_path, format="voc")
    assert problem.where == "Annotations/a.xml"
    assert found in problem.found


def test_other_folders_are_not_taken_for_voc(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "cats/a.png")
    (tmp_path / "cats/._a.xml").write_bytes(b"\0<annotation")
    (tmp_path / "cats/a.xml").write_text("<svg/>")
    assert not voc.recognises(tmp_path)
    assert not voc.recognises(tmp_path / "cats/a.xml")
    (tmp_path / "cats/a.xml").write_text(xml(one()))
    assert voc.recognises(tmp_path)


# ---------------------------------------------------------------- writing


def test_a_correction_changes_its_text_only(tmp_path: Path) -> None:
    text = (
        '\ufeff<?xml version="1.0"?>\r\n<!-- by hand --><annotation  a = "1>2" >\r\n'
        "<filename>a.png</filename><object id='7'><!--x--><bndbox>\r\n<ymax> 48.50 </ymax>"
        "<xmin>1.25</xmin><xmax>32</xmax><ymin>1</ymin></bndbox><name>\tcat </name></object>"
        "<object><name>a&amp;b</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
        "<ymax>2</ymax></bndbox></object ></annotation><!-- end -->"
    )
    dataset = labelfix.read(write(tmp_path, {"a.xml": text}))
    assert dataset.class_names == ("a&b", "cat")
    done = apply(
        dataset,
        change(dataset, 0, "set_box", **box(0.25, 0, 30, 40)),
        change(dataset, 0, "set_label", label="a&b"),
        change(dataset, 1, "ignore"),
    )
    expected = text.replace("48.50", "40").replace(">32<", ">30<").replace("\tcat ", "\ta&amp;b ")
    expected = expected.replace("a&amp;b</name>", "a&amp;b</name><difficult>1</difficult>", 1)
    assert done["Annotations/a.xml"].decode() == expected


def test_ignored_boxes_become_difficult(tmp_path: Path) -> None:
    texts = [one(), one().replace("<difficult>0</difficult>", "<difficult/>")]
    texts.append(one().replace("\n\t\t<difficult>0</difficult>", ""))
    dataset = labelfix.read(write(tmp_path, {"a.xml": xml(*texts)}))
    done = apply(dataset, *(change(dataset, row, "ignore") for row in range(3)))
    hard = one().replace("difficult>0", "difficult>1")
    last = texts[2].replace("</name>", "</name>\n\t\t<difficult>1</difficult>")
    assert done["Annotations/a.xml"].decode() == xml(hard, hard, last)
    assert labelfix.read(tmp_path).annotations["crowd"].to_list() == [True] * 3


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_deleted_objects_leave_no_trace(tmp_path: Path, gone: list[int]) -> None:
    objects = [one(name) for name in ("cat", "dog", "fox")]
    dataset = labelfix.read(write(tmp_path, {"a.xml": xml(*objects)}))
    done = apply(dataset, *(change(dataset, row, "delete") for row in gone))
    left = [text for row, text in enumerate(objects) if row not in gone]
    assert done["Annotations/a.xml"].decode() == xml(*left)


def plain(*corners: int) -> str:
    text = one("cat", *corners).replace("Left", "Unspecified")
    return text.replace("truncated>1", "truncated>0")


def test_new_objects_look_like_the_last_one(tmp_path: Path) -> None:
    files = {"a.xml": xml(one()), "b.xml": xml(), "c.xml": xml(one(), "<!-- end -->")}
    files["d.xml"] = xml(one().replace("<pose>Left</pose>", "<occluded>1</occluded>"))
    for name in files:
        files[name] = files[name].replace("a.png", name.replace("xml", "png"))
    dataset = labelfix.read(write(tmp_path, files))
    new = [new_box("cat", 1, 2, 30, 40, item=f"JPEGImages/{name}.png") for name in "abcd"]
    done = apply(dataset, *new, new[1])
    added = plain(2, 3, 30, 40)
    for name, expected in {
        "a": files["a.xml"].replace("\n</annotation>", f"{added}\n</annotation>"),
        "b": files["b.xml"].replace("\n</annotation>", f"{added * 2}\n</annotation>"),
        "c": files["c.xml"].replace("<!-- end -->", f"{added}<!-- end -->"),
        "d": files["d.xml"].replace(
            "\n</annotation>",
            added.replace("<pose>Unspecified</pose>", "<occluded>0</occluded>") + "\n</annotation>",
        ),
    }.items():
        assert done[f"Annotations/{name}.xml"].decode() == expected


@pytest.mark.parametrize(
    "text", ["<annotation/>", "<annotation></annotation>", "<annotation> </annotation>"]
)
def test_a_box_can_be_added_to_a_file_with_nothing_in_it(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"a.xml": text})
    dataset = labelfix.read(tmp_path, class_names=["cat"])
    done = apply(dataset, new_box("cat", 0, 0, 4, 4))["Annotations/a.xml"]
    assert ET.fromstring(done).findtext("object/bndbox/xmax") == "4"
    again = labelfix.read(tmp_path)
    assert again.annotations.select("label", *BOX).rows() == [("cat", 0, 0, 4, 4)]


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    dataset = labelfix.read(write(tmp_path, {"a.xml": xml(one())}))
    done = apply(
        dataset,
        change(dataset, 0, "set_box", **box(3.6, 4.2, 20.4, 30.9)),
        new_box("cat", 1.2, 1.4, 5, 6),
    )
    text = done["Annotations/a.xml"].decode()
    assert text == xml(one("cat", 5, 5, 20, 31), plain(2, 2, 5, 6))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1", "gbk", "cp1252"])
def test_encodings_are_kept(tmp_path: Path, encoding: str) -> None:
    declared = encoding.removesuffix("-be")
    head = f'<?xml version="1.0" encoding="{declared}"?>\n'
    text = xml(one("\u00e9" if encoding != "gbk" else "\u732b"), one("dog\u00b7"), head=head)
    bom = "\ufeff" if encoding == "utf-16-be" else ""
    dataset = labelfix.read(write(tmp_path, {"a.xml": (bom + text).encode(encoding)}))
    done = apply(dataset, change(dataset, 0, "set_label", label="dog\u00b7"))
    name = dataset.annotations["label"][0]
    assert done["Annotations/a.xml"] == (bom + text.replace(f">{name}<", ">dog\u00b7<")).encode(
        encoding
    )


def test_labels_that_an_encoding_cannot_hold_are_spelled_out(tmp_path: Path) -> None:
    head = '<?xml version="1.0" encoding="ascii"?>\n'
    files = {"a.xml": xml(one(), head=head), "b.xml": xml(one("größe"))}
    dataset = labelfix.read(write(tmp_path, files))
    done = apply(dataset, change(dataset, 0, "set_label", label="größe"))
    assert done["Annotations/a.xml"].decode() == files["a.xml"].replace(
        ">cat<", ">gr&#246;&#223;e<"
    )
    assert labelfix.read(tmp_path).annotations["label"].to_list() == ["größe"] * 2


def test_a_dataset_that_changed_since_is_refused_with_every_file(tmp_path: Path) -> None:
    dataset = labelfix.read(
        write(tmp_path, {f"{x}.xml": xml(one()) for x in "abc"}, ["a.png", "b.png", "c.png"])
    )
    (tmp_path / "Annotations/a.xml").write_text(xml())
    (tmp_path / "Annotations/c.xml").unlink()
    with pytest.raises(labelfix.InputError) as caught:
        voc.patched(dataset, corrections())
    assert [problem.where for problem in caught.value.problems] == [
        "Annotations/a.xml",
        "Annotations/c.xml",
    ]


# ---------------------------------------------------------------- properties

LABELS = ["cat", "a & b", "größe", "<x>", "]]>"]
MANNERS: dict[str, Callable[[float], str]] = {
    "whole": lambda value: str(int(value)),
    "pointed": lambda value: f"{int(value)}.0",
    "fixed": lambda value: f"{value:.3f}",
    "shortest": lambda value: repr(round(value, 4)),
}
SPACES = ["", "\n", "\n\t", "\r\n  ", " "]


@st.composite
def files(draw: st.DrawFn) -> list[str]:
    """Files of one manner of numbers, each with white space, comments and order of its own."""
    manner = MANNERS[draw(st.sampled_from(sorted(MANNERS)))]
    # nothing corrects the first one, so that the dataset goes on showing how it writes numbers
    texts = [xml(OBJECT.format(manner(1), manner(1.5), manner(9.125), manner(9), name="cat"))]
    for name in "bcd"[: draw(st.integers(1, 3))]:
        space = st.sampled_from(SPACES)
        objects = []
        for _ in range(draw(st.integers(0, 4))):
            numbers = [manner(draw(st.floats(1, 2000))) for _ in range(4)]
            inner = draw(space)
            corners = draw(st.permutations(["xmin", "ymin", "xmax", "ymax"]))
            tags = [f"<{c}>{n}</{c}>" for c, n in zip(corners, numbers, strict=True)]
            parts = [
                f"<name>{draw(space)}{escape(draw(st.sampled_from(LABELS)))}{draw(space)}</name>",
                f"<bndbox>{inner}{inner.join(tags)}{draw(space)}</bndbox>",
                *draw(st.lists(st.sampled_from(["<!-- a > b -->", "<x y='>'/>", "<pose/>"]))),
            ]
            gap = draw(space)
            body = "".join(gap + part for part in draw(st.permutations(parts)))
            objects.append(f"{draw(space)}<object>{body}{draw(space)}</object>")
            objects += draw(st.lists(st.just("<!-- </object> -->"), max_size=1))
        head = draw(st.sampled_from(["", "\ufeff", '<?xml version="1.0"?>\n']))
        texts.append(xml(*objects, name=f"{name}.png", head=head) + draw(space))
    return texts


def in_a_folder(texts: list[str], folder: Path) -> Path:
    return write(folder, {f"{name}.xml": text for name, text in zip("abcd", texts, strict=False)})


@given(files(), st.data())
@settings(max_examples=50, deadline=None)
def test_corrections_and_their_inverse_give_the_original_bytes(
    texts: list[str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        root = in_a_folder(texts, Path(name))
        before = labelfix.read(root, class_names=LABELS)
        rows = range(1, before.annotations.height)
        chosen = sorted(data.draw(st.sets(st.sampled_from(rows)))) if rows else []
        there, back = [], []
        for row in chosen:
            old = before.annotations.row(row, named=True)
            x, y, w, h = (data.draw(st.integers(1, 400)) for _ in range(4))
            there.append(change(before, row, "set_box", **box(x, y, x + w, y + h)))
            there.append(change(before, row, "set_label", label=data.draw(st.sampled_from(LABELS))))
            back.append(change(before, row, "set_box", **{edge: old[edge] for edge in BOX}))
            back.append(change(before, row, "set_label", label=old["label"]))
        apply(before, *there)
        between = labelfix.read(root, class_names=LABELS)
        for row, wanted in zip(chosen, there[::2], strict=True):
            assert between.annotations.select(BOX).row(row) == tuple(wanted[e] for e in BOX)
        done = apply(between, *back)
    assert [done[f"Annotations/{name}.xml"].decode() for name in "abcd"[: len(texts)]] == texts


@given(files(), st.data())
@settings(max_examples=40, deadline=None)
def test_added_and_deleted_again_gives_the_original_bytes(
    texts: list[str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        root = in_a_folder(texts, Path(name))
        before = labelfix.read(root, class_names=LABELS)
        items = st.sampled_from(before.items["item_id"].to_list())
        new = [
            new_box(data.draw(st.sampled_from(LABELS)), 3, 4, 30, 40, item=item)
            for item in data.draw(st.lists(items, max_size=4))
        ]
        apply(before, *new)
        between = labelfix.read(root, class_names=LABELS)
        known = set(before.annotations["annotation_id"])
        ids = between.annotations["annotation_id"].to_list()
        extra = [change(between, row, "delete") for row, key in enumerate(ids) if key not in known]
        assert len(extra) == len(new)
        done = apply(between, *extra)
    assert [done[f"Annotations/{name}.xml"].decode() for name in "abcd"[: len(texts)]] == texts


# ---------------------------------------------------------------- real files


@pytest.mark.skipif(not BCCD.is_dir(), reason="no bccd in LABELFIX_DATA")
@pytest.mark.parametrize(
    ("version", "images", "boxes"),
    [
        ("cosmicad", 343, {"RBC": 3854}),
        ("shenggan", 364, {"RBC": 4155, "WBC": 372}),
        ("cbc", 360, {}),
    ],
)
def test_bccd_is_read_whole_and_given_back(
    version: str, images: int, boxes: dict[str, int]
) -> None:
    dataset = labelfix.read(BCCD / f"annotations_{version}")
    assert dataset.root == BCCD
    assert len(dataset) == images
    counts = dict(dataset.annotations["label"].value_counts().iter_rows())
    assert counts.items() >= boxes.items()
    files = list(voc.patched(dataset, corrections()))
    assert len(files) == images
    assert all((BCCD / path).read_bytes() == data for path, data in files)
    path = BCCD / dataset.annotations["annotation_id"][100].partition("#")[0]
    numbers = [int(x.text or "") for x in ET.parse(path).iter("xmax")]
    item = dataset.annotations["item_id"][100]
    assert dataset.annotations.filter(item_id=item)["x2"].to_list() == numbers


@pytest.mark.skipif(not BCCD.is_dir(), reason="no bccd in LABELFIX_DATA")
def test_bccd_corrected_and_back(tmp_path: Path) -> None:
    shutil.copytree(BCCD / "annotations_shenggan", tmp_path / "annotations")
    (tmp_path / "images").symlink_to(BCCD / "images")
    for path in (tmp_path / "annotations").iterdir():
        path.chmod(0o644)
    (tmp_path / "annotations").chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        before = labelfix.read(tmp_path / "annotations")
        there, back = [], []
        for row in range(0, before.annotations.height, 3):
            old = before.annotations.row(row, named=True)
            moved = box(old["x1"] + 2.4, old["y1"] + 1, old["x2"] + 3.3, old["y2"] + 2.2)
            there.append(change(before, row, "set_box", **moved))
            there.append(change(before, row, "set_label", label="WBC"))
            back.append(change(before, row, "set_box", **{edge: old[edge] for edge in BOX}))
            back.append(change(before, row, "set_label", label=old["label"]))
        changed = apply(before, *there)
        done = apply(labelfix.read(tmp_path / "annotations"), *back)
    assert changed != done
    for name, data in done.items():
        assert (BCCD / "annotations_shenggan" / Path(name).name).read_bytes() == data
