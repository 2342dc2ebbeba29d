"""The loss of each given box, from all that a detector predicts in its image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Alignment"]

TINY = 1e-7
"""Added before logarithms: no probability or overlap that is told apart is smaller."""

BLOCK = 16
"""Given boxes at a time: with 200,000 predictions, as RetinaNet's, some 160 MiB."""


@dataclass(frozen=True)
class Alignment:
    """Which predictions answer for a given box: those in its class that fit it best.

    A prediction is aligned with a box by p^`probability` x IoU^`overlap`, where p is its
    probability of the box's class; the `most` best aligned ones answer for the box, weighing as
    they are aligned. That is how YOLO models choose what is to learn from a box (task-aligned
    assignment, Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection"), and the
    defaults are theirs. It is taken from outputs alone, so that it means the same for every
    detector.

    Parameters
    ----------
    probability, overlap
        Exponents.
    most
        Predictions that answer for a box.
    """

    probability: float = 0.5
    overlap: float = 6.0
    most: int = 10

    def losses(
        self, boxes: Tensor, probs: Tensor, given: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weigh the losses of the predictions that answer for each given box.

        Parameters
        ----------
        boxes
            Corners that are predicted in an image, before any is suppressed, shape (a, 4); or one
            for each class, shape (a, K, 4).
        probs
            Probability of each class in them, shape (a, K).
        given, labels
            Corners and classes 0..K-1 of the given boxes, shapes (m, 4) and (m,).

        Returns
        -------
        class_loss
            Minus the log of the probability of the box's class, in nats, shape (m,).
        location_loss
            One minus the overlap with the box, in [0, 1], shape (m,).

        Where nothing that is predicted overlaps a box, both are the highest: no class is likely.

        Examples
        --------
        >>> predicted, probs = torch.tensor([[0.0, 0, 8, 10]]), torch.tensor([[0.5, 0.1]])
        >>> given, labels = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0])
        >>> [round(one.item(), 2) for one in Alignment().losses(predicted, probs, given, labels)]
        [0.69, 0.2]
        """
        boxes, probs, given = boxes.float(), probs.float(), given.float()
        if not len(boxes):
            return torch.full_like(given[:, 0], -math.log(TINY)), torch.ones_like(given[:, 0])
        blocks = zip(given.split(BLOCK), labels.split(BLOCK), strict=True)
        losses = [self._losses(boxes, probs, *block) for block in blocks]
        class_loss, location_loss = (torch.cat(parts) for parts in zip(*losses, strict=True))
        return class_loss, location_loss

    def _losses(
        self, boxes: Tensor, probs: Tensor, given: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        each = boxes[:, labels].transpose(0, 1) if boxes.ndim == 3 else boxes[None]
        overlap = _iou(given[:, None], each)
        # what does not touch a box says nothing of it, however sure of the class it is
        log_probs = (probs[:, labels].T * (overlap > 0) + TINY).log()
        aligned = self.probability * log_probs + self.overlap * (overlap + TINY).log()
        best, place = aligned.topk(min(self.most, aligned.shape[1]), dim=1)
        weight = best.softmax(dim=1)
        return (
            -(weight * log_probs.gather(1, place)).sum(dim=1),
            1 - (weight * overlap.gather(1, place)).sum(dim=1),
        )


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes in shapes that broadcast; 0 for two without area."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inside = (high - low).clamp(min=0).prod(dim=-1)
    both = sum((x[..., 2:] - x[..., :2]).clamp(min=0).prod(dim=-1) for x in (a, b))
    return inside / (both - inside).clamp(min=TINY)
