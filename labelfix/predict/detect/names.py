"""Which detectors are known by name, and how their parameters are written behind it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from labelfix.errors import InputError, Problem
from labelfix.predict.detect.models import Detector

__all__ = ["resolve"]


def resolve(detector: Any) -> Detector:
    """Find the detector that is meant.

    Parameters
    ----------
    detector
        A `Detector`, or a name: `torchvision:CONSTRUCTOR` for one of torchvision's detection
        models from weights trained on COCO, `torchvision:CONSTRUCTOR=FILE` from those of a state
        dict, or `torchvision:CONSTRUCTOR=none` from nothing; else what Ultralytics takes:
        `yolo11n.yaml` (from nothing), or a `.pt` file of weights, here or known to Ultralytics by
        its name. Parameters of the detector or of its training follow a name as
        `,epochs=25,image_size=256`.

    Raises
    ------
    InputError
        If there is no such detector or parameter.
    MissingExtraError
        If it needs a package that is not installed.

    Examples
    --------
    >>> resolve("yolo11n.yaml,epochs=25").training.epochs
    25
    """
    if isinstance(detector, str):
        name, *settings = detector.split(",")
        if name.startswith("torchvision:"):
            from labelfix.predict.detect.torchvision import Torchvision

            constructor, _, weights = name.removeprefix("torchvision:").partition("=")
            own = None if weights == "none" else weights or "DEFAULT"
            return _changed(Torchvision(constructor, own), settings)
        if name.endswith((".yaml", ".pt")):
            from labelfix.predict.detect.yolo import Ultralytics

            return _changed(Ultralytics(name), settings)
    if isinstance(detector, Detector) and not isinstance(detector, type):
        return detector
    raise InputError(
        Problem(
            "model",
            repr(detector),
            "a detector: yolo11n.yaml, WEIGHTS.pt, or torchvision:CONSTRUCTOR",
            "name one, or bring predictions of your own",
        )
    )


def _changed(detector: Any, settings: list[str]) -> Detector:
    """Put parameters that were written behind the name into the detector and its training."""
    own: dict[str, Any] = {}
    training: dict[str, Any] = {}
    problems = []
    for setting in settings:
        name, _, text = setting.partition("=")
        holder = next((h for h in (detector.training, detector) if name in _numbers(h)), None)
        try:
            if holder is None:
                raise ValueError(name)
            value = _numbers(holder)[name](text)
        except ValueError:
            known = sorted({*_numbers(detector), *_numbers(detector.training)})
            expected = f"NAME=NUMBER with one of {', '.join(known)}"
            problems.append(Problem(f"model {detector.name}", repr(setting), expected))
            continue
        (own if holder is detector else training)[name] = value
    changed: list[Any] = []
    for part, values in ((detector, own), (detector.training, training)):
        try:
            changed.append(replace(part, **values))
        except InputError as error:  # a value out of its range
            problems += error.problems
    if problems:
        raise InputError(problems)
    made: Detector = replace(changed[0], training=changed[1])
    return made


def _numbers(parameters: Any) -> dict[str, type]:
    """Names of the parameters that are numbers, and of which type."""
    values = {each.name: getattr(parameters, each.name) for each in fields(parameters)}
    return {name: type(value) for name, value in values.items() if type(value) in {int, float}}
