"""Memory Fusion Network (Zadeh et al. 2018, arXiv 1802.00927): an LSTM a modality, one memory.

At step t, with c_t the cells of all modalities' LSTMs side by side, and N perceptrons of one hidden
layer:

    a = softmax(N_a([c_t-1; c_t])) * [c_t-1; c_t]
    u_t = sigmoid(N_1([a; u_t-1])) * u_t-1 + sigmoid(N_2([a; u_t-1])) * tanh(N_u(a))
    joined = relu(W [h_T; u_T])

A step is an utterance, or one of a few that it is cut into. A modality that says nothing in a step
leaves its state as it is, one that is absent gets no attention.

Of the reference (thuiar/MMSA, after pliang279/MFN) all of this is the same, to 1e-5; features come
through our stems, and heads are ours. Not copied: it runs through padding, so that predictions
depend on how far a batch is padded.
"""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.config.checks import require_each
from haemsa_jax.models.inputs import utterances
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar, masked_softmax
from haemsa_jax.models.model import register
from haemsa_jax.models.recurrences import Lstm, states
from haemsa_jax.models.skeleton import Joining, JoiningConfig, powers_of_two
from haemsa_jax.structure.axes import Axis, each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

MOST = 1024  # steps: each is a part of its own


@dataclass(frozen=True)
class MfnConfig(JoiningConfig):
    """Sizes of a memory fusion network, besides those of every model.

    Attributes:
      utterance_steps: steps into which an utterance is cut, at most; 1 is enough, and faster,
        where features are one vector an utterance.
    """

    utterance_steps: int = 4

    model: ClassVar[str] = "mfn"

    def __post_init__(self):
        super().__post_init__()
        require_each(
            self,
            "network",
            ("utterance_steps",),
            lambda x: 0 < x <= MOST,
            f"must lie in 1 to {MOST}",
        )

    @property
    def counts(self) -> tuple[str, ...]:
        """Steps of an utterance that can be chosen: powers of two, and all."""
        return self.labels("steps", powers_of_two(self.utterance_steps))

    @property
    def over(self) -> Axis:
        """Segments of the steps, each of which is a part."""
        return each(f"step/{n}" for n in range(int(self.counts[-1])))

    @property
    def remembered(self) -> tuple[str, ...]:
        """Modalities that the memory sees."""
        return self.labels("memory", self.built_modalities)


class Memory(nn.Module):
    """What changes together over modalities, step by step.

    Attributes:
      width: D, of cells, hidden layers and memory.
      parts: names of the parts that modalities are to it.
      over: segments of the steps.
    """

    width: int
    parts: tuple[str, ...]
    over: Axis = ()

    def products(
        self,
        cells: Float[Array, "*batch steps modalities width"],
        known: Bool[Array, "*batch steps modalities"],
        rate: Scalar = 0.0,
    ) -> int:
        """Operations of the products with the memory's state."""
        return 8 * self.width**2 * math.prod(cells.shape[:-2])

    @nn.compact
    def __call__(
        self,
        cells: Float[Array, "*batch steps modalities width"],
        known: Bool[Array, "*batch steps modalities"],
        rate: Scalar = 0.0,
    ) -> Float[Array, "*batch width"]:
        """The memory behind the last step, zero where nothing was ever known.

        Args:
          cells: of LSTMs, float[..., T, M, D]; zeros where a modality is absent.
          known: bool[..., T, M].
          rate: of dropout.
        """
        width, rows = self.width, each(self.parts, self.width) * 2
        before = jnp.zeros_like(cells).at[..., 1:, :, :].set(cells[..., :-1, :, :])
        both = jnp.stack([before, cells], axis=-3)
        present = known.any(axis=-2)[..., None, None, :, None]
        allowed = jnp.broadcast_to(present, both.shape)
        both, allowed = (x.reshape(*x.shape[:-3], -1) for x in (both, allowed))

        dense = functools.partial(Dense, over=self.over)

        def hidden(name, x):
            return Dropout()(nn.relu(dense(width, rows=rows, name=name)(x)), rate)

        scores = dense(both.shape[-1], columns=rows, name="attention")(hidden("attending", both))
        attended = masked_softmax(scores, allowed) * both
        candidate = jnp.tanh(dense(width, name="candidate")(hidden("proposing", attended)))
        given = dense(2 * width, rows=rows, name="gating")(attended)
        kernel = self.param("recurrent", nn.initializers.lecun_normal(), (width, 2 * width))
        gates = self.param("gates", nn.initializers.lecun_normal(batch_axis=0), (2, width, width))
        bias = self.param("bias", nn.initializers.zeros, (2, width))

        def step(memory, now):
            given, candidate = now
            inner = nn.relu(given + memory @ kernel)
            inner = inner.reshape(*inner.shape[:-1], 2, width)
            both = nn.sigmoid(jnp.einsum("...gi,gio->...go", inner, gates) + bias)
            return both[..., 0, :] * memory + both[..., 1, :] * candidate

        start = jnp.zeros((*cells.shape[:-3], width))
        return states(step, start, (given, candidate), known.any(axis=-1))[..., -1, :]


@register
class Mfn(Joining):
    """An LSTM a modality, a memory of what changes together in them, a head a task."""

    config: MfnConfig

    @staticmethod
    def declare(config: MfnConfig) -> Declaration:
        """Which modalities the memory sees, and in how many steps, are genes."""
        names = config.remembered
        genes = (
            Gene("memory", "memory", "mask", "modalities that the memory sees", names),
            Gene("steps", "memory", "choice", "steps an utterance is cut into", config.counts),
        )
        parts = []
        for n, (step,) in enumerate(segment.parts for segment in config.over):
            needed = next(count for count in config.counts if int(count) > n)
            parts.append(Part(name=step, kind="step", opened=(("steps", needed),)))
        for m in config.built_modalities:
            name, module = f"lstm/{m}", ((f"lstm_{m}",),)
            parts.append(Part(name=name, kind="lstm", reads=((modality(m),),), modules=module))
        seen = tuple(f"memory/{m}" for m in names)
        for m, name in zip(names, seen, strict=True):
            opened, reads = (("memory", m),), ((f"lstm/{m}",),)
            parts.append(Part(name=name, kind="seen", opened=opened, reads=reads))
        if names:
            parts.append(Part(name="memory", kind="memory", reads=(seen,), modules=(("memory",),)))
        return interface(config, auxiliary=True) + Declaration(genes, tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built, width = self.config, self.config.built_modalities, self.config.width
        steps = jnp.asarray([int(count) for count in config.counts])[structure["steps"]]
        vectors, known = utterances(inputs, config, dataset, steps, int(config.counts[-1]))
        cells = {m: jnp.zeros_like(x) for m, x in vectors.items()}
        alone = jnp.zeros((*inputs.presence.shape, width))
        for m in inputs.tokens:
            both = Lstm(width, over=config.over, name=f"lstm_{m}")(vectors[m], known[m], False)
            cells[m] = both[..., width:]
            alone = alone.at[..., built.index(m), :].set(both[..., -1, :width])
        rows = each(map(modality, built), width)
        read = [alone.reshape(*alone.shape[:-2], -1)]
        if config.remembered:
            names, rows = config.remembered, rows + each(["memory"], width)
            memory = jnp.zeros((*alone.shape[:-2], width))
            if any(m in inputs.tokens for m in names):
                seen = jnp.stack([known[m] for m in names], axis=-1) & (structure["memory"] > 0)
                shown = jnp.stack([cells[m] for m in names], axis=-2)
                shown = shown * structure["memory"][:, None]
                parts = tuple(f"memory/{m}" for m in names)
                memory = Memory(width, parts, config.over, name="memory")(shown, seen, rates.inner)
            read.append(memory)
        joined = nn.relu(Dense(width, rows=rows, name="joint")(jnp.concatenate(read, axis=-1)))
        return joined, alone, {}
