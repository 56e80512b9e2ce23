"""The campaign as a flow: explore, select, label, test the old model on the labels, train, evaluate, promote, decide.

Three kinds of dynamic jobs let the flow grow on any jobflow manager. *select* adds the labels of a generation and what
follows them, up to *decide*, which adds the exploration of the next generation and its *select*, or the conclusion.
Where the options ask for further starts, *starts* after the labels adds those, and what follows them. More labels than
one chunk are added slice by slice (:mod:`workflows.jobs.chunk`); what follows them is the same, under the same uuids.

Jobs pass references and paths. Uuids are derived from the work, so running the same campaign again finds what is done.
Those of dynamic jobs hold the whole campaign file: after an edit they decide anew, and what they then ask for is found
where it was done before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, Maker, Response, job

from datastore.schema import SpinConfig, content_hash
from spinmultinet.hypers import ModelOptions, TrainOptions, parse, read_config
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.flows.label import LabelFlowMaker
from workflows.frozen_tests import check_tests
from workflows.jobs.champion import with_champion
from workflows.jobs.chunk import chunk_jobs, configurations_job, following_job
from workflows.jobs.conclude import conclude_job
from workflows.jobs.dataset import snapshot_job
from workflows.jobs.decide import decision, write_decision
from workflows.jobs.evaluate import evaluate_job
from workflows.jobs.explore import explore_job, sources
from workflows.jobs.honest import honest_job
from workflows.jobs.label import LabelJob, stable_uuid
from workflows.jobs.promote import promote_job
from workflows.jobs.select import choose_next
from workflows.jobs.slices import Slices, sliced
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

        Where lattices have to be computed first, the flow does that, and its last job adds generation 0. Raises
        CampaignError where the first configurations cannot make the frozen tests that the options ask for.
        """
        if plans := plan_parents(self.options.structures, self.engine):
            jobs = {plan.job.uuid: plan.job for plan in plans}
            results = [jobs[plan.job.uuid].output for plan in plans]
            return Flow([*jobs.values(), self._begin(results, list(jobs))], name=f"{self.options.name} parents")
        place = self._first_place()
        if self.written() is None:
            slices = self._first_configs()
            first, second = next(slices, []), next(slices, [])
            check_tests(self.options, chain(first, second, chain.from_iterable(slices)))
            if not second:
                return self.generation(0, first, known=[], previous=None)
        return Flow([configurations_job(self, place)], name=f"{self.options.name} 0, in chunks")

    def generation(
        self, number: int, configs: Iterable[SpinConfig], known: list[str], previous: dict[str, Any] | None
    ) -> Flow:
        """Label ``configs``, train on them and on the ``known`` points, evaluate, and decide how to go on.

        ``previous`` is the output of the generation before: its snapshot folder and its committee.
        """
        labels = LabelFlowMaker(self.engine, name=f"labels {number}").make(configs)
        jobs = list(labels.jobs)
        after = self._after_labels(number, jobs, known, previous)
        return Flow([*([labels] if jobs else []), *after], name=f"{self.options.name} {number}")

    def begin(self, number: int, configs: list[SpinConfig], known: list[str], previous: dict[str, Any] | None) -> Flow:
        """As :meth:`generation`, in chunks where there are more ``configs`` than one."""
        slices = self.write(number, configs, {"known": known, "previous": previous, "labelled": None})
        return self.generation(number, configs, known, previous) if slices is None else self.by_slices(number, slices)

    def by_slices(self, number: int, slices: Slices) -> Flow:
        """Flow that adds the labels of ``slices``, chunk by chunk, and then what follows them."""
        chunks = chunk_jobs(self.engine, number, slices)
        return Flow(
            [*chunks, following_job(self, number, slices, chunks)], name=f"{self.options.name} {number}, in chunks"
        )

    def gathered(self, number: int, slices: Slices, labels: Sequence[LabelJob]) -> Flow:
        """What follows the ``labels`` of all ``slices``, which are done."""
        known, previous, labelled = (slices.follows[key] for key in ("known", "previous", "labelled"))
        if labelled is None:
            after = self._after_labels(number, labels, known, previous)
        else:
            after = self.learn(number, labels, labelled, known, previous)
        return Flow(after, name=f"{self.options.name} {number}, labelled")

    def first_slices(self, tell: Callable[[int], None] | None = None) -> Slices:
        """Configurations of generation 0, written where they are not yet."""
        follows: dict[str, Any] = {"known": [], "previous": None, "labelled": None}
        return Slices.write(self._first_place(), self._first_configs(), follows, self.engine.seconds_estimate, tell)

    def learn(
        self,
        number: int,
        labels: Sequence[LabelJob],
        labelled: list[str],
        known: list[str],
        previous: dict[str, Any] | None,
    ) -> list[Job]:
        """What follows the labels of a generation, made by the jobs ``labels`` and before (``labelled``, point_ids)."""
        folder = self._folder(number)
        honest = None
        if previous is not None:
            honest = honest_job(self.options, number, labels, labelled, previous, folder / "honest")
        snapshot = snapshot_job(
            self.options.store,
            labels,
            previous["snapshot"] if previous else None,
            known,
            self.options.split,
            folder / "snapshot",
            f"dataset {number}",
            labelled,
            honest,
        )
        members = self.committee(snapshot, self.hypers, folder / "models" / "spin", f"train {number}")
        evaluated = evaluate_job(
            self.options, self.hypers, number, snapshot, members, previous, folder / "evaluation", honest
        )
        promoted = promote_job(self.options, evaluated)
        promoted.name = f"promote {number}"
        tested = [] if honest is None else [honest]
        return [*tested, snapshot, *members, evaluated, promoted, self._decide(promoted, number)]

    def exploration(self, number: int, previous: dict[str, Any]) -> Flow:
        """Ask every source for candidates, side by side, and choose the labels of generation ``number`` among them.

        ``previous``: output of the promotion before, with the history.
        """
        folder = self._folder(number) / "exploration"
        explored = [
            explore_job(self.options, self.engine, number, source, previous, folder) for source in sources(self.options)
        ]
        select: Job = select_labels(self, number, [job.output for job in explored], previous)
        select.name = f"select {number}"
        select.set_uuid(
            stable_uuid("select labels", self.fingerprint, str(number), *_models(previous), *(j.uuid for j in explored))
        )
        select.update_metadata({"kind": "select", "dynamic": True}, dynamic=False)
        return Flow([*explored, select], name=f"{self.options.name} exploration {number}")

    def conclusion(self, number: int, previous: dict[str, Any]) -> Flow:
        """Train the baseline on the last training set, and evaluate it beside the model in use."""
        folder = self._folder(number)
        blind: list[Job] = []
        if self.baseline:
            place = folder / "models" / "no_spin"
            blind = self.committee(previous["snapshot"], self.baseline, place, f"no-spin {number}")
        last = conclude_job(self.options, number, previous, blind, folder / "conclusion")
        return Flow([*blind, last], name=f"{self.options.name} conclusion")

    def go_on(self, number: int, promoted: dict[str, Any], found: dict[str, Any], path: Path) -> Flow:
        """What follows the decision ``found`` (kept at ``path``) after generation ``number``."""
        decisions = [*promoted.get("decisions", []), str(path)]
        previous = {**promoted, "history": found["history"], "decisions": decisions}
        return self.conclusion(number, previous) if found["stop"] else self.exploration(number + 1, previous)

    @property
    def fingerprint(self) -> str:
        """Hash of everything a campaign's file says, models and engine included.

        Also what decides no number: stored flows hold the engine with all its options, and a longer wall time would not
        reach the labels of later rounds if those flows were found again.
        """
        # An option that came later changes nothing for campaigns without it, nor do the place of copies and the chunks.
        later = {"models", "chunk"} | ({"starts"} if self.options.starts is None else set())
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

    def _folder(self, number: int) -> Path:
        return self.folder / f"generation_{number}"

    def committee(self, snapshot: Job | str, hypers: dict[str, Any], folder: Path, name: str) -> list[Job]:
        """Jobs that train the members, side by side, on the training set of ``snapshot`` (job or folder)."""
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

    def written(self) -> Slices | None:
        """Configurations of generation 0 where :meth:`first_slices` has written them."""
        slices = Slices(self._first_place())
        return slices if slices.exists else None

    def _first_configs(self) -> Iterator[list[SpinConfig]]:
        return sliced(generate(self.options.structures, campaign=self.options.name, generation=0), self.options.chunk)

    def _first_place(self) -> Path:
        return self._folder(0) / f"configurations-{content_hash([self.fingerprint, self.options.chunk], 12)}"

    def write(self, number: int, configs: list[SpinConfig], follows: dict[str, Any]) -> Slices | None:
        """Slices of these configurations, on disk; None where there is one only."""
        slices = list(sliced(configs, self.options.chunk))
        if len(slices) < 2:
            return None
        key = content_hash([self.fingerprint, self.options.chunk, [c.config_id for c in configs], follows], 12)
        place = self._folder(number) / f"configurations-{key}"
        return Slices.write(place, slices, follows, self.engine.seconds_estimate)

    def _after_labels(
        self, number: int, labels: Sequence[LabelJob], known: list[str], previous: dict[str, Any] | None
    ) -> list[Job]:
        """The rest of a generation, or further starts before it."""
        if self.options.starts is None:
            return self.learn(number, labels, [], known, previous)
        return [self._start_again(number, labels, known, previous)]

    def _start_again(
        self, number: int, labels: Sequence[LabelJob], known: list[str], previous: dict[str, Any] | None
    ) -> Job:
        new: Job = further_starts(self, number, [job.output["point_id"] for job in labels], known, previous)
        new.name = f"starts {number}"
        parts = [previous["model_id"] if previous else "", *(job.uuid for job in labels)]
        new.set_uuid(stable_uuid("starts", self.fingerprint, str(number), *parts))
        new.update_metadata({"kind": "starts", "dynamic": True}, dynamic=False)
        return new

    def _decide(self, promoted: Job, number: int) -> Job:
        new: Job = decide_next(self, number, promoted.output)
        new.name = f"decide {number}"
        new.set_uuid(stable_uuid("decide", self.fingerprint, promoted.uuid))
        new.update_metadata({"kind": "decide", "dynamic": True}, dynamic=False)
        return new


def _models(previous: dict[str, Any]) -> list[str]:
    """Ids of the newest model and of the one in use."""
    return [previous["model_id"], (previous.get("champion") or previous)["model_id"]]


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
    output = {"started_again": reasons}
    slices = maker.write(number, configs, {"known": known, "previous": previous, "labelled": labelled})
    if slices is not None:
        return Response(output=output, addition=maker.by_slices(number, slices))
    labels = LabelFlowMaker(maker.engine, name=f"starts {number}").make(configs)
    rest = maker.learn(number, list(labels.jobs), labelled, known, previous)
    flow = Flow([*([labels] if labels.jobs else []), *rest], name=f"{maker.options.name} {number}, continued")
    return Response(output=output, addition=flow)


@job
def decide_next(maker: CampaignMaker, number: int, promoted: dict[str, Any]) -> Response[dict[str, Any]]:
    """Decide whether to go on after generation ``number``, and add the next exploration or the conclusion.

    ``promoted``: output of the promotion. Output: the decision and the learning curve so far
    (:func:`workflows.jobs.decide.decision`), and ``file``, where it is kept.
    """
    promoted = with_champion(maker.options, promoted)
    found = decision(maker.options, number, promoted)
    path = write_decision(maker.options, promoted, found)
    return Response(output={**found, "file": str(path)}, addition=maker.go_on(number, promoted, found, path))


@job
def select_labels(
    maker: CampaignMaker, number: int, explored: list[dict[str, Any]], previous: dict[str, Any]
) -> Response[dict[str, Any]]:
    """Choose the labels of generation ``number`` among the explored candidates and add its flow.

    Where nothing is left to choose, the campaign ends.
    """
    previous = with_champion(maker.options, previous)
    key = content_hash([*_models(previous), [found["sha256"] for found in explored], _choosing(maker.options)], 12)
    path = maker.folder / f"generation_{number}" / f"selection-{key}.json"
    configs, choices = choose_next(maker.options, maker.engine, number, explored, previous, path)
    output = {"selected": choices, "file": str(path)}
    if not configs:
        ended = {"stop": True, "why": "no candidate is left to choose from"}
        return Response(output=output | ended, addition=maker.conclusion(number - 1, previous))
    following = {**previous, "selections": [*previous["selections"], str(path)]}
    flow = maker.begin(number, configs, known=previous["point_ids"], previous=following)
    return Response(output=output, addition=flow)


def _choosing(options: CampaignOptions) -> list[Any]:
    """What of the campaign's file decides a choice among given candidates."""
    learning = options.active_learning
    return [options.seed, learning.labels, learning.select.model_dump(mode="json"), options.committee]


@job
def next_generation(maker: CampaignMaker, number: int, evaluated: dict[str, Any]) -> Response[dict[str, Any]]:
    """Flows of before decisions were jobs have this one after an evaluation; it adds what a decision to go on adds."""
    return Response(output={"selected": []}, addition=maker.exploration(number + 1, evaluated))
