"""Models under several versions of the labels: numbers, intervals, files, refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kendalltau, rankdata
from sklearn.metrics import top_k_accuracy_score

from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.compare import LabelSets, compare_models, error_kinds
from labelfix.evaluate.versions import read_answers, read_material
from labelfix.formats import read
from labelfix.predict.classify import classifier
from labelfix.report.comparison import comparison_findings, comparison_page
from labelfix.report.plots import rank_chart
from labelfix.run.comparison import compare

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Paint
    from numpy.typing import NDArray


def planted(seed: int = 0, n: int = 300, classes: int = 6, models: int = 5) -> dict[str, Any]:
    """Scores of models of rising skill, given labels, and sets of right labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    given_label = np.where(rng.random(n) < 0.15, rng.integers(0, classes, n), truth)
    other = rng.integers(0, classes, n)
    lucky = rng.random(n)
    sets = [
        [] if u < 0.05 else sorted({int(t), int(o)}) if u < 0.2 else [int(t)]
        for t, o, u in zip(truth, other, lucky, strict=True)
    ]
    scores = {}
    for m in range(models):
        scores[f"m{m}"] = rng.random((n, classes)) + (0.2 + 0.15 * m) * np.eye(classes)[truth]
    return {"scores": scores, "labels": given_label, "sets": sets}


def best(scores: NDArray[np.float64], k: int = 5) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def compared(data: dict[str, Any], **options: Any) -> Any:
    answers = {name: best(one) for name, one in data["scores"].items()}
    versions = {"original": LabelSets.of(data["labels"]), "real": LabelSets.of(data["sets"])}
    return compare_models(answers, versions, **{"draws": 60, **options})


@pytest.mark.parametrize("top", [1, 5])
def test_accuracy_is_scikit_learns(top: int) -> None:
    data = planted()
    table = compared(data, draws=0).accuracy.filter(variant="original", top=top)
    for name, scores in data["scores"].items():
        expected = top_k_accuracy_score(data["labels"], scores, k=top, labels=range(6))
        assert table.filter(model=name)["accuracy"].item() == pytest.approx(expected, abs=1e-12)


def test_any_right_label_counts_and_items_without_one_do_not() -> None:
    data = planted()
    table = compared(data, draws=0).accuracy.filter(variant="real", top=1)
    for name, scores in data["scores"].items():
        right = [a in s for a, s in zip(best(scores)[:, 0], data["sets"], strict=True) if s]
        row = table.filter(model=name)
        assert row["accuracy"].item() == pytest.approx(np.mean(right))
        assert row["items"].item() == len(right)


def test_ranks_and_tau_are_scipys() -> None:
    found = compared(planted(), draws=0)
    tables = {key[0]: t for key, t in found.accuracy.filter(top=1).group_by("variant")}
    base = tables["original"].sort("model")
    for name, table in tables.items():
        table = table.sort("model")
        expected = rankdata(-table["accuracy"].to_numpy(), method="min")
        assert table["rank"].to_list() == expected.tolist()
        tau = kendalltau(base["accuracy"], table["accuracy"]).statistic
        assert found.order.filter(variant=name, top=1)["tau"].item() == pytest.approx(tau)


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    data = planted()
    found = compared(data, draws=200, seed=3)
    right = best(data["scores"]["m2"])[:, 0] == data["labels"]
    drawn = [
        right[np.random.default_rng([3, draw]).integers(0, 300, 300)].mean() for draw in range(200)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    row = found.accuracy.filter(variant="original", top=1, model="m2")
    assert row.select("low", "high").row(0) == pytest.approx((low, high))


def test_a_version_that_leaves_items_out_is_redrawn_as_a_ratio() -> None:
    data = planted()
    found = compared(data, draws=100)
    kept = np.array([len(one) > 0 for one in data["sets"]])
    pairs = zip(best(data["scores"]["m4"])[:, 0], data["sets"], strict=True)
    right = np.array([a in s for a, s in pairs])
    drawn = []
    for draw in range(100):
        rows = np.random.default_rng([0, draw]).integers(0, 300, 300)
        drawn.append(right[rows].sum() / kept[rows].sum())
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    row = found.accuracy.filter(variant="real", top=1, model="m4")
    assert row.select("low", "high").row(0) == pytest.approx((low, high))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), shuffle=st.integers(0, 10_000))
def test_the_order_of_items_changes_nothing_but_the_draws(seed: int, shuffle: int) -> None:
    data = planted(seed, n=80)
    order = np.random.default_rng(shuffle).permutation(80)
    moved = {
        "scores": {name: one[order] for name, one in data["scores"].items()},
        "labels": data["labels"][order],
        "sets": [data["sets"][row] for row in order],
    }
    one, other = compared(data, draws=0), compared(moved, draws=0)
    for name, table in one.tables().items():
        assert table.equals(other.tables()[name]), name


def test_the_order_of_models_changes_only_the_order_of_rows() -> None:
    data = planted()
    turned = {**data, "scores": dict(reversed(data["scores"].items()))}
    keys = ["variant", "top", "model"]
    one, other = compared(data).accuracy.sort(keys), compared(turned).accuracy.sort(keys)
    assert one.equals(other)


def test_shares_of_answers_add_up() -> None:
    answers = compared(planted(), draws=0).answers
    sums = answers.select(pl.sum_horizontal("given", "corrected", "another")).to_series()
    assert sums.to_numpy() == pytest.approx(1)


def test_gains_are_differences_of_accuracies() -> None:
    found = compared(planted(), draws=0)
    accuracy = {key[:2]: t.sort("model") for key, t in found.accuracy.group_by("variant", "top")}
    base = accuracy["original", 1]["accuracy"]
    for kind, variant in (("mislabeled", "without mislabeled"), ("all", "without errors")):
        gains = found.gains.filter(kind=kind).sort("model")
        assert gains["left_out"].to_numpy() == pytest.approx(
            (accuracy[variant, 1]["accuracy"] - base).to_numpy()
        )
    gains = found.gains.filter(kind="mislabeled").sort("model")
    relabelled = accuracy["relabelled", 1]["accuracy"] - base
    assert gains["relabelled"].to_numpy() == pytest.approx(relabelled.to_numpy())
    hard = gains["left_out"] - gains["relabelled"]
    assert gains["left_out_hard"].to_numpy() == pytest.approx(hard.to_numpy())


def test_equal_models_never_differ_beyond_noise() -> None:
    data = planted()
    data["scores"] = {"a": data["scores"]["m2"], "b": data["scores"]["m2"]}
    found = compared(data)
    assert found.accuracy["rank"].to_list() == [1] * found.accuracy.height
    assert not found.accuracy["beyond_noise"].any()
    assert found.swaps.is_empty()


def test_a_real_change_of_ranks_is_beyond_noise() -> None:
    n = 400
    labels, truth = np.zeros(n, int), np.arange(n) % 2  # half of the labels are wrong
    answers = {"learnt the errors": labels, "sees": truth}
    versions = {"given": LabelSets.of(labels), "true": LabelSets.of(truth)}
    found = compare_models(answers, versions, draws=200, any_class_order=True)
    changed = found.accuracy.filter(variant="true")
    assert changed["rank_change"].to_list() == [-1, 1]
    assert changed["beyond_noise"].all()
    assert found.swaps.filter(variant="true")["beyond_noise"].to_list() == [True]
    rows = found.answers.filter(kind="mislabeled").select("model", "given", "corrected").rows()
    assert rows == [("learnt the errors", 1.0, 0.0), ("sees", 0.0, 1.0)]


def test_one_model_has_a_rank_and_no_order() -> None:
    found = compare_models({"one": np.array([0, 1])}, {"given": LabelSets.of(np.array([0, 0]))})
    assert found.accuracy["rank"].to_list() == [1]
    assert found.order["tau"].to_list() == [None]
    assert comparison_page(found)


def test_kinds_follow_the_number_of_right_labels() -> None:
    original = LabelSets.of(np.zeros(5, int))
    corrected = LabelSets.of([[0], [2], [0, 1], [1, 2], []])
    several = ["multi_label"] * 2
    kinds = [None, "mislabeled", *several, "none_of_the_classes"]
    assert error_kinds(original, corrected).to_list() == kinds


def test_without_draws_intervals_are_null_and_the_page_says_so() -> None:
    found = compared(planted(), draws=0)
    assert found.accuracy["low"].null_count() == found.accuracy.height
    assert "Without draws" in comparison_page(found)


def test_models_whose_classes_are_numbered_otherwise_are_refused() -> None:
    data = planted(n=300)
    turned = np.roll(np.arange(6), 1)
    answers = {name: best(one) for name, one in data["scores"].items()}
    answers["turned"] = turned[answers["m4"]]
    versions = {"original": LabelSets.of(data["labels"])}
    with pytest.raises(
        InputError, match=r"turned: found answers that are right .* classes renamed"
    ):
        compare_models(answers, versions, draws=0)
    compare_models(answers, versions, draws=0, any_class_order=True)


def test_a_version_cannot_be_called_as_a_variant_is() -> None:
    sets = LabelSets.of(np.array([0, 1]))
    versions = {"original": sets, "relabelled": sets}
    with pytest.raises(InputError, match="relabelled: found a name that stands for two"):
        compare_models({"a": np.array([0, 1])}, versions)


def test_a_weak_model_is_not_taken_for_one_of_another_order() -> None:
    data = planted(n=300)
    answers = {
        "always 0": np.zeros(300, int),
        "guess": np.random.default_rng(0).integers(0, 6, 300),
    }
    compare_models(answers, {"original": LabelSets.of(data["labels"])}, draws=0)
    rare = LabelSets.of((np.arange(300) % 10 > 0).astype(int))
    compare_models(dict.fromkeys(["always 0"], np.zeros(300, int)), {"original": rare}, draws=0)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        compare_models(
            {"short": np.zeros(3, int)},
            {"original": LabelSets.of([[0], [], [0, 1], [1]]), "real": LabelSets.of([[0]])},
            drop=["odd"],  # type: ignore[list-item] # on purpose
            draws=-1,
            level=2,
        )
    text = str(caught.value)
    for part in ("rows 1, 2", "short: found 3", "real: found 1", "odd", "draws", "level"):
        assert part in text


# Files


def write_case(folder: Path, data: dict[str, Any]) -> None:
    """Write the same models in four formats, and labels with ids in several."""
    ids = [f"img/{row:03d}.png" for row in range(len(data["labels"]))]
    names = [f"class{k}" for k in range(6)]
    m = data["scores"]
    np.save(folder / "m0.npy", m["m0"])
    np.savez(folder / "m1.npz", pred_probs=m["m1"])
    turn = np.random.default_rng(1).permutation(len(ids))  # rows and columns in another order
    columns = {names[k]: m["m2"][turn, k] for k in (5, 0, 1, 2, 3, 4)}
    pl.DataFrame({"item_id": [ids[i] for i in turn], **columns}).write_csv(folder / "m2.csv")
    top = best(m["m3"])
    ranked = {f"top{k + 1}": [names[c] for c in top[:, k]] for k in range(5)}
    pl.DataFrame({"item_id": ids, **ranked}).write_parquet(folder / "m3.parquet")
    np.savez(folder / "more.npz", models=["m4"], top5=best(m["m4"])[None])
    labels = [names[k] for k in data["labels"]]
    pl.DataFrame({"item_id": ids, "label": labels}).write_csv(folder / "given.csv")
    sets = [[names[k] for k in one] for one in data["sets"]]
    (folder / "real.json").write_text(json.dumps(dict(zip(ids, sets, strict=True))))
    changed = [
        (f"{row:03d}", "|".join(sets[row]) or "-1")
        for row in range(len(ids))
        if sets[row] != [labels[row]]
    ]
    with (folder / "fixes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "correction"), *changed])
    (folder / "classes.txt").write_text("\n".join(names))


def test_files_of_all_kinds_give_what_arrays_give(tmp_path: Path) -> None:
    data = planted()
    write_case(tmp_path, data)
    files = [tmp_path / "m[0-9].*", tmp_path / "more.npz"]
    names = [f"class{k}" for k in range(6)]
    material = read_material(
        files,
        {"original": tmp_path / "given.csv", "real": tmp_path / "real.json"},
        {"fixed": tmp_path / "fixes.csv"},
        class_names=names,
    )
    found = compare_models(material.answers, material.versions, draws=20)
    expected = compared(data, draws=20)
    keys = ["variant", "top", "model"]
    mine = found.accuracy.filter(pl.col("variant") != "fixed").sort(keys)
    assert mine.equals(expected.accuracy.sort(keys))
    real, fixed = material.versions["real"], material.versions["fixed"]
    assert real.item.tolist() == fixed.item.tolist()
    assert real.label.tolist() == fixed.label.tolist()


def test_the_command_writes_a_folder_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path, planted())
    monkeypatch.chdir(tmp_path)
    call = ["compare", "--predictions", "m[0-9].*", "--labels", "original=given.csv", "--labels"]
    call += ["real=real.json", "--draws", "20", "--classes", "classes.txt", "--out", "out"]
    assert main([*call, "--format", "csv"]) == 0
    printed = pl.read_csv(capsys.readouterr().out.encode())
    assert printed.equals(pl.read_csv(tmp_path / "out/accuracy.csv"))
    assert main(call) == 0  # again, over what it wrote itself
    assert "Kendall's τ" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/comparison.json").read_text())["options"]["draws"] == 20
    assert "| m3 |" in (tmp_path / "out/comparison.md").read_text()
    assert (tmp_path / "out/ranks.svg").read_text().startswith("<?xml")


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    write_case(tmp_path, planted())
    with pytest.raises(InputError, match="other files"):
        compare([tmp_path / "m0.npy"], {"original": tmp_path / "given.csv"}, out=tmp_path)


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    write_case(tmp_path, planted())
    table = pl.read_csv(tmp_path / "m2.csv")
    table[3:].write_csv(tmp_path / "m2.csv")
    table.rename({"class5": "dog"}).write_csv(tmp_path / "m5.csv")
    np.save(tmp_path / "m0.npy", np.zeros((7, 6)))
    np.save(tmp_path / "m6.npy", np.zeros((2, 2, 2)))
    pl.read_csv(tmp_path / "given.csv")[:-2].write_csv(tmp_path / "less.csv")
    files = [tmp_path / "m[0256].*", tmp_path / "nothing*"]
    labels = {"original": tmp_path / "given.csv", "less": tmp_path / "less.csv"}
    with pytest.raises(InputError) as first:
        read_material(files, labels)
    assert "nothing*: found no such file" in str(first.value)
    (tmp_path / "m6.npy").unlink()
    with pytest.raises(InputError) as second:
        read_material(files[:1], labels)
    text = str(second.value)
    assert "m2: found no row for 3 ids" in text
    assert "m0: found 7 rows" in text
    assert "less.csv: found no row for 2 ids: 'img/298.png', 'img/299.png'" in text
    with pytest.raises(InputError, match="unknown classes 'dog'"):
        read_material(
            [tmp_path / "m5.csv"],
            {"original": tmp_path / "given.csv"},
            class_names=[f"class{k}" for k in range(6)],
        )


def test_corrections_that_fit_no_item_are_refused_and_some_are_told(tmp_path: Path) -> None:
    write_case(tmp_path, planted())
    given_labels = {"original": tmp_path / "given.csv"}
    one = [tmp_path / "m3.parquet"]
    (tmp_path / "odd.csv").write_text("id,correction\nx,class0\n")
    with pytest.raises(InputError, match="ids such as 'x'"):
        read_material(one, given_labels, {"odd": tmp_path / "odd.csv"})
    (tmp_path / "odd.csv").write_text("id,correction\nx,class0\n003,class1\n")
    with pytest.warns(LabelfixWarning, match="1 of 2 ids"):
        read_material(one, given_labels, {"odd": tmp_path / "odd.csv"})


def test_labels_without_ids_are_taken_in_the_order_of_the_predictions_and_that_is_told(
    tmp_path: Path,
) -> None:
    data = planted()
    write_case(tmp_path, data)
    np.save(tmp_path / "given.npy", data["labels"])
    names = [f"class{k}" for k in range(6)]
    with pytest.warns(LabelfixWarning, match="in the order of other files"):
        found = read_material(
            [tmp_path / "m3.parquet"], {"original": tmp_path / "given.npy"}, class_names=names
        )
    assert found.versions["original"].single.tolist() == data["labels"].tolist()


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    scores = np.ones((4, 3))
    scores[2, 1] = np.nan
    np.save(tmp_path / "m.npy", scores)
    with pytest.raises(InputError, match="row 2: found a score that is no number"):
        read_answers(tmp_path / "m.npy")


def test_of_equal_scores_the_first_class_answers(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], np.float16))
    assert read_answers(tmp_path / "m.npy")[0].top.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_models_that_score_fewer_classes_than_there_are_are_told_together(
    tmp_path: Path,
) -> None:
    for name, classes in (("few", 2), ("fewer", 1), ("all", 3), ("more", 4)):
        np.save(tmp_path / f"{name}.npy", np.eye(4)[:, :classes])
    np.save(tmp_path / "answers.npy", np.array([0, 1, 1, 0]))
    np.save(tmp_path / "given.npy", np.array([0, 1, 2, 0]))
    with pytest.raises(InputError) as caught:
        read_material([tmp_path / "[!g]*.npy"], {"original": tmp_path / "given.npy"})
    assert [(one.where, one.found, one.expected) for one in caught.value.problems] == [
        ("predictions few", "scores for 2 classes", "3"),
        ("predictions fewer", "scores for 1 class", "3"),
    ]


def test_the_chart_is_the_same_each_time_and_shows_every_model() -> None:
    table = compared(planted()).accuracy
    picture = rank_chart(table)
    assert picture == rank_chart(table)
    assert all(f">m{m}<" in picture.decode() for m in range(5))


def test_names_cannot_break_the_page() -> None:
    data = planted()
    data["scores"] = {"a|b<script>\n": data["scores"]["m0"]}
    page = comparison_page(compared(data, draws=0))
    assert "<script>" not in page
    assert "a\\|b" in page


# Models that are run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of torchvision for two classes, untrained."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("weights") / "small.pth"
    network = torchvision.models.get_model("squeezenet1_1", weights=None, num_classes=2)
    torch.save(network.state_dict(), path)
    return path


def test_a_local_checkpoint_answers_as_torchvision_does(
    tmp_path: Path, paint: Paint, checkpoint: Path
) -> None:
    import torch
    import torchvision

    for k in range(6):
        paint(tmp_path / "in" / "ab"[k % 2] / f"{k}.png", k, (300, 200))
    name = f"torchvision:squeezenet1_1={checkpoint}"
    found = compare([], {}, images=tmp_path / "in", models=[name], out=tmp_path / "out", draws=0)
    network = torchvision.models.get_model("squeezenet1_1", weights=None, num_classes=2).eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    prepare = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    right = []
    for path in sorted((tmp_path / "in").rglob("*.png")):
        with Image.open(path) as image, torch.inference_mode():
            answer = int(network(prepare(image.convert("RGB"))[None]).argmax())
        right.append("ab"[answer] == path.parent.name)
    row = found.accuracy.row(0, named=True)
    assert (row["model"], row["variant"]) == (name, "original")
    assert row["accuracy"] == pytest.approx(np.mean(right))


def test_a_model_has_no_answer_where_there_is_no_image(
    tmp_path: Path, paint: Paint, checkpoint: Path
) -> None:
    for name in "ab":
        paint(tmp_path / "in" / name / "1.png", 1)
    dataset = read(tmp_path / "in").take(np.arange(0))
    answers, names = classifier(f"torchvision:squeezenet1_1={checkpoint}").answers(dataset)
    assert (answers.shape, names) == ((0, 2), ("a", "b"))


def test_models_that_cannot_be_run_say_why(
    tmp_path: Path, paint: Paint, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(6):
        paint(tmp_path / "in" / "abc"[k % 3] / f"{k}.png", k)
    (tmp_path / "broken.pth").write_text("no weights")

    def told(model: str) -> str:
        call = ["compare", "--images", str(tmp_path / "in"), "--model", model]
        assert main([*call, "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    assert "2 classes; expected the 3 classes" in told(f"torchvision:squeezenet1_1={checkpoint}")
    assert "does not load" in told(f"torchvision:resnet18={checkpoint}")
    assert "does not load" in told(f"torchvision:resnet18={tmp_path / 'broken.pth'}")
    assert "does not load" in told(f"torchvision:resnet18={tmp_path / 'missing.pth'}")
    assert "one of torchvision's" in told("torchvision:resnet81")
    assert "torchvision:ARCHITECTURE" in told("resnet18")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="models, and no images"):
        compare([], {}, models=["torchvision:resnet18"], out=tmp_path / "out")


def coloured(root: Path) -> Path:
    """Twenty red and twenty blue images, in folders that ImageNet has classes for."""
    rng = np.random.default_rng(0)
    for k in range(40):
        noise = rng.integers(0, 60, (32, 32, 3), np.uint8)
        noise[..., 2 * (k % 2)] += 180
        path = root / ("hen", "tench")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return root


def test_default_weights_that_are_there_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    weights = models.get_model_weights("squeezenet1_1").DEFAULT
    torch.manual_seed(0)
    network = models.get_model("squeezenet1_1", weights=None).eval()
    place = tmp_path / "home" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(network.state_dict(), place)
    images = coloured(tmp_path / "in")
    call = ["compare", "--images", str(images), "--model", "torchvision:squeezenet1_1"]
    assert main([*call, "--out", str(tmp_path / "out"), "--draws", "0", "--format", "json"]) == 0
    names, prepare, right = weights.meta["categories"], weights.transforms(), []
    for path in sorted(images.rglob("*.png")):
        with Image.open(path) as image, torch.inference_mode():
            answer = network(prepare(image)[None]).argmax()
        right.append(names[int(answer)] == path.parent.name)
    assert json.loads(capsys.readouterr().out)[0]["accuracy"] == pytest.approx(np.mean(right))


def test_without_a_network_each_model_says_what_to_do_before_anything_is_classified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = pytest.importorskip("torch").hub
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def refuse(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(hub, "download_url_to_file", refuse)
    call = ["compare", "--images", str(coloured(tmp_path / "in")), "--out", str(tmp_path / "out")]
    for name in ("torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:alexnet=no.pth"):
        call += ["--model", name]
    assert main([*call, "--format", "json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("Name or service not known") == 2
    assert err.count("Error: 3 problems") == 1
    assert f"{tmp_path / 'home'}/hub/checkpoints/resnet18" in err
    assert "torchvision:squeezenet1_1=FILE" in err
    assert "no.pth" in err


def test_a_checkpoint_whose_classes_are_in_another_order_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    images = coloured(tmp_path / "in")
    torch.manual_seed(0)
    network = models.get_model("squeezenet1_1", weights=None, num_classes=2).eval()
    prepare = models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    mean = {}
    for name in ("hen", "tench"):
        with torch.inference_mode():
            batch = [prepare(Image.open(path)) for path in sorted((images / name).glob("*.png"))]
            mean[name] = network.features(torch.stack(batch)).mean(dim=(0, 2, 3))
    apart = (mean["tench"] - mean["hen"])[:, None, None]
    apart = apart / apart.square().sum()
    middle = ((mean["tench"] + mean["hen"])[:, None, None] * apart).sum() / 2

    def told(sign: int) -> tuple[int, str]:
        with torch.no_grad():
            network.classifier[1].weight.copy_(torch.stack([-sign * apart, sign * apart]))
            network.classifier[1].bias.copy_(torch.stack([sign * middle, -sign * middle]) + 5)
        torch.save(network.state_dict(), tmp_path / f"{sign}.pth")
        name = f"torchvision:squeezenet1_1={tmp_path / f'{sign}.pth'}"
        call = ["compare", "--images", str(images), "--model", name, "--draws", "0", "--quiet"]
        code = main([*call, "--out", str(tmp_path / f"out{sign}")])
        return code, capsys.readouterr().err

    assert told(1) == (0, "")
    code, err = told(-1)
    assert code == 2
    assert "with the classes renamed" in err


# The stored predictions of 34 models

VARIANTS = {
    "original": "original",
    "minus_mislabeled": "without mislabeled",
    "minus_all_errors": "without errors",
    "real": "real",
    "mturk_cleaned_corrected3": "crowd",
}


def imagenet(data_dir: Path) -> tuple[dict[str, NDArray[np.int16]], dict[str, LabelSets]]:
    folder = data_dir / "imagenet-real"
    stored = np.load(data_dir / "benchmarking-keras-pytorch/compact/imagenet_val_top1.npz")
    with np.load(folder / "imagenet_val_labels.npz") as arrays:
        labels = arrays["label_folder_order"].astype(int)
        numbers = arrays["val_number_folder_order"]
    real = json.loads((folder / "real.json").read_text())
    crowd = labels.copy()
    place = {int(number): row for row, number in enumerate(numbers)}
    for one in json.loads((data_dir / "label-errors/mturk/imagenet_mturk.json").read_text()):
        votes = one["mturk"]  # three of five for the other label correct it; none for its own: out
        new = one["our_guessed_label"] if votes["guessed"] >= 3 else -1
        if votes["given"] < 3:
            crowd[place[one["id"]]] = new
    versions = {
        "original": LabelSets.of(labels),
        "real": LabelSets.of([real[number - 1] for number in numbers]),
        "crowd": LabelSets.of(crowd),
    }
    return dict(zip(stored["models"].tolist(), stored["top1"], strict=True)), versions


def test_imagenet_is_the_golden_table(data_dir: Path) -> None:
    golden = pl.read_csv(data_dir / "golden/imagenet_34_models_rank_table.csv")
    answers, versions = imagenet(data_dir)
    found = compare_models(answers, versions, draws=0)
    for column, variant in VARIANTS.items():
        mine = golden.select("model").join(
            found.accuracy.filter(variant=variant), on="model", maintain_order="left"
        )
        assert mine["accuracy"].round(5).to_list() == golden[column].to_list()
        assert mine["rank"].to_list() == golden[f"rank_{column}"].to_list()
    assert found.kinds["items"].to_list() == [35_716, 3_678, 7_443, 3_163]
    assert found.kinds["given_is_right"].to_list()[2] == 6_448
    assert any("6,448" in line for line in comparison_findings(found))


def test_the_articles_list_is_the_reassessed_labels(data_dir: Path, tmp_path: Path) -> None:
    answers, versions = imagenet(data_dir)
    with np.load(data_dir / "imagenet-real/imagenet_val_labels.npz") as arrays:
        labels, numbers = arrays["label_folder_order"], arrays["val_number_folder_order"]
    ids = [f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]
    pl.DataFrame({"item_id": ids, "label": labels}).write_csv(tmp_path / "given.csv")
    np.save(tmp_path / "vgg.npy", answers["keras-vgg16"])
    errors = data_dir / "adansons-base/example/error_data.csv"
    material = read_material(
        [tmp_path / "vgg.npy"], {"original": tmp_path / "given.csv"}, {"article": errors}
    )
    assert error_kinds(*material.versions.values()).equals(
        error_kinds(versions["original"], versions["real"])
    )


def test_help_is_quick_and_loads_no_matplotlib() -> None:
    code = "import sys, labelfix.cli.compare; print('matplotlib' in sys.modules)"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
