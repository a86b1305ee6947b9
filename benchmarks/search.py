"""Speed of the search: one program for a whole population, beside three other ways to do the same.

  python -m benchmarks.search [--population=16] [--devices=2] [--populations=8,64,512]

Members are trained for --steps steps and validated, as in one generation. The other ways: (a) the
same members one after the other on one device, by one compiled step that Python calls and, harder
to beat, by one program that is a member's whole training; (b) a program compiled for every
architecture; (c) a loop over late-fusion networks in PyTorch, where torch is installed. Data have
the shape of `planted` and are random. All figures are of one run; compare ratios, not runs.
The search uses all devices; --devices splits a CPU, best into one a core.

What specialisation saves is measured on the same architectures: the small network beside the masked
supernet, on all validation samples.

--populations adds a curve over population sizes: members a second, the process's peak memory so far
where the device tells it, and the share of the device's measured matrix-multiplication rate.
"""

import dataclasses
import functools
import os

# PyTorch's idle OpenMP threads would otherwise spin and steal JAX's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import platform
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.timing import REPEATS, median_seconds
from benchmarks.torch_fusion import torch_rate
from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import Problem, SearchConfig
from haemsa_jax.models import Rates, build, default_structure, init_variables
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.structure.size import size
from haemsa_jax.structure.specialise import specialise, specialised_config
from haemsa_jax.training.measurement.normalization import make_constants

_POPULATION = flags.DEFINE_integer("population", 16, "Members of a generation.")
_DEVICES = flags.DEFINE_integer("devices", None, "Devices that a CPU is split into.")
_ABREAST = flags.DEFINE_integer("abreast", 0, "Members that a device trains side by side.")
_POPULATIONS = flags.DEFINE_list("populations", [], "Sizes of the curve.")
_STEPS = flags.DEFINE_integer("steps", 20, "Training steps of a member.")
_WIDTH = flags.DEFINE_integer("width", 32, "Width of the network.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Samples of each task in a step.")
_ARCHITECTURES = flags.DEFINE_integer("architectures", 3, "How many are compiled one by one.")

WIDTHS = {"text": 16, "audio": 8, "vision": 12}
LENGTHS = {"text": 12, "audio": 20, "vision": 16}
FOLDS = 4
SIZES = {"train": 1500, "validation": 400}
TASKS = {
    "score": TaskSpec("score", "regression", ("mae",), range=(-9.0, 9.0)),
    "mood": TaskSpec("mood", "classification", ("f1_weighted",), ("no", "yes")),
}


def main(argv: list[str]) -> None:
    del argv
    if _DEVICES.value:
        jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    print(f"{platform.machine()}, {os.cpu_count()} cores; jax {jax.__version__} on", end=" ")
    print(f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}")
    bench = Bench()
    count = int(size(bench.network, default_structure(bench.network)).parameters)
    print(
        f"supernet of width {_WIDTH.value}, {count:,} parameters; members are trained for "
        f"{_STEPS.value} steps of {_BATCH.value} samples a task\n"
    )
    whole, compiling = bench.one_program(_POPULATION.value)
    rates = {f"one program, population of {_POPULATION.value}": whole}
    bags, _ = bench.one_program(_POPULATION.value // FOLDS, FOLDS)
    rates[f"    as many networks, in bags of {FOLDS}"] = bags * FOLDS
    rates["(a) one by one, one compiled step"] = bench.one_by_one(_STEPS.value)
    rates["    one by one, one compiled training"] = bench.one_by_one(1)
    rates["(b) one by one, each compiled"] = bench.each_compiled()
    try:
        import torch
    except ImportError:
        print("torch is not installed: no comparison\n")
    else:
        rates[f"(c) late fusion in torch {torch.__version__}"] = torch_rate(
            torch,
            {name: random_split(size, 0) for name, size in SIZES.items()},
            limit=count,
            steps=_STEPS.value,
            batch=_BATCH.value,
        )
    print(f"{'':44}{'members/s':>12}{'ratio':>9}")
    for name, rate in rates.items():
        print(f"{name:44}{rate:12.3f}{whole / rate:9.2f}")
    print(f"\ncompiling the search: {compiling:.1f} s")
    bench.specialised()
    if _POPULATIONS.value:
        bench.curve([int(number) for number in _POPULATIONS.value])


def random_split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(
        features={
            m: rng.normal(size=(count, LENGTHS[m], w)).astype(np.float32) for m, w in WIDTHS.items()
        },
        masks={m: np.ones((count, LENGTHS[m]), bool) for m in WIDTHS},
        labels={
            "score": rng.normal(size=count).astype(np.float32),
            "mood": rng.integers(0, 2, count).astype(np.int32),
        },
        labelled=dict.fromkeys(TASKS, np.ones(count, bool)),
        group=np.arange(count, dtype=np.int32),
        ids=[f"{seed}-{row}" for row in range(count)],
    )


def judged(problem: Problem, member, genome, data):
    """What one network without folds costs."""
    predictions = problem.predict(member, genome, data, 0)
    return problem.judge(jax.tree.map(lambda x: x[None], predictions), data)


class Bench:
    """One supernet on random data."""

    def __init__(self):
        splits = {name: random_split(count, place) for place, (name, count) in
                  enumerate(SIZES.items())}  # fmt: skip
        self.datasets = {"random": Dataset("random", WIDTHS, TASKS, splits)}
        self.network = HaemsaConfig(
            widths={"random": WIDTHS}, tasks={f"random:{n}": t for n, t in TASKS.items()},
            width=_WIDTH.value, depth=1, heads=2, link_width=_WIDTH.value // 2,
        )  # fmt: skip
        self.train = TrainConfig(batch_size=_BATCH.value)
        self.key = jax.random.key(0)

    def config(self, population: int) -> SearchConfig:
        return SearchConfig(
            population=population, repeats=0, generations=2 + REPEATS, steps=_STEPS.value,
            head_start=0, abreast=_ABREAST.value,
        )  # fmt: skip

    def one_program(self, population: int, folds: int = 0) -> tuple[float, float]:
        """Members a second, and the seconds that compiling took."""
        config, train = self.config(population), dataclasses.replace(self.train, folds=folds)
        search = make_search(make_problem(self.network, train, config), config)
        data = search_data(self.network, train, self.datasets)
        began = time.perf_counter()
        state = jax.block_until_ready(search.start(self.key, data))
        state = jax.block_until_ready(search.advance(state, self.key, data, 1))
        first = time.perf_counter() - began

        def generation():
            nonlocal state
            state = jax.block_until_ready(search.advance(state, self.key, data, 1))

        seconds = median_seconds(generation)
        return population / seconds, first - seconds

    def one_by_one(self, calls: int) -> float:
        """Members a second of programs for one member, whichever its genome.

        Args:
          calls: in how many calls of one program a member is trained.
        """
        config = self.config(_POPULATION.value)
        problem = make_problem(self.network, self.train, config)
        data = jax.device_put(search_data(self.network, self.train, self.datasets))
        genomes = jax.vmap(problem.table.random)(jax.random.split(self.key, 4))
        fresh = jax.jit(problem.init)(self.key, data)
        steps = _STEPS.value // calls
        train = jax.jit(lambda *given: problem.train(*given, steps))
        evaluate = jax.jit(functools.partial(judged, problem))

        def everybody():
            for genome in genomes:
                member = fresh
                for call in range(calls):
                    member = train(member, genome, data, 0, self.key, call * steps)
                jax.block_until_ready(evaluate(member, genome, data))

        return len(genomes) / median_seconds(everybody)

    def each_compiled(self) -> float:
        """Members a second where every architecture is a program of its own."""
        config = self.config(_POPULATION.value)
        problem = make_problem(self.network, self.train, config)
        began = time.perf_counter()
        for number in range(_ARCHITECTURES.value):
            genome = problem.table.random(jax.random.fold_in(self.key, number))
            structure, _ = decode(self.network, genome)
            small = specialised_config(self.network, structure)
            own = make_problem(small, self.train, config)
            data = search_data(small, self.train, self.datasets)
            fresh = jax.jit(own.init)(self.key, data)

            def live(member, genome, data, own=own):
                member = own.train(member, genome, data, 0, self.key, 0, _STEPS.value)
                return judged(own, member, genome, data)

            jax.block_until_ready(jax.jit(live)(fresh, own.default, data))
        return _ARCHITECTURES.value / (time.perf_counter() - began)

    def specialised(self) -> None:
        """Time of the small network beside that of the supernet under masks."""
        params, _ = init_variables(build(self.network), self.key)
        constants = make_constants(self.network, self.datasets)
        split = jax.device_put(device_split(self.datasets["random"].splits["validation"]))
        samples = jax.jit(jax.vmap(lambda row: gather(split, row, np.int32(0), 0, 0)))(
            np.arange(SIZES["validation"])
        )

        def seconds(network, params, constants, structure):
            variables = jax.device_put({"params": params, "constants": constants})

            def forward(sample):
                return build(network).apply(variables, sample, structure, Rates(), "random")

            run = jax.jit(jax.vmap(lambda sample: forward(sample).predictions))
            return median_seconds(lambda: jax.block_until_ready(run(samples)))

        print(f"\n{'specialised / masked supernet':34}{'parameters':>12}{'FLOPs':>8}{'time':>8}")
        genomes = gene_table(self.network)
        whole = size(self.network, default_structure(self.network), {"random": LENGTHS})
        for number in range(_ARCHITECTURES.value):
            genome = genomes.random(jax.random.fold_in(self.key, number))
            structure = decode(self.network, genome)[0]
            masked = seconds(self.network, params, constants, structure)
            small = specialise(self.network, params, constants, structure)
            cut = seconds(small.network, small.params, small.constants, small.structure)
            now = size(self.network, structure, {"random": LENGTHS})
            print(
                f"{'random genome ' + str(number):34}{now.parameters / whole.parameters:12.2f}"
                f"{now.flops / whole.flops:8.2f}{cut / masked:8.2f}"
            )

    def curve(self, populations: list[int]) -> None:
        # Devices of a CPU share its cores, which one product uses all of.
        devices = 1 if jax.default_backend() == "cpu" else jax.local_device_count()
        rate = devices * matmul_rate()
        print(f"\nmatrix multiplication, float32: {rate / 1e9:,.0f} GFLOP/s")
        print(f"{'population':>12}{'members/s':>12}{'peak MiB':>12}{'of the rate':>12}")
        samples = len(TASKS) * (3 * _STEPS.value * _BATCH.value + SIZES["validation"])
        work = size(
            self.network, default_structure(self.network), {"random": LENGTHS}
        ).flops * samples  # fmt: skip
        for population in populations:
            members, _ = self.one_program(population)
            stats = jax.local_devices()[0].memory_stats() or {}
            peak = stats.get("peak_bytes_in_use")
            shown = f"{peak / 2**20:12,.0f}" if peak else f"{'-':>12}"
            print(f"{population:12}{members:12.2f}{shown}{float(members * work / rate):12.2%}")


def matmul_rate() -> float:
    """Floating-point operations a second of one large product."""
    size = 4096 if jax.default_backend() != "cpu" else 1024
    left = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    many = 10
    seconds = median_seconds(lambda: [product(left) for _ in range(many)][-1].block_until_ready())
    return many * 2 * size**3 / seconds


if __name__ == "__main__":
    app.run(main)
