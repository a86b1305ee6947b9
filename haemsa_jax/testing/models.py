"""Whether a model keeps the protocol: on random weights and samples, with and without its parts."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.errors import InputError
from haemsa_jax.models.model import Outputs, Rates, build, init_variables, variables_of
from haemsa_jax.structure.parts import declare, default_structure
from haemsa_jax.structure.size import parameters
from haemsa_jax.structure.specialise import Specialised, specialise
from haemsa_jax.testing.cases import Case, case_of, filled, structures_of
from haemsa_jax.testing.comparing import require, require_close, require_shape

JUNK = (np.nan, np.inf, 1e30)


def check_model(network: NetworkConfig, *, structures: int = 4, seed: int = 0) -> None:
    """Checks a model on random weights and samples.

    - Its outputs are those of the protocol, for each declared gate one weight a part.
    - What is masked is never read, not even NaN, in outputs and gradients; what is there is.
    - Samples may have any leading axes.
    - Specialised to random structures it has the supernet's outputs, to 1e-5, and exactly the
      parameters that `parameters` counts.
    - No gene, nor label of a mask or choice, is without effect on predictions.

    Args:
      network: a configuration of the model, small, and without encoders within. Data sets with
        context and several modalities, and several tasks, show the most.
      structures: how many random ones are tried; genes of context are held at all there is.
      seed: of weights, samples and structures.

    Raises:
      AssertionError: one of these does not hold.
      InputError: the declaration does not fit the network, or there is an encoder within.
    """
    if network.encoded():
        raise InputError(
            f"an encoder of {', '.join(network.encoded())} is within; check the model on features"
        )
    rng = np.random.default_rng(seed)
    case = case_of(network, rng)
    _, params, constants, samples = case
    whole = default_structure(network)
    for dataset in network.widths:
        with jax.debug_key_reuse(False):  # which doubles the time of every single operation
            _check_masked(case, dataset, whole)
            _check_axes(case, dataset, whole)
    run, count = _runner(network), jax.jit(functools.partial(parameters, network))
    outputs = run(params, constants, samples, whole)
    for structure in structures_of(network, rng, structures):
        expected = run(params, constants, samples, structure)
        _check_specialised(case, structure, int(count(structure)), expected)
    _check_genes(case, run, outputs)


def _apply(network, params, constants, sample, structure, dataset: str) -> Outputs:
    variables = variables_of(params, constants)
    return cast(Outputs, build(network).apply(variables, sample, structure, Rates(), dataset))


def _runner(network: NetworkConfig) -> Callable[..., dict[str, Outputs]]:
    """run(params, constants, samples, structure): NumPy's outputs by data set, compiled once."""

    def run(params, constants, samples, structure):
        return {
            dataset: _apply(network, params, constants, sample, structure, dataset)
            for dataset, sample in samples.items()
        }

    compiled = jax.jit(run)
    # Every operation on JAX's arrays outside would be compiled by itself.
    return lambda *given: jax.device_get(compiled(*given))


def _check_masked(case: Case, dataset: str, structure: Mapping[str, Any]) -> None:
    """Nor do gradients read it; what is not masked changes the outputs."""
    network, params, constants, samples = case

    @jax.jit
    def compiled(sample):
        def total(params):
            out = _apply(network, params, constants, sample, structure, dataset)
            leaves = jax.tree.leaves((out.predictions, out.auxiliary))
            return sum(jnp.sum(x**2) for x in leaves), out

        gradient, out = jax.grad(total, has_aux=True)(params)
        return out, gradient

    def outputs_and_gradient(sample):
        return jax.device_get(compiled(sample))

    sample = samples[dataset]
    clean = outputs_and_gradient(filled(sample, 0.0))
    _check_outputs(network, dataset, clean[0], sample.task.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(clean):
        require(bool(np.isfinite(leaf).all()), f"{jax.tree_util.keystr(path)} is not finite")
    for junk in JUNK:
        dirty = outputs_and_gradient(filled(sample, junk))
        for what, left, right in zip(("outputs", "gradients"), clean, dirty, strict=True):
            same = jax.tree.map(lambda a, b: bool((a == b).all()), left, right)
            require(all(jax.tree.leaves(same)), f"{what} change where {junk} is masked")
    features = {m: np.where(np.isnan(x), x, x + 1.0) for m, x in sample.features.items()}
    louder = outputs_and_gradient(filled(sample.replace(features=features), 0.0))[0]
    moved = _predictions({dataset: louder}) != _predictions({dataset: clean[0]})
    require(bool(moved.any()), f"no prediction on {dataset} depends on features")


def _check_outputs(network: NetworkConfig, dataset: str, out: Outputs, leading: tuple) -> None:
    tasks, count = network.tasks_of(dataset), len(network.modalities)
    require(set(out.predictions) == {*tasks}, f"predictions are of {[*out.predictions]}")
    for task_id in tasks:
        wanted = (*leading, network.tasks[task_id].outputs)
        require_shape(f"predictions[{task_id!r}]", out.predictions[task_id], wanted)
    require_shape("presence", out.presence, (*leading, count))
    for gating in declare(network).gates:
        require(gating.name in out.gates, f"outputs lack the gate {gating.name!r}")
        require_shape(
            f"gates[{gating.name!r}]", out.gates[gating.name], (*leading, len(gating.parts))
        )
    require("joined" in out.representations, "representations lack 'joined'")
    for name in network.representations:
        require(name in out.representations, f"representations lack {name!r}")
        known = out.representations[name]
        require_shape(f"representations[{name!r}]", known, (*leading, count, known.shape[-1]))


def _check_axes(case: Case, dataset: str, structure: Mapping[str, Any]) -> None:
    """One sample alone, and samples in two axes, as in one batch."""
    network, params, constants, samples = case
    compiled = jax.jit(
        lambda sample: _apply(network, params, constants, sample, structure, dataset)
    )
    apply, batch = (lambda sample: jax.device_get(compiled(sample))), samples[dataset]
    expected = apply(batch)
    few = len(batch.task) // 2
    wide = jax.tree.map(lambda x: x[: 2 * few].reshape(2, few, *x.shape[1:]), batch)
    cases = {
        "without leading axes": (jax.tree.map(lambda x: x[0], batch), lambda x: x[0]),
        "with two leading axes": (wide, lambda x: x[: 2 * few].reshape(2, few, *x.shape[1:])),
    }
    for what, (sample, cut) in cases.items():
        if sample.task.size:
            require_close(f"outputs {what}", apply(sample), jax.tree.map(cut, expected), 1e-4)


def _check_specialised(case: Case, structure, counted: int, expected: Mapping) -> None:
    """Predictions of each sample's own task, and what gates and representations are of."""
    network = case.network
    small = specialise(network, case.params, case.constants, structure)
    built = jax.eval_shape(lambda key: init_variables(build(small.network), key), jax.random.key(0))
    sizes = [sum(np.size(x) for x in jax.tree.leaves(of)) for of in (small.params, built[0])]
    require(
        [counted] * 2 == sizes,
        f"the specialised network has {sizes[1]} parameters, of which {sizes[0]} are kept; "
        f"{counted} are counted",
    )
    outputs = _runner(small.network)(small.params, small.constants, case.samples, small.structure)
    for dataset, out in outputs.items():
        task = np.asarray(case.samples[dataset].task)
        _check_same(small, network, task, out, expected[dataset])


def _check_same(small: Specialised, network, task, out: Any, wanted: Any) -> None:
    for task_id in wanted.predictions:
        own = task == network.task_index(task_id)
        left, right = out.predictions[task_id][own], wanted.predictions[task_id][own]
        require_close(f"specialised, predictions[{task_id!r}]", left, right)
        if task_id in wanted.auxiliary:
            there = wanted.presence[own][..., None]
            left, right = (np.where(there, x.auxiliary[task_id][own], 0) for x in (out, wanted))
            require_close(f"specialised, auxiliary[{task_id!r}]", left, right)
    require_close("specialised, presence", out.presence, wanted.presence)
    for name in ("summaries", "joined"):
        if name in wanted.representations:
            left, right = (x.representations[name] for x in (out, wanted))
            require_close(f"specialised, representations[{name!r}]", left, right)
    gates = _gates(small.network, out)
    for part, weights in _gates(network, wanted).items():
        require_close(
            f"specialised, weight of {part}", gates.get(part, np.zeros_like(weights)), weights
        )


def _gates(network: NetworkConfig, out: Any) -> dict[str, np.ndarray]:
    """By name of the part that is weighed; what is not built weighs nothing."""
    return {
        part: out.gates[gating.name][..., place]
        for gating in declare(network).gates
        for place, part in enumerate(gating.parts)
    }


def _check_genes(case: Case, run: Callable, outputs: Mapping[str, Outputs]) -> None:
    whole, before = default_structure(case.network), _predictions(outputs)
    for name, what, value in _variants(case.network):
        changed = run(case.params, case.constants, case.samples, {**whole, name: value})
        moved = _predictions(changed) != before
        require(bool(moved.any()), f"gene {name!r}: {what} changes no prediction")


def _variants(network: NetworkConfig) -> Iterator[tuple[str, str, Any]]:
    """(gene, what is changed in words, its value) for each label and end of a scale."""
    for gene in declare(network).genes:
        if gene.kind == "mask":
            for place, label in enumerate(gene.labels):
                if not (gene.some and gene.size == 1):
                    mask = np.ones(gene.size, np.float32)
                    mask[place] = 0.0
                    yield gene.name, f"shutting {label!r}", mask
        elif gene.kind == "choice":
            for place, label in enumerate(gene.labels[:-1]):
                yield gene.name, f"choosing {label!r}", np.int32(place)
        else:
            far = max((gene.low, gene.high), key=functools.partial(_apart, gene.default))
            yield gene.name, f"the value {far:g}", np.float32(far)


def _apart(left: float, right: float) -> float:
    return abs(left - right)


def _predictions(outputs: Mapping[str, Outputs]) -> np.ndarray:
    leaves = jax.tree.leaves({name: out.predictions for name, out in outputs.items()})
    return np.concatenate([np.ravel(x) for x in leaves])
