"""For the detection models of torchvision."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from labelfix.errors import InputError, Problem
from labelfix.images import decode
from labelfix.training.alignment import Alignment
from labelfix.training.looking import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from labelfix.schema import Dataset
    from labelfix.training.boxes import BoxTracker
    from labelfix.training.looking import Shown

__all__ = ["look"]


def look(
    tracker: BoxTracker,
    model: Any,
    dataset: Dataset,
    *,
    first_label: int = 1,
    batch_size: int = 4,
    alignment: Alignment = Alignment(),  # noqa: B008 # frozen
) -> None:
    """Tell the tracker the loss of each given box, as the model is now.

    To be called after an epoch, or every few: it is one more forward pass over the images, as they
    are, in evaluation mode. The model is left as it was found.

    Parameters
    ----------
    tracker
        To be told, made of `dataset` or of one that it is a part of. `end_epoch` is up to you.
    model
        Faster R-CNN (Mask and Keypoint R-CNN too), RetinaNet, FCOS or SSD. Of Faster R-CNN the
        second stage answers, about the proposals of the first.
    dataset
        The images that it learns from.
    first_label
        The label in torchvision's targets of the dataset's first class.
    batch_size
        Images at a time. They are padded to the largest, which may decide the last digits.
    alignment
        Which predictions answer for a box.

    Raises
    ------
    InputError
        If it is another model, or the dataset has no images with boxes.
    """
    if not isinstance(model, FasterRCNN | RetinaNet | FCOS | SSD):
        found = type(model).__name__
        raise InputError(Problem("model", found, "Faster R-CNN, RetinaNet, FCOS or SSD"))
    images = list(shown(dataset))
    with _evaluating(model), torch.no_grad():
        for start in range(0, len(images), batch_size):
            _look(tracker, model, images[start : start + batch_size], first_label, alignment)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Set every part to evaluation mode, and back to what it was: some may be frozen."""
    before = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def _look(
    tracker: BoxTracker, model: Any, images: list[Shown], first_label: int, alignment: Alignment
) -> None:
    device = next(model.parameters()).device
    pixels = [_pixels(one).to(device) for one in images]
    boxes = [{"boxes": torch.from_numpy(one.box).float().to(device)} for one in images]
    resized, targets = model.transform(pixels, boxes)
    features = model.backbone(resized.tensors)
    if isinstance(features, torch.Tensor):
        features = {"0": features}
    given = [target["boxes"] for target in targets]
    answer = _second_stage if isinstance(model, FasterRCNN) else _one_stage
    predicted, probs = answer(model, resized, features)
    for one, box, size, where, prob in zip(
        images, given, resized.image_sizes, predicted, probs, strict=True
    ):
        label = torch.from_numpy(one.label + first_label).to(device)
        inside = clip_boxes_to_image(where, size)
        tracker.update(one.ids, *alignment.losses(inside, prob, box, label))


def _pixels(one: Shown) -> Tensor:
    """One image, channels first, from 0 to 1."""
    pixels = torch.from_numpy(np.array(decode(one.path).convert("RGB")))
    return pixels.permute(2, 0, 1).float() / 255


def _second_stage(
    model: Any, images: Any, features: dict[str, Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each image the predicted boxes, one a class, and their probabilities."""
    heads = model.roi_heads
    proposals, _ = model.rpn(images, features)
    pooled = heads.box_head(heads.box_roi_pool(features, proposals, images.image_sizes))
    logits, regression = heads.box_predictor(pooled)
    counts = [len(one) for one in proposals]
    boxes = heads.box_coder.decode(regression, proposals)
    return boxes.split(counts), logits.softmax(dim=-1).split(counts)


def _one_stage(
    model: Any, images: Any, features: dict[str, Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each image the predicted boxes and their probabilities."""
    levels = list(features.values())
    out, anchors = model.head(levels), model.anchor_generator(images, levels)
    decode_boxes = getattr(model.box_coder, "decode_single", model.box_coder.decode)
    boxes = [
        decode_boxes(regression, own)
        for regression, own in zip(out["bbox_regression"], anchors, strict=True)
    ]
    logits = out["cls_logits"]
    if isinstance(model, SSD):
        return boxes, logits.softmax(dim=-1)
    if isinstance(model, FCOS):
        return boxes, (logits.sigmoid() * out["bbox_ctrness"].sigmoid()).sqrt()
    return boxes, logits.sigmoid()
