"""`labelfix find` and `labelfix show`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated, Any

import typer

from labelfix.cli.base import (
    FINDINGS,
    TOP_OF_SHOW,
    ClassMap,
    FormatOption,
    Quiet,
    Top,
    at_work,
    gathered,
    print_found,
    reading_options,
    text_of,
    to_read,
)
from labelfix.cli.names import (
    BOX_KINDS,
    BOX_SCORES,
    CLASSIFIERS,
    ENGINES,
    FEATURES,
    KINDS,
    RULES,
    SCORES,
)
from labelfix.cli.output import Format, print_lines, print_queue, print_rows
from labelfix.cli.words import about_run, where_next

__all__ = ["find", "show"]

PREDICTING = "Predictions"
SCORING = "Scoring"

IMAGE_COLUMNS = {"item_id": "image", "quality": "quality", "boxes": "boxes", "flagged": "flagged"}


@gathered(reading_options, "reading")
def find(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="Image folder, or table (CSV, TSV, Parquet, Arrow) with a label column; boxes as "
            "a COCO file, a YOLO data.yaml or a folder of VOC files.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory to write the run to.", metavar="RUN")
    ],
    labels: Annotated[
        Path | None,
        to_read(
            "Given labels (.npy, .csv, .parquet), in place of PATH; with --pred-probs.",
            metavar="FILE",
        ),
    ] = None,
    pred_probs: Annotated[
        list[Path] | None,
        to_read(
            "Out-of-fold probabilities (.npy, .npz, .csv, .parquet), in place of --model. Repeat "
            "for an ensemble.",
            metavar="FILE",
        ),
    ] = None,
    dynamics: Annotated[
        Path | None,
        to_read(
            "What labelfix.training.Tracker saved of a training: in place of a model, or "
            "joined with --pred-probs, or with a --model other than auto.",
            metavar="FILE",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        to_read(
            "Of boxes, in place of --model: COCO results (.json), a folder of YOLO text files "
            "with confidences, or a table.",
            metavar="FILE",
        ),
    ] = None,
    class_map: ClassMap = None,
    reading: Any,  # Reading
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"auto, small-cnn, finetune:ARCHITECTURE, or [FEATURES+]CLASSIFIER with one of "
            f"{', '.join(CLASSIFIERS)}, package.module:factory, "
            f"looking through {', '.join(FEATURES)}. Of boxes: yolo11n.yaml, a .pt file, or "
            "torchvision:CONSTRUCTOR.",
            rich_help_panel=PREDICTING,
        ),
    ] = "auto",
    no_train: Annotated[
        bool,
        typer.Option(
            "--no-train",
            help="Of boxes: --model is a detector that never saw these images; let it predict all.",
            rich_help_panel=PREDICTING,
        ),
    ] = False,
    folds: Annotated[
        int, typer.Option(min=2, help="Models trained.", rich_help_panel=PREDICTING)
    ] = 5,
    duplicates: Annotated[
        int,
        typer.Option(
            min=-1,
            max=19,
            help="Images that differ in so many bits of their hash are held out together; "
            "-1: do not look.",
            rich_help_panel=PREDICTING,
        ),
    ] = 10,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the folds and the models.", rich_help_panel=PREDICTING)
    ] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Folds at once; -1: one a core.", show_default=False, rich_help_panel=PREDICTING
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"Label quality: {', '.join(SCORES)}; of boxes: default, {', '.join(BOX_SCORES)}.",
            rich_help_panel=SCORING,
        ),
    ] = "default",
    select: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"What to flag: {', '.join(RULES)}.", rich_help_panel=SCORING
        ),
    ] = "default",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(ENGINES)}.", rich_help_panel=SCORING)
    ] = "labelfix",
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"Of boxes: look for this kind alone; repeat for more: {', '.join(BOX_KINDS)}.",
            show_default=False,
            rich_help_panel=SCORING,
        ),
    ] = None,
    clean_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table (item_id, label) of right labels of a random sample: they correct "
            "error_probability. `labelfix status RUN --clean-labels` writes one.",
            show_default=False,
            rich_help_panel=SCORING,
        ),
    ] = None,
    fail_above: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Exit with 1 if more than N are flagged.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run on other data.")
    ] = False,
    top: Top = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Find label errors, and write a run directory: a ranked queue, and a page to look at."""
    import msgspec

    from labelfix.run import FindOptions
    from labelfix.run import find as find_errors

    options = FindOptions(
        **msgspec.structs.asdict(reading),
        path=text_of(path),
        labels=text_of(labels),
        pred_probs=tuple(str(one) for one in pred_probs or ()),
        dynamics=text_of(dynamics),
        predictions=text_of(predictions),
        class_map=tuple(class_map or ()),
        model=model,
        train=not no_train,
        folds=folds,
        duplicates=None if duplicates < 0 else duplicates,
        seed=seed,
        jobs=jobs,
        score=score,
        select=select,
        engine=engine,
        kinds=tuple(kinds or ()),
        clean_labels=text_of(clean_labels),
    )
    with at_work(out, quiet=quiet) as bars:
        done = find_errors(options, out, overwrite=overwrite, command=context.obj, progress=bars)
    print_found(done, top, form, quiet=quiet)
    if fail_above is not None and done.info.findings.flagged > fail_above:
        raise typer.Exit(FINDINGS)


def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory that `labelfix find` wrote.")
    ],
    *,
    top: Top = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help=f"Only this kind: {', '.join(KINDS)}; of boxes {', '.join(BOX_KINDS)}.",
            show_default=False,
        ),
    ] = None,
    given_label: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Only labels or boxes of this class, missing ones among them.",
            show_default=False,
        ),
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only the recommended set.")] = False,
    by_image: Annotated[
        bool, typer.Option("--by-image", help="Of boxes: list images, by all that is in them.")
    ] = False,
    form: FormatOption = Format.table,
) -> None:
    """List the queue of a run, most suspicious first."""
    from labelfix.run import open_run

    opened = open_run(run)
    rows = opened.queue(kind=kind, given_label=given_label, flagged=flagged)
    if by_image:
        rows = opened.images(rows)
    if form is not Format.table:
        print_rows(rows if top is None else rows.head(top), form)
        return
    shown = rows.head(TOP_OF_SHOW if top is None else top)
    print_lines(*about_run(opened))
    if by_image:
        print_rows(shown, form, IMAGE_COLUMNS)
    else:
        print_queue(shown, form)
    print_lines(*where_next(opened, rows.height - shown.height, "--top N shows N of them"))
