"""RunConfig: all that determines a run, as one YAML file of validated sections.

The defaults of every option stand here, those of the network in :class:`fusecast.model.config.ModelConfig`; the command
line takes names, defaults and help texts from these fields. Loads neither torch nor polars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from fusecast.config_section import (
    NUMBER,
    Count,
    FiniteFloat,
    Float,
    Int,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Section,
    with_current_names,
)
from fusecast.errors import ConfigError
from fusecast.io.atomic import write_text_atomically
from fusecast.io.documents import YamlDumper
from fusecast.io.option_files import read_options, with_checksum
from fusecast.model.config import Head, ModelConfig

CalendarFeatureName = Literal["minute", "hour", "day_of_week", "day_of_month", "month"]
Scaling = Literal["standard", "robust", "mean_abs", "none"]
TargetTransform = Literal["none", "log1p", "asinh"]
WindowScaling = Literal["none", "mean", "last", "season"]
LearningRateSchedule = Literal["plateau", "cosine"]
BlendMethod = Literal["auto", "validation", "none"]
WeightInit = Literal["torch", "paper"]
FinalTraining = Literal["refit", "finetune", "none"]
Precision = Literal[16, 32, 64, "16", "32", "64", "bf16", "16-mixed", "bf16-mixed", "32-true", "64-true"]
Accelerator = Literal["auto", "cpu", "cuda", "gpu", "mps"]
LoggerName = Literal["tensorboard", "csv", "mlflow", "wandb", "none"]
Calibration = Literal["auto", "cqr", "split", "adaptive", "none"]
FutureRows = Literal["auto", "each", "none"]
SplitSize = float | int | str
"""Size of a split, see :class:`SplitConfig`; here too, since `fusecast.data.splits` imports polars."""

MAX_EPOCH_WINDOWS = 16_384
"""Windows of an epoch where none of its options is set, and there are more."""
USUAL_BATCH, USUAL_RATE = 64, 1e-3
MAX_SEED = 2**32 - 1
"""The largest seed that NumPy, and so Lightning, takes."""
EARLIER_DEFAULTS: Mapping[str, Any] = {
    "blend": "none",
    "calibration": "none",
    "features": {"lower_bound": "none"},
    "network": {"head": "quantile"},
    "table": {"future_rows": "none"},
    "training": {
        "members": 1,
        "final": "none",
        "average_weights": False,
        "min_epoch_steps": 1,
        "max_epoch_steps": None,
    },
}
"""What options meant in files of runs that were written before there were these options."""
TIME = re.compile(r"(?=.*[1-9])\d+(\.\d+)?[smh]")


def _id_as_name(value: Any) -> Any:
    return (*value, None)[0] if isinstance(value, list | tuple) and len(value) < 2 else value


class TableConfig(Section):
    """The role of each column of the table."""

    _section = "table"

    id: Annotated[str | tuple[str, ...] | None, BeforeValidator(_id_as_name)] = "unique_id"
    """Column that names the series, or several together; a table without the default column is one series."""
    time: str = "ds"
    """Column of times or integer steps."""
    target: Names = ("y",)
    """Columns to forecast."""
    static: Names = ()
    """Columns with one value a series."""
    known: Names = ()
    """Columns known in the future."""
    observed: Names = ()
    """Columns known up to the present only."""
    categorical: Names = ()
    """Columns that are categories although they are numbers; text and booleans always are."""
    weight: str | None = None
    """Column of numbers that say how much each row counts in training and validation: 0 leaves it out of both."""
    frequency: str | None = None
    """Length of a step, such as 30m, 1h, 1d, 1b (business days), 1mo or 1i; inferred where it is not given."""
    time_zone: str | None = None
    """Zone in which times are read; None for that of the column. Naive times are local times of this zone."""
    future_rows: FutureRows = "auto"
    """Which rows without a target are the steps to forecast, and their known columns the plan: `auto` those after the
    last target of all series, `each` those after the last of their own series, `none`: they are missing values."""
    streaming: bool | None = None
    """Whether a Parquet file or folder is read in pieces, and its numbers stay on disk; by its size if not given."""


class SplitConfig(Section):
    """How much of the end of each series is kept for validation and for test.

    A size is one of three things. A float is a fraction of the series' rows, but at least one horizon: ``0.15``. An int
    is a number of horizons: ``3``. A text is the ISO date or time (or the integer step) at which the split begins:
    ``"2017-01-01"``. ``0`` keeps nothing.
    """

    _section = "split"

    validation: SplitSize = 0.15
    """Size of the validation split: a fraction of the rows (0.15), horizons (3), or the date it begins at."""
    test: SplitSize = 0.15
    """Size of the test split, likewise."""

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _check_size(cls, value: Any, info: ValidationInfo) -> Any:
        name = f"split.{info.field_name}"
        if isinstance(value, date):  # a datetime is a date
            return value.isoformat()
        if isinstance(value, bool) or not isinstance(value, float | int | str):
            raise ConfigError.out_of_range(name, repr(value), "fractions, whole numbers of horizons or ISO dates")
        if isinstance(value, float) and not 0.0 <= value < 1.0:
            raise ConfigError.out_of_range(name, value, "[0, 1)")
        if isinstance(value, int) and value < 0:
            raise ConfigError.out_of_range(name, value, "0, 1, 2, ... horizons")
        return value

    @model_validator(mode="after")
    def _leave_rows_to_train_on(self) -> Self:
        fractions = sum(value for value in (self.validation, self.test) if isinstance(value, float))
        if fractions >= 1.0:
            raise ConfigError.out_of_range("split.validation and test together", fractions, "[0, 1)")
        return self


class FeatureConfig(Section):
    """How the columns of a table become numbers; the defaults suit most tables."""

    _section = "features"

    calendar: tuple[CalendarFeatureName, ...] | Literal["auto"] = "auto"
    """Calendar features by name (`minute`, `hour`, `day_of_week`, `day_of_month`, `month`), an empty list for none,
    `auto` for those that vary at the table's frequency and whose cycle (an hour, a day, a week, a month, a year) fits
    twice into the training rows of the longest series."""
    country: Names = ()
    """Countries whose public holidays are a known input, such as `DE`, or `DE-BY` for a part of a country; needs the
    package `holidays` (the extra `calendar`)."""
    target_scaling: Scaling = "standard"
    """Per series: `standard` (mean, deviation), `robust` (median, quartiles), `mean_abs` (0, mean of |y|), `none`."""
    covariate_scaling: Scaling = "standard"
    """The same for observed and known reals; see :func:`fusecast.features.scaling.fit_covariate`."""
    target_transform: TargetTransform | Literal["auto"] = "auto"
    """Before scaling, for targets that span orders of magnitude: `log1p` where they are never negative, `asinh` where
    they may be, as prices with spikes; `none` leaves them; `auto` is `asinh` where single values lie extremely far from
    the others of their series."""
    lower_bound: Literal["auto", "none"] | FiniteFloat = "auto"
    """What no forecast lies below: a number for every target; `none`; or `auto`, which is 0 for each target without a
    negative value in the training rows, and `none` for the others."""
    window_scaling: WindowScaling | tuple[WindowScaling, ...] | Literal["auto"] = "auto"
    """Centre and scale the targets of each window once more by its own lookback, because the level of most series
    moves: `mean` around the mean; `last` around the last known value, for series that drift like random walks;
    `season` around the mean of the last season (24 hours, 7 days), or the last value where three do not fit;
    `none` leaves them, which lets backtests share the work of overlapping windows. Of several, such as `[mean, last]`,
    the members take turns, and those of the kind that forecasts the validation rows best are kept, or all of them.
    `auto` is `[season, mean]` where there are members for both and enough validation rows, else `season`."""
    series_embedding: bool | None = None
    """Feed the series' name to the network as a static category; None: when there is more than one series."""
    relative_position: bool = True
    """Feed each step's position in its window to the network as a known real."""

    @property
    def transform(self) -> TargetTransform:
        """Return the transform of the targets; `none` where none is chosen."""
        return "none" if self.target_transform == "auto" else self.target_transform

    @property
    def window_scalings(self) -> tuple[WindowScaling, ...]:
        """Return all kinds of window scaling; the one that needs no validation rows where none is chosen."""
        if self.window_scaling == "auto":
            return ("season",)
        return (self.window_scaling,) if isinstance(self.window_scaling, str) else self.window_scaling

    @field_validator("window_scaling", mode="before")
    @classmethod
    def _check_kinds(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in (*get_args(WindowScaling), "auto"):
            raise ConfigError.not_one_of("features.window_scaling", value, (*get_args(WindowScaling), "auto"))
        if not isinstance(value, list | tuple):
            return value
        if not value or len(set(map(str, value))) < len(value):
            raise ConfigError.wrong_value("features.window_scaling", repr(value), "different kinds, at least one")
        for kind in value:
            if kind not in get_args(WindowScaling):
                raise ConfigError.not_one_of("a kind in features.window_scaling", kind, get_args(WindowScaling))
        return value[0] if len(value) == 1 else tuple(value)

    @field_validator("calendar", mode="before")
    @classmethod
    def _check_names(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if not isinstance(value, list | tuple):
            raise ConfigError.not_one_of("features.calendar", value, ("auto", "a list of names"))
        for name in value:
            if name not in get_args(CalendarFeatureName):
                raise ConfigError.not_one_of("a name in features.calendar", name, get_args(CalendarFeatureName))
        return value


class NetworkConfig(Section):
    """The sizes of the network that do not follow from the data."""

    _section = "network"

    hidden_size: Int = ModelConfig.hidden_size
    """Width of the network."""
    num_heads: Int = ModelConfig.num_heads
    """Attention heads; they must divide the width."""
    num_lstm_layers: Int = ModelConfig.num_lstm_layers
    """Layers of the LSTM encoder and of the decoder."""
    dropout: Float = ModelConfig.dropout
    """Share of units dropped in training."""
    quantiles: tuple[float, ...] = ModelConfig.quantiles
    """Quantile levels to forecast, increasing."""
    head: Head | Literal["auto"] = "auto"
    """What is forecast: `quantile`, or a distribution: `normal`, `student_t`, `negative_binomial`, `tweedie`. `auto`:
    `negative_binomial` where every target is a small count, `quantile` elsewhere."""
    tweedie_power: Float = ModelConfig.tweedie_power
    """Power of the mean in the variance of `tweedie`."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        self.build_model_config(horizon=1, lookback=1)  # raises a ConfigError before any table is read
        return self

    def build_model_config(self, **sizes: Any) -> ModelConfig:
        """Return the configuration of a network of further `sizes`; where the head is open, it has quantiles."""
        options = {name: value for name, value in self if (name, value) != ("head", "auto")}
        return ModelConfig(**options, **sizes)


class TrainingConfig(Section):
    """Everything about training that is neither data nor the shape of the network."""

    _section = "training"

    learning_rate: PositiveFloat | None = None
    """Largest learning rate. None: 0.001, or 0.002 where there are more than 16,384 windows."""
    lr_schedule: LearningRateSchedule = "plateau"
    """`plateau`: constant, and lower where the validation loss no longer falls; `cosine`: it rises over the first tenth
    of the steps, and then falls to zero along half a cosine until the last step, or minute, that training may take."""
    batch_size: Count | None = None
    """Windows a step, on each device. None: 64, or 32 where there are more than 16,384 windows."""
    max_epochs: Count = 50
    """Epochs at most; an epoch is what lies between two validations, see ``windows_per_epoch``."""
    max_steps: Count | None = None
    """Optimizer steps at most; the last, shorter epoch is validated like the others."""
    max_minutes: PositiveFloat | None = None
    """Minutes of training at most, with those of a resumed run and the final networks; the last epoch is cut short."""
    windows_per_epoch: Count | None = None
    """Windows of an epoch, on all devices together. Epochs go through one long shuffle of all windows, piece by piece,
    so that nothing is seen twice before all has been seen once. None: all, in as many steps as the next two allow."""
    min_epoch_steps: Count = 20
    """Steps of an epoch at least where ``windows_per_epoch`` is None: few windows are taken several times."""
    max_epoch_steps: Count | None = 128
    """Steps of an epoch at most there, for frequent validations; None: those of 16,384 windows."""
    validation_windows: Count | None = 2_000
    """Windows evaluated at a validation, evenly spaced over all there are; None for all."""
    early_stopping_patience: NonNegativeInt | None = 5
    """Validations without improvement after which training stops; None never stops early."""
    early_stopping_min_delta: NonNegativeFloat = 0.0
    """Smallest decrease of the (scaled) loss that counts as an improvement."""
    lr_scheduler_factor: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.5
    """Factor of the learning rate when the validation loss no longer falls, under the schedule `plateau`."""
    lr_scheduler_patience: NonNegativeInt = 2
    """Validations without improvement before the learning rate is reduced."""
    weight_init: WeightInit = "torch"
    """Initial weights: of torch's layers (`torch`), or the paper's (`paper`), see :mod:`fusecast.model.weights`."""
    average_weights: bool = True
    """Validate and keep an average of the weights over about the last ninth of the steps, not those of a single step;
    see :mod:`fusecast.training.callbacks.averaging`."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled, as in AdamW."""
    gradient_clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; None does not clip."""
    precision: Precision | None = None
    """32, 64, 16 or bf16 (mixed). None: on CUDA bf16 where the card has it, else 16; elsewhere 32."""
    accelerator: Accelerator = "auto"
    """Kind of device to train on; auto takes the best there is."""
    devices: Annotated[int, Field(ge=1, le=1_000), NUMBER] = 1
    """Devices on each machine; more than one train in parallel processes (DDP)."""
    num_nodes: Annotated[int, Field(ge=1, le=10_000), NUMBER] = 1
    """Machines that train together."""
    members: Count = 2
    """Networks whose forecasts are mixed, each trained from a seed of its own. On a CPU they train at the same time
    where there are cores, each with its share of the threads."""
    final: FinalTraining = "refit"
    """Networks that learn from all rows, and forecast the future, while those of the training rows are scored: `refit`
    trains them anew for as many steps as those took, `finetune` trains those on for a fourth of their steps; with
    `none` the scored networks forecast too."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), NUMBER] = 42
    """Seed of initial weights, order of windows and dropout. On a CPU the same seed gives the same weights, bit for
    bit."""
    deterministic: bool = False
    """Reproducible results on a GPU too, at some cost in speed."""
    num_workers: Annotated[int, Field(ge=0, le=1_000), NUMBER] = 0
    """Processes that gather batches; 0, in the process itself, is fastest for panels in memory."""
    panel_on_device: bool | None = None
    """Keep the panel on the device and gather its windows there. None: on CUDA, where it takes at most half of the free
    memory; then ``num_workers`` has no effect. True: on any device; False: never."""
    compile: bool = False
    """Compile the network with ``torch.compile``: a slow start, then faster steps on GPUs."""
    checkpoint_minutes: PositiveFloat | None = 5.0
    """Minutes after which ``last.ckpt`` is written within an epoch too, so that a killed run loses no more; it is
    written after every epoch in any case. None: only then."""
    checkpoint_steps: Count | None = None
    """The same in optimizer steps."""
    logger: LoggerName = "tensorboard"
    """tensorboard, csv, mlflow, wandb or none. ``history.csv`` is written in any case."""
    progress: bool = True
    """Show a progress bar on a terminal, and one line an epoch elsewhere."""

    @property
    def rate(self) -> float:
        """Return the largest learning rate."""
        return self.learning_rate or USUAL_RATE

    @property
    def batch(self) -> int:
        """Return the windows a step, on each device."""
        return self.batch_size or USUAL_BATCH

    def of_member(self, number: int) -> Self:
        """Return the options of one network alone: those of the member `number`, counted from 0."""
        return self.model_copy(update={"members": 1, "seed": (self.seed + number) % (MAX_SEED + 1)})

    def epoch_size(self, windows: int) -> int:
        """Return the windows of an epoch, where there are so many in all."""
        if self.windows_per_epoch is not None:
            return min(windows, self.windows_per_epoch)
        step = self.batch * self.devices * self.num_nodes
        most = MAX_EPOCH_WINDOWS if self.max_epoch_steps is None else self.max_epoch_steps * step
        return min(max(windows, self.min_epoch_steps * step), most)


class RunConfig(Section):
    """Everything that determines a run. Unknown names are errors, never ignored."""

    data: str | None = None
    """Path or address of the table; None where a frame was passed in Python."""
    query: str | None = None
    """SQL that returns the rows of the table, where `data` is the address of a database."""
    horizon: Count
    """Steps to forecast."""
    lookback: Count | None = None
    """Steps of history that the network reads; None: chosen from the season, the horizon and the length of series."""
    time_budget: str | None = None
    """Time that `fit` takes at most, from reading the table to writing the model: `90s`, `10m` or `1.5h`."""
    calibration: Calibration = "auto"
    """How the quantiles are calibrated on the validation rows after training: `cqr`, `split` or `adaptive`; `auto`
    chooses by the length of that split; `none` leaves them as the network forecasts them."""
    blend: BlendMethod = "auto"
    """Mix the forecasts with those of simple baselines: `validation`, by weights that suit the validation rows; `auto`
    does so where these hold 100 horizons of all series together; `none`."""
    table: TableConfig = Field(default_factory=TableConfig)  # the role of each column
    split: SplitConfig = Field(default_factory=SplitConfig)  # the sizes of the validation and the test split
    features: FeatureConfig = Field(default_factory=FeatureConfig)  # how columns become numbers
    network: NetworkConfig = Field(default_factory=NetworkConfig)  # the sizes of the network
    training: TrainingConfig = Field(default_factory=TrainingConfig)  # how it is trained

    @field_validator("time_budget")
    @classmethod
    def _check_time(cls, value: str | None) -> str | None:
        if value is not None and not TIME.fullmatch(value):
            raise ConfigError.wrong_value("time_budget", repr(value), "a time such as '90s', '10m' or '1.5h'")
        return value

    @property
    def budget_seconds(self) -> float | None:
        """Return `time_budget` in seconds."""
        if self.time_budget is None:
            return None
        return float(self.time_budget[:-1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[self.time_budget[-1]]

    @classmethod
    def parse(cls, *layers: Mapping[str, Any]) -> Self:
        """Validate plain values, nested by section; each of the `layers` overrides single options of those before.

        Raises
        ------
        ConfigError
            Naming the options that are unknown, missing or out of bounds.
        """
        values: dict[str, Any] = {}
        for layer in layers:
            values = _merge(values, layer)
        return cls(**values)

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a YAML file, with nested overrides on top."""
        return cls.parse(read_options(path), overrides or {})

    def to_yaml(self) -> str:
        """Return the YAML file that reproduces the run, with the checksum of the lines before it in its last line."""
        return with_checksum(yaml.dump(self.to_dict(), Dumper=YamlDumper, sort_keys=False))

    def write(self, path: Path) -> None:
        """Write :meth:`to_yaml` to a file."""
        write_text_atomically(path, self.to_yaml())


def _merge(base: Mapping[str, Any], overrides: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Lay nested overrides over nested options, by their current names; neither is changed."""
    result = dict(base)
    for name, value in with_current_names(overrides, section).items():
        below = result[name] if isinstance(result.get(name), Mapping) else {}
        result[name] = _merge(below, value, name) if isinstance(value, Mapping) else value
    return result
