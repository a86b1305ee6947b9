"""The network: everything that fixes the shapes of its parameters."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from haemsa_jax.config.checks import require, require_each
from haemsa_jax.config.names import head_name, stem_name
from haemsa_jax.config.task import TaskSpec, dataset_of
from haemsa_jax.config.text import TextConfig

MODALITIES = ("text", "audio", "vision")
LOCAL_EXPERTS = ("pointwise", "convolution", "attention", "recurrence")
FUSION_OPERATORS = ("concat", "tensor", "attention", "gated_sum")
SHARING = ("whole", "split", "imputed")


def in_order(modalities: Collection[str]) -> tuple[str, ...]:
    """Modalities as the modality axis has them: the known order first, then others by name."""
    known = tuple(modality for modality in MODALITIES if modality in modalities)
    return known + tuple(sorted({*modalities} - {*known}))


@dataclass(frozen=True)
class Parts:
    """Which parts of the supernet are built, by name.

    Attributes:
      modalities: per task id the modalities that it may read, at least one.
      local: per modality that some task reads, the local experts of every block in use.
      links: (source, target) of every cross-modal link.
      fusion: global experts that some task uses.
      specific: modalities whose specific part some task hears.
      imputed: modalities whose shared part is guessed where they are absent.
    """

    modalities: Mapping[str, tuple[str, ...]]
    local: Mapping[str, tuple[tuple[str, ...], ...]]
    links: tuple[tuple[str, str], ...]
    fusion: tuple[str, ...]
    specific: tuple[str, ...] = ()
    imputed: tuple[str, ...] = ()


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
      sharing: what a modality sends upward: `whole`, its summary; `split`, a shared part, which the
        global experts read, and a specific one, which goes past them to the heads; `imputed`, the
        same, and an absent modality's shared part is guessed from those of the others.
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
    sharing: str = "whole"
    context: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    max_offset: int = 16
    clip: float = 5.0
    parts: Parts | None = None
    text: TextConfig | None = None

    def __post_init__(self):
        positive = (
            "width", "depth", "heads", "expansion", "kernel", "link_width", "fusion_rank",
            "max_offset", "clip",
        )  # fmt: skip
        require_each(self, "network", positive, lambda x: x > 0, "must be positive")
        require_each(
            self, "network", ("width", "link_width"), lambda x: x % self.heads == 0,
            f"must be a multiple of heads={self.heads}",
        )  # fmt: skip
        require(self.kernel % 2 == 1, f"network: kernel={self.kernel} must be odd")
        require(
            self.sharing in SHARING,
            f"network: sharing={self.sharing!r} is unknown; choose from {', '.join(SHARING)}",
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
            require(
                dataset in self.widths and past >= 0 and future >= 0,
                f"network: context {past}+{future} of {dataset!r}: neither number may be negative "
                f"and the data set must be one of {', '.join(self.widths)}",
            )
        for dataset, widths in self.widths.items():
            require(
                bool(widths),
                f"network: data set {dataset!r} has no modality; if it has words, name an encoder "
                "that makes features of them, such as --text=minilm",
            )
            require(bool(self.tasks_of(dataset)), f"network: data set {dataset!r} has no task")
        self._check_names()

    def _check_names(self) -> None:
        """Every stem and head must have a name of its own."""
        whose: dict[str, str] = {}
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
                name not in whose,
                f"network: {whose.get(name)} and {module} would both be called {name}; rename one, "
                "for instance with - instead of _",
            )
            whose[name] = module

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality axis."""
        return in_order({modality for widths in self.widths.values() for modality in widths})

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
            specific=self.modalities if self.splits else (),
            imputed=self.modalities if self.imputes else (),
        )

    @property
    def splits(self) -> bool:
        """Whether summaries are split into shared and specific parts."""
        return self.sharing != "whole"

    @property
    def imputes(self) -> bool:
        """Whether absent modalities' shared parts can be guessed."""
        return self.sharing == "imputed" and len(self.modalities) > 1

    @property
    def built_modalities(self) -> tuple[str, ...]:
        """Modalities of which anything is built, in the order of the modality axis."""
        return tuple(m for m in self.modalities if m in self.built.local)

    def stems_of(self, dataset: str) -> tuple[str, ...]:
        """Modalities of `dataset` that some task reads."""
        read = {m for task_id in self.tasks_of(dataset) for m in self.built.modalities[task_id]}
        return tuple(m for m in self.modalities if m in read)

    def encodes(self, dataset: str) -> bool:
        """Whether some task reads the text of `dataset` as token numbers, by an encoder within."""
        within = self.text is not None and self.text.within
        return within and dataset in self.text.datasets and "text" in self.stems_of(dataset)

    def width_of(self, dataset: str, modality: str) -> int:
        """Width of the tokens that a stem reads: those of an encoder within, or the features."""
        if modality == "text" and self.encodes(dataset):
            return self.text.shapes.width
        return self.widths[dataset][modality]

    @property
    def adapts(self) -> bool:
        """Whether there is an encoder within the network of which only adapters are trained."""
        within = any(self.encodes(dataset) for dataset in self.widths)
        return within and self.text.mode == "adapted"

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
