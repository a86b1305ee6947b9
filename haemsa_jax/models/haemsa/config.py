"""HAEMSA's configuration: everything that fixes the shapes of its parameters."""

from dataclasses import dataclass
from typing import ClassVar

from haemsa_jax.config import NetworkConfig
from haemsa_jax.config.checks import require, require_counts, require_each

LOCAL_EXPERTS = ("pointwise", "convolution", "attention", "recurrence")
FUSION_OPERATORS = ("concat", "tensor", "attention", "gated_sum")
SHARING = ("whole", "split", "imputed")


@dataclass(frozen=True)
class HaemsaConfig(NetworkConfig):
    """Everything that fixes the parameter shapes of a HAEMSA network.

    The defaults are the small network with which results were recorded: data sets of this field
    have a few thousand utterances, and a search trains dozens of such networks. Trainings and
    searches share them, so that a search's baseline is the network that training has by default.

    Attributes:
      depth: L, blocks of local experts of each modality.
      heads: attention heads; `width` and `link_width` are multiples of it.
      expansion: hidden width of the pointwise experts, as a multiple of `width`.
      kernel: tokens that the temporal convolution sees; odd.
      link_width: width of queries, keys and values of a cross-modal link (attention from the tokens
        of one modality to another's).
      fusion_rank: rank of the tensor-fusion operator.
      sharing: representations of a modality: `whole`, one summary; `split`, a shared one, which the
        global experts read, and a specific one, which bypasses them; `imputed`, the same, and that
        an absent modality would share is predicted from the others'.
      experts: local experts of every block, by the names they are registered with.
      operators: global experts, likewise.
      link: kind of the cross-modal links, by its name.
    """

    depth: int = 1
    heads: int = 4
    expansion: int = 2
    kernel: int = 3
    link_width: int = 32
    fusion_rank: int = 4
    sharing: str = "whole"
    experts: tuple[str, ...] = LOCAL_EXPERTS
    operators: tuple[str, ...] = FUSION_OPERATORS
    link: str = "attention"

    model: ClassVar[str] = "haemsa"

    def __post_init__(self):
        super().__post_init__()
        require_counts(self, ("depth", "heads"))
        positive = ("expansion", "kernel", "link_width", "fusion_rank")
        require_each(self, "network", positive, lambda x: x > 0, "must be positive")
        require_each(
            self,
            "network",
            ("width", "link_width"),
            lambda x: x % self.heads == 0,
            f"must be a multiple of heads={self.heads}",
        )
        require(self.kernel % 2 == 1, f"network: kernel={self.kernel} must be odd")
        require(
            self.sharing in SHARING,
            f"network: sharing={self.sharing!r} is unknown; choose from {', '.join(SHARING)}",
        )
        for name in ("experts", "operators"):
            names = getattr(self, name)
            require(
                bool(names) and len({*names}) == len(names),
                f"network: {name}={', '.join(names)} must be names, each once",
            )

    @property
    def reach(self) -> int:
        """How many tokens to either side the temporal convolution sees."""
        return self.kernel // 2

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what the model's `Outputs.representations` offers to losses on them."""
        split = ("shared", "specific") if self.splits else ()
        return ("summaries", *split, *(("imputed",) if self.imputed else ()))

    @property
    def splits(self) -> bool:
        """Whether summaries are split into shared and specific parts."""
        return self.sharing != "whole"

    @property
    def imputes(self) -> bool:
        """Whether absent modalities' shared parts can be imputed."""
        return self.sharing == "imputed" and len(self.modalities) > 1

    def depths(self, modality: str) -> tuple[str, ...]:
        """How many blocks of a modality can be in use."""
        return self.labels(f"depth/{modality}", tuple(str(n + 1) for n in range(self.depth)))

    def blocks(self, modality: str) -> tuple[tuple[str, ...], ...]:
        """The local experts of every block that is built."""
        count = int((self.depths(modality) or "0")[-1])
        return tuple(self.labels(f"local/{modality}/{n}", self.experts) for n in range(count))

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """(source, target) of every cross-modal link that is built."""
        names = self.built_modalities
        every = tuple(f"{s}>{t}" for t in names for s in names if s != t)
        pairs = (name.split(">") for name in self.labels("links", every))
        return tuple((source, target) for source, target in pairs)

    def operators_of(self, task_id: str) -> tuple[str, ...]:
        """The global experts that a task can use."""
        return self.labels(f"fusion/{task_id}", self.operators)

    @property
    def built_operators(self) -> tuple[str, ...]:
        """The global experts that some task can use."""
        used = {name for task_id in self.tasks for name in self.operators_of(task_id)}
        return tuple(name for name in self.operators if name in used)

    def specific_of(self, task_id: str) -> tuple[str, ...]:
        """Modalities whose specific part a task can read."""
        return self.labels(f"specific/{task_id}", self.reads(task_id) if self.splits else ())

    @property
    def built_specific(self) -> tuple[str, ...]:
        """Modalities whose specific part some task can read."""
        used = {m for task_id in self.tasks for m in self.specific_of(task_id)}
        return tuple(m for m in self.modalities if m in used)

    @property
    def imputed(self) -> tuple[str, ...]:
        """Modalities whose shared part is imputed where they are absent."""
        return self.labels("imputed", self.built_modalities if self.imputes else ())
