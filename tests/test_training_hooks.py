"""The examples of docs/training.md run with the real libraries, and find planted errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelfix.errors import InputError
from labelfix.training import Tracker

PAGE = Path(__file__).parent.parent / "docs" / "training.md"


def blocks() -> dict[str, str]:
    """The code of the page, by the heading it stands under."""
    found: dict[str, str] = {}
    for section in re.split(r"^#+ ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for code in re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
            assert heading not in found, "one example a section"
            found[heading] = code
    return found


CODE = blocks()
SETUP, *EXAMPLES = CODE


def run(heading: str, names: dict[str, Any]) -> dict[str, Any]:
    code = compile(CODE[heading], f"{PAGE.name}, {heading}", "exec")
    exec(code, names)
    return names


@pytest.fixture
def names() -> dict[str, Any]:
    """What the examples start from."""
    return run(SETUP, {"__name__": "example"})


@pytest.fixture
def torch_names(names: dict[str, Any]) -> dict[str, Any]:
    """What those that go on from the PyTorch example start from."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return run("PyTorch", names)


def assert_finds(names: dict[str, Any], part: float = 0.6) -> None:
    """The planted errors are at the top, in the statistics and in the queue."""
    tracker, wrong, labels = names["tracker"], set(names["wrong"].tolist()), names["labels"]
    suspects = set(map(int, tracker.suspects(50)["item_id"]))
    assert len(suspects & wrong) >= part * 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not all examples show all items
        queue = tracker.issues(labels)["item_id"].head(50)
    assert len(set(map(int, queue)) & wrong) >= part * 50


@pytest.mark.parametrize("heading", EXAMPLES)
def test_examples_are_short(heading: str) -> None:
    assert len([line for line in CODE[heading].splitlines() if line.strip()]) < 15


def test_every_adapter_has_an_example() -> None:
    folder = Path(__file__).parent.parent / "labelfix" / "training"
    own = {"__init__", "counts", "sightings", "tensors", "tracker"}
    own |= {"alignment", "looking", "saved"}
    text = PAGE.read_text(encoding="utf-8")
    for path in folder.glob("*.py"):
        assert path.stem in own or f"from labelfix.training.{path.stem} import" in text


def test_pytorch(torch_names: dict[str, Any]) -> None:
    assert torch_names["tracker"].epoch == 5
    assert_finds(torch_names, part=0.8)


def test_going_on_without_the_suspects(torch_names: dict[str, Any]) -> None:
    names = run("Going on without the suspects", torch_names)
    wrong = names["wrong"]
    assert np.isin(wrong, names["rows"]).mean() < 0.2
    assert names["weights"][wrong].mean() < 0.5 < 0.9 < names["weights"].mean()
    seen = [int(row) for *_, rows in names["loader"] for row in rows]
    assert sorted(seen) == names["rows"].tolist()
    np.testing.assert_allclose(names["loss"].noise.sum(dim=1), 1, rtol=1e-5)


def test_lightning(torch_names: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    quiet |= {"accelerator": "cpu", "default_root_dir": tmp_path, "enable_checkpointing": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        names = run("Lightning", torch_names | {"quiet": quiet})
    assert names["tracker"].epoch == 5
    assert_finds(names)


def test_lightning_goes_on_from_its_checkpoint(torch_names: dict[str, Any], tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    quiet |= {"accelerator": "cpu", "default_root_dir": tmp_path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = run("Lightning", torch_names | {"quiet": quiet})
        names["trainer"].save_checkpoint(tmp_path / "at.ckpt")
        before, tracker = names["tracker"], Tracker(len(names["labels"]))
        callback = names["TrackerCallback"](tracker)
        trainer = lightning.Trainer(max_epochs=6, callbacks=[callback], **quiet)
        loader = names["torch"].utils.data.DataLoader(names["data"], 64, shuffle=True)
        trainer.fit(names["Model"](), loader, ckpt_path=tmp_path / "at.ckpt", weights_only=True)
    assert tracker.epoch == 6
    assert (tracker.statistics()["seen"] == before.statistics()["seen"] + 1).all()


def test_lightning_says_what_is_missing() -> None:
    pytest.importorskip("lightning")
    from labelfix.training.lightning import TrackerCallback

    callback: Any = TrackerCallback(Tracker(2))
    with pytest.raises(InputError, match=r"(?s)batch: found list.*training_step: found no logits"):
        callback.on_train_batch_end(None, None, {"loss": 0.5}, [np.eye(2), [0, 1]], 0)


def test_a_process_more_than_before_refuses_other_items_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    from labelfix.training import pytorch

    monkeypatch.setattr(pytorch, "_several", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    for items in (2, 5):
        other = Tracker(items)
        other.update([0], [[1.0, 0.0]], [0])
        other.end_epoch()
        tracker = Tracker(2)
        with pytest.raises(InputError, match="other items") if items == 5 else nullcontext():
            pytorch.go_on_over_processes(tracker, [other.state_dict()])
        assert tracker.epoch == (0 if items == 5 else 1)


def test_nothing_waits_for_the_device_within_an_epoch() -> None:
    torch = pytest.importorskip("torch")
    tracker = Tracker(100)
    nowhere = {"device": "meta"}  # tensors of which nothing can be read
    rows, labels = (torch.zeros(8, dtype=torch.int64, **nowhere) for _ in range(2))
    for _ in range(3):
        tracker.update(rows, torch.zeros(8, 5, **nowhere), labels, torch.zeros(8, **nowhere))
    with pytest.raises(NotImplementedError, match="meta"):
        tracker.end_epoch()


def test_what_is_on_a_device_is_moved_once_an_epoch() -> None:
    torch: Any = pytest.importorskip("torch")
    tree_map = pytest.importorskip("torch.utils._pytree").tree_map
    moves = []

    class Elsewhere(torch.Tensor):  # type: ignore[misc] # torch is not looked at by mypy
        """Says that it is on another device, and is: but for copies to the host, none is read."""

        def __new__(cls, here: Any) -> Any:
            there = {"dtype": here.dtype, "device": "meta"}
            return torch.Tensor._make_wrapper_subclass(cls, here.shape, **there)

        def __init__(self, here: Any) -> None:
            self.here = here

        @classmethod
        def __torch_dispatch__(
            cls, call: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if call is torch.ops.aten._to_copy.default:
                moves.append(kwargs["device"].type)
                return args[0].here.clone()
            assert call in {
                getattr(torch.ops.aten, name).default for name in ("clone", "detach", "cat")
            }
            own = tree_map(lambda one: one.here, args[0])
            return cls(call(own, *args[1:], **(kwargs or {})))

    logits, labels = np.random.default_rng(0).normal(size=(3, 30, 4)), np.arange(30) % 4
    ours, theirs = Tracker(30), Tracker(30)
    for one in logits:
        for rows in np.array_split(np.arange(30), 5):
            batch = rows, one[rows], labels[rows], None, np.full(len(rows), 0.5)
            ours.update(*batch)
            theirs.update(
                *(None if part is None else Elsewhere(torch.tensor(part)) for part in batch)
            )
        assert moves == []
        ours.end_epoch()
        theirs.end_epoch()
        assert moves == ["cpu"] * 4, "items, logits, labels, weights"
        moves.clear()
    assert theirs.statistics().equals(ours.statistics())


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_are_as_good_as_arrays(precision: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 30)
    ours, theirs = Tracker(30), Tracker(30)
    for _ in range(3):
        for rows in np.array_split(rng.permutation(30), 4):
            logits = torch.tensor(rng.normal(0, 2, (len(rows), 4))).to(getattr(torch, precision))
            logits.requires_grad_()
            weights = rng.random(len(rows))
            ours.update(rows, logits.detach().double().numpy(), labels[rows], weights=weights)
            theirs.update(
                torch.tensor(rows),
                logits,
                torch.tensor(labels[rows]),
                weights=torch.tensor(weights),
            )
            with torch.no_grad():
                logits.zero_()  # the tracker has its own
        ours.end_epoch()
        theirs.end_epoch()
    for name in ("margin", "confidence", "loss", "el2n", "variability"):
        left, right = ours.statistics()[name], theirs.statistics()[name]
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_bad_values_on_a_device_come_up_at_the_end_of_the_epoch() -> None:
    torch = pytest.importorskip("torch")
    tracker = Tracker(3)
    good = (torch.tensor([0, 1, 2]), torch.eye(3), torch.tensor([0, 1, 2]))
    tracker.update(*good)
    tracker.end_epoch()
    with pytest.raises(InputError, match="items: found 1 out of range, such as 3"):
        tracker.update(torch.tensor([0, 1, 3]), torch.eye(3), torch.tensor([0, 1, 2]))
    tracker.update(*good)
    tracker.end_epoch()
    assert tracker.statistics()["seen"].to_list() == [2, 2, 2]


def test_wrong_types_on_a_device_come_up_at_once() -> None:
    torch = pytest.importorskip("torch")
    rows, logits = (
        torch.zeros(2, dtype=torch.int64, device="meta"),
        torch.zeros(2, 3, device="meta"),
    )
    for items, labels, text in [
        (rows.float(), rows, "items: found float32; expected whole numbers"),
        (rows.bool(), rows, "items: found bool"),
        (rows, rows.to(torch.complex64), "labels: found complex64"),
    ]:
        with pytest.raises(InputError, match=text):
            Tracker(3).update(items, logits, labels)


def test_a_state_goes_through_torchs_safe_loading(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tracker = Tracker(3)
    tracker.update([0, 1, 2], np.eye(3), [0, 1, 2])
    torch.save({"tracker": tracker.state_dict()}, tmp_path / "at.pt")
    other = Tracker(3)
    other.load_state_dict(torch.load(tmp_path / "at.pt", weights_only=True)["tracker"])
    assert other.statistics().equals(tracker.statistics())


PROCESS = """
import sys
import numpy as np
from torch import distributed
from labelfix.training import Tracker
from labelfix.training.pytorch import (
    go_on_over_processes,
    merged_over_processes,
    states_over_processes,
)

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
tracker = Tracker(10)
for epoch in range(4):
    rows = np.random.default_rng(epoch).permutation(10)[rank::2]
    tracker.update(rows, np.random.default_rng(epoch).normal(size=(10, 3))[rows], rows % 3)
    tracker.end_epoch()
    if epoch == 1:  # cut short: each goes on with its own
        states, tracker = states_over_processes(tracker), Tracker(10)
        go_on_over_processes(tracker, states)
    if epoch == 2:  # as if it had been one process: the second goes on with nothing
        states, tracker = [merged_over_processes(tracker).state_dict()], Tracker(10)
        go_on_over_processes(tracker, states)
        assert tracker.epoch == 3
merged_over_processes(tracker).save(f"{folder}/{rank}.npz")
distributed.destroy_process_group()
"""


def test_processes_meet_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = str(Path(__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    calls = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)], env=env)
        for rank in range(2)
    ]
    try:
        assert [call.wait(timeout=120) for call in calls] == [0, 0]
    finally:
        for call in calls:
            call.kill()
    alone = Tracker(10)
    for epoch in range(4):
        logits = np.random.default_rng(epoch).normal(size=(10, 3))
        alone.update(np.arange(10), logits, np.arange(10) % 3)
        alone.end_epoch()
    for rank in range(2):
        merged = Tracker.load(tmp_path / f"{rank}.npz").statistics()
        for name in ("seen", "forgetting", "learned", "correctness"):
            assert merged[name].equals(alone.statistics()[name])
        np.testing.assert_allclose(merged["margin"], alone.statistics()["margin"])


def test_a_wrong_noise_matrix_is_refused() -> None:
    pytest.importorskip("torch")
    from labelfix.training.pytorch import ForwardCorrection

    nan = float("nan")
    squares = ([[0.5, 0.2], [0.0, 1.0]], [[1.5, -0.5], [0.0, 1.0]], [[nan, nan], [0.0, 1.0]])
    for wrong in ([[1.0, 0.0]], *squares):
        with pytest.raises(InputError, match="rows that sum to one"):
            ForwardCorrection(wrong)


def test_a_sampler_refuses_what_it_could_not_rank_by() -> None:
    pytest.importorskip("torch")
    from labelfix.training.pytorch import WithoutSuspects

    with pytest.raises(InputError, match="'margn'; expected one of margin"):
        WithoutSuspects(Tracker(3), 1, by="margn")
    with pytest.raises(InputError, match="0 or more"):
        WithoutSuspects(Tracker(3), -1)


def test_the_correction_learns_the_truth_from_noisy_labels() -> None:
    torch = pytest.importorskip("torch")
    from labelfix.training.pytorch import ForwardCorrection

    noise = torch.tensor([[0.6, 0.4], [0.1, 0.9]])
    truth = torch.tensor([0.8, 0.2])  # of all items alike, so the best logits are known
    given = truth @ noise
    logits = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    loss = ForwardCorrection(noise, reduction="none")
    for _ in range(400):
        optimizer.zero_grad()
        (loss(logits.expand(2, 2), torch.tensor([0, 1])) * given).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(logits.softmax(dim=1)[0].detach(), truth, atol=0.01)


def hugging_face_model(torch: Any) -> Any:
    class Model(torch.nn.Module):  # type: ignore[misc] # torch is not looked at by mypy
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(64, 10)

        def forward(self, pixels: Any, labels: Any = None) -> dict[str, Any]:
            logits = self.net(pixels)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    return Model()


def test_hugging_face(torch_names: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    quiet: dict[str, Any] = {"output_dir": str(tmp_path), "report_to": "none", "disable_tqdm": True}
    quiet |= {"use_cpu": True, "save_strategy": "epoch", "logging_strategy": "no"}
    model = hugging_face_model(torch_names["torch"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = run("Hugging Face Trainer", torch_names | {"quiet": quiet, "model": model})
    assert names["tracker"].epoch == 5
    assert_finds(names)
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    kept = Tracker.load(last / "labelfix-tracker-0.npz")
    assert kept.statistics().drop("item_id").equals(names["tracker"].statistics().drop("item_id"))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_hugging_face_goes_on_from_its_checkpoint(
    torch_names: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from labelfix.training.huggingface import TrackerCallback

    X, labels, torch = (torch_names[name] for name in ("X", "labels", "torch"))
    rows = [{"pixels": x, "labels": y} for x, y in zip(X[:256], labels[:256], strict=True)]
    items, trackers = torch_names["Indexed"](rows), [Tracker(256), Tracker(256)]
    for tracker, epochs in zip(trackers, (2, 3), strict=True):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            remove_unused_columns=False,
            num_train_epochs=epochs,
            per_device_train_batch_size=64,
            save_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, callbacks = hugging_face_model(torch), [TrackerCallback(tracker)]
            trainer = transformers.Trainer(
                model, arguments, train_dataset=items, callbacks=callbacks
            )
            trainer.train(resume_from_checkpoint=epochs == 3)
    assert [tracker.epoch for tracker in trackers] == [2, 3]
    assert trackers[1].statistics()["seen"].to_list() == [3] * 256


def test_hugging_face_keeps_nothing_of_more_processes_before(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from labelfix.training.huggingface import TrackerCallback

    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    for number in (0, 1):
        (folder / f"labelfix-tracker-{number}.npz").write_bytes(b"of an earlier training")
    state = SimpleNamespace(global_step=7, is_world_process_zero=True)
    TrackerCallback(Tracker(2)).on_save(SimpleNamespace(output_dir=tmp_path), state, None)
    assert [path.name for path in folder.iterdir()] == ["labelfix-tracker-0.npz"]


def test_hugging_face_says_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from labelfix.training.huggingface import TrackerCallback

    model = torch.nn.Module()
    model.forward = lambda pixels, **others: {"logits": pixels}  # noqa: ARG005 # as models are called
    arguments, state = SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=0)
    TrackerCallback(Tracker(2)).on_train_begin(arguments, state, None, model=model)
    pixels, two = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(InputError, match=r"no 'labels' .* no label_smoothing_factor"):
        model(pixels=pixels, item_index=two)
    with pytest.raises(InputError, match=r"no 'item_index' .* remove_unused_columns=False"):
        model(pixels=pixels, labels=two)
    model.eval()
    model(pixels=pixels)  # what is not learned from needs neither


def test_skorch(torch_names: dict[str, Any]) -> None:
    pytest.importorskip("skorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = run("skorch", torch_names)
    assert names["tracker"].epoch == 8
    assert names["tracker"].statistics()["seen"].to_list() == [8] * len(names["labels"])
    assert_finds(names)


def test_scikit_learn(names: dict[str, Any]) -> None:
    assert_finds(run("scikit-learn", names))


def test_xgboost(names: dict[str, Any]) -> None:
    pytest.importorskip("xgboost")
    assert_finds(run("XGBoost", names))


def test_lightgbm(names: dict[str, Any]) -> None:
    pytest.importorskip("lightgbm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = run("LightGBM", names)
    assert_finds(names)


@pytest.mark.parametrize("every", [1, 4])
def test_lightgbms_rounds_add_up(names: dict[str, Any], every: int) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    from labelfix.training.lightgbm import TrackerCallback

    X, labels = names["X"][:300], (names["labels"] > 4)[:300].astype(int)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
    callback = TrackerCallback(Tracker(300), X, labels, every)
    model = lightgbm.train(settings, lightgbm.Dataset(X, labels), 8, callbacks=[callback])
    np.testing.assert_allclose(callback._logits, model.predict(X, raw_score=True), atol=1e-9)
    assert callback.tracker.epoch == 8 // every


def test_lightgbm_refuses_trees_that_do_not_add_up(names: dict[str, Any]) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    from labelfix.training.lightgbm import TrackerCallback

    X, labels = names["X"], names["labels"]
    settings = {"objective": "multiclass", "num_class": 10, "verbose": -1, "num_threads": 1}
    callback = TrackerCallback(Tracker(len(X)), X, labels)
    for name in ("boosting", "boosting_type", "boost"):
        data = lightgbm.Dataset(X, labels)
        with pytest.raises(InputError, match=f"{name}=dart"):
            lightgbm.train(settings | {name: "dart"}, data, 2, callbacks=[callback])


def test_keras(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("keras").utils.set_random_seed(0)
        names = run("Keras 3", names)
    assert names["tracker"].epoch == 5
    assert_finds(names)


def digits_on_disk(folder: Path, names: dict[str, Any], n: int = 160) -> None:
    """Write images in folders by label, three quarters of them to learn from."""
    for row in range(n):
        split = "train" if row < n * 3 // 4 else "val"
        path = folder / split / f"class {names['labels'][row]}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (names["X"][row].reshape(8, 8) * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32)).convert("RGB").save(path)


def test_a_sigmoid_of_keras_speaks_of_two_classes(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from labelfix.training.keras import TrackerCallback

    X, labels = names["X"][:200], names["labels"][:200] % 2
    table = []
    for activation, probabilities in [("sigmoid", True), (None, False)]:
        keras.utils.set_random_seed(0)
        tracker, layer = Tracker(200), keras.layers.Dense(1, activation)
        model = keras.Sequential([layer])
        model.compile(
            keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(not probabilities)
        )
        callback = TrackerCallback(tracker, X, labels, probabilities=probabilities)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own
            model.fit(X, labels, 50, epochs=2, verbose=0, shuffle=False, callbacks=[callback])
        table.append(tracker.statistics()["confidence"])
    np.testing.assert_allclose(table[0], table[1], rtol=1e-3)


def test_a_softmax_of_keras_taken_for_logits_is_warned_of(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from labelfix.training.keras import TrackerCallback

    X, labels = names["X"][:200], names["labels"][:200]
    for probabilities in (False, True):
        model = keras.Sequential([keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        callback = TrackerCallback(Tracker(200), X, labels, probabilities=probabilities)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model.fit(X, labels, 50, epochs=2, verbose=0, callbacks=[callback])
        said = [one for one in told if "say probabilities=True" in str(one.message)]
        assert len(said) == (not probabilities)


def test_a_softmax_of_skorch_taken_for_logits_is_warned_of(torch_names: dict[str, Any]) -> None:
    skorch = pytest.importorskip("skorch")
    torch: Any = torch_names["torch"]
    from labelfix.training.skorch import TrackerCallback

    class Net(torch.nn.Linear):  # type: ignore[misc] # torch is not looked at by mypy
        def forward(self, x: Any) -> Any:
            return super().forward(x).softmax(dim=1)

    X, labels = torch_names["X"][:200], torch_names["labels"][:200]
    for probabilities in (False, True):
        net = skorch.NeuralNetClassifier(
            Net,
            module__in_features=64,
            module__out_features=10,
            max_epochs=2,
            train_split=None,
            verbose=0,
            callbacks=[TrackerCallback(Tracker(200), probabilities=probabilities)],
        )
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            net.fit({"x": X, "item_index": np.arange(200)}, labels)
        said = [one for one in told if "say probabilities=True" in str(one.message)]
        assert len(said) == (not probabilities)


def test_a_sigmoid_of_skorch_speaks_of_two_classes(torch_names: dict[str, Any]) -> None:
    skorch = pytest.importorskip("skorch")
    torch: Any = torch_names["torch"]
    from labelfix.training.skorch import TrackerCallback

    class Net(torch.nn.Module):  # type: ignore[misc] # torch is not looked at by mypy
        def __init__(self, probabilities: bool) -> None:
            super().__init__()
            self.linear, self.probabilities = torch.nn.Linear(64, 1), probabilities

        def forward(self, x: Any) -> Any:
            logit = self.linear(x)
            return logit.sigmoid() if self.probabilities else logit

    X, labels, table = torch_names["X"][:200], torch_names["labels"][:200] % 2, []
    for probabilities, loss in [(True, torch.nn.BCELoss), (False, torch.nn.BCEWithLogitsLoss)]:
        torch.manual_seed(0)
        tracker = Tracker(200)
        net = skorch.NeuralNetBinaryClassifier(
            Net,
            module__probabilities=probabilities,
            criterion=loss,
            max_epochs=2,
            train_split=None,
            verbose=0,
            callbacks=[TrackerCallback(tracker, probabilities=probabilities)],
        )
        net.fit({"x": X, "item_index": np.arange(200)}, labels.astype(np.float32))
        table.append(tracker.statistics()["confidence"])
    np.testing.assert_allclose(table[0], table[1], rtol=1e-4)


ELSEWHERE = """
from labelfix.errors import InputError
trainer = tracked(Tracker(dataset.items["item_id"].to_list(), ["a", "b"]), root="elsewhere")
try:
    YOLO("yolo11n-cls.yaml").train(data="digits", trainer=trainer, epochs=1, imgsz=32, **quiet)
except InputError as error:
    assert [problem.found for problem in error.problems] == [
        "no image of the training", "classes a, b …"
    ]
else:
    raise AssertionError("a tracker of other images was taken")
"""


def test_ultralytics(names: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    digits_on_disk(tmp_path / "digits", names)
    about = {"amp": False, "pretrained": False, "device": "cpu", "workers": 0, "plots": False}
    about |= {"val": False, "batch": 32, "verbose": False, "seed": 0}
    code = "\n".join(
        [
            "from labelfix.training import Tracker",
            f"quiet = {about!r} | {{'project': 'runs'}}",
            CODE["Ultralytics classification"],
            "tracker.save('dynamics.npz')",
            ELSEWHERE,
        ]
    )
    own = {"YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    path = str(Path(__file__).parent.parent)
    done = subprocess.run(  # Ultralytics changes the process that it is in
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **own, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tracker = Tracker.load(tmp_path / "dynamics.npz")
    table = tracker.statistics()
    assert tracker.epoch == 8
    trained = table["item_id"].str.starts_with("train/")
    assert (table["seen"] == trained.cast(int) * 8).all()
    given = table["item_id"].str.extract(r"class (\d)", 1).cast(int)
    assert table.filter(trained)["label"].equals(given.filter(trained).cast(table["label"].dtype))
