"""What is decided before a detector is trained on versions of the boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelfix.evaluate.boxscoring import train_detectors
from labelfix.evaluate.pairing import flattering
from labelfix.splits import TEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair, BoxVersion
    from labelfix.evaluate.boxscoring import Trained
    from labelfix.evaluate.parts import Terms
    from labelfix.predict.detect.models import Detector

__all__ = ["BoxPlan", "make_box_plan"]


@dataclass(frozen=True, eq=False)
class BoxPlan:
    """Everything that is decided before anything is trained.

    Parameters
    ----------
    pair
        Both versions of the boxes.
    units
        Images that stay together, shape (n,).
    parts
        Part of each image for each seed, shape (seeds, n).
    detector
        What learns.
    model_seeds
        Seed of each training.
    details
        The recipe, for the record.
    terms
        On which all this was decided.
    """

    pair: BoxPair
    units: NDArray[np.int64]
    parts: NDArray[np.int8]
    detector: Detector
    model_seeds: Sequence[int]
    details: Mapping[str, Any]
    terms: Terms

    def train(self, versions: Mapping[str, BoxVersion]) -> dict[str, list[Trained]]:
        """Train on versions of the boxes; by version, one for each seed."""
        return train_detectors(
            versions,
            self.detector,
            self.parts,
            self.model_seeds,
            jobs=self.terms.jobs,
            timed=self.terms.timed,
            store=self.terms.store,
            cache=self.terms.cache_folder,
            progress=self.terms.progress,
        )

    def warnings(self) -> tuple[str, ...]:
        """Say what makes a result weaker than it looks."""
        said = []
        if not self.pair.changed[(self.parts == TEST).any(axis=0)].any():
            said.append("no test image was corrected: nothing can be said of the test boxes")
        if self.detector.name in self.terms.suggested_by:
            said.append(flattering(self.detector.name, "boxes"))
        return tuple(said)


def make_box_plan(pair: BoxPair, detector: Any, terms: Terms) -> BoxPlan:
    """Split, and find the detector that is meant.

    Raises
    ------
    InputError
        As `labelfix.measure_gain`.
    """
    from labelfix.predict.detect.names import resolve
    from labelfix.predict.models import describe

    chosen = resolve(detector)
    units, parts = terms.parts(pair.original)
    details = {
        "model": chosen.name,
        "parameters": describe(chosen),
        "seeds": terms.seeds,
        "split": describe(terms.split),
        "resplit": terms.resplit,
        "items": len(pair.original),
        "units": int(units.max()) + 1,
        "class_names": list(pair.original.class_names),
        "fingerprint": pair.original.fingerprint,
    }
    return BoxPlan(pair, units, parts, chosen, terms.model_seeds, details, terms)
