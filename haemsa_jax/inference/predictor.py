"""Predictor: a trained network, from its run directory alone, on whatever of a clip there is."""

import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, TaskSpec
from haemsa_jax.data.batches import DeviceSplit, gather
from haemsa_jax.errors import InputError
from haemsa_jax.inference.inputs import Reader, Utterance, power_of_two
from haemsa_jax.models.haemsa import Haemsa, Rates, variables_of
from haemsa_jax.training.checkpoint import Trained, load_trained
from haemsa_jax.training.loop import probabilities

BATCH = 64  # samples at once, at most


@dataclass(frozen=True)
class TaskPrediction:
    """What networks say of one task.

    Attributes:
      value: label units of a regression, the class of a classification, or the labels that are
        more likely than not; of the mean over networks.
      probabilities: by class or label, mean over networks; empty for a regression.
      spread: sample standard deviation over networks, of the value or by class of the probability;
        0 where there is one network.
      gates: mean weights over networks: `local` by modality and block, `links` by `source>target`,
        `fusion` by global expert, and `specific` by modality where summaries are split.
    """

    value: float | str | tuple[str, ...]
    probabilities: Mapping[str, float]
    spread: float | Mapping[str, float]
    gates: Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """What is said of one utterance.

    Attributes:
      tasks: by the task's name; without those that read nothing of what was there.
      modalities: those that were there and are read.
    """

    tasks: Mapping[str, TaskPrediction]
    modalities: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "modalities": list(self.modalities),
            "tasks": {name: dict(vars(task)) for name, task in self.tasks.items()},
        }


class Predictor:
    """Predicts with the networks of one run. Safe to share between threads.

    Programs are compiled once for each bucket of lengths and number of samples (powers of two), at
    the first call that falls into it or before by `warm_up`.
    """

    def __init__(
        self,
        trained: Trained,
        dataset: str | None = None,
        networks: int | None = None,
        encoder: str | os.PathLike | None = None,
    ):
        """As `from_checkpoint`, for networks that are loaded already."""
        self.network = network = trained.experiment.network
        self.dataset = chosen_dataset(network, dataset)
        trained = chosen_networks(trained, networks)
        self._placed = jax.device_put((trained.params, trained.constants, trained.architectures))
        known = trained.experiment.data[self.dataset]
        self._reads = read_by_task(trained, self.dataset)
        self._reader = Reader(
            network, self.dataset, known, _read_encoder(network, encoder),
            [m for m in network.widths[self.dataset] if any(m in r for r in self._reads.values())],
        )  # fmt: skip
        self._compiled: dict[Any, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        dataset: str | None = None,
        networks: int | None = None,
        encoder: str | os.PathLike | None = None,
    ) -> "Predictor":
        """From the directory of a run of launch.train or launch.evolve.

        Args:
          path: the directory.
          dataset: as which data set samples are read, where the network was trained on several.
          networks: how many networks' predictions are averaged; by default all seeds of a training,
            the best of a search.
          encoder: where the text encoder lies now, if not where it was in training.

        Raises:
          InputError: there is no such run, or its text encoder is not there.
        """
        return cls(load_trained(path), dataset, networks, encoder)

    @property
    def modalities(self) -> dict[str, int]:
        """What any task reads, with the width of its features."""
        return {m: self._reader.widths[m] for m in self._reader.modalities}

    @property
    def widths(self) -> dict[str, int]:
        """All that the data set has; what of it no task reads is ignored where it is given."""
        return dict(self._reader.widths)

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """What is predicted, by name."""
        return {
            self.network.tasks[task_id].name: self.network.tasks[task_id]
            for task_id in self.network.tasks_of(self.dataset)
        }

    def predict(self, **modalities: Any) -> Prediction | list[Prediction]:
        """One sample, or a batch of samples that are not each other's context.

        Args:
          modalities: by name, such as `text`, `audio`, `vision`; any subset. Of one sample an array
            float[T, d] or float[d], words, or the path of a recording of which openSMILE makes the
            audio; of a batch a list of these, None where a sample lacks the modality, or an array
            float[B, T, d]. `speaker` may say who speaks.

        Returns:
          A prediction, or of a batch a list of them.

        Raises:
          InputError: nothing is there that is read, or something is not as the network was trained
            on; of a batch it names the sample.
        """
        batched = {
            name: _is_batch(value) for name, value in modalities.items() if value is not None
        }
        if not any(batched.values()):
            return self.predict_many([modalities])[0]
        sizes = {name: len(modalities[name]) for name, many in batched.items() if many}
        if not all(batched.values()) or len({*sizes.values()}) > 1:
            alone = [name for name, many in batched.items() if not many]
            raise InputError(
                f"a batch must have as many samples of each modality, not {sizes}"
                + (f" and one of {', '.join(alone)}" if alone else "")
            )
        count = next(iter(sizes.values()))
        return self.predict_many(
            [{name: modalities[name][row] for name in sizes} for row in range(count)]
        )

    def predict_many(self, utterances: Sequence[Utterance | None]) -> list[Prediction | None]:
        """Samples that are not each other's context, each a mapping as `predict` takes of one.

        One of which nothing is known is None, and None is said of it.
        """
        read = self._read(utterances)
        return [
            said
            for start in range(0, len(read), BATCH)
            for said in self._run(read[start : start + BATCH], None)
        ]

    def predict_dialogue(self, utterances: Sequence[Utterance | None]) -> list[Prediction | None]:
        """The utterances of one dialogue or video in their order, each with its neighbours.

        How many utterances before and after are read is what the network was trained with. One of
        which nothing is known is None: it keeps its place, so that its neighbours keep theirs, and
        None is said of it.
        """
        read = self._read(utterances)
        past, future = self.network.context_of(self.dataset)
        said = []
        for start in range(0, len(read), BATCH):
            end = min(start + BATCH, len(read))
            first = max(0, start - past)
            said += self._run(read[first : end + future], (start - first, end - first))
        return said

    def read(self, utterance: Utterance) -> Utterance:
        """A sample as `predict` reads it, which can stand in its place; predicts nothing.

        Raises:
          InputError: `predict` would refuse it.
        """
        return self._reader.read(utterance)

    def warm_up(self, samples: int = 1, **tokens: int) -> None:
        """Compiles what samples of these lengths need.

        Args:
          samples: in one call.
          tokens: by modality the tokens of an utterance; absent where not named.
        """
        widths = self._reader.widths
        blank = {m: np.zeros((count, widths[m]), np.float32) for m, count in tokens.items()}
        self._run([blank] * min(samples, BATCH), None)

    def _read(self, utterances: Sequence[Utterance]) -> list[dict[str, np.ndarray]]:
        read = []
        for number, utterance in enumerate(utterances):
            if utterance is None:
                read.append({})
                continue
            try:
                read.append(self._reader.read(utterance))
            except InputError as error:
                where = f"sample {number}: " if len(utterances) > 1 else ""
                raise InputError(f"{where}{error}") from error
        return self._reader.encode(read)

    def _run(self, read, span: tuple[int, int] | None) -> list[Prediction]:
        """Predictions of utterances: all, strangers to each other, or a span of one dialogue."""
        rows = np.arange(len(read)) if span is None else np.arange(*span)
        there, asked = power_of_two(len(read)), power_of_two(len(rows))
        groups = np.full(there, -1, np.int32)
        groups[: len(read)] = np.arange(len(read)) if span is None else 0
        split = self._reader.stack(read, self._reader.lengths(read), groups)
        padded = np.zeros(asked, np.int32)
        padded[: len(rows)] = rows
        said = jax.device_get(self._program(split, padded)(*self._placed, split, padded))
        past, future = (0, 0) if span is None else self.network.context_of(self.dataset)
        told = []
        for place, row in enumerate(rows):
            seen = {m for one in read[max(0, row - past) : row + future + 1] for m in one}
            told.append(self._told(read[row], seen, said, place) if read[row] else None)
        return told

    def _program(self, split: DeviceSplit, rows: np.ndarray):
        key = len(rows), *(x.shape for x in split.features.values())
        if key not in self._compiled:
            with self._lock:
                if key not in self._compiled:
                    forward = make_forward(self.network, self.dataset)
                    lowered = jax.jit(forward).lower(*self._placed, split, rows)
                    self._compiled[key] = lowered.compile()
        return self._compiled[key]

    def _told(self, read, seen: set[str], said: dict[str, Any], place: int) -> Prediction:
        """Of one utterance, in whose window are the modalities `seen`."""
        tasks = {}
        for number, (name, task) in enumerate(self.tasks.items()):
            if not seen & {*self._reads[name]}:
                continue
            raw = said["predictions"][name][:, place]
            gates = {level: x[:, number, place].mean(axis=0) for level, x in said["gates"].items()}
            tasks[name] = _task(task, probabilities(task, raw), _named(self.network, gates, read))
        return Prediction(tasks, tuple(read))


def make_forward(network: NetworkConfig, dataset: str):
    """forward(params, constants, architectures, split, rows): S networks on some rows of a split.

    Returns:
      `predictions` by task name float[S, R, C], raw outputs, and `gates` float[S, K, R, ...] of the
      data set's K tasks.
    """
    model = Haemsa(network)
    past, future = network.context_of(dataset)
    task_ids = network.tasks_of(dataset)
    places = np.array([network.task_index(task_id) for task_id in task_ids])

    def forward(params, constants, architectures, split, rows):
        def of(member):
            params, architecture = member
            variables = variables_of(params, constants)

            def asked(task, row):
                sample = gather(split, row, task, past, future)
                return model.apply(variables, sample, architecture, Rates(), dataset)

            out = jax.vmap(jax.vmap(asked, (None, 0)), (0, None))(jnp.asarray(places), rows)
            predictions = {
                network.tasks[task_id].name: out.predictions[task_id][number]
                for number, task_id in enumerate(task_ids)
            }
            gates = {
                "local": out.local_gates, "links": out.link_weights, "fusion": out.fusion_gates,
                "specific": out.specific_gates,
            }  # fmt: skip
            return {"predictions": predictions, "gates": gates}

        # An encoder fills the device by itself.
        if network.encodes(dataset):
            return jax.lax.map(of, (params, architectures))
        return jax.vmap(lambda *member: of(member))(params, architectures)

    return forward


def _task(task: TaskSpec, said: np.ndarray, gates) -> TaskPrediction:
    """`said` is float64[S] or [S, C], by network."""
    mean = said.mean(axis=0)
    spread = said.std(axis=0, ddof=1) if len(said) > 1 else np.zeros_like(mean)
    if task.kind == "regression":
        return TaskPrediction(float(mean), {}, float(spread), gates)
    if task.kind == "classification":
        value = task.classes[int(mean.argmax())]
    else:
        value = tuple(name for name, share in zip(task.classes, mean, strict=True) if share > 0.5)

    def by_class(values):
        return dict(zip(task.classes, values.tolist(), strict=True))

    return TaskPrediction(value, by_class(mean), by_class(spread), gates)


def _named(network: NetworkConfig, gates: Mapping[str, np.ndarray], read) -> dict[str, Any]:
    """Weights by what they weigh, of the parts that are built and the modalities that are there."""
    built, names = network.built, network.modalities
    there = [m for m in network.built_modalities if m in read]
    found = {
        "local": {
            m: [
                {x: float(gates["local"][names.index(m), layer, LOCAL_EXPERTS.index(x)])
                 for x in experts}
                for layer, experts in enumerate(built.local[m])
            ]
            for m in there
        },
        "links": {
            f"{source}>{target}": float(gates["links"][names.index(target), names.index(source)])
            for source, target in built.links
            if source in there and target in there
        },
        "fusion": {x: float(gates["fusion"][FUSION_OPERATORS.index(x)]) for x in built.fusion},
    }  # fmt: skip
    if built.specific:
        found["specific"] = {
            m: float(gates["specific"][names.index(m)]) for m in built.specific if m in there
        }
    return found


def chosen_networks(trained: Trained, networks: int | None) -> Trained:
    """Those whose predictions are averaged: so many, or all seeds, or a search's best."""
    there = len(trained.architectures.sharpness)
    wanted = (1 if trained.ranked else there) if networks is None else networks
    if not 1 <= wanted <= there:
        raise InputError(f"networks={networks} are asked for, but the run holds {there}")
    params, architectures = jax.tree.map(
        lambda x: x[:wanted], (trained.params, trained.architectures)
    )
    return dataclasses.replace(trained, params=params, architectures=architectures)


def read_by_task(trained: Trained, dataset: str) -> dict[str, tuple[str, ...]]:
    """By the name of each task on a data set the modalities that any network reads for it."""
    network = trained.experiment.network
    opened = np.asarray(trained.architectures.modalities) > 0  # [S, tasks, modalities]
    return {
        network.tasks[task_id].name: tuple(
            m for m in network.built.modalities[task_id]
            if opened[:, network.task_index(task_id), network.modalities.index(m)].any()
        )
        for task_id in network.tasks_of(dataset)
    }  # fmt: skip


def chosen_dataset(network: NetworkConfig, dataset: str | None) -> str:
    """As which data set samples are read."""
    known = list(network.widths)
    if dataset is None and len(known) == 1:
        return known[0]
    if dataset not in known:
        raise InputError(
            f"dataset={dataset!r}: the network reads {', '.join(known)}; name one of them"
        )
    return dataset


def _read_encoder(network: NetworkConfig, encoder: str | os.PathLike | None):
    """The text encoder that the network was trained with, or None."""
    if network.text is None:
        return None
    from haemsa_jax.text import check_like, read_pretrained

    pretrained = read_pretrained(encoder or network.text.encoder)
    check_like(pretrained, network.text)
    return pretrained


def _is_batch(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return True
    return not isinstance(value, str | os.PathLike) and np.ndim(value) > 2
