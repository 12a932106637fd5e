"""From the records of a search to the arrays of `chooser`: what is known beforehand, and what was learned.

Device figures come from wherever they are known: a trial that was measured, or an untrained twin that was, in this
search or another. For the rest they are predicted from the shapes that were measured, with a spread, which goes into
what they promise; and what is about to be proposed is measured before, where that is short beside its training. Quality
comes from trained students only. For one that was stopped early it is what the accuracy at its last epoch came to in
those that were trained on from the same epoch, in the median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.config import SearchConfig
from pipeline.harvest import Training, serving_s, siblings, training
from pipeline.metrics import DEVICE, METRICS
from pipeline.pareto import rankable
from pipeline.record import TrialRecord
from pipeline.search.chooser import FEWEST, LEAST_ERROR, Goal, Pool, Seen, worth
from pipeline.search.encoding import Encoding
from pipeline.search.pool import candidates, whole
from pipeline.search.standing import WEIGHTS_ONLY, Standing, felt
from pipeline.search.surrogate import believe
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate, Scalar

Array = NDArray[np.float64]
Figures = Mapping[str, float]

SCREENED = 4  # candidates at most that are measured untrained before one is proposed
WORTH_SCREENING_S = 20.0  # a training that takes less is no loss beside the seconds of a measurement
MOST = 150  # trials that are learned from: time and memory grow with them, what they teach hardly does
SIZES = ("macs_m",)  # known without training, and near to accuracy on every device
_SURELY = 0.025  # what is less probable than this to be within the budgets is not proposed


@dataclass(frozen=True)
class Known:
    """What a search knows: `standing` is over its own records; `figures` gives those of shapes measured before.

    `lenders` gives, by what they were taught, the trained students that candidates may begin with now. `screen`
    measures an untrained candidate, and says whether its figures are known then. `listed` is all that can be tried,
    where that is less than the space.
    """

    space: SearchSpace
    standing: Standing
    teacher: Figures
    chance: Figures
    figures: Callable[[Sequence[Candidate]], Sequence[Figures | None]]
    lenders: Callable[[], Mapping[Training, TrialRecord]] = dict
    screen: Callable[[Candidate], bool] = lambda _: False
    listed: Sequence[Candidate] | None = None

    @cached_property
    def encoding(self) -> Encoding:
        return Encoding(self.space)

    @cached_property
    def whole(self) -> Sequence[Candidate] | None:
        """All that can be tried, where that can be listed."""
        return whole(self.space) if self.listed is None else self.listed

    def params_of(self, candidate: Candidate) -> Mapping[str, Scalar] | None:
        """What stands for it in this space, where it lies in it."""
        if candidate.key not in self._params:
            found = self.space.params_of(candidate.flat())
            self._params[candidate.key] = None if isinstance(found, str) else found
        return self._params[candidate.key]

    @cached_property
    def _params(self) -> dict[str, Mapping[str, Scalar] | None]:
        return {}


def propose(known: Known, config: SearchConfig) -> Candidate | None:
    """The candidate worth most per second, or None: too little is known, all was tried, or nothing promises anything.

    Where nothing does, and all that can be tried can be listed, it is one of what is left, by chance. It may be one
    that a trained student serves (`trials.harvest`). The same records and figures give the same one.
    """
    records = [record for record in known.standing.records if record.counts and record.final_of is None]
    if not enough(records, config):
        return None
    best = known.standing.front()
    taught_by = _kept(best, records, config)
    parents = known.lenders()
    pool = _pool(known, best, parents.values(), config)
    if not pool:
        return None
    names = _names(config, best, known.teacher)
    served = {key: serving_s(pool[key], parents[of]) for key in pool if (of := training(pool[key])) in parents}
    each = list(pool.values())
    seconds = np.array([served.get(candidate.key, np.nan) for candidate in each])
    for left in range(SCREENED if _median_s(taught_by) >= WORTH_SCREENING_S else 0, -1, -1):
        promised = promise(each, taught_by, names, known, config, seconds)
        if not promised.max() > 0:
            # by chance among what is left, where that is known: the sampler would repeat what was tried
            chance = np.random.default_rng([config.seed, len(known.standing.records)])
            return None if known.whole is None else each[int(chance.integers(len(each)))]
        chosen = each[int(np.argmax(promised))]
        told = not left or chosen.key in served or felt(chosen) in known.standing.measured()
        told = told or known.figures([chosen])[0] is not None
        if told or not known.screen(chosen):
            break
    return chosen


def gains_nothing(candidate: Candidate, known: Known, config: SearchConfig) -> bool:
    """Whether it is no better than the teacher by any objective of the device, measured untrained if need be.

    Such a candidate adds no volume, whatever it learns; `propose` would never ask for it. Where trainings are known to
    be short, it is not measured for this.
    """
    figures, records = known.figures([candidate])[0], known.standing.records
    short = _median_s(records) < WORTH_SCREENING_S
    if figures is None and not short and known.screen(candidate):
        figures = known.figures([candidate])[0]
    names = _names(config, known.standing.front(), known.teacher)
    costs = [_doublings(name, (figures or {}).get(name), known.teacher, np.nan) for name in names]
    return bool(costs) and all(cost >= 0 for cost in costs)


def enough(records: Iterable[TrialRecord], config: SearchConfig) -> bool:
    """Whether there is enough to learn from; it looks no further than it has to.

    Two refusals count as one trained student: they tell of the device what it tells, and where nearly all are refused,
    chance would find no second one.
    """
    needed, trained = config.sampler.startup_trials, 2 * FEWEST
    for record in records:
        refused = record.end == "refused"
        if record.counts and record.final_of is None and (refused or _scored(record, config)):
            needed -= 1
            if record.trained_by is None and record.candidate.student != IDENTITY:
                trained -= 1 if refused else 2
            if needed <= 0 and trained <= 0:
                return True
    return False


def _pool(
    known: Known,
    best: Sequence[TrialRecord],
    parents: Iterable[TrialRecord],
    config: SearchConfig,
) -> dict[str, Candidate]:
    """Untried candidates by key: those of the space, and those that trained students serve."""
    tried = known.standing.tried()
    if known.whole is not None:
        return {candidate.key: candidate for candidate in known.whole if candidate.key not in tried}
    chance = np.random.default_rng([config.seed, len(known.standing.records)])
    starts = [params for record in best if (params := known.params_of(record.candidate)) is not None]
    drawn = candidates(known.space, tried, starts, chance)
    further = [Candidate.of(flat, 0) for parent in parents for flat in siblings(parent.candidate, known.space)]
    return {candidate.key: candidate for candidate in [*drawn, *further] if candidate.key not in tried}


def _median_s(records: Sequence[TrialRecord]) -> float:
    """Of the trainings that are timed; NaN of none."""
    seconds = np.array([_seconds(record) for record in records])
    timed = seconds[np.isfinite(seconds)]
    return float(np.median(timed)) if len(timed) else math.nan


def _kept(best: Sequence[TrialRecord], records: Sequence[TrialRecord], config: SearchConfig) -> list[TrialRecord]:
    """By number, `MOST` of the records: the best, then the latest that were scored, then the latest others."""
    scored = (record for record in reversed(records) if _scored(record, config))
    wanted: dict[int, TrialRecord] = {}
    for record in chain(reversed(best), scored, reversed(records)):
        wanted.setdefault(record.number, record)
        if len(wanted) == MOST:
            break
    return [wanted[number] for number in sorted(wanted)]


def promise(
    pool: Sequence[Candidate],
    records: Sequence[TrialRecord],
    names: Sequence[str],
    known: Known,
    config: SearchConfig,
    seconds: Array | None = None,
) -> Array:
    """What each candidate of the pool is worth by these records (`chooser.worth`), [n].

    `names` are the device's objectives, `seconds` [n] what is known of what each takes (`chooser.Pool`).
    """
    metric = config.task.metric
    scored = [record for record in records if _scored(record, config)]
    # an unreliable one only where there is no other
    doubtful = any(record.unreliable for record in scored)
    ranked = {record.number for record in known.standing.front()} if doubtful else set[int]()
    quality = {record.number: record.metrics[metric] for record in scored}
    if metric == "accuracy":  # which is what a rung knows
        quality |= _expected(records, scored)
    taught = [record for record in records if record.number in quality]
    rows = known.encoding.rows([candidate.flat() for candidate in [*pool, *(record.candidate for record in taught)]])
    limited = [name for name in DEVICE if name in config.budget and known.teacher.get(name, 0.0) > 0]
    sizes = [name for name in SIZES if known.teacher.get(name, 0.0) > 0]
    ahead = _figures(pool, [*names, *limited, *sizes], records, known)
    behind = _figures([record.candidate for record in taught], [*names, *sizes], records, known)
    floor = max(config.budget.get(metric, 0.0), known.chance.get(metric, 0.0))
    corner = [min(_doublings(name, config.budget.get(name), known.teacher, 0.0), 0.0) for name in names]
    return worth(
        Pool(
            rows[: len(pool)],
            _columns(ahead, names, len(pool)),
            _columns(ahead, sizes, len(pool)),
            _possible(ahead, limited, known, config, len(pool)),
            seconds,
            _columns(ahead, names, len(pool), spreads=True),
        ),
        Seen(
            rows[len(pool) :],
            _columns(behind, names, len(taught)),
            _columns(behind, sizes, len(taught)),
            np.array([quality[record.number] for record in taught]),
            np.array([_seconds(record) for record in taught]),
            np.array([_point(record, config, ranked) for record in taught], dtype=bool),
        ),
        Goal(np.array(corner), floor, 1 - known.teacher.get(metric, 1.0)),
    )


def _point(record: TrialRecord, config: SearchConfig, ranked: Collection[int]) -> bool:
    """Whether this may be a point of the front."""
    return _scored(record, config) and record.feasible and (not record.unreliable or record.number in ranked)


def _names(config: SearchConfig, best: Sequence[TrialRecord], teacher: Figures) -> list[str]:
    """The objectives that the device decides, without those whose figures may not be ranked."""
    named = [name for name in config.objectives if name in DEVICE and teacher.get(name, 0.0) > 0]
    return [name for name in rankable(best, named) if name in named] or named


def _figures(
    wanted: Sequence[Candidate], names: Sequence[str], records: Sequence[TrialRecord], known: Known
) -> dict[str, tuple[Array, Array]]:
    """Means and spreads of each figure of these candidates, in doublings of the teacher's; no spread where known."""
    measured = [record for record in records if record.candidate.student != IDENTITY]
    # of a shape that was measured several times the latest on a quiet machine
    order = sorted((record for record in records if record.metrics), key=lambda record: not record.unreliable)
    own = {felt(record.candidate): record.metrics for record in order}
    told = [
        {**(before or {}), **own.get(felt(one), {})} for one, before in zip(wanted, known.figures(wanted), strict=True)
    ]

    @cache
    def rows() -> Array:
        flats = [candidate.flat() for candidate in [*wanted, *(record.candidate for record in measured)]]
        return known.encoding.rows(flats, without=WEIGHTS_ONLY)

    def one(name: str) -> tuple[Array, Array]:
        value = np.array([_doublings(name, figures.get(name), known.teacher, np.nan) for figures in told])
        there = np.array([_doublings(name, record.metrics.get(name), known.teacher, np.nan) for record in measured])
        asked, spread = ~np.isfinite(value), np.zeros(len(wanted))
        if asked.any():
            shapes, values = _measured(rows(), np.concatenate([value, there]))
            centre, scale = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
            # many of the candidates differ in their training only
            unknown, which = np.unique(rows()[: len(wanted)][asked], axis=0, return_inverse=True)
            belief = believe(unknown, shapes, values, centre=centre, scale=max(scale, 0.5))
            value[asked], spread[asked] = belief.mean[which], belief.deviation[which]
        return value, spread

    return {name: one(name) for name in dict.fromkeys(names)}


def _measured(rows: Array, figures: Array) -> tuple[Array, Array]:
    """Each shape with a figure once, the first that it has; of very many, `MOST` spread over them."""
    there = np.isfinite(figures)
    shapes, first = np.unique(rows[there], axis=0, return_index=True)
    kept = np.linspace(0, len(first) - 1, min(MOST, len(first))).round().astype(int)
    return shapes[kept], figures[there][first[kept]]


def _columns(
    figures: Mapping[str, tuple[Array, Array]], names: Sequence[str], count: int, *, spreads: bool = False
) -> Array:
    """Means, or spreads, of these figures side by side: [count, names], of which there may be none."""
    return np.array([figures[name][int(spreads)] for name in names]).reshape(len(names), count).T


def _possible(
    figures: Mapping[str, tuple[Array, Array]], limited: Sequence[str], known: Known, config: SearchConfig, count: int
) -> Array:
    """How probable it is that all limits of the device are kept, [n]; 0 where it is next to impossible."""
    found = np.ones(count)
    for name in limited:
        mean, spread = figures[name]
        room = _doublings(name, config.budget[name], known.teacher, np.inf) - mean
        with np.errstate(divide="ignore", invalid="ignore"):
            found *= np.where(spread > 0, ndtr(room / spread), room >= 0)
    return np.where(found < _SURELY, 0.0, found)


def _doublings(name: str, value: float | None, teacher: Figures, otherwise: float) -> float:
    """log2 of a figure over the teacher's, so that smaller is better."""
    if value is None or value <= 0 or teacher.get(name, 0.0) <= 0:
        return otherwise
    found = float(np.log2(value / teacher[name]))
    return -found if METRICS[name].maximize else found


def _scored(record: TrialRecord, config: SearchConfig) -> bool:
    return record.end == "complete" and config.task.metric in record.metrics


def _expected(records: Sequence[TrialRecord], scored: Sequence[TrialRecord]) -> dict[int, float]:
    """By number, the quality that a student stopped at an epoch would have come to.

    Errors shrink from that epoch on by the median factor of those that went on; with fewer than `FEWEST` of these
    nothing is said.
    """
    found = {}
    for record in records:
        epochs = len(record.curve)
        if record.end in ("complete", "failed", "interrupted", "pending") or not epochs:
            continue
        longer = [one for one in scored if len(one.curve) > epochs and one.trained_by is None]
        factors = [_error(one.metrics["accuracy"]) / _error(one.curve[epochs - 1]["rung_accuracy"]) for one in longer]
        if len(factors) >= FEWEST:
            found[record.number] = 1 - _error(record.curve[-1]["rung_accuracy"]) * float(np.median(factors))
    return found


def _error(accuracy: float) -> float:
    return max(1 - accuracy, LEAST_ERROR)


def _seconds(record: TrialRecord) -> float:
    """What its training took; NaN of what was not trained here, not from the beginning, or not to the end."""
    counted = record.end == "complete" and "distill" in record.seconds and record.resumed_from is None
    # what was measured untrained is part of the choice, and may be another's
    return sum(value for name, value in record.seconds.items() if name != "screen") if counted else np.nan
