"""Data sets that are larger than what the device should hold, piece by piece.

The samples of a step are a function of seed and step alone. So the host works out which rows the
next block of steps reads, cuts them out (`data.batches.piece`) while the device is still at work
on the block before (Grain prefetches), and the same program runs on the piece as on the whole. A
run that goes on at some step asks for the pieces from there: there is no position to save.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import DeviceSplit, device_split, piece, rows_read
from haemsa_jax.data.dataset import Split
from haemsa_jax.errors import InputError
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.drawing import drawn_places

RESIDENT = 4 << 30  # bytes of features up to which a split is kept on the device
AHEAD = 2  # pieces
ROWS = 2048  # samples of an evaluation's piece, at most
ROUND = 256  # rows of pieces are multiples of it, so that tasks share a program

Spans = Sequence[tuple[int, int]]


def host_splits(network: NetworkConfig, splits: Mapping[str, Split]) -> dict[str, DeviceSplit]:
    """A split of every data set, on the host, with lengths of what encoders within read."""
    return {
        name: device_split(split, network.context_of(name), network.encoded(name))
        for name, split in splits.items()
    }


def bytes_of(split: DeviceSplit) -> int:
    """Bytes of a split's features."""
    return sum(x.nbytes for x in split.features.values())


def too_large(split: DeviceSplit, resident: int) -> bool:
    """Whether a split's features take more bytes than may be resident."""
    return bytes_of(split) > resident


def rows_within(split: DeviceSplit, resident: int) -> int:
    """Rows of a piece so large that it and the next one together take what may be resident."""
    return resident // 2 * len(split.group) // bytes_of(split)


class Feed:
    """The training data for blocks of steps, on the devices.

    Args:
      network: tasks and context.
      data: training splits on the host, by data set.
      sizes: samples of every task in a step.
      seeds: networks that are trained side by side.
      length: steps of a block, at most.
      devices: where pieces go.
      resident: bytes up to which a split is kept there whole; of a larger one, a piece and the next
        take no more, unless one step needs more.

    Attributes:
      length: steps of a block that pieces are cut for, 1 or more.
      streamed: the data sets that come in pieces.
    """

    def __init__(
        self, network: NetworkConfig, data: Mapping[str, DeviceSplit], sizes: Mapping[str, int],
        seeds: int, length: int, devices: list[jax.Device], resident: int,
    ):  # fmt: skip
        self.network, self.data, self.sizes, self.seeds = network, data, sizes, seeds
        self.length, self.devices = length, devices
        self.streamed = [name for name, split in data.items() if too_large(split, resident)]
        for name in self.streamed:
            fits = rows_within(data[name], resident) // self._rows(name)
            self.length = max(1, min(self.length, fits))
            if data[name].counts:
                raise InputError(
                    f"folds: {name} has {bytes_of(data[name]) >> 20} MiB of features, which would "
                    "be streamed, and a stream is the same for all folds; raise --resident_mib, or "
                    "leave folds away"
                )
        whole = {name: split for name, split in data.items() if name not in self.streamed}
        self.whole = parallel.replicate(whole, devices)

    def _rows(self, dataset: str) -> int:
        """Rows of a data set that a step may read, each with its neighbours."""
        past, future = self.network.context_of(dataset)
        batch = sum(self.sizes[task_id] for task_id in self.network.tasks_of(dataset))
        return self.seeds * batch * (past + 1 + future)

    def __call__(self, seeds: Sequence[int], spans: Spans) -> Iterator[dict[str, DeviceSplit]]:
        """Data for each span [start, stop) of steps, in order.

        Args:
          seeds: of the networks that are trained side by side, whose samples differ.
          spans: none longer than `length`.
        """
        if not self.streamed:
            for _ in spans:
                yield self.whole
            return
        grain = _grain()

        def cut(number: int) -> dict[str, DeviceSplit]:
            return self._cut(seeds, *spans[number])

        pieces = grain.MapDataset.range(len(spans)).map(cut)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
        for local in pieces.to_iter_dataset(options):
            yield {**self.whole, **parallel.replicate(local, self.devices)}

    def _cut(self, seeds: Sequence[int], start: int, stop: int) -> dict[str, DeviceSplit]:
        # Always as many steps, so that one program draws them all; too many do no harm.
        steps = start + np.minimum(np.arange(self.length), stop - start - 1)
        cut = {}
        for name in self.streamed:
            split, drawn, tasks = self.data[name], {}, self.network.tasks_of(name)
            for task_id in tasks:
                task, index = self.network.tasks[task_id].name, self.network.task_index(task_id)
                lengths, count = split.lengths.get(task), len(split.rows[task])
                with jax.default_device(_host()):
                    places = _draw(
                        np.asarray(seeds), steps, lengths, index, self.sizes[task_id], count
                    )
                drawn[task] = np.unique(places)
            past, future = self.network.context_of(name)
            capacity = min(len(split.group), self.length * self._rows(name))
            cut[name] = piece(split, drawn, past, future, capacity)
        return cut


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _draw(seeds, steps, lengths, index: int, size: int, count: int) -> jax.Array:
    """int[S, steps, size], places among a task's rows."""

    def one(seed, step):
        return drawn_places(jax.random.key(seed), index, step, size, count, lengths)

    return jax.lax.map(lambda seed: jax.lax.map(lambda step: one(seed, step), steps), seeds)


def _host() -> jax.Device:
    """The processor, which is free while an accelerator is at work; draws agree on all of them."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return jax.local_devices()[0]


def _grain() -> Any:
    try:
        import grain
    except ImportError as error:
        raise InputError(
            "data sets larger than --resident_mib are streamed by the package grain, which is not "
            "installed; install requirements.txt, or raise --resident_mib"
        ) from error
    return grain


def on_split(
    predict: Callable[..., dict[str, np.ndarray]], network: NetworkConfig, split: DeviceSplit,
    dataset: str, devices: list[jax.Device], resident: int = RESIDENT,
) -> Callable[..., dict[str, np.ndarray]]:  # fmt: skip
    """What `make_predict` returns, on one split, whole or in pieces, by length of text.

    Returns:
      predict(params, constants, structures, task_id, rows) -> dict of arrays.
    """
    if too_large(split, resident):
        inner = _in_pieces(network, split, dataset, predict, devices, resident)
    else:
        whole = parallel.replicate(split, devices)

        def inner(params, constants, structures, task_id, rows):
            return predict(params, constants, structures, whole, task_id, rows)

    def by_length(params, constants, structures, task_id, rows):
        name, rows = network.tasks[task_id].name, np.asarray(rows)
        order = np.arange(len(rows))
        if name in split.lengths:
            places = np.searchsorted(split.rows[name], rows)
            order = np.argsort(split.lengths[name][places], kind="stable")
        outputs = inner(params, constants, structures, task_id, rows[order])
        back = np.argsort(order)
        return jax.tree.map(lambda x: x[:, back], outputs)

    return by_length


def _in_pieces(network, split: DeviceSplit, dataset: str, predict, devices, resident: int):
    past, future = network.context_of(dataset)
    within = rows_within(split, resident)

    def in_pieces(params, constants, structures, task_id, rows):
        name = network.tasks[task_id].name
        places = np.searchsorted(split.rows[name], rows)
        size = max(1, min(ROWS, len(places), within))
        while True:
            # How many neighbours samples share is seen by looking.
            most = max(
                len(rows_read(split, rows[start : start + size], past, future))
                for start in range(0, len(rows), size)
            )
            if most <= within or size == 1:
                break
            size = -(-size // 2)
        capacity = min(len(split.group), -(-most // ROUND) * ROUND)
        predictions = []
        for start in range(0, len(places), size):
            chosen = places[start : start + size]
            # The last one is filled up, and cut off again below.
            chosen = np.pad(chosen, (0, size - len(chosen)), mode="edge")
            cut = piece(split, {name: chosen}, past, future, capacity)
            placed = parallel.replicate(cut, devices)
            local = cut.rows[name][chosen]
            predictions.append(predict(params, constants, structures, placed, task_id, local))
        return jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, : len(rows)], *predictions)

    return in_pieces
