"""The metrics of an evaluation pass, as the dataset and its relation ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.manifest_tensors import ManifestTensors, codes_of
from fashionclip.errors import InputError
from fashionclip.evaluation.embedded_split import EmbeddedSplit
from fashionclip.evaluation.outcome import Outcome, outcome_of
from fashionclip.evaluation.tasks import Task
from fashionclip.manifest import ROLES, read_triplets
from fashionclip.metrics import judgement_metrics, triplet_metrics
from fashionclip.metrics.judgement_metrics import JudgementMetrics
from fashionclip.metrics.latency import rank_times
from fashionclip.metrics.retrieval_metrics import RetrievalMetrics
from fashionclip.metrics.samples import Found, Functions
from fashionclip.metrics.sku_metrics import SkuScores
from fashionclip.metrics.triplet_metrics import TripletScores
from fashionclip.training.module import RetrievalModule

TEXTS = 256  # that are encoded at once
MEASURED = {  # first parts of the names of figures, which no task can have
    *("text_to_image", "image_to_text", "image_to_image", "triplet", "judgement"),
    *("query_to_sku", "query_to_sku_mean", "text_to_sku"),
    *("query_to_sku_seen", "query_to_sku_mean_seen", "text_to_sku_seen"),
}


def metrics_of(data: RetrievalDataModule, *, functions: Mapping[str, Callable[..., Tensor]]) -> RetrievalMetrics:
    """Ranking metrics, with those of triplets where the dataset has fixed some, and of SKUs where it has a catalogue.

    Args:
        data: Data to evaluate; SKUs that training has seen are measured apart from the others.
        functions: Functions by the names of their metrics, as in `configs/metrics`; those of triplets begin with
            "triplet/".
    """
    dataset, rows = data.dataset, data.rows
    of_triplets = _named(functions, "triplet/") or triplet_metrics.FUNCTIONS
    functions = {name: function for name, function in functions.items() if "/" not in name}
    also: list[SkuScores | TripletScores] = []
    of_seen: list[SkuScores] = []
    text_id = torch.where(rows.worded, rows.text_id, -1)
    codes: dict[str, Any] = {
        "item_id": rows.item_id,
        "text_id": text_id,
        "text_key": _keys(rows, text_id),
        "photo_id": rows.photo_id,
        "group_id": codes_of(dataset.manifest["group_id"]),
    }
    domain = dataset.manifest["domain"]
    if {"query", "catalog"} <= set(domain):
        is_query = torch.from_numpy((domain == "query").to_numpy("bool").copy())
        scores = partial(SkuScores, **codes, is_query=is_query, functions=functions)
        also.append(scores())
        of_seen.append(scores(suffix="_seen"))
    fixed = read_triplets(dataset)
    if fixed is not None:
        also.append(
            TripletScores(
                rows=torch.from_numpy(fixed[list(ROLES)].to_numpy("int64").copy()),
                semipos_distance=torch.from_numpy(fixed["semipos_distance"].to_numpy("float32").copy()),
                kind=(fixed["overlay"] + "/" + fixed["edit"]).tolist(),
                unseen=torch.tensor(fixed["unseen"].tolist()) if "unseen" in fixed else None,
                group_id=codes["group_id"],
                functions=of_triplets,
            )
        )
    return RetrievalMetrics(
        **codes,
        functions=functions,
        alike=data.relation.alike(rows),
        texts=data.relation.uses_text,
        fields={field: (ids, _keys(rows, ids)) for field, ids in zip(rows.fields, rows.field_text_id, strict=True)},
        also=also,
        apart=data.seen,
        of_apart=of_seen,
        val_queries=data.val_queries,
        seed=data.seed,
    )


def outcome(
    module: RetrievalModule, data: RetrievalDataModule, figures: Mapping[str, float], *, also: Found | None = None
) -> Outcome:
    """What the last evaluation pass of a module found, with slices and intervals.

    Args:
        module: Module with its metrics, after their `compute`.
        data: Data that was evaluated.
        figures: Figures as Lightning returns them, such as "test/spread".
        also: What tasks found on the same photos.
    """
    known = {name.partition("/")[2]: value for name, value in figures.items()}
    samples = module.metrics.samples if known else []  # of val, where nothing was tested
    if also is not None:
        samples = [*samples, *also.samples]
        known |= {name: value.item() for name, value in also.figures.items()}
    judged = module.judged.intervals() if known and module.judged else {}
    manifest = data.dataset.manifest
    return outcome_of(samples, manifest=manifest, texts=data.rows.text, figures=known, intervals=judged)


def tasks_of(evaluation: DictConfig) -> dict[str, tuple[Task, Functions]]:
    """The tasks of the sets in `configs/evaluation`, with the metrics of their set, by name.

    Raises:
        InputError: A set has no tasks, one of them is none, or a task has the name of another one or of a direction.
    """
    tasks: dict[str, tuple[Task, Functions]] = {}
    for name, chosen in evaluation.items():
        if not isinstance(chosen, DictConfig) or not isinstance(chosen.get("tasks"), DictConfig):
            raise InputError(
                f"evaluation.{name!s}: expected a set named as its file, with tasks: {{NAME: ...}} below it."
            )
        functions = instantiate(chosen.get("metrics")) or {}
        for task, node in chosen.tasks.items():
            key = f"evaluation.{name!s}.tasks.{task!s}"
            if "/" in str(task):
                raise InputError(f"{key}: expected a name without '/'.")
            if task in MEASURED:
                raise InputError(f"{key}: figures of this name are measured without a task, too. Rename it.")
            if task in tasks:
                raise InputError(f"{key}: another set has a task of this name. Rename it.")
            if not isinstance(node, DictConfig) or "_target_" not in node:
                raise InputError(f"{key}: has no _target_, the class that measures it.")
            tasks[str(task)] = (built := instantiate(node, _convert_="all"), functions)
            if not callable(built):
                raise InputError(f"{key}: {node['_target_']} makes no task, which is called.")
    return tasks


def embedded_split(module: RetrievalModule, data: RetrievalDataModule) -> EmbeddedSplit:
    """The photos and texts of the last evaluation pass, for tasks."""
    seen = module.metrics.embedded
    backbone, device = module.backbone.to(seen.image.device), seen.image.device

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        training = backbone.training
        backbone.eval()
        parts = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
        found = torch.cat([backbone.encode_text(backbone.tokenizer(list(part)).to(device)) for part in parts])
        backbone.train(training)  # which Lightning does not see to, where it trains after this
        return found

    manifest = data.dataset.manifest.iloc[seen.image_row.tolist()].reset_index(drop=True)
    known = {data.rows.text[one]: text for one, text in zip(seen.text_id.tolist(), seen.text, strict=True)}
    return EmbeddedSplit(manifest, seen.image_row, seen.image, encode, known)


def _named(functions: Mapping[str, Callable[..., Tensor]], begin: str) -> dict[str, Callable[..., Tensor]]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(begin): function for name, function in functions.items() if name.startswith(begin)}


def _keys(rows: ManifestTensors, text_id: Tensor) -> Tensor:
    return torch.where(text_id >= 0, rows.text_key[text_id], -1)


def ranking_latency(metrics: RetrievalMetrics, data: RetrievalDataModule) -> dict[str, dict[str, float]]:
    """How long it takes to rank a gallery for one query, encoding not included, as `results.json` keeps it.

    Args:
        metrics: Metrics after their `compute`, with its embeddings.
        data: Data that was evaluated.

    Returns:
        Result of `rank_times` by direction. With a catalogue `query_to_sku`, where a SKU scores as its best photo, and
        `query_to_sku_mean`, with one vector a SKU; without one `text_to_image`, or `image_to_image` where there are no
        texts.
    """
    seen = metrics.embedded
    row, image = seen.image_row.cpu(), seen.image.cpu()
    domain = data.dataset.manifest["domain"].to_numpy()[row]
    is_query, is_shown = (torch.from_numpy(domain == name) for name in ("query", "catalog"))
    if is_query.any() and is_shown.any():
        sku = data.rows.item_id[row[is_shown]].unique(return_inverse=True)[1]
        mean = torch.zeros(1 + int(sku.max()), image.shape[1]).index_add_(0, sku, image[is_shown])
        return {
            "query_to_sku": rank_times(image[is_query], image[is_shown], owner=sku),
            "query_to_sku_mean": rank_times(image[is_query], mean),
        }
    if len(seen.text):
        return {"text_to_image": rank_times(seen.text.cpu(), image)}
    return {"image_to_image": rank_times(image, image)}


def judgement_metrics_of(
    data: RetrievalDataModule, *, functions: Mapping[str, Callable[..., Tensor]]
) -> JudgementMetrics | None:
    """Metrics of a dataset's judgements; None where the relation uses none.

    Args:
        data: Data to evaluate.
        functions: Functions by the names of their metrics, of which those of judgements begin with "judgement/".
    """
    judgements = data.rows.judgements
    if judgements is None:
        return None
    return JudgementMetrics(
        kind=judgements.kind,
        kinds=judgements.kinds,
        photo=data.rows.photo_id[judgements.image_row],
        text_only=judgements.text_only,
        group=codes_of(data.dataset.manifest["group_id"])[judgements.image_row],
        functions=_named(functions, "judgement/") or judgement_metrics.FUNCTIONS,
    )
