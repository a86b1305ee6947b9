"""What every model is told: data sets, tasks, context, encoders, and which parts are built."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from haemsa_jax.config.checks import (
    WHOLE,
    require,
    require_each,
    require_known,
    require_number,
    require_numbers,
)
from haemsa_jax.config.encoder import EncoderSpec
from haemsa_jax.config.frozen import frozen
from haemsa_jax.config.names import head_name, stem_name
from haemsa_jax.config.task import TaskSpec, dataset_of

MODALITIES = ("text", "audio", "vision")
SPEAKERS = "ignored", "read"


def in_order(modalities: Collection[str]) -> tuple[str, ...]:
    """Modalities as the modality axis has them: the known order first, then others by name."""
    known = tuple(modality for modality in MODALITIES if modality in modalities)
    return known + tuple(sorted({*modalities} - {*known}))


@dataclass(frozen=True)
class NetworkConfig:
    """What any model is told; each model's own configuration adds its sizes.

    Hashable, so that it can be a static argument and the attribute of a module.

    Attributes:
      widths: per data set, the feature width of each modality it has.
      tasks: task id (`dataset:task`) to its spec, in the order of the task axis.
      width: D, width of the representation of every token and summary.
      context: per conversational data set, utterances (before, after) the target that a sample
        sees; data sets not named see the target alone.
      max_offset: utterances farther than this from the target share a position encoding.
      clip: standardised features are clipped to so many standard deviations.
      encoders: by modality the encoder of its raw input; a modality that is not named has the
        features of the data sets.
      kept: of a specialised network, the labels that are left of each gene of the structure, by
        gene; a gene that is not named keeps all. Empty for the supernet, in which all is built.
      speakers: data sets whose tokens say who speaks them, the speaker of the target or another.
    """

    widths: Mapping[str, Mapping[str, int]]
    tasks: Mapping[str, TaskSpec]
    width: int = 32
    context: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    max_offset: int = 16
    clip: float = 5.0
    encoders: Mapping[str, EncoderSpec] = dataclasses.field(default_factory=dict)
    kept: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    speakers: tuple[str, ...] = ()

    model: ClassVar[str] = ""
    # Whether losses of the model's own compare samples of which some is hidden with all of them.
    compares_views: ClassVar[bool] = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, frozen(getattr(self, field.name)))
        require_numbers(self, "network")
        require_each(
            self, "network", ("width", "max_offset", "clip"), lambda x: x > 0, "must be positive"
        )
        require(bool(self.tasks), "network: at least one task is needed")
        for task_id in self.tasks:
            dataset = dataset_of(task_id)
            require(
                dataset in self.widths,
                f"network: task {task_id!r} is on {dataset!r}, but the data sets are "
                f"{', '.join(self.widths)}",
            )
        for dataset, (past, future) in self.context.items():
            for number in (past, future):
                require_number(number, int, f"network: context of {dataset!r}")
            require(
                dataset in self.widths and 0 <= min(past, future) <= past + future < WHOLE // 2,
                f"network: context {past}+{future} of {dataset!r}: neither number may be negative "
                f"or huge, and the data set must be one of {', '.join(self.widths)}",
            )
        for dataset in self.speakers:
            require(
                dataset in self.widths,
                f"network: speakers of {dataset!r} are to be read, but the data sets are "
                f"{', '.join(self.widths)}",
            )
        for dataset, widths in self.widths.items():
            require(
                bool(widths),
                f"network: data set {dataset!r} has no modality; if it has words, name an encoder "
                "that makes features of them, such as --text=minilm",
            )
            for modality, width in widths.items():
                require_number(width, int, f"network: width of {modality} in {dataset!r}")
                require(
                    width > 0, f"network: width of {modality} in {dataset!r}={width} is no width"
                )
            require(bool(self.tasks_of(dataset)), f"network: data set {dataset!r} has no task")
        for modality, spec in self.encoders.items():
            require(
                modality == spec.modality,
                f"network: the encoder of {modality!r} reads {spec.modality!r}; name it after what "
                "it reads",
            )
        self._check_names()
        self._check_kept()

    def _check_kept(self) -> None:
        """Tasks keep what they can read."""
        for task_id in self.tasks:
            own = self.widths[dataset_of(task_id)]
            kept = self.kept.get(f"modalities/{task_id}", tuple(own))
            require_known(kept, own, f"network: the modality of {task_id!r}")

    def _check_names(self) -> None:
        """Every stem and head must have a name of its own."""
        owners: dict[str, str] = {}
        modules = [
            (stem_name(dataset, m), f"the stem of {dataset!r} for {m}")
            for dataset, widths in self.widths.items()
            for m in widths
        ]
        for task_id in self.tasks:
            modules.append((head_name(task_id), f"the head of {task_id!r}"))
            modules += [
                (head_name(task_id, m), f"the head of {task_id!r} for {m} alone")
                for m in self.widths[dataset_of(task_id)]
            ]
        for name, module in modules:
            require(
                name not in owners,
                f"network: {owners.get(name)} and {module} would both be called {name}; rename "
                "one, for instance with - instead of _",
            )
            owners[name] = module

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality axis."""
        return in_order({modality for widths in self.widths.values() for modality in widths})

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what a model's `Outputs.representations` offers to losses on them."""
        return ()

    @property
    def reach(self) -> int:
        """How many tokens to either side a model's convolutions see; 0 of a model without any."""
        return 0

    def labels(self, gene: str, everything: tuple[str, ...]) -> tuple[str, ...]:
        """What is left of a gene's labels."""
        kept = self.kept.get(gene)
        return everything if kept is None else tuple(x for x in everything if x in kept)

    def reads(self, task_id: str) -> tuple[str, ...]:
        """Modalities that a task can read, in the order of the modality axis."""
        widths = self.widths[dataset_of(task_id)]
        return self.labels(
            f"modalities/{task_id}", tuple(m for m in self.modalities if m in widths)
        )

    @property
    def built_modalities(self) -> tuple[str, ...]:
        """Modalities that some task can read, in the order of the modality axis."""
        read = {m for task_id in self.tasks for m in self.reads(task_id)}
        return tuple(m for m in self.modalities if m in read)

    def stems_of(self, dataset: str) -> tuple[str, ...]:
        """Modalities of `dataset` that some of its tasks can read."""
        read = {m for task_id in self.tasks_of(dataset) for m in self.reads(task_id)}
        return tuple(m for m in self.modalities if m in read)

    def encoder_of(self, modality: str) -> EncoderSpec | None:
        """The encoder of a modality's raw input, be it within the network or before it."""
        return self.encoders.get(modality)

    def encodes(self, dataset: str, modality: str) -> bool:
        """Whether some task reads a modality of `dataset` raw, by an encoder within."""
        spec = self.encoder_of(modality)
        if spec is None or not spec.within:
            return False
        return dataset in spec.datasets and modality in self.stems_of(dataset)

    def encoded(self, dataset: str | None = None) -> tuple[str, ...]:
        """Modalities with an encoder within that some task reads, of one data set or of any."""
        datasets = self.widths if dataset is None else (dataset,)
        return tuple(
            m for m in in_order(self.encoders) if any(self.encodes(name, m) for name in datasets)
        )

    def width_of(self, dataset: str, modality: str) -> int:
        """Width of the tokens that a stem reads: those of an encoder within, or the features."""
        if self.encodes(dataset, modality):
            return self.encoders[modality].shapes.width
        return self.widths[dataset][modality]

    def adapts(self, modality: str) -> bool:
        """Whether there is an encoder within the network of which only adapters are trained."""
        return modality in self.encoded() and self.encoders[modality].mode == "adapted"

    def marks(self, modality: str) -> bool:
        """Whether an encoder within the network reads context, from which targets must be told."""
        return modality in self.encoded() and (
            self.encoders[modality].shapes.marks
            and any(
                self.encodes(name, modality) and any(self.context_of(name)) for name in self.widths
            )
        )

    def tasks_of(self, dataset: str) -> tuple[str, ...]:
        """Ids of the tasks on `dataset`, in task-axis order."""
        return tuple(task_id for task_id in self.tasks if dataset_of(task_id) == dataset)

    def context_of(self, dataset: str) -> tuple[int, int]:
        """Utterances (before, after) the target that a sample of `dataset` sees."""
        return self.context.get(dataset, (0, 0))

    def speaker_labels(self, task_id: str) -> tuple[str, ...]:
        """Whether a task is told who speaks: labels of its gene, none where nothing can be told."""
        dataset, alone = dataset_of(task_id), ("0",)
        windows = [self.kept.get(f"{side}/{task_id}") for side in ("past", "future")]
        read = any(self.context_of(dataset)) and windows != [alone, alone]
        read = read and dataset in self.speakers
        return self.labels(f"speakers/{task_id}", SPEAKERS if read else ())

    def reads_speakers(self, dataset: str) -> bool:
        """Whether some task of a data set is told who speaks."""
        return any(
            SPEAKERS[-1] in self.speaker_labels(task_id) for task_id in self.tasks_of(dataset)
        )

    def task_index(self, task_id: str) -> int:
        """Place of a task on the task axis."""
        return list(self.tasks).index(task_id)

    def changed(self, **changes: Any) -> "NetworkConfig":
        """The configuration with other values of some fields."""
        return dataclasses.replace(self, **changes)
