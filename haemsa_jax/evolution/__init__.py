"""Evolution: genes, the search as one program, and what becomes of what it found.

`evolve(network, train, config, datasets)` is a whole search of a registered model's networks;
`make_search(problem, config)` serves any supernet of masks.
"""

from haemsa_jax.evolution.genome import decode, default_genome, describe, gene_table
from haemsa_jax.evolution.outcome import begin, population, read_genome
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.run import run_search
from haemsa_jax.evolution.search import Search, make_search
from haemsa_jax.evolution.state import History, Problem, SearchConfig, SearchResult
from haemsa_jax.evolution.whole import Evolved, evolve
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.size import size
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.structure.table import Table

__all__ = [
    "Evolved",
    "Gene",
    "History",
    "Problem",
    "Search",
    "SearchConfig",
    "SearchResult",
    "Table",
    "begin",
    "decode",
    "default_genome",
    "describe",
    "evolve",
    "gene_table",
    "make_problem",
    "make_search",
    "population",
    "read_genome",
    "run_search",
    "search_data",
    "size",
    "specialise",
]
