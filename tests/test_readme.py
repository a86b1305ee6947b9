"""What README and docs show exists."""

import re

import numpy as np
import pytest
from launchers import ROOT

import haemsa_datasets
from haemsa_datasets import catalog
from haemsa_jax.errors import InputError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [
    *PAGES,
    *(ROOT / f"{name}.md" for name in ("BUILD_NOTES", "CHANGELOG", "CONTRIBUTING")),
    *sorted((ROOT / "docs/decisions").glob("*.md")),
]
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_its_commands_name_programs_and_flags_that_exist(launch):
    commands = re.findall(r"python -m (launch\.\w+)((?:[ \\\n]+--[\w]+(?:=\S+)?)*)", TEXT)
    assert {program for program, _ in commands} == {
        "launch.prepare_data", "launch.train", "launch.evaluate", "launch.evolve", "launch.ablate",
        "launch.predict", "launch.export", "launch.extract", "launch.export_encoder",
        "launch.report", "launch.reproduce", "launch.compare",
    }  # fmt: skip
    for program in {program for program, _ in commands}:
        done = launch(program.removeprefix("launch."), "--help")
        for flag in re.findall(r"--(\w+)", " ".join(f for p, f in commands if p == program)):
            listed = re.search(rf"--(\[no\])?{flag}\b", done.stdout)
            assert listed or flag == "help", (program, flag)


def anchors(page):
    """Of headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    names = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names}


def broken(page):
    """Links to files and headings that do not exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if not target.startswith(("http:", "https:")):
            other = page.parent / path if path else page
            if not other.exists() or (anchor and anchor not in anchors(other)):
                yield target


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page):
    assert not [*broken(page)]


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` C\n\n[1](#a-b-c) [2](#d) [3](page.md#a-b-c) [4](none.md) [5](page.md#e)\n"
    )
    assert [*broken(page)] == ["#d", "none.md", "page.md#e"]


CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)


def test_arrays_are_registered_as_shown(monkeypatch):
    monkeypatch.setattr(catalog, "REGISTERED", {})
    assert len(CODE) == 2
    exec(CODE[1], {})
    assert haemsa_datasets.load("mine", "nowhere", ["test"]).name == "mine"


def test_a_data_set_of_ones_own_is_the_folder_that_is_shown(tmp_path, monkeypatch):
    code = CODE[0]
    folder = tmp_path / "more" / "kitchen"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "kitchen_dataset_builder.py").write_text(code)
    monkeypatch.setattr(
        haemsa_datasets, "__path__", [*haemsa_datasets.__path__, str(folder.parent)]
    )
    raw, rng = tmp_path / "raw", np.random.default_rng(0)
    raw.mkdir()
    rows = ["id,split,mood"]
    for row in range(12):
        split = ("train", "validation", "test")[row % 3]
        rows.append(f"clip{row},{split},{row / 6 - 1:.2f}")
        np.savez(
            raw / f"clip{row}.npz",
            text=rng.normal(size=(3, 4)),
            audio=rng.normal(size=(row % 2, 3)),
        )
    with pytest.raises(InputError, match=r"labels.csv[\s\S]*ask the cook"):
        haemsa_datasets.prepare("kitchen", raw, tmp_path / "data")
    (raw / "labels.csv").write_text("\n".join(rows))
    haemsa_datasets.prepare("kitchen", raw, tmp_path / "data")
    data = haemsa_datasets.load("kitchen", tmp_path / "data", ["train", "test"])
    assert data.widths == {"text": 4, "audio": 3}
    assert len(data.splits["test"]) == 4 and not data.splits["train"].masks["audio"][0].any()


def test_raw_files_of_a_generated_data_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="would not be read, since the data set is generated"):
        haemsa_datasets.prepare("planted", tmp_path, tmp_path / "data")
