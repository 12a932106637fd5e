"""The configuration of a search: sections, defaults, and what must hold between them; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pipeline import LARGEST_SEED
from pipeline import grid as grids
from pipeline.errors import near
from pipeline.metrics import METRICS, QUALITY

Scalar = bool | int | float | str
NAME, COUNTRY = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", r"^[A-Z]{3}$"
SOONER = 4  # startup trials of `device_aware`, which is told of the device beforehand and has less to learn


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        parts = _parts(cls.model_fields[str(info.field_name)].annotation)
        if bool not in parts and Any not in parts and any(part in (int, float) or type(part) is int for part in parts):
            inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            if truth := [str(item).lower() for item in inside if isinstance(item, bool)]:
                raise ValueError(f"give a number, not {truth[0]}")
        return value


def _parts(annotation: Any) -> list[Any]:
    """What an annotation is made of: types, and the values of a Literal."""
    inner = get_args(annotation)
    return [part for each in inner for part in _parts(each)] if inner else [annotation]


class DataConfig(_Strict):
    """Where the rows come from: a hub name, a local folder or file, or scikit-learn's bundled digits."""

    source: Literal["folder", "hub", "sklearn"]
    path: str | None = None  # folder: of Parquet, CSV or arrow files named train*, validation*, test*
    name: str | None = None  # hub: data set name; sklearn: digits
    subset: str | None = None  # hub: configuration name
    revision: str | None = None  # hub
    splits: dict[Literal["train", "validation", "test"], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _place(self) -> DataConfig:
        wanted = "path" if self.source == "folder" else "name"
        if getattr(self, wanted) is None:
            raise ValueError(f"source {self.source!r} needs `{wanted}:`")
        return self


class SplitConfig(_Strict):
    """Fractions cut from train, stratified, where the data bring no such split; `selection` is always cut."""

    validation: float = Field(0.15, gt=0, lt=0.5)
    test: float = Field(0.15, gt=0, lt=0.5)
    selection: float = Field(0.08, gt=0, lt=0.5)


class TransferConfig(_Strict):
    """Texts without labels that students learn from too: training rows of a further source."""

    data: DataConfig
    text: str = "text"  # column
    text_pair: str | None = None  # column of the second text; where the task is about pairs, and only there
    limit_rows: int | None = Field(None, ge=1)


class ReplaceConfig(_Strict):
    """Copies of the training texts with words replaced, as TinyBERT's augmentation makes them."""

    by: Literal["teacher_embeddings", "masked_model", "wordnet"] = "teacher_embeddings"
    model: str | None = None  # masked_model: local folder or hub name
    copies: int = Field(2, ge=1, le=20)  # of every training row
    share: float = Field(0.15, gt=0, le=1)  # of the words that is replaced, one word at least
    candidates: int = Field(15, ge=1, le=1000)  # among which chance takes one
    seed: int = Field(0, ge=0, le=LARGEST_SEED)

    @model_validator(mode="after")
    def _model(self) -> ReplaceConfig:
        if (self.by == "masked_model") != (self.model is not None):
            raise ValueError(
                "`by: masked_model` and `model:` go together: give the folder or hub name of a masked language model "
                "with it, and none without"
            )
        return self


class TaskConfig(_Strict):
    """What is to be learned; data sets are configuration, not code."""

    kind: str = "image_classification"
    data: DataConfig
    image: str = "image"  # column
    text: str = "text"  # column
    text_pair: str | None = None  # column of the second text, where the task is about pairs
    label: str = "label"  # column
    labels: list[str] | dict[str, str] | None = None  # names in order, or raw value -> name
    metric: str = "accuracy"
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    size: int = Field(32, ge=4, le=1024)  # side in pixels at which students get their inputs by default
    channels: Literal[1, 3] = 3
    tokenizer: str | None = None  # local folder or hub name; default: the teacher's own
    max_length: int = Field(128, ge=4, le=8192)  # pieces of a text that the teacher is given at most
    split: SplitConfig = SplitConfig()
    augmentations: list[Literal["none", "shift", "flip_shift"]] = ["none", "shift"]
    limit_rows: dict[Literal["train", "validation", "test"], int] = Field(default_factory=dict)
    transfer: TransferConfig | None = None
    replace: ReplaceConfig | None = None

    @property
    def input_kind(self) -> str:
        """What its rows are, text or image; the name of the task's kind says it."""
        return "text" if self.kind.startswith("text") else "image"

    @property
    def augment_choices(self) -> list[str]:
        """What `distill.augment` chooses from."""
        if self.input_kind == "image":
            return list(self.augmentations)
        more = [key for key in ("transfer", "replace") if getattr(self, key) is not None]
        return ["none", *more, *(["_".join(more)] if len(more) > 1 else [])]

    @field_validator("metric")
    @classmethod
    def _metric(cls, value: str) -> str:
        if value not in QUALITY:
            raise ValueError(f"no quality metric named {value!r}{near(value, QUALITY)}")
        return value

    @model_validator(mode="after")
    def _more_texts(self) -> TaskConfig:
        for key in ("transfer", "replace"):
            if self.input_kind != "text" and getattr(self, key) is not None:
                raise ValueError(f"`{key}:` is for texts, and {self.kind!r} has none; leave it out")
        if self.transfer is not None and (self.transfer.text_pair is None) != (self.text_pair is None):
            one, two = ("single texts", "pairs") if self.text_pair is None else ("pairs", "single texts")
            raise ValueError(
                f"the task is about {one} and `transfer:` gives {two}; name `text_pair:` in both of them or in neither"
            )
        return self


class TeacherTraining(_Strict):
    """How a teacher is made here: from scratch by `model_type` and `config`, or fine-tuned `from_checkpoint`."""

    model_type: str | None = None  # transformers model type, e.g. resnet, vit
    config: dict[str, Any] = Field(default_factory=dict)
    from_checkpoint: str | None = None  # local folder or hub name
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "shift", "flip_shift"] = "shift"
    precision: Literal["auto", "float32", "bf16"] = "auto"  # auto: bf16 where this machine gains by it
    seed: int = Field(0, ge=0, le=LARGEST_SEED)

    @model_validator(mode="after")
    def _one(self) -> TeacherTraining:
        if (self.model_type is None) == (self.from_checkpoint is None):
            raise ValueError("give exactly one of `model_type:` (from scratch) and `from_checkpoint:` (fine-tune)")
        return self


class TeacherConfig(_Strict):
    """A trained teacher at `path` (local folder or hub name), or how to `train` one."""

    path: str | None = None
    train: TeacherTraining | None = None
    size: int | None = Field(None, ge=4, le=1024)  # side of its input; default: its own processor's, else the task's
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one(self) -> TeacherConfig:
        if (self.path is None) == (self.train is None):
            raise ValueError("give exactly one of `path:` (a trained teacher) and `train:` (make one)")
        return self

    @property
    def place(self) -> str | None:
        """The local folder or hub name that it comes or begins from; None where it is made from nothing."""
        return self.path or (self.train.from_checkpoint if self.train else None)


class TargetConfig(_Strict):
    """The device that measures; its thread count holds for teacher and students alike."""

    name: str = "local_cpu"
    threads: int = Field(1, ge=1, le=256)
    seconds: float = Field(12.0, ge=1, le=600)  # that one measurement may take; it ends earlier where it is precise
    options: dict[str, Any] = Field(default_factory=dict)  # further ones, each target's own


class SamplerConfig(_Strict):
    name: Literal["tpe", "nsga2", "nsga3", "gp", "random", "device_aware"] = "device_aware"
    startup_trials: int = Field(10, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _sooner(cls, given: Any) -> Any:
        """A sampler that is told of the device needs fewer."""
        chooses = isinstance(given, Mapping) and given.get("name", "device_aware") == "device_aware"
        return {"startup_trials": SOONER, **given} if chooses else given


class LimitsConfig(_Strict):
    """Limits of the search itself; whichever comes first ends it."""

    trials: int = Field(30, ge=1)
    hours: float | None = Field(None, gt=0)
    max_kwh: float | None = Field(None, gt=0)  # of the search's own energy, as `pipeline.own_energy` models it
    trial_minutes: float = Field(30.0, gt=0)
    states_gb: float = Field(4.0, ge=0)  # disk for the teacher's hidden states, of all searches; 0: none are kept


class TrialsConfig(_Strict):
    """How much a trial of the search may learn from; finalists learn from everything (`niwaki finals`)."""

    rows: float = Field(1.0, gt=0, le=1)  # share of the training rows
    harvest: int = Field(0, ge=0, le=20)  # further trials at most that begin with the student of a trained one
    inherit: Literal["teacher", "nearest"] = "teacher"  # nearest: of the search's trained students, where one holds it
    rungs: list[int] = Field(default_factory=list)  # epochs after which students are compared; none: all are trained
    reduction: int = Field(3, ge=2, le=20)  # one in so many goes on from a rung at least
    checkpoints_gb: float = Field(2.0, gt=0)  # for students that were stopped and may go on
    refuse_dominated: bool = False  # before training, by the bound of `pipeline.dominated`
    dominated_margin: float = Field(0.05, ge=0, le=1)  # of that bound, in the quality's own unit

    @field_validator("rungs")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if value != sorted(set(value)) or any(rung < 1 for rung in value):
            raise ValueError(f"{value} are no rungs; give rising numbers of epochs, each once, such as [1, 2, 4]")
        return value


class FinalsConfig(_Strict):
    """How finalists are distilled in full."""

    seeds: int = Field(3, ge=1, le=20)
    epochs: int | None = Field(None, ge=1)  # None: as many as the trial had
    hours: float | None = Field(None, gt=0)  # spent on finals, over all runs; None: as long as they take


class CarbonConfig(_Strict):
    """Where the electricity comes from; there is no default for it."""

    country: str = Field(pattern=COUNTRY)  # ISO 3166-1 alpha-3
    year: int = Field(ge=1990, le=2100)  # of the grid factor
    grid_g_per_kwh: float | None = Field(None, gt=0)  # a factor of the user's own, with its basis and source
    basis: Literal["lifecycle", "direct"] | None = None
    source: str | None = Field(None, min_length=1)
    pue: float = Field(1.0, ge=1, le=10)  # facility's energy over the machines' own; 1 on a desk and at the edge
    embodied_kg: float | None = Field(None, gt=0)  # CO2e of making the device
    lifetime_years: float | None = Field(None, gt=0)
    device_share: float = Field(1.0, gt=0, le=1)  # of the device that one inference occupies

    @model_validator(mode="after")
    def _whole(self) -> CarbonConfig:
        own = [self.grid_g_per_kwh is not None, self.basis is not None, self.source is not None]
        if any(own) and not all(own):
            raise ValueError("a grid factor of your own needs `grid_g_per_kwh`, `basis` and `source` together")
        if (self.embodied_kg is None) != (self.lifetime_years is None):
            raise ValueError("the embodied part needs `embodied_kg` and `lifetime_years` together")
        _ = self.grid  # a country or year that the table does not have is told now
        return self

    @property
    def grid(self) -> grids.Grid:
        """The factor, the user's own or the table's."""
        if self.grid_g_per_kwh is None:
            return grids.known(self.country, self.year)
        return grids.Grid(self.country, self.year, self.grid_g_per_kwh, str(self.basis), str(self.source))


class SearchConfig(_Strict):
    """One search, whole. `resolved()` is what is stored and compared on resume."""

    name: str = Field(pattern=NAME)
    task: TaskConfig
    teacher: TeacherConfig
    target: TargetConfig = TargetConfig()
    space: str | dict[str, Any] = "default"
    objectives: list[str] = Field(default_factory=list)
    energy: Literal["measured", "modelled"] = "measured"
    budget: dict[str, float] = Field(default_factory=dict)
    trials: TrialsConfig = TrialsConfig()
    finals: FinalsConfig = FinalsConfig()
    limits: LimitsConfig = LimitsConfig()
    carbon: CarbonConfig | None = None
    sampler: SamplerConfig = SamplerConfig()
    recipes: Literal["all", "none"] | list[str] = "all"
    warm_start: str | None = Field(None, pattern=NAME)  # the name of another search
    keep: Literal["all", "front"] = "front"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)

    @field_validator("target", mode="before")
    @classmethod
    def _target_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("sampler", mode="before")
    @classmethod
    def _sampler_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("objectives", "budget")
    @classmethod
    def _known_metrics(cls, value: Any) -> Any:
        for name in value:
            if name not in METRICS:
                raise ValueError(f"no metric named {name!r}{near(name, METRICS)}")
        return value

    @field_validator("budget")
    @classmethod
    def _sensible_limits(cls, value: dict[str, float]) -> dict[str, float]:
        for name, limit in value.items():
            if not limit > 0:
                raise ValueError(f"{name}: {limit:g} can never be met; give a limit above 0")
            if METRICS[name].quality and limit > 1:
                raise ValueError(f"{name}: {limit:g} can never be met; a quality is at most 1")
        return value

    @model_validator(mode="after")
    def _tokenizer(self) -> SearchConfig:
        if self.task.input_kind == "text" and self.task.tokenizer is None:
            if self.teacher.place is None:
                raise ValueError("a teacher of texts is fine-tuned, not made from nothing: give it `from_checkpoint:`")
            object.__setattr__(self, "task", self.task.model_copy(update={"tokenizer": self.teacher.place}))
        return self

    @model_validator(mode="after")
    def _objectives(self) -> SearchConfig:
        if not self.objectives:
            object.__setattr__(self, "objectives", [self.task.metric, "latency_p50_ms", "energy_mj"])
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError("an objective is named twice; name each once")
        if self.task.metric not in self.objectives:
            raise ValueError(f"the task's metric {self.task.metric!r} is not among the objectives; add it")
        if len(self.objectives) < 2:
            raise ValueError("one objective makes no front; add latency_p50_ms, energy_mj or size_mb")
        return self

    def resolved(self) -> dict[str, Any]:
        """Plain data, every default written out."""
        return self.model_dump(mode="json")
