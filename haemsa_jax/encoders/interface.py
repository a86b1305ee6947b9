"""What an encoder of raw input is, and which families of them there are.

A family is an object that follows the protocol `Encoder` and is registered by its name. Training,
structure, specialisation, warm start and prediction know what stands here and no family. An
encoder is used in one of the modes of `EncoderSpec`: before the network (frozen, pooled), where
`encoders.reading` runs it once over a data set, or within it (tuned, adapted), where
`models.inputs` calls it on what the data set has.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Num

from haemsa_jax.config import EncoderSpec, NetworkConfig, encoder_name
from haemsa_jax.errors import InputError

Array = jax.Array
Params = Mapping[str, Any]


class Tokenised(Protocol):
    """N raw inputs as what a module reads.

    Attributes:
      values: int or float[N, T, d]; padding may hold anything.
      mask: bool[N, T]; an empty input has no token at all.
    """

    @property
    def values(self) -> Num[np.ndarray, "inputs tokens channels"]: ...

    @property
    def mask(self) -> Bool[np.ndarray, "inputs tokens"]: ...


class Pretrained(Protocol):
    """An encoder with its weights. Several threads may use it at once.

    Attributes:
      family: name of its family.
      folder: where it was read.
      config: its shapes.
      params: NumPy parameters of the family's module, without adapters and mark.
      placed: the same on the device, put there once.
      fingerprint: of all that changes its vectors.
    """

    @property
    def family(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def config(self) -> Any: ...

    @property
    def params(self) -> Params: ...

    @property
    def placed(self) -> Params: ...

    def tokenise(self, raw: Sequence[Any], max_tokens: int, /) -> Tokenised:
        """Raw inputs to tokens, T the longest of them; the end of longer ones is cut off."""
        ...


class Encoder(Protocol):
    """A family of encoders.

    Attributes:
      family: its name.
      modality: whose raw input it reads.
      raw: what that is, in a word for messages, such as `words`.
      modes: those of `EncoderSpec.mode` that it knows.
      shapes: its class of `Shapes`, a frozen dataclass of plain values.
    """

    family: str
    modality: str
    raw: str
    modes: tuple[str, ...]
    shapes: type

    def read(self, name: str | Path) -> Pretrained:
        """An encoder by name or folder.

        Raises:
          InputError: there is none, or it is damaged or of another family.
        """
        ...

    def has_raw(self, dataset: Any) -> bool:
        """Whether a `Dataset` has the raw input anywhere."""
        ...

    def raw_of(self, split: Any) -> Sequence[Any]:
        """The N raw inputs of a `Split`, empty ones where there is none."""
        ...

    def given(self, value: Any, speaker: str) -> Any | None:
        """The raw input that a user's value is; None where it is something else, as features.

        Raises:
          InputError: it is raw input that cannot be read.
        """
        ...

    def module(
        self,
        shapes: Any,
        *,
        rank: int = 0,
        precision: str = "float32",
        marks: bool = False,
        name: str | None = None,
    ) -> nn.Module:
        """The Linen module, with adapters of a rank and a mark of targets or without."""
        ...

    def encode(
        self,
        module: Any,
        values: Num[Array, "*batch tokens channels"],
        mask: Bool[Array, "*batch tokens"],
        *,
        dropout: Float[Array, ""] | float = 0.0,
        longest: Int[Array, ""] | None = None,
        marked: Bool[Array, "*batch tokens"] | None = None,
        adapters: Float[Array, ""] | float = 1.0,
    ) -> Float[Array, "*batch tokens width"]:
        """A bound module on tokens: [..., T, d], bool[..., T] -> float[..., T, D], zeros outside.

        Args:
          module: what `module` returned, bound.
          values: what `Pretrained.tokenise` makes, as float where a data set holds it.
          mask: which tokens are there; they may lie anywhere.
          dropout: rate.
          longest: int[], no row has more tokens; may save work.
          marked: bool[..., T], tokens of the target, where the module marks.
          adapters: weighs what adapters add.
        """
        ...

    def split(self, params: Params) -> tuple[dict, dict]:
        """Parameters as those that adaptation trains, the mark among them, and the others."""
        ...

    def fold(self, params: Params, weight: float = 1.0) -> dict:
        """Parameters with the adapters, times a weight, added to what they stand beside."""
        ...

    def unmark(self, params: Params) -> dict:
        """Parameters without a mark, which say of any token what they said of the target's."""
        ...

    def slow(self, updates: Params, rate: float, decay: float) -> dict:
        """Each array of updates times its rate: the top's is `rate`, the next layer's * `decay`."""
        ...


ENCODERS: dict[str, Encoder] = {}
Family = TypeVar("Family", bound=Encoder)


def register(encoder: Family) -> Family:
    """Makes a family known by its name.

    Raises:
      InputError: the name is taken.
    """
    known = ENCODERS.setdefault(encoder.family, encoder)
    if known is not encoder:
        raise InputError(
            f"an encoder family {encoder.family!r} is registered already; choose another name"
        )
    return encoder


def encoder_named(family: str) -> Encoder:
    """A registered family.

    Raises:
      InputError: there is none of that name.
    """
    import haemsa_jax.encoders.speech
    import haemsa_jax.encoders.text  # noqa: F401  (both register those of the library)

    if family not in ENCODERS:
        raise InputError(
            f"the encoder family {family!r} is unknown; choose from {', '.join(ENCODERS)}, or "
            "register it before"
        )
    return ENCODERS[family]


def encoder_of(spec: EncoderSpec) -> Encoder:
    """The family of an encoder."""
    return encoder_named(spec.family)


def specify(pretrained: Pretrained, encoder: str | Path, **settings: Any) -> EncoderSpec:
    """An encoder as a network's configuration keeps it.

    Args:
      pretrained: what was read.
      encoder: by which name or from which folder, which is kept as an absolute path.
      **settings: the other fields of `EncoderSpec`: `max_tokens`, `mode`, `datasets` and, if
        wanted, `rank` and `precision`.

    Raises:
      InputError: the family does not know the mode.
    """
    family, folder = encoder_named(pretrained.family), Path(encoder).expanduser()
    spec = EncoderSpec(
        family=family.family,
        modality=family.modality,
        encoder=str(folder.absolute() if folder.is_dir() else encoder),
        fingerprint=pretrained.fingerprint,
        shapes=pretrained.config,
        **settings,
    )
    if spec.mode not in family.modes:
        raise InputError(
            f"{spec.modality}: an encoder of family {spec.family!r} cannot be {spec.mode}; choose "
            f"from {', '.join(family.modes)}"
        )
    return spec


def check_like(pretrained: Pretrained, spec: EncoderSpec) -> None:
    """An encoder must be the one that a network was trained with.

    Raises:
      InputError: it is another.
    """
    if pretrained.fingerprint != spec.fingerprint:
        raise InputError(
            f"the {spec.modality} encoder {pretrained.folder} is another than the network was "
            f"trained with, {spec.encoder} (fingerprint {pretrained.fingerprint}, not "
            f"{spec.fingerprint}); bring back the other, or name its folder"
        )


def built(network: NetworkConfig, modality: str) -> nn.Module:
    """The module of the encoder of a modality within a network."""
    spec = network.encoders[modality]
    return encoder_of(spec).module(
        spec.shapes,
        rank=spec.rank if network.adapts(modality) else 0,
        precision=spec.precision,
        marks=network.marks(modality),
        name=encoder_name(modality),
    )


def parted(network: NetworkConfig, params: Params) -> tuple[dict, dict]:
    """Splits a network's parameters into trained ones and the fixed ones of adapted encoders."""
    trained, fixed = dict(params), {}
    for modality in network.encoded():
        name = encoder_name(modality)
        if network.adapts(modality) and name in trained:
            adapters, fixed[name] = encoder_of(network.encoders[modality]).split(trained.pop(name))
            trained |= {name: adapters} if adapters else {}
    return trained, fixed
