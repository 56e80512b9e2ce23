"""The campaign as a flow: label, take into the dataset, train, evaluate; then choose what to label next, and again.

Where the options ask for further starts, a dynamic job after the labels adds those, and what follows them.

Each generation ends with a dynamic job that adds the next one, so that the flow grows on any jobflow manager. Jobs pass
references and paths; uuids are derived from the work, so running the same campaign again finds what is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, Maker, Response, job

from datastore.schema import SpinConfig, content_hash
from spinmultinet.hypers import ModelOptions, TrainOptions, parse, read_config
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.flows.label import LabelFlowMaker
from workflows.jobs.dataset import snapshot_job
from workflows.jobs.evaluate import evaluate_job, promote_job
from workflows.jobs.label import stable_uuid
from workflows.jobs.select import choose_next
from workflows.jobs.starts import choose_starts
from workflows.jobs.train import train_job
from workflows.parents import plan_parents
from workflows.structures.generate import generate
from workflows.structures.preparation import with_lattices


@dataclass
class CampaignMaker(Maker):
    """Flow of a whole campaign, built from its options and an engine.

    Parameters
    ----------
    options
        The parsed campaign file.
    engine
        Any engine of :func:`workflows.engines.get_engine`.
    hypers
        Model and training options (``{"model": {...}, "training": {...}}``); read from ``options.model`` when empty.
    baseline
        The same for the no-spin baseline; ``options.baseline`` when empty, none where that is empty too.
    """

    options: CampaignOptions
    engine: Engine
    hypers: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    name: str = "campaign"

    def __post_init__(self) -> None:
        """Read the model files now: jobs elsewhere may not see them, and a later edit must not change the run.

        Parsed, with every default written out, so that a default that changes one day changes the uuids too.
        """
        self.hypers = _parsed(self.hypers, self.options.model)
        if self.baseline or self.options.baseline:
            self.baseline = _parsed(self.baseline, self.options.baseline)

    def make(self) -> Flow:
        """Flow of generation 0; later generations are added by its last job.

        Where lattices have to be computed first, the flow does that, and its last job adds generation 0.
        """
        if plans := plan_parents(self.options.structures, self.engine):
            jobs = {plan.job.uuid: plan.job for plan in plans}
            results = [jobs[plan.job.uuid].output for plan in plans]
            return Flow([*jobs.values(), self._begin(results, list(jobs))], name=f"{self.options.name} parents")
        configs = generate(self.options.structures, campaign=self.options.name, generation=0)
        return self.generation(0, configs, known=[], previous=None)

    def generation(
        self, number: int, configs: Iterable[SpinConfig], known: list[str], previous: dict[str, Any] | None
    ) -> Flow:
        """Label ``configs``, train on them and on the ``known`` points, evaluate, and decide how to go on.

        ``previous`` is the output of the generation before: its snapshot folder and its committee.
        """
        labels = LabelFlowMaker(self.engine, name=f"labels {number}").make(configs)
        jobs = list(labels.jobs)
        if self.options.starts is None:
            after = self.learn(number, jobs, [], known, previous)
        else:
            after = [self._start_again(number, jobs, known, previous)]
        return Flow([labels, *after], name=f"{self.options.name} {number}")

    def learn(
        self, number: int, labels: list[Job], labelled: list[str], known: list[str], previous: dict[str, Any] | None
    ) -> list[Job]:
        """What follows the labels of a generation, made by the jobs ``labels`` and before (``labelled``, point_ids)."""
        folder = self.folder / f"generation_{number}"
        snapshot = snapshot_job(
            self.options.store,
            labels,
            previous["snapshot"] if previous else None,
            known,
            self.options.split,
            folder / "snapshot",
            f"dataset {number}",
            labelled,
        )
        spin = self._committee(snapshot, self.hypers, folder / "models" / "spin", f"train {number}")
        last = number == self.options.active_learning.rounds
        blind = self._committee(snapshot, self.baseline, folder / "models" / "no_spin", f"no-spin {number}")
        blind = blind if last and self.baseline else []
        evaluated = evaluate_job(
            self.options,
            self.hypers,
            number,
            snapshot,
            spin,
            blind,
            previous,
            folder / "evaluation",
            self.fingerprint,
        )
        after = promote_job(self.options, evaluated) if last else self._continue(evaluated, number)
        return [snapshot, *spin, *blind, evaluated, after]

    @property
    def fingerprint(self) -> str:
        """Hash of everything a campaign's file says, models and engine included.

        Also what decides no number: stored flows hold the engine with all its options, and a longer wall time would not
        reach the labels of later rounds if those flows were found again.
        """
        # An option that came later changes nothing for campaigns without it.
        later = {"starts"} if self.options.starts is None else set()
        parts = [
            self.options.model_dump(mode="json", exclude=later),
            self.engine.model_dump(mode="json"),
            self.hypers,
            self.baseline,
        ]
        return content_hash(parts, 12)

    @property
    def folder(self) -> Path:
        """Absolute folder of the campaign's files."""
        return Path(self.options.folder).resolve()

    def _committee(self, snapshot: Job, hypers: dict[str, Any], folder: Path, name: str) -> list[Job]:
        seeds = [self.options.seed + member for member in range(self.options.committee)]
        key = content_hash(hypers, 8)
        return [
            train_job(snapshot, hypers, seed, folder / f"{key}_seed{seed}", f"{name} member {seed}") for seed in seeds
        ]

    def _begin(self, results: list[Any], parents: list[str]) -> Job:
        new: Job = first_generation(self, results)
        new.name = "structures"
        new.set_uuid(stable_uuid("structures", self.fingerprint, *parents))
        new.update_metadata({"kind": "structures", "dynamic": True}, dynamic=False)
        return new

    def _start_again(self, number: int, labels: list[Job], known: list[str], previous: dict[str, Any] | None) -> Job:
        new: Job = further_starts(self, number, [job.output["point_id"] for job in labels], known, previous)
        new.name = f"starts {number}"
        parts = [previous["model_id"] if previous else "", *(job.uuid for job in labels)]
        new.set_uuid(stable_uuid("starts", self.fingerprint, str(number), *parts))
        new.update_metadata({"kind": "starts", "dynamic": True}, dynamic=False)
        return new

    def _continue(self, evaluated: Job, number: int) -> Job:
        new: Job = next_generation(self, number, evaluated.output)
        new.name = f"select {number + 1}"
        new.set_uuid(stable_uuid("select", evaluated.uuid, str(number)))
        new.update_metadata({"kind": "select", "dynamic": True}, dynamic=False)
        return new


def _parsed(hypers: dict[str, Any], path: str) -> dict[str, Any]:
    """Model and training options with all defaults, from ``hypers`` or else from the file at ``path``."""
    if hypers:
        model = parse(ModelOptions, hypers.get("model", {}), "model")
        training = parse(TrainOptions, hypers.get("training", {}), "training")
    else:
        model, training = read_config(path)
    return {"model": model.model_dump(mode="json"), "training": training.model_dump(mode="json")}


@job
def first_generation(maker: CampaignMaker, parents: list[dict[str, Any]]) -> Response[dict[str, Any]]:
    """Make the configurations from the computed ``parents`` and add the flow of the campaign."""
    structures = with_lattices(maker.options.structures, parents)
    complete = replace(maker, options=maker.options.model_copy(update={"structures": structures}))
    made = [item.how for parent in structures.parents if parent.lattice for item in parent.lattice.prepared]
    return Response(output={"parents": made}, addition=complete.make())


@job
def further_starts(
    maker: CampaignMaker, number: int, labelled: list[str], known: list[str], previous: dict[str, Any] | None
) -> Response[dict[str, Any]]:
    """Start labels that look metastable again from other moments, and add that and the rest of the generation."""
    wanted = maker.options.starts
    assert wanted is not None
    path = maker.folder / f"generation_{number}" / f"starts-{maker.fingerprint}.json"
    configs, reasons = choose_starts(maker.options, wanted, number, labelled, previous, path)
    labels = LabelFlowMaker(maker.engine, name=f"starts {number}").make(configs)
    rest = maker.learn(number, list(labels.jobs), labelled, known, previous)
    flow = Flow([*([labels] if labels.jobs else []), *rest], name=f"{maker.options.name} {number}, continued")
    return Response(output={"started_again": reasons}, addition=flow)


@job
def next_generation(maker: CampaignMaker, number: int, evaluated: dict[str, Any]) -> Response[dict[str, Any]]:
    """Choose what to label next and add the flow of the next generation. ``evaluated``: output of the evaluation."""
    path = maker.folder / f"generation_{number + 1}" / f"selection-{maker.fingerprint}.json"
    configs, choices = choose_next(maker.options, number + 1, evaluated, path)
    previous = {**evaluated, "selections": [*evaluated["selections"], str(path)]}
    flow = maker.generation(number + 1, configs, known=evaluated["point_ids"], previous=previous)
    return Response(output={"selected": choices}, addition=flow)
