"""A search, started the way a user starts it: looked at, stopped, killed, resumed, made use of."""

import json
import re
import signal

import jax
import numpy as np
import pytest
from launchers import SPOKEN, stop_when

from haemsa_jax.training.persistence.trained import load_trained

TASK = "cmu_mosi/standard:sentiment"


def evolve_flags(data_dir, run_dir, *more):
    return (
        *SPOKEN, f"--data_dir={data_dir}", f"--run_dir={run_dir}", "--population=4",
        "--generations=4", "--folds=2", "--steps=3", "--head_start=3", "--learning_rate=0.01",
        "--batch_size=10", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(launch, spoken_dir, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("found")
    done = launch("evolve", *evolve_flags(spoken_dir, run_dir))
    assert done.returncode == 0, done.stderr
    return run_dir, done


def test_a_search_shows_progress_and_what_it_found(found):
    run_dir, done = found
    assert re.search(r"GenomicGA: about .* to go, then .* of random search", done.stderr)
    assert re.search(r"random search: about .* to go\n", done.stderr)
    for word in (
        "GenomicGA",
        "random search",
        "round 5/5",
        "to go",
        "best=",
        "median=",
        "diverged=",
        "steps/s=",
    ):
        assert word in done.stderr
    for word in (
        f"modalities/{TASK}",
        "learning_rate",
        "evolved",
        "random",
        "fitness, mean over seeds",
        "fitness, best seed",
        "diverged (cost not finite",
        "score: 1 - MAE / MAE of the median of the training labels; higher is better",
    ):
        assert word in done.stdout
    told = json.loads((run_dir / "best.json").read_text())
    with np.load(run_dir / "history.npz") as history, np.load(run_dir / "random.npz") as random:
        assert history["fitness"].shape == random["fitness"].shape == (5, 4)
        assert told["fitness"] in history["fitness"][told["round"] - 1]
        assert told["random_fitness"] in random["fitness"]
    assert (run_dir / "report.png").read_bytes().startswith(b"\x89PNG")


def test_stopped_and_killed_it_ends_the_same(launch, found, spoken_dir, tmp_path, environment):
    """SIGTERM leaves a usable result; after SIGKILL and a second start, the same history."""
    flags = evolve_flags(spoken_dir, tmp_path, "--noyardstick")

    def generations(count):
        return lambda: any((tmp_path / "search" / str(n)).is_dir() for n in range(count, 9))

    stop_when(environment, "evolve", flags, signal.SIGTERM, 128 + signal.SIGTERM, generations(1))
    told = json.loads((tmp_path / "best.json").read_text())
    with np.load(tmp_path / "history.npz") as history:
        done = len(history["best"])
        assert 0 < done < 5
        assert told["fitness"] == history["fitness"][-1].min()
    assert (tmp_path / "report.png").exists()
    assert load_trained(tmp_path).ranked
    stop_when(environment, "evolve", flags, signal.SIGKILL, -signal.SIGKILL, generations(done + 1))
    again = launch("evolve", *flags)
    assert again.returncode == 0, again.stderr
    with np.load(tmp_path / "history.npz") as mine, np.load(found[0] / "history.npz") as whole:
        for name in whole:
            np.testing.assert_array_equal(mine[name], whole[name])


def test_another_search_in_its_place_is_refused(launch, found, spoken_dir):
    done = launch("evolve", *evolve_flags(spoken_dir, found[0], "--price=0.5"))
    assert done.returncode == 2
    assert "origin.search.price: " in done.stderr
    assert "0.5 asked" in done.stderr
    # Nor is it overwritten by a training, whether of other tasks or of its own genome.
    flags = (f"--data_dir={spoken_dir}", f"--run_dir={found[0]}", "--epochs=1")
    done = launch("train", *SPOKEN, *flags)
    assert done.returncode == 2
    assert "holds a checkpoint of another configuration: " in done.stderr
    assert "origin.search: " in done.stderr
    done = launch("train", f"--genome={found[0]}", "--overwrite", *flags)
    assert done.returncode == 2
    assert "best.json, which the run reads; choose another --run_dir" in done.stderr
    assert (found[0] / "best.json").exists()


def test_with_fewer_abreast_it_goes_on(launch, found, spoken_dir):
    """Whoever runs out of memory need not begin again."""
    done = launch("evolve", *evolve_flags(spoken_dir, found[0], "--abreast=1"))
    assert done.returncode == 0, done.stderr
    assert "round 5/5" in done.stderr


def test_the_best_is_trained_and_everything_evaluated(launch, found, spoken_dir, tmp_path):
    run_dir = found[0]
    genome = (f"--genome={run_dir / 'best.json'}", f"--data_dir={spoken_dir}", "--seeds=2")
    fresh = f"--run_dir={tmp_path / 'fresh'}"
    # Networks of folds have seen the samples that would select here.
    data = f"--data_dir={spoken_dir}"
    for seen in ((*genome, "--weights=inherited"), (*SPOKEN, data, f"--init_from={run_dir}")):
        done = launch("train", *seen, fresh)
        assert done.returncode == 2
        assert "was trained with folds=2, so that its networks have seen samples" in done.stderr
    done = launch("train", *genome, fresh, "--epochs=1")
    assert done.returncode == 0, done.stderr
    trained = load_trained(tmp_path / "fresh")
    told = json.loads((run_dir / "best.json").read_text())
    assert trained.experiment.train.batch_size == 10
    assert trained.experiment.train.dropout == told["genome"]["dropout"]
    assert trained.size == 2 and trained.count == 2
    assert trained.experiment.origin["weights"] == "random"
    assert sum(x[0].size for x in jax.tree.leaves(trained.params)) == told["parameters"]
    both = f"--run_dir={run_dir},{tmp_path / 'fresh'}"
    done = launch(
        "evaluate", both, f"--out_dir={tmp_path / 'out'}", f"--data_dir={spoken_dir}",
        "--ensemble=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "test.json").read_text())[TASK]
    # A search and a training of its genome are no seeds of one another.
    for directory, seeds in ((run_dir, 1), (tmp_path / "fresh", 2)):
        name = f"HAEMSA of {directory}"
        assert len(results[f"{name}, bag of 2"]["mae"]) == seeds
        assert len(results[f"{name}, one network"]["mae"]) == 2 * seeds
        assert len(results[f"{name}, bag of 2, ensemble of 2"]["mae"]) == 1
    assert len(results[f"HAEMSA of {run_dir}, ensemble chosen out of fold"]["mae"]) == 1
    assert (tmp_path / "out" / "test.png").exists()


def test_ablations_are_trained_and_compared(launch, found, spoken_dir, tmp_path):
    flags = (
        f"--genome={found[0] / 'best.json'}", f"--data_dir={spoken_dir}", "--seeds=2",
        "--epochs=1", "--ablate=hierarchy,evolution", f"--run_dir={tmp_path}",
    )  # fmt: skip
    done = launch("ablate", *flags)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "ablation.json").read_text())
    models = told["metrics"][TASK]
    assert list(models) == ["whole", "one level of experts", "not evolved"]
    assert all(len(of["text"]["mae"]) == 2 for of in models.values())
    assert models["whole"] != models["not evolved"]
    sizes = {name: of[0] for name, of in told["sizes"]["cmu_mosi-standard"].items()}
    assert len({of["steps"] for of in sizes.values()}) == 1
    assert sizes["hierarchy"]["parameters"] >= sizes["whole"]["parameters"]
    assert (tmp_path / "ablation.png").exists()
    assert "minus the whole" in (tmp_path / "ablation.md").read_text()
    before = (tmp_path / "ablation.md").read_text()
    # The same command again finds everything trained.
    (tmp_path / "ablation.md").unlink()
    done = launch("ablate", *flags)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ablation.md").read_text() == before
    done = launch("ablate", *flags, "--ablate=multitask", "--overwrite")
    assert done.returncode == 2
    assert "there is one task" in done.stderr
    done = launch("ablate", *flags, "--depth=2", "--overwrite")
    assert done.returncode == 2
    assert "depth=2, but the genome" in done.stderr
    assert (tmp_path / "ablation.md").exists()


def test_too_large_an_ensemble(launch, found, spoken_dir):
    done = launch("evaluate", f"--run_dir={found[0]}", f"--data_dir={spoken_dir}", "--ensemble=50")
    assert done.returncode == 2
    assert f"{found[0]}: an ensemble of 50 is asked for, but the run holds" in done.stderr
