"""Labels and probabilities: every usual form is taken, every fault is named by row, all at once."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.errors import InputError, LabelfixWarning
from labelfix.score import Blocks, check_labels_and_pred_probs
from labelfix.score.inputs import as_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = [0, 2, 1, 2]
PROBS = [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.125, 0.75, 0.125], [1.0, 0.0, 0.0]]
NAMES = ("ant", "bee", "cat")


def refused(labels: Any, pred_probs: Any, class_names: Any = None, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_labels_and_pred_probs(labels, pred_probs, class_names, **options)
    return str(caught.value)


def torch_tensor(values: Any) -> Any:
    return pytest.importorskip("torch").tensor(values)


def pandas_of(kind: str) -> Callable[[Any], Any]:
    def make(values: Any) -> Any:
        return getattr(pytest.importorskip("pandas"), kind)(values)

    return make


@pytest.mark.parametrize(
    "form",
    [list, tuple, np.array, pl.Series, torch_tensor, pandas_of("Series"), pandas_of("Index")],
    ids=["list", "tuple", "numpy", "polars", "torch", "pandas", "index"],
)
def test_labels_of_any_library_are_taken(form: Callable[[Any], Any]) -> None:
    codes, _, names = check_labels_and_pred_probs(form(LABELS), PROBS)
    assert codes.dtype == np.int64
    assert codes.tolist() == LABELS
    assert names == ("0", "1", "2")
    texts = [NAMES[k] for k in LABELS]
    if form is not torch_tensor:
        assert check_labels_and_pred_probs(form(texts), PROBS, NAMES)[0].tolist() == LABELS


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "uint64"])
def test_labels_of_any_integer_type_are_taken(dtype: str) -> None:
    codes, _, _ = check_labels_and_pred_probs(np.array(LABELS, dtype=dtype), PROBS)
    assert codes.dtype == np.int64
    assert codes.tolist() == LABELS


@pytest.mark.parametrize(
    "form",
    [
        list,
        np.array,
        torch_tensor,
        pandas_of("DataFrame"),
        lambda rows: pl.DataFrame(rows, schema=NAMES, orient="row"),
    ],
    ids=["list", "numpy", "torch", "pandas", "polars"],
)
def test_probabilities_of_any_library_are_taken(form: Callable[[Any], Any]) -> None:
    _, matrix, _ = check_labels_and_pred_probs(LABELS, form(PROBS))
    assert matrix.dtype.kind == "f"
    assert matrix.tolist() == PROBS


def test_torch_tensors_with_gradients_and_bfloat16_are_taken() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(PROBS, requires_grad=True)
    assert check_labels_and_pred_probs(LABELS, tensor)[1].tolist() == PROBS
    half = torch.tensor(PROBS, dtype=torch.bfloat16)
    assert check_labels_and_pred_probs(LABELS, half)[1].tolist() == PROBS


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_a_matrix_in_order_is_given_back_as_it_is(dtype: str) -> None:
    matrix = np.array(PROBS, dtype=dtype)
    assert check_labels_and_pred_probs(LABELS, matrix)[1] is matrix


def test_whole_numbers_are_probabilities_of_zero_and_one() -> None:
    _, matrix, _ = check_labels_and_pred_probs([0, 1], [[0, 1], [1, 0]])
    assert matrix.dtype == np.float64
    assert "values above one in row 1" in refused([0, 1], [[0, 1], [3, 0]])


def test_column_names_name_the_classes_and_order_them() -> None:
    table = pl.DataFrame({"bee": [0.9, 0.2], "ant": [0.1, 0.8]})
    codes, matrix, names = check_labels_and_pred_probs(["ant", "bee"], table)
    assert (codes.tolist(), names) == ([1, 0], ("bee", "ant"))
    codes, matrix, names = check_labels_and_pred_probs(["ant", "bee"], table, ("ant", "bee"))
    assert (codes.tolist(), names) == ([0, 1], ("ant", "bee"))
    assert matrix.tolist() == [[0.1, 0.9], [0.8, 0.2]]


def test_names_are_the_sorted_labels_if_none_are_given() -> None:
    codes, _, names = check_labels_and_pred_probs(["b", "c", "a", "b"], PROBS)
    assert (codes.tolist(), names) == ([1, 2, 0, 1], ("a", "b", "c"))
    found = refused(["a", "b", "a", "b"], PROBS)
    assert "2 distinct labels; expected 3" in found
    assert "name the columns" in found


def test_labels_unknown_to_the_class_names_are_named() -> None:
    found = refused(["ant", "dog", "bee", "owl"], PROBS, NAMES)
    assert "'dog', 'owl', no class names, in rows 1, 3" in found


def test_booleans_are_false_and_true() -> None:
    probs = [[0.9, 0.1], [0.2, 0.8]]
    codes, _, names = check_labels_and_pred_probs([True, False], probs)
    assert (codes.tolist(), names) == ([1, 0], ("False", "True"))
    codes, _, _ = check_labels_and_pred_probs([True, False], probs, ("good", "bad"))
    assert codes.tolist() == [1, 0]
    codes, _, _ = check_labels_and_pred_probs([True, False], probs, ("true", "false"))
    assert codes.tolist() == [0, 1]
    for classes in (NAMES, None):
        assert "booleans; expected one of 3 classes" in refused([True] * 4, PROBS, classes)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 3, 1, -1], "labels out of range in rows 1, 3; expected 0 to 2"),
        ([0.0, 2.0, 1.0, 2.0], "float64 labels"),
        ([0.0, 1.5, 1.0, np.inf], "a fraction, such as 1.5, in row 1"),
        ([0.0, np.nan, 1.0, np.nan], "missing labels in rows 1, 3"),
        (pl.Series([0, None, 1, 2]), "missing labels in row 1"),
        (np.ma.masked_equal(np.array([0, 9, 1, 2]), 9), "missing labels in row 1"),
        (["ant", None, "bee", "cat"], "missing labels in row 1"),
        (pl.Series(["ant", None, "bee", "cat"]), "missing labels in row 1"),
        (np.array(LABELS, dtype=object), "objects that are no class names in rows 0, 1, 2, 3"),
        (np.array(["ant", 1, "bee", "cat"], dtype=object), "no class names in row 1"),
        (np.array([0, None, 1, 2], dtype=object), "labels: found missing labels in row 1"),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]], "labels.argmax(axis=1)"),
        (np.array(LABELS, dtype=complex), "complex128 values"),
        ([0, 2, 1], "3 labels; expected 4, the rows of pred_probs"),
        ([], "0 labels; expected 4"),
        (7, "shape ()"),
    ],
)
def test_bad_labels_are_refused_by_row(labels: Any, words: str) -> None:
    assert words in refused(labels, PROBS)


def test_missing_pandas_labels_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    for labels in (
        pandas.Series(["ant", None, "bee", "cat"]),
        pandas.Series([0, None, 1, 2], dtype="Int64"),
        pandas.Series([0, None, 1, 2]),
    ):
        assert "missing labels in row 1" in refused(labels, PROBS, NAMES)
    labels = pandas.Series([0, 2, 1, 2], dtype="Int64")
    assert check_labels_and_pred_probs(labels, PROBS)[0].tolist() == LABELS
    labels = pandas.Series(["ant", "cat", "bee", "cat"], dtype="category")
    assert check_labels_and_pred_probs(labels, PROBS, NAMES)[0].tolist() == LABELS


@pytest.mark.parametrize(
    ("pred_probs", "words"),
    [
        ([[0.5, 0.5], [0.5]], "an array of objects"),
        (np.array([[0.5, 0.5], [0.5, 0.5]], dtype=object), "an array of objects"),
        ([["0.5", "0.5"], ["0.5", "0.5"]], "<U3 values"),
        (np.zeros((2, 2), dtype=complex), "complex128 values"),
        ([0.5, 0.5], "shape (2,); expected shape (n, K)"),
        (np.full((2, 2, 2), 0.5), "shape (2, 2, 2)"),
        ([[1.0], [1.0]], "1 column; expected one for each of K ≥ 2 classes"),
        (np.empty((0, 2)), "no rows"),
        (np.empty((2, 0)), "0 columns"),
    ],
)
def test_bad_shapes_and_types_are_refused(pred_probs: Any, words: str) -> None:
    assert words in refused([0, 1], pred_probs)


def test_zero_rows_are_refused() -> None:
    assert "no rows" in refused([], np.empty((0, 3)))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("ant", "bee"), "2 names; expected 3"),
        (("ant", "bee", "bee"), "bee more than once"),
    ],
)
def test_bad_class_names_are_refused(names: Any, words: str) -> None:
    assert words in refused(LABELS, PROBS, names)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([np.nan, 0.5, 0.5], "NaN in row 2"),
        ([np.inf, 0, 0], "infinite values in row 2"),
        ([0, -np.inf, 1], "infinite values in row 2"),
        ([-0.5, 1.0, 0.5], "negative values in row 2"),
        ([4.0, -2.0, 1.5], "apply softmax"),
        ([60.0, 30.0, 10.0], "values above one in row 2"),
        ([0.5, 0.25, 0.125], "sums up to 0.125 away from one in row 2"),
        ([0.5, 0.5, 0.5], "sums up to 0.5 away from one in row 2"),
        ([0, 0, 0], "sums up to 1 away from one in row 2"),
    ],
)
def test_bad_values_are_refused_by_row(dtype: str, row: list[float], words: str) -> None:
    pred_probs = np.array(PROBS, dtype=dtype)
    pred_probs[2] = row
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert words in refused(LABELS, pred_probs)


def test_all_problems_come_at_once() -> None:
    pred_probs = np.tile(PROBS, (50, 1))
    pred_probs[[3, 90]] = np.nan
    pred_probs[[4, 100, 150]] = [5.0, -1.0, 2.0]
    pred_probs[60, 0] = 0.9
    labels = np.tile(LABELS, 50)
    labels[[7, 8]] = 9
    with pytest.raises(InputError) as caught:
        check_labels_and_pred_probs(
            labels, pred_probs, ("x", "y"), blocks=Blocks(size=200, threads=2)
        )
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == 5
    for words in (
        "class_names: found 2 names",
        "labels: found labels out of range in rows 7, 8",
        "pred_probs: found NaN in rows 3, 90",
        "pred_probs: found negative values in rows 4, 100, 150",
        "away from one in row 60",
    ):
        assert any(words in problem for problem in found), words


def test_rows_that_nearly_sum_to_one_are_repaired_with_a_warning() -> None:
    pred_probs = np.array(PROBS, dtype=np.float32)
    pred_probs[1] *= 1.0002
    pred_probs[3] *= 0.9995
    before = pred_probs.copy()
    with pytest.warns(LabelfixWarning, match=r"rows 1, 3 .*divided by their sum, in a copy"):
        _, repaired, _ = check_labels_and_pred_probs(LABELS, pred_probs)
    assert repaired.dtype == np.float32
    assert repaired.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    assert (repaired[[0, 2]] == before[[0, 2]]).all()
    assert (pred_probs == before).all()


def test_a_negative_zero_by_rounding_is_repaired() -> None:
    pred_probs = np.array([[1 + 1e-7, -1e-7], [0.5, 0.5]])
    with pytest.warns(LabelfixWarning, match="row 0"):
        _, repaired, _ = check_labels_and_pred_probs([0, 1], pred_probs)
    assert repaired.min() == 0


def test_where_repair_begins_and_ends_is_for_the_caller_to_say() -> None:
    pred_probs = np.array(PROBS)
    pred_probs[1] *= 1.005
    assert "0.005 away from one in row 1" in refused(LABELS, pred_probs)
    with pytest.warns(LabelfixWarning):
        check_labels_and_pred_probs(LABELS, pred_probs, tolerance=0.01)
    _, same, _ = check_labels_and_pred_probs(LABELS, pred_probs, tolerance=0.01, rounding=0.01)
    assert same is pred_probs


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 1000), st.sampled_from([0.01, 1.0, 100.0]))
def test_rounding_to_float16_or_float32_is_no_fault(seed: int, classes: int, alpha: float) -> None:
    exact = np.random.default_rng(seed).dirichlet(np.full(classes, alpha), 20)
    for dtype in (np.float16, np.float32):
        rounded = exact.astype(dtype)
        assert check_labels_and_pred_probs(np.zeros(20, int), rounded)[1] is rounded


def test_memory_mapped_files_are_checked_without_being_held(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pred_probs = rng.random((200_000, 20), dtype=np.float32)
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    np.save(tmp_path / "p.npy", pred_probs)
    labels = rng.integers(0, 20, 200_000)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        assert check_labels_and_pred_probs(labels, mapped)[1] is mapped
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < pred_probs.nbytes / 10


def test_scorers_refuse_what_does_not_fit_without_reading_the_values() -> None:
    with pytest.raises(InputError, match="3 labels"):
        as_arrays([0, 1, 2], PROBS)
    codes, matrix, _ = as_arrays(np.array(LABELS, dtype=np.int16), np.array(PROBS))
    assert codes.dtype == np.int16
    assert matrix.shape == (4, 3)
    nan: NDArray[np.float64] = np.full((4, 3), np.nan)
    assert as_arrays(LABELS, nan)[1] is nan
