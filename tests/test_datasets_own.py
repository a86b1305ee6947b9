"""Data sets in a directory of one's own, and what may be wrong with their builders."""

import subprocess
import sys

import clips
import numpy as np
import pytest
from tensorflow_datasets.core import registered

import haemsa_datasets
from haemsa_datasets import catalog
from haemsa_jax.errors import InputError

BUILDER = """
import numpy as np
import tensorflow_datasets as tfds
from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec

class Builder(HaemsaBuilder):
    VERSION = tfds.core.Version("1.0.0")
    card = Card(
        description="cellars", widths={"text": 2}, provenance={"text": "counts"},
        tasks=(TaskSpec("mood", "regression", ("mae",), range=(-1.0, 1.0)),
               TaskSpec("kind", "classification", ("accuracy",), ("dry", "wet")),
               TaskSpec("tags", "multilabel", ("f1_mean",), ("a", "b"))),
        conversational=False,
    )

    def read(self, raw_dir):
        return {name: [sample(name, i) for i in range(4)]
                for name in ("train", "validation", "test")}

def sample(split, i):
    return Sample(
        id=f"{split}{i}", group=f"{split}{i}", turn=0,
        features={"text": np.full((2, 2), i)},
        labels={"mood": np.float64(0.1), "kind": float(i % 2), "tags": [0, 1]},
    )
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """directory(text, name) -> a directory with one data set; known to nobody afterwards."""
    monkeypatch.setattr(haemsa_datasets, "__path__", [*haemsa_datasets.__path__])

    def make(text=BUILDER, name="cellar"):
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_dataset_builder.py").write_text(text)
        return folder.parent

    yield make
    for known in (registered._DATASET_REGISTRY, registered._ABSTRACT_DATASET_REGISTRY):
        known.pop("cellar", None)
    for module in [name for name in sys.modules if name.startswith("haemsa_datasets.cellar")]:
        del sys.modules[module]


def test_any_dtype_is_stored_as_declared_and_read_without_the_builder(directory, tmp_path):
    """TFDS refuses whole numbers, float64 and lists where float32 is declared."""
    roots = [*haemsa_datasets.__path__]
    assert catalog.register_directory(directory()) == ("cellar",)
    haemsa_datasets.prepare("cellar", None, tmp_path / "data")
    haemsa_datasets.__path__ = roots
    assert not catalog.is_known("cellar")
    train = haemsa_datasets.load("cellar", tmp_path / "data").splits["train"]
    assert train.features["text"].dtype == np.float32 and train.features["text"][3, 0, 0] == 3
    assert train.labels["kind"].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(train.labels["mood"], 0.1, rtol=1e-6)
    np.testing.assert_array_equal(train.labels["tags"][0], [0, 1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('("mae",)', '("maee",)', "metric 'maee' does not fit a regression; choose from mae"),
        ('{"text": 2}', '{"text": "2"}', "the width of text is '2'; give a whole number"),
        ('{"text": 2}', '{"text": 3}', "text features have shape (2, 2); expected (T, 3)"),
        ('{"text": "counts"}', "{}", "provenance says nothing of text"),
        ('{"text": "counts"}', '"counts"', "provenance is 'counts'; give a dict"),
        ('TaskSpec("mood"', 'TaskSpec("kind"', "two tasks have one name (kind, kind, tags)"),
        ("np.full((2, 2), i)", '[["a"]]', "text features are [['a']]; expected an array"),
        ('[0, 1]},', '["a", 1]},', "label for task 'tags'"),
        ("float(i % 2)", '"wet"', "label for task 'kind'"),
        ("float(i % 2)", "0.5", "label 0.5 of sample 'train0' for task 'kind' is not"),
        ('"validation", "test")', '"dev", "test")', "the reader returned train, dev, test"),
        ("return Sample(", "return dict(", "sample 0 is {'id': 'train0'"),
        ("def read(", "def reads(", "Builder lacks read; define it"),
        ('    VERSION = tfds', "    OTHER = tfds", "has no VERSION = tfds.core.Version"),
        ("card = Card(", "card = dict(", "its builder's card is {'description'"),
        ("(HaemsaBuilder)", "", "Builder is no HaemsaBuilder; derive it"),
        ("class Builder", "class Bilder", "has no attribute 'Builder'"),
        ("import numpy as np", "import nunpy as np", "No module named 'nunpy'"),
        ("turn=0,", 'turn=[][0],', "cellar_dataset_builder.py, line 24: IndexError"),
    ],
)  # fmt: skip
def test_a_faulty_builder_is_one_line(directory, tmp_path, old, new, message):
    assert old in BUILDER
    with pytest.raises(InputError) as caught:
        catalog.register_directory(directory(BUILDER.replace(old, new, 1)))
        haemsa_datasets.prepare("cellar", None, tmp_path / "data")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["samples", "hazumi", "mmsa"])
def test_a_folder_that_is_called_as_a_module_of_the_library(directory, name):
    with pytest.raises(InputError, match=f"has a '{name}' already; give the folder another name"):
        catalog.register_directory(directory(name=name))


def test_the_data_set_itself_is_no_directory_of_them(directory):
    with pytest.raises(InputError, match="is a data set; name the directory that it lies in"):
        catalog.register_directory(directory() / "cellar")


def test_a_folder_on_the_path_does_not_take_the_library_s_place(environment, tmp_path):
    (tmp_path / "haemsa_datasets" / "kitchen").mkdir(parents=True)
    (tmp_path / "haemsa_datasets" / "__init__.py").write_text("")
    program = "import launch, haemsa_datasets; print(haemsa_datasets.__file__)"
    path = f"{tmp_path}:{environment['PYTHONPATH']}"
    done = subprocess.run(
        [environment["PYTHON"], "-c", program],
        env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == haemsa_datasets.__file__


def test_arrays_are_a_data_set_by_name(monkeypatch):
    monkeypatch.setattr(catalog, "REGISTERED", {})
    haemsa_datasets.register("mine", clips.dataset)
    loaded = haemsa_datasets.load("mine", "nowhere", ["validation", "test"])
    assert [*loaded.splits] == ["validation", "test"] and loaded.widths == clips.WIDTHS
    assert haemsa_datasets.metadata("mine", "nowhere") == {}
    with pytest.raises(InputError, match="mine: split 'dev' is unknown; choose from train"):
        haemsa_datasets.load("mine", "nowhere", ["dev"])
    with pytest.raises(InputError, match="there is a data set 'hazumi' already"):
        haemsa_datasets.register("hazumi", clips.dataset)
