"""Predictor: a trained network, from its run directory alone, on whatever of a clip there is."""

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec
from haemsa_jax.data.batches import DeviceSplit
from haemsa_jax.encoders import EncoderFolders, Pretrained, read_like, relocated
from haemsa_jax.errors import InputError
from haemsa_jax.inference.forward import (
    chosen_dataset,
    chosen_networks,
    joined,
    make_forward,
    read_by_task,
)
from haemsa_jax.inference.inputs import Raw, Reader, Utterance, is_batch, longest, power_of_two
from haemsa_jax.inference.memory import Capacity
from haemsa_jax.inference.packed import unpack
from haemsa_jax.inference.results import Prediction, gate_columns, task_prediction
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.measurement.scoring import probabilities
from haemsa_jax.training.persistence.trained import Trained, load_trained

BATCH = 64  # samples at once, at most


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
        encoder: EncoderFolders = None,
    ):
        """As `from_checkpoint`, for networks that are loaded already."""
        self.network = network = trained.experiment.network
        self.dataset = chosen_dataset(network, dataset)
        trained = chosen_networks(trained, networks)
        self._placed = jax.device_put((trained.params, trained.constants, trained.structures))
        known = trained.experiment.data[self.dataset]
        self._reads = read_by_task(trained, self.dataset)
        self._reader = Reader(
            network,
            self.dataset,
            known,
            _read_encoders(network, self.dataset, encoder),
            [m for m in network.widths[self.dataset] if any(m in r for r in self._reads.values())],
        )
        forward = make_forward(network, self.dataset)
        self._joined = joined(forward, tuple(self.tasks), network)
        self._gate_columns = functools.cache(functools.partial(gate_columns, network))
        self._capacity = Capacity(
            functools.partial(forward, *self._placed),
            widths=network.widths[self.dataset],
            window=network.context_of(self.dataset),
            usual=self._reader.usual(),
            most=BATCH,
        )
        self._compiled: dict[Any, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        dataset: str | None = None,
        networks: int | None = None,
        encoder: EncoderFolders = None,
    ) -> "Predictor":
        """From the directory of a run of launch.train or launch.evolve.

        Args:
          path: the directory.
          dataset: as which data set samples are read, where the network was trained on several.
          networks: how many networks' predictions are averaged; by default all seeds of a training,
            the best of a search.
          encoder: where that of raw input lies now, if not where it was; of several, by modality.

        Raises:
          InputError: there is no such run, or an encoder is not there.
        """
        return cls(load_trained(path), dataset, networks, encoder)

    @classmethod
    def pretrained(cls, name: str | os.PathLike, encoder: EncoderFolders = None) -> "Predictor":
        """A network that comes trained: `sentiment`, or a folder that `packed.pack` wrote."""
        trained, about = unpack(name, encoder)
        return cls(trained, about["dataset"], encoder=encoder)

    @property
    def modalities(self) -> dict[str, int]:
        """What any task reads, with its width."""
        return {m: self._reader.widths[m] for m in self._reader.modalities}

    @property
    def widths(self) -> dict[str, int]:
        """All that the data set has; what of it no task reads is ignored where it is given."""
        return dict(self._reader.widths)

    @property
    def provenance(self) -> dict[str, str]:
        """Where features and words of the training come from."""
        return dict(self._reader.provenance)

    @property
    def encoded(self) -> tuple[str, ...]:
        """Modalities of which raw input may be given."""
        return tuple(self._reader.encoders)

    @functools.cached_property
    def tasks(self) -> dict[str, TaskSpec]:
        """What is predicted, by name."""
        return {
            self.network.tasks[task_id].name: self.network.tasks[task_id]
            for task_id in self.network.tasks_of(self.dataset)
        }

    def predict(self, **modalities: Any) -> Prediction | list[Prediction]:
        """One sample, or a batch of samples that are not each other's context.

        Args:
          modalities: by name, such as `text`, `audio`, `vision`; any subset. Of one sample float[T,
            d] or float[d], words, or a recording of which openSMILE makes the audio; of a batch a
            list of these, None for what is absent, or float[B, T, d]. `speaker` may say who speaks.

        Returns:
          A prediction, or of a batch a list of them.

        Raises:
          InputError: nothing is there that is read, or something is not as the network was trained
            on; of a batch it names the sample.
        """
        batched = {name: is_batch(value) for name, value in modalities.items() if value is not None}
        if not any(batched.values()):
            return self._predict([modalities])[0]
        sizes = {name: len(modalities[name]) for name, many in batched.items() if many}
        if not all(batched.values()) or len({*sizes.values()}) > 1:
            alone = [name for name, many in batched.items() if not many]
            raise InputError(
                f"a batch must have as many samples of each modality, not {sizes}"
                + (f" and one of {', '.join(alone)}" if alone else "")
            )
        count = next(iter(sizes.values()))
        return self._predict(
            [{name: modalities[name][row] for name in sizes} for row in range(count)]
        )

    def predict_many(self, utterances: Sequence[Utterance | None]) -> list[Prediction | None]:
        """Samples that are not each other's context, each a mapping as `predict` takes of one.

        Of one that is None, as nothing is known of it, None is said.
        """
        read = self._read(utterances)
        predictions: list[Prediction | None] = [None] * len(read)
        for rows in self._capacity.batches([self._reader.lengths([one]) for one in read]):
            some = self._run([read[row] for row in rows], None)
            for row, prediction in zip(rows, some, strict=True):
                predictions[row] = prediction
        return predictions

    def predict_dialogue(
        self, utterances: Sequence[Utterance | None], last: int | None = None
    ) -> list[Prediction | None]:
        """The utterances of one dialogue or video in their order, each with its neighbours.

        How many utterances before and after are read is what the network was trained with. One of
        which nothing is known is None: it keeps its place, so that its neighbours keep theirs, and
        None is said of it.

        Args:
          utterances: of the dialogue, or as many of its end as are read.
          last: of how many at the end something is said, as while people talk; of all by default.
        """
        read = self._read(utterances)
        past, future = self.network.context_of(self.dataset)
        size = self._capacity.checked(self._reader.lengths(read), longest(read), "the dialogue")
        predictions: list[Prediction | None] = []
        asked = 0 if last is None else max(0, len(read) - last)
        for start in range(asked, len(read), size):
            end = min(start + size, len(read))
            first = max(0, start - past)
            predictions += self._run(read[first : end + future], (start - first, end - first))
        return predictions

    def read(self, utterance: Utterance) -> Utterance:
        """A sample as `predict` reads it, which can stand in its place; predicts nothing.

        Raises:
          InputError: `predict` would refuse it.
        """
        return self._read_one(utterance)

    def warm_up(self, samples: int = 1, **tokens: int) -> None:
        """Compiles what samples of these lengths need.

        Args:
          samples: in one call.
          tokens: by modality the tokens of an utterance; absent where not named.
        """
        widths = self._reader.widths
        blank = {m: np.zeros((count, widths[m]), np.float32) for m, count in tokens.items()}
        size = self._capacity.checked(self._reader.lengths([blank]), longest([blank]), "a sample")
        self._run([blank] * min(samples, size), None)

    def _predict(self, utterances: Sequence[Utterance]) -> list[Prediction]:
        """`predict_many` of samples of each of which something is known."""
        return [x for x in self.predict_many(utterances) if x is not None]

    def _read(self, utterances: Sequence[Utterance | None]) -> list[dict[str, np.ndarray]]:
        read: list[dict[str, Any]] = []
        for number, utterance in enumerate(utterances):
            if utterance is None:
                read.append({})
                continue
            try:
                read.append(self._read_one(utterance))
            except InputError as error:
                where = f"sample {number}: " if len(utterances) > 1 else ""
                raise InputError(f"{where}{error}") from error
        return self._reader.encode(read)

    def _read_one(self, utterance: Utterance) -> dict[str, Any]:
        read = self._reader.read(utterance)
        features = [{m: x for m, x in read.items() if not isinstance(x, Raw)}]
        self._capacity.checked(self._reader.lengths(features), longest(features), "an utterance")
        return read

    def _run(self, read, span: tuple[int, int] | None) -> list[Prediction | None]:
        """Predictions of utterances: all, strangers to each other, or a span of one dialogue."""
        rows = np.arange(len(read)) if span is None else np.arange(*span)
        capacity, batch = power_of_two(len(read)), power_of_two(len(rows))
        groups = np.full(capacity, -1, np.int32)
        groups[: len(read)] = np.arange(len(read)) if span is None else 0
        split = self._reader.stack(read, self._reader.lengths(read), groups)
        padded = np.zeros(batch, np.int32)
        padded[: len(rows)] = rows
        try:
            outputs = jax.device_get(self._program(split, padded)(*self._placed, split, padded))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise InputError(
                f"the device has not enough memory for {len(rows)} samples of "
                f"{max(x.shape[1] for x in split.masks.values()):,} tokens at once; give fewer, "
                "or shorter ones"
            ) from error
        past, future = (0, 0) if span is None else self.network.context_of(self.dataset)
        predictions: list[Prediction | None] = []
        for place, row in enumerate(rows):
            seen = {m for one in read[max(0, row - past) : row + future + 1] for m in one}
            one = self._prediction(read[row], seen, outputs, place) if read[row] else None
            predictions.append(one)
        return predictions

    def _program(self, split: DeviceSplit, rows: np.ndarray):
        key = len(rows), *(x.shape for x in split.features.values())
        if key not in self._compiled:
            with self._lock:
                if key not in self._compiled:
                    lowered = jax.jit(self._joined).lower(*self._placed, split, rows)
                    self._compiled[key] = lowered.compile()
        return self._compiled[key]

    def _prediction(self, read, seen: set[str], outputs, place: int) -> Prediction:
        """Of one utterance, in whose window are the modalities `seen`."""
        (raw, gates), given = outputs, tuple(m for m in self.widths if m in read)
        columns, tasks, end = self._gate_columns(frozenset(given)), {}, 0
        for number, (name, task) in enumerate(self.tasks.items()):
            start, end = end, end + kind_of(task.kind).outputs(task)
            if seen.isdisjoint(self._reads[name]):
                continue
            weights = gates[number, place].tolist()
            named = {
                gate: {label: weights[column] for label, column in of.items()}
                for gate, of in columns.items()
            }
            own = probabilities(task, raw[:, place, start:end])
            tasks[name] = task_prediction(task, own, named)
        return Prediction(tasks, given)


def _read_encoders(
    network: NetworkConfig, dataset: str, folders: EncoderFolders
) -> dict[str, Pretrained]:
    """By modality the encoders that the network was trained with."""
    specs = {m: spec for m, spec in network.encoders.items() if dataset in spec.datasets}
    return {m: read_like(spec) for m, spec in relocated(specs, folders).items()}
