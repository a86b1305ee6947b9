"""Searches a network for arrays, and trains what was found anew: python examples/search.py"""

import sys
from pathlib import Path

from clips import MOOD, WIDTHS, dataset

from haemsa_jax import HaemsaConfig, TrainConfig, evaluate, make_train
from haemsa_jax.evolution import SearchConfig, begin, evolve, read_genome
from haemsa_jax.reporting.progress import SearchBar

run_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/searched")
data = {"mine": dataset()}
network = HaemsaConfig({"mine": WIDTHS}, {"mine:mood": MOOD}, width=8, depth=1, heads=2)
training = TrainConfig(batch_size=32, learning_rate=5e-3, folds=2)
config = SearchConfig(
    population=4, generations=3, steps=20, head_start=20, repeats=2, fixed=("training",)
)
with SearchBar("search", config.rounds) as bar:
    evolved = evolve(network, training, config, data, run_dir, observe=bar)
print(evolved.describe())
print(evaluate(evolved.trained, data)["mine:mood"].metrics)  # the best member, on the test split

saved = read_genome(run_dir)  # best.json: another process, or launch.train --genome, reads it too
small, start = begin(saved, network, inherit=False)
anew = make_train(small, saved.train, data, start=start)()
print(evaluate(anew, data)["mine:mood"].metrics)
