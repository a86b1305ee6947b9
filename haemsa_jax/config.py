"""Configuration: frozen dataclasses, validated once when they are made, free of jax.

A run is described by three of them: which tasks (`TaskSpec`), which network (`NetworkConfig`) and
which training (`TrainConfig`). All turn to plain JSON and back (`to_json`, `from_json`), which is
how they travel beside a checkpoint.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haemsa_jax.errors import InputError

MODALITIES = ("text", "audio", "vision")
LOCAL_EXPERTS = ("pointwise", "convolution", "attention", "recurrence")
FUSION_OPERATORS = ("concat", "tensor", "attention", "gated_sum")
TEXT_MODES = ("frozen", "tuned", "adapted")
PRECISIONS = ("float32", "bfloat16")
TASK_WEIGHTINGS = ("fixed", "uncertainty")
# Losses for rare classes, each off at 0.
IMBALANCE = ("class_balance", "focal", "logit_adjustment")
ACTIVATIONS = ("gelu", "gelu_new", "relu")
KINDS = ("regression", "classification", "multilabel")

# Metrics a task may ask for, by kind. `training/metrics.py` defines each of them.
METRICS = {
    "regression": (
        "mae", "corr", "acc7", "acc5", "acc3",
        "acc2_has0", "f1_has0", "acc2_non0", "f1_non0",
    ),
    "classification": ("accuracy", "f1_weighted", "f1_macro"),
    "multilabel": ("wacc_mean", "f1_mean"),
}  # fmt: skip


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)


@dataclass(frozen=True)
class TaskSpec:
    """One target on one data set.

    Attributes:
      name: name within its data set, such as `ui`.
      kind: one of `KINDS`.
      metrics: what is reported, from `METRICS[kind]`; the first is the primary one.
      classes: names of the classes or labels; empty for regression.
      range: lowest and highest label of a regression, in label units; None otherwise.
    """

    name: str
    kind: str
    metrics: tuple[str, ...]
    classes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def __post_init__(self):
        _require(
            self.kind in KINDS,
            f"task {self.name!r}: kind {self.kind!r} is unknown; choose from {', '.join(KINDS)}",
        )
        _require(bool(self.metrics), f"task {self.name!r}: at least one metric is needed")
        for metric in self.metrics:
            _require(
                metric in METRICS[self.kind],
                f"task {self.name!r}: metric {metric!r} does not fit a {self.kind}; "
                f"choose from {', '.join(METRICS[self.kind])}",
            )
        if self.kind == "regression":
            _require(not self.classes, f"task {self.name!r}: a regression has no classes")
            _require(
                self.range is not None and self.range[0] < self.range[1],
                f"task {self.name!r}: range {self.range} must be (lowest, highest) label",
            )
        else:
            _require(
                len(self.classes) >= (2 if self.kind == "classification" else 1),
                f"task {self.name!r}: a {self.kind} needs its class names, got {self.classes}",
            )

    @property
    def outputs(self) -> int:
        """Width of the head: 1 for a regression, else the number of classes or labels."""
        return max(1, len(self.classes))

    @property
    def primary(self) -> str:
        """The metric by which validation selects."""
        return self.metrics[0]


@dataclass(frozen=True)
class Parts:
    """Which parts of the supernet are built, by name.

    Attributes:
      modalities: per task id the modalities that it may read, at least one.
      local: per modality that some task reads, the local experts of every block in use.
      links: (source, target) of every cross-modal link.
      fusion: global experts that some task uses.
    """

    modalities: Mapping[str, tuple[str, ...]]
    local: Mapping[str, tuple[tuple[str, ...], ...]]
    links: tuple[tuple[str, str], ...]
    fusion: tuple[str, ...]


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes of an encoder.

    Attributes:
      vocabulary: tokens it knows.
      positions: rows of the position table.
      first_position: row of the first token; RoBERTa and MPNet count from behind the padding's.
      width: D, of every token.
      layers: L.
      heads: attention heads; divides `width`.
      hidden: width inside a layer's perceptron.
      activation: one of `ACTIVATIONS`.
      epsilon: of the layer norms.
      buckets: relative position buckets, 0 for none.
    """

    vocabulary: int
    positions: int
    first_position: int
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    buckets: int = 0

    def __post_init__(self):
        _require(
            self.width % self.heads == 0,
            f"encoder: width={self.width} must be a multiple of heads={self.heads}",
        )
        _require(
            self.activation in ACTIVATIONS,
            f"encoder: activation {self.activation!r} is unknown; choose from "
            f"{', '.join(ACTIVATIONS)}",
        )

    @property
    def max_tokens(self) -> int:
        """The longest text it has positions for."""
        return self.positions - self.first_position


@dataclass(frozen=True)
class TextConfig:
    """The encoder that turns transcripts into token vectors, in place of text features.

    Attributes:
      encoder: its name or folder, as it was given.
      fingerprint: of its weights and tokeniser.
      max_tokens: longer transcripts are cut off.
      mode: `frozen`, vectors are computed once; `tuned`, the encoder is part of the network and is
        trained with it; `adapted`, likewise, but of the encoder only adapters are trained.
      datasets: those that have transcripts; others keep their text features.
      shapes: of the encoder.
      rank: of the adapters.
      precision: in which an encoder within the network multiplies, one of `PRECISIONS`; weights are
        float32 always.
    """

    encoder: str
    fingerprint: str
    max_tokens: int
    mode: str
    datasets: tuple[str, ...]
    shapes: EncoderConfig
    rank: int = 16
    precision: str = "float32"

    def __post_init__(self):
        for name, value, known in (
            ("mode", self.mode, TEXT_MODES), ("precision", self.precision, PRECISIONS),
        ):  # fmt: skip
            _require(
                value in known,
                f"text: {name} {value!r} is unknown; choose from {', '.join(known)}",
            )
        _require(self.rank > 0, f"text: rank={self.rank} of the adapters must be positive")


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that fixes the parameter shapes of a HAEMSA network.

    Attributes:
      widths: per data set, the feature width of each modality it has.
      tasks: task id (`dataset:task`) to its spec, in the order of the task axis.
      width: D, the width of every token and summary.
      depth: L, local blocks a modality.
      heads: attention heads; divides `width`.
      expansion: hidden width of the pointwise experts, as a multiple of `width`.
      kernel: tokens that the temporal convolution sees; odd.
      link_width: width of queries, keys and values of a cross-modal link; divided by `heads`.
      fusion_rank: rank of the tensor-fusion operator.
      context: per conversational data set, utterances (before, after) the target that a sample
        sees; data sets not named see the target alone.
      max_offset: utterances farther than this from the target share a position code.
      clip: standardised features are clipped to +-clip standard deviations.
      parts: what is built of it; None for all, the supernet.
      text: where the text modality's features come from; None for those of the data sets.
    """

    widths: Mapping[str, Mapping[str, int]]
    tasks: Mapping[str, TaskSpec]
    width: int = 64
    depth: int = 2
    heads: int = 4
    expansion: int = 2
    kernel: int = 3
    link_width: int = 32
    fusion_rank: int = 4
    context: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    max_offset: int = 16
    clip: float = 5.0
    parts: Parts | None = None
    text: TextConfig | None = None

    def __post_init__(self):
        for name in (
            "width", "depth", "heads", "expansion", "kernel", "link_width", "fusion_rank",
            "max_offset", "clip",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(value > 0, f"network: {name}={value} must be positive")
        for name in ("width", "link_width"):
            value = getattr(self, name)
            _require(
                value % self.heads == 0,
                f"network: {name}={value} must be a multiple of heads={self.heads}",
            )
        _require(self.kernel % 2 == 1, f"network: kernel={self.kernel} must be odd")
        _require(bool(self.tasks), "network: at least one task is needed")
        for task_id in self.tasks:
            dataset = dataset_of(task_id)
            _require(
                dataset in self.widths,
                f"network: task {task_id!r} is on {dataset!r}, but the data sets are "
                f"{', '.join(self.widths)}",
            )
        for dataset, (past, future) in self.context.items():
            _require(
                dataset in self.widths and past >= 0 and future >= 0,
                f"network: context {past}+{future} of {dataset!r}: neither number may be negative "
                f"and the data set must be one of {', '.join(self.widths)}",
            )
        for dataset, widths in self.widths.items():
            _require(
                bool(widths),
                f"network: data set {dataset!r} has no modality; if it has words, name an encoder "
                "that makes features of them, such as --text=minilm",
            )
            _require(bool(self.tasks_of(dataset)), f"network: data set {dataset!r} has no task")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality axis: the known order first, then others by name."""
        found = {modality for widths in self.widths.values() for modality in widths}
        known = tuple(modality for modality in MODALITIES if modality in found)
        return known + tuple(sorted(found - set(known)))

    @functools.cached_property
    def built(self) -> Parts:
        """The parts that are built, `parts` or everything."""
        if self.parts is not None:
            return self.parts
        modalities = {
            task_id: tuple(m for m in self.modalities if m in self.widths[dataset_of(task_id)])
            for task_id in self.tasks
        }
        return Parts(
            modalities=modalities,
            local={m: (LOCAL_EXPERTS,) * self.depth for m in self.modalities},
            links=tuple((s, t) for t in self.modalities for s in self.modalities if s != t),
            fusion=FUSION_OPERATORS,
        )

    @property
    def built_modalities(self) -> tuple[str, ...]:
        """Modalities of which anything is built, in the order of the modality axis."""
        return tuple(m for m in self.modalities if m in self.built.local)

    def stems_of(self, dataset: str) -> tuple[str, ...]:
        """Modalities of `dataset` that some task reads."""
        read = {m for task_id in self.tasks_of(dataset) for m in self.built.modalities[task_id]}
        return tuple(m for m in self.modalities if m in read)

    def encodes(self, dataset: str) -> bool:
        """Whether the text of `dataset` are token numbers, for an encoder within the network."""
        within = self.text is not None and self.text.mode != "frozen"
        return within and dataset in self.text.datasets

    @property
    def adapts(self) -> bool:
        """Whether there is an encoder within the network of which only adapters are trained."""
        return self.text is not None and self.text.mode == "adapted" and bool(self.text.datasets)

    @property
    def marks(self) -> bool:
        """Whether an encoder within the network reads context, from which targets must be told."""
        return any(self.encodes(name) and any(self.context_of(name)) for name in self.widths)

    def tasks_of(self, dataset: str) -> tuple[str, ...]:
        """Ids of the tasks on `dataset`, in task-axis order."""
        return tuple(task_id for task_id in self.tasks if dataset_of(task_id) == dataset)

    def context_of(self, dataset: str) -> tuple[int, int]:
        """Utterances (before, after) the target that a sample of `dataset` sees."""
        return self.context.get(dataset, (0, 0))

    def task_index(self, task_id: str) -> int:
        """Place of a task on the task axis."""
        return list(self.tasks).index(task_id)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that training needs beside network and data.

    Attributes:
      seed: root of every random stream.
      seeds: networks trained side by side in one program, with seeds `seed`, `seed` + 1, ...
      epochs: passes over the largest task's training split.
      batch_size: samples of a task in one step, over all devices; the mean over tasks where
        `sampling_temperature` makes them differ.
      sampling_temperature: tasks come in proportion to their size to the power of one over it (1 is
        proportional to size); 0 for all tasks equally.
      learning_rate: peak of AdamW's schedule (linear warm-up, cosine to zero).
      warmup: share of the steps that warm up.
      weight_decay: decoupled, on matrices only.
      clip_norm: global gradient norm.
      dropout: rate in experts, links, fusion and heads.
      input_dropout: rate on standardised features.
      modality_dropout: rate at which a present modality is hidden in training, one always stays.
      ema: decay of the averaged weights that are validated and kept.
      auxiliary: weight of the single-modality heads' losses.
      encoder_rate: learning rate of a text encoder within the network, as a share of the others'.
      layer_decay: each layer of the encoder learns so much slower than the one above it.
      encoder_dropout: rate within the encoder.
      regression_loss: `l1`, `l2` or `huber`, on standardised labels.
      class_balance: classes weigh their frequency to the power of minus so much; 0 for equal
        weights, 1 for equal sums.
      focal: what is predicted well weighs less: (1 - p) to the power of so much; 0 for all equally.
      logit_adjustment: so many times the classes' log-odds are added to the logits in training, so
        that without them rare classes are said more often; 0 for none.
      task_weighting: `fixed`, or `uncertainty`, which learns a factor for each task.
      task_weights: task id to weight; tasks not named weigh 1.
      evaluate_every: epochs between validations.
      patience: validations in which no seed improved before training ends; 0 never ends early.
    """

    seed: int = 0
    seeds: int = 1
    epochs: int = 20
    batch_size: int = 64
    sampling_temperature: float = 0.0
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 1.0
    clip_norm: float = 1.0
    dropout: float = 0.2
    input_dropout: float = 0.2
    modality_dropout: float = 0.1
    ema: float = 0.995
    auxiliary: float = 0.1
    encoder_rate: float = 0.1
    layer_decay: float = 0.9
    encoder_dropout: float = 0.1
    regression_loss: str = "huber"
    class_balance: float = 0.0
    focal: float = 0.0
    logit_adjustment: float = 0.0
    task_weighting: str = "fixed"
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    evaluate_every: int = 1
    patience: int = 0

    def __post_init__(self):
        for name in (
            "seeds", "epochs", "batch_size", "evaluate_every", "learning_rate", "clip_norm",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(value > 0, f"training: {name}={value} must be positive")
        for name in (
            "weight_decay", "auxiliary", "patience", "seed", "encoder_rate", "layer_decay",
            "sampling_temperature", *IMBALANCE,
        ):  # fmt: skip
            value = getattr(self, name)
            _require(value >= 0, f"training: {name}={value} must not be negative")
        for name in (
            "warmup", "dropout", "input_dropout", "modality_dropout", "encoder_dropout", "ema",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(0 <= value < 1, f"training: {name}={value} must lie in [0, 1)")
        _require(
            self.regression_loss in ("l1", "l2", "huber"),
            f"training: regression_loss={self.regression_loss!r} is unknown; "
            "choose from l1, l2, huber",
        )
        _require(
            self.task_weighting in TASK_WEIGHTINGS,
            f"training: task_weighting={self.task_weighting!r} is unknown; "
            f"choose from {', '.join(TASK_WEIGHTINGS)}",
        )
        for task_id, weight in self.task_weights.items():
            _require(weight >= 0, f"training: weight {weight} of {task_id!r} must not be negative")

    @property
    def imbalance(self) -> tuple[str, ...]:
        """The losses for rare classes that are on."""
        return tuple(name for name in IMBALANCE if getattr(self, name))


def dataset_of(task_id: str) -> str:
    """`cmu_mosi/contextual:sentiment` -> `cmu_mosi/contextual`."""
    return task_id.rpartition(":")[0]


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return dataclasses.asdict(config)


def task_from_json(values: Mapping[str, Any]) -> TaskSpec:
    """Inverse of `to_json` for a `TaskSpec`."""
    span = values.get("range")
    return TaskSpec(
        name=values["name"],
        kind=values["kind"],
        metrics=tuple(values["metrics"]),
        classes=tuple(values.get("classes", ())),
        range=tuple(span) if span is not None else None,
    )


def network_from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """Inverse of `to_json` for a `NetworkConfig`."""
    tasks = {task_id: task_from_json(spec) for task_id, spec in values["tasks"].items()}
    context = {dataset: tuple(window) for dataset, window in values["context"].items()}
    parts = parts_from_json(values["parts"]) if values.get("parts") else None
    text = text_from_json(values["text"]) if values.get("text") else None
    given = {"tasks": tasks, "context": context, "parts": parts, "text": text}
    return NetworkConfig(**{**values, **given})


def text_from_json(values: Mapping[str, Any]) -> TextConfig:
    """Inverse of `to_json` for a `TextConfig`."""
    given = {"datasets": tuple(values["datasets"]), "shapes": EncoderConfig(**values["shapes"])}
    return TextConfig(**{**values, **given})


def parts_from_json(values: Mapping[str, Any]) -> Parts:
    """Inverse of `to_json` for `Parts`."""
    return Parts(
        modalities={task_id: tuple(names) for task_id, names in values["modalities"].items()},
        local={m: tuple(tuple(block) for block in blocks) for m, blocks in values["local"].items()},
        links=tuple((source, target) for source, target in values["links"]),
        fusion=tuple(values["fusion"]),
    )


def train_from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Inverse of `to_json` for a `TrainConfig`."""
    return TrainConfig(**values)
