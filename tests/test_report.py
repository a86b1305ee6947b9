"""What networks say of every sample, and the page of a run."""

import base64
import csv
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import TASKS
from matplotlib.figure import Figure

from haemsa_jax.errors import InputError
from haemsa_jax.models.architecture import default_architecture
from haemsa_jax.reporting import architecture, samples
from haemsa_jax.reporting.page import SECTIONS, page
from haemsa_jax.training.evaluation import TaskEvaluation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
UNKIND = '<script>alert("x")</script> | **loud**'


def said(task: str, predictions, truth) -> TaskEvaluation:
    count = len(truth)
    return TaskEvaluation(
        spec=TASKS[task], ids=[f"clip {n}" for n in range(count)],
        words=[UNKIND, *["fine"] * (count - 1)], truth=np.array(truth),
        predictions=np.array(predictions, float), metrics={}, ensemble={}, classes={}, gates={},
    )  # fmt: skip


@pytest.fixture
def predictions(tmp_path):
    """Two seeds on three samples of a regression, one seed on two of a classification."""
    path = tmp_path / "test_predictions.csv"
    score = said("score", [[1.0, 2.0, 3.0], [3.0, 2.0, -3.0]], [-2.0, 2.0, 1.0])
    mood = said("mood", [[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]], [1, 2])
    without = {
        "text": {"talks:score": said("score", [[-1.0, 3.0, 0.5]], [-2.0, 2.0, 1.0])},
        "audio": {"talks:score": said("score", [[1.0, 2.0, -5.0]], [-2.0, 2.0, 1.0])},
    }
    samples.write(path, {"talks:score": score, "talks:mood": mood}, without)
    return path


def test_every_sample_is_a_row(predictions):
    with predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    first, *_, last = rows
    assert len(rows) == 5
    assert first["words"] == UNKIND
    # The mean of the seeds, 2, is 4 off; of those the text is guilty of 3.
    assert (first["prediction"], float(first["error"])) == ("2", 4.0)
    assert (first["without text"], float(first["error without text"])) == ("-1", 1.0)
    assert (first["network 0"], first["network 1"]) == ("1.0", "3.0")
    assert (last["truth"], last["prediction"]) == ("gay", "gay 0.80")
    assert float(last["error"]) == pytest.approx(0.2)
    assert last["without text"] == last["network 1"] == ""


def test_the_largest_errors_and_what_misled(predictions):
    found = samples.largest_errors(predictions, 2)
    assert {task_id: [one.id for one in of] for task_id, of in found.items()} == {
        "talks:score": ["clip 0", "clip 2"],
        "talks:mood": ["clip 0", "clip 1"],
    }
    first, second = found["talks:score"]
    assert (first.modality, first.without, first.error) == ("text", "-1", 4.0)
    # Without the text .5 instead of 1; without audio much worse.
    assert (second.modality, second.without) == ("text", "0.5")
    # Nothing was left out of the other task.
    assert found["talks:mood"][0].modality == ""


def test_several_labels_in_words(tmp_path):
    task = said("tags", [[[0.9, 0.2], [0.4, 0.1]]], [[1, 1], [0, 0]])
    samples.write(tmp_path / "said.csv", {"talks:tags": task}, {})
    first, second = samples.largest_errors(tmp_path / "said.csv", 2)["talks:tags"]
    assert (first.truth, first.prediction, first.error) == ("a, b", "a 0.90", 0.45)
    assert (second.truth, second.prediction) == ("none", "none")


def test_gate_weights_are_drawn(small):
    rng = np.random.default_rng(0)
    whole = default_architecture(small)
    gates = {
        task_id: {
            "local": rng.random((3, 1, 4)),
            "links": rng.random((3, 3)),
            "fusion": rng.random(4),
        }
        for task_id in small.tasks
    }
    weights = architecture.average(gates, whole, small)
    axes = Figure().subplots()
    shut = whole.replace(links=np.asarray(whole.links) * (np.arange(3) != 1)[:, None])
    architecture.draw(axes, shut, small, weights)
    texts = [text.get_text() for text in axes.texts]
    assert f"pointwise {weights.local[0, 0, 0]:.2f}" in texts
    assert f"tensor {weights.fusion[:, 1].mean():.2f}" in texts
    assert f"{weights.links[0, 1]:.2f}" in texts
    # Nothing goes into audio.
    assert sum(bool(re.fullmatch(r"0\.\d\d", text)) for text in texts) == 4
    # A task that may not read audio says nothing of audio's gates.
    deaf = np.array(whole.modalities)
    deaf[0, 1] = 0.0
    heard = architecture.average(gates, whole.replace(modalities=deaf), small)
    _, second, third = gates.values()
    rest = (second["local"] + third["local"]) / 2
    np.testing.assert_allclose(heard.local[1], rest[1], rtol=1e-6)
    np.testing.assert_allclose(heard.local[0], weights.local[0])
    rest = (second["links"] + third["links"]) / 2
    np.testing.assert_allclose(heard.links[:, 1], rest[:, 1], rtol=1e-6)
    np.testing.assert_allclose(heard.links[0, 2], weights.links[0, 2])


@pytest.fixture
def run(predictions):
    """A directory that was evaluated, but not trained here."""
    directory = predictions.parent
    Figure(figsize=(12, 3)).savefig(directory / "test.png")
    (directory / "test.md").write_text(
        "### talks:score\n\n| | MAE ↓ |\n| --- | ---: |\n| a | 1 |\n"
    )
    (directory / "commands.txt").write_text("python -m launch.evaluate --run_dir=<b>\n")
    return directory


def test_a_page_holds_everything_itself(run):
    text = page(run)
    assert "<td>a</td>" in text
    assert "text: -1 without it" in text
    # Words are shown, never run; pictures are inside, and nothing is fetched.
    assert "&lt;script&gt;" in text and "<script" not in text
    assert "**loud**" in text and "--run_dir=&lt;b&gt;" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(s.startswith(("#", "data:image/png;base64,")) for s in sources)
    picture = next(s for s in sources if s.startswith("data:")).partition(",")[2]
    assert base64.b64decode(picture) == (run / "test.png").read_bytes()
    assert [f'id="{title}"' in text for title in ("results", "search")] == [True, False]
    assert "Search" in SECTIONS


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds nothing of a run; name what launch\.train"):
        page(tmp_path)
    with pytest.raises(InputError, match="there is no such directory"):
        page(tmp_path / "nowhere")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: looks at the page in a browser")
@pytest.mark.parametrize("width", [500, 1280])
def test_a_browser_shows_the_page(run, tmp_path, width):
    """Pictures load, nobody scrolls sideways, wide things scroll within."""
    looks = """<script>addEventListener("load", () => { document.title = JSON.stringify([
      document.documentElement.scrollWidth - document.documentElement.clientWidth,
      [...document.images].every(x => x.naturalWidth > 0), document.images.length]) })</script>"""
    seen = tmp_path / "seen.html"
    seen.write_text(page(run).replace("</body>", f"{looks}</body>"))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom",
            seen.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"<title>(.*?)</title>", done.stdout)[1] == "[0,true,1]", done.stdout[-500:]
