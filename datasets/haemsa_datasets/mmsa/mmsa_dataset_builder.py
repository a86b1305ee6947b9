"""Any pickle in MMSA's form: `mmsa`, or `mmsa/NAME` with a name of one's own."""

import functools
from pathlib import Path

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.mmsa import described
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Card, Sample


class Builder(HaemsaBuilder):
    """Task `sentiment`, with `sentiment_text` and so on where they are labelled.

    Widths, modalities and the range of labels are the file's. A video is a group, a clip a turn.
    """

    VERSION = tfds.core.Version("1.0.0")
    ANY_FILE = True

    @functools.cached_property
    def _content(self) -> tuple[Path, described.Fields, dict[str, str]]:
        path = described.find_pickle(Path(self.raw_dir))
        content = read_pickle(path)
        return path, described.fields_of(path, content), described.origins(path, content)

    @functools.cached_property
    def card(self) -> Card:
        if self.raw_dir is None:
            return Card("a pickle in MMSA's form", {}, (), {}, False, described.SOURCE)
        return described.describe(*self._content)

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        return described.read(*self._content[:2], self.card)
