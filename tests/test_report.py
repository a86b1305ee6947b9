"""What networks say of every sample, and the page of a run."""

import base64
import csv
import dataclasses
import datetime
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.figure import Figure
from samples import TASKS

from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError
from haemsa_jax.models import default_structure
from haemsa_jax.reporting import architecture, samples, tables
from haemsa_jax.reporting import gates as panels
from haemsa_jax.reporting.card import next_command
from haemsa_jax.reporting.page import page
from haemsa_jax.reporting.reading import from_json
from haemsa_jax.reporting.runs import splits_for
from haemsa_jax.reporting.sections import SECTIONS, _in_words
from haemsa_jax.structure.parts import declare, shut
from haemsa_jax.training.measurement.evaluation import TaskEvaluation
from haemsa_jax.version import __version__

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
UNKIND = '<script>alert("x")</script> | **loud** <img src=x onerror=alert(1)>'


def said(task: str, predictions, truth) -> TaskEvaluation:
    count = len(truth)
    return TaskEvaluation(
        spec=TASKS[task], ids=[f"clip {n}" for n in range(count)],
        words=[UNKIND, *["fine"] * (count - 1)], group=np.arange(count), truth=np.array(truth),
        predictions=np.array(predictions, float), metrics={}, alone={}, chosen={},
        ensemble={}, classes={}, gates={},
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


HEAD = "task,id,words,truth,prediction,error,without text,error without text\n"


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", f"{HEAD}x,y\n", f"{HEAD}t,i,w,1,2,0.5,2,0.4\x109\n"]
)
def test_a_damaged_file_of_predictions_is_named(tmp_path, text):
    (tmp_path / "test_predictions.csv").write_text(text)
    with pytest.raises(InputError, match=r"test_predictions\.csv is no file of predictions"):
        samples.largest_errors(tmp_path / "test_predictions.csv", 2)


def test_no_other_test_split_is_read_than_that_asked_for():
    assert splits_for("validation", fitted=True) == ("train", "validation")
    assert splits_for("validation", fitted=False) == ("validation",)
    assert splits_for("test", fitted=True) == ("train", "validation", "test")


def overflows(values):
    return float(values) ** 999


@pytest.mark.parametrize("make", [overflows, lambda values: 1 / (values - 7), iter])
def test_whatever_a_result_file_makes_fail_it_is_named(tmp_path, make):
    (tmp_path / "test.json").write_text("7")
    with pytest.raises(InputError, match=r"^/.*test\.json is not as launch\.evaluate, "):
        from_json(tmp_path / "test.json", make)


def test_several_labels_in_words(tmp_path):
    task = said("tags", [[[0.9, 0.2], [0.4, 0.1]]], [[1, 1], [0, 0]])
    samples.write(tmp_path / "said.csv", {"talks:tags": task}, {})
    first, second = samples.largest_errors(tmp_path / "said.csv", 2)["talks:tags"]
    assert (first.truth, first.prediction, first.error) == ("a, b", "a 0.90", 0.45)
    assert (second.truth, second.prediction) == ("none", "none")


def test_zero_has_no_sign(tmp_path):
    samples.write(tmp_path / "said.csv", {"talks:score": said("score", [[-0.0]], [-0.0])}, {})
    (only,) = samples.largest_errors(tmp_path / "said.csv", 1)["talks:score"]
    assert (only.truth, only.prediction) == ("0", "0")


def test_words_of_any_length_and_lines_are_read_back(tmp_path):
    words = ["x" * 200_000, 'he said "so\nb,fine\nc,too', "=1"]
    task = dataclasses.replace(said("score", [[1.0, 2, 3]], [0.0, 0, 0]), words=words)
    samples.write(tmp_path / "said.csv", {"talks:score": task}, {})
    found = samples.largest_errors(tmp_path / "said.csv", 3)["talks:score"]
    assert [one.words for one in found] == words[::-1]


def test_gate_weights_are_drawn(small):
    rng = np.random.default_rng(0)
    whole = default_structure(small)
    gates = {
        task_id: {g.name: rng.random(len(g.parts)) for g in declare(small).gates}
        for task_id in small.tasks
    }
    weights = architecture.average(gates, small, whole)
    axes = Figure().subplots()
    into_audio = [f"links/{source}>{target}" for source, target in small.links if target == "audio"]
    architecture.draw(axes, small, shut(small, whole, into_audio), gates)
    texts = [text.get_text() for text in axes.texts]
    links = list(small.links)
    assert f"pointwise {weights['local/text/0'][0]:.2f}" in texts
    assert f"tensor {weights['fusion'][1]:.2f}" in texts
    assert f"{weights['links'][links.index(('audio', 'text'))]:.2f}" in texts
    # Nothing goes into audio.
    assert sum(bool(re.fullmatch(r"0\.\d\d", text)) for text in texts) == 4
    # A task that may not read audio says nothing of audio's gates.
    first, *others = small.tasks
    deaf = {**whole, f"modalities/{first}": np.float32([1, 0, 1])}
    mean = architecture.average(gates, small, deaf)
    rest = {name: np.mean([gates[t][name] for t in others], axis=0) for name in mean}
    np.testing.assert_allclose(mean["local/audio/0"], rest["local/audio/0"], rtol=1e-6)
    np.testing.assert_allclose(mean["local/text/0"], weights["local/text/0"])
    for place, ends in enumerate(links):
        expected = rest if "audio" in ends else weights
        np.testing.assert_allclose(mean["links"][place], expected["links"][place], rtol=1e-6)


def test_a_gate_that_learnt_nothing_is_told_from_one_that_did(small):
    whole, declaration = default_structure(small), declare(small)
    start = {"links": 0.5}
    fresh = {g.name: np.full(len(g.parts), start.get(g.name, 1 / len(g.parts)))
             for g in declaration.gates}  # fmt: skip
    learnt = {**fresh, "local/text/0": np.array([0.4, 0.2, 0.2, 0.2])}
    for gates, even in ((fresh, True), (learnt, False)):
        axes = Figure().subplots()
        architecture.draw(axes, small, whole, {task_id: gates for task_id in small.tasks})
        shown = [text.get_text() for text in axes.texts]
        assert f"pointwise {gates['local/text/0'][0]:.2f}{'*' * even}" in shown
        assert "0.50*" in shown and axes.get_title().endswith(panels.EVEN)
        for gating in declaration.gates:
            panel = Figure().subplots()
            panels.draw(panel, gating.level, [gating], gates)
            marked = even or gating.name != "local/text/0"
            assert panel.get_title().endswith(panels.EVEN) == marked
    closed = next(g for g in declaration.gates if g.name == "fusion")
    assert panels.texts(closed, np.array([0.0, 1.0, 0.0, 0.0])) == ["0.00", "1.00", "0.00", "0.00"]


@pytest.fixture
def run(predictions):
    """A directory that was evaluated, but not trained here."""
    directory = predictions.parent
    Figure(figsize=(12, 3)).savefig(directory / "test.png")
    rows = {"a": {"mae": [1.0, 3.0]}, "b": {"mae": [1.5]}, UNKIND: {"mae": [7.0]}}
    (directory / "test.json").write_text(json.dumps({"talks:score": rows, UNKIND: rows}))
    (directory / "commands.txt").write_text("python -m launch.evaluate --run_dir=<b>\n")
    return directory


def test_a_page_holds_everything_itself(run):
    text = page(run, date=datetime.date(2026, 11, 27))
    assert "<td>a (2 seeds)</td>" in text and "2.000 ± 1.414" in text
    assert '<td class="number"><strong>1.500</strong></td>' in text
    assert "text: -1 without it" in text
    assert f"page of 2026-11-27 by haemsa_jax {__version__}" in text and "split read: test" in text
    # Words are shown, never run; pictures are inside, and nothing is fetched.
    assert "&lt;script&gt;" in text and "<script" not in text
    assert "**loud**" in text and "--run_dir=&lt;b&gt;" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(s.startswith(("#", "data:image/png;base64,")) for s in sources)
    picture = next(s for s in sources if s.startswith("data:")).partition(",")[2]
    assert base64.b64decode(picture) == (run / "test.png").read_bytes()
    assert [f'id="{title}"' in text for title in ("results", "search")] == [True, False]
    assert "Search" in SECTIONS


def test_nothing_of_a_file_reaches_the_page_as_markup(tmp_path):
    """Names of classes, samples, tasks, models, files and keys are shown, never obeyed."""
    directory = tmp_path / "<script>name"
    directory.mkdir()
    rows = {UNKIND: {"mae": [1.0]}}
    patterns = {UNKIND: {UNKIND: {"text+audio": {"mae": [1.0]}, "text": {"mae": [2.0]}}}}
    sizes = {UNKIND: {UNKIND: [{"parameters": 1, "steps": 1}]}}
    written = {
        "test.json": {UNKIND: rows},
        "validation.json": {f"{UNKIND}, by class": {UNKIND: {"f1_class": [1.0]}}},
        "test_patterns.json": patterns,
        "test_diagnosis.json": {"influence": {}, "probe": {UNKIND: [0.5]}},
        "ablation.json": {"metrics": patterns, "sizes": sizes},
        "best.json": {"genome": {UNKIND: {UNKIND: UNKIND}}, "fitness": 0.5},
    }
    for name, values in written.items():
        (directory / name).write_text(json.dumps(values))
    for name in ("test", "validation", "test_patterns", "ablation"):
        (directory / f"{name}.md").write_text(UNKIND)
    (directory / "commands.txt").write_text(UNKIND)
    task = dataclasses.replace(said("mood", [[[0.9, 0.1]]], [1]), ids=[UNKIND], words=[UNKIND])
    spec = TaskSpec("mood", "classification", ("accuracy",), (UNKIND, f"=2{UNKIND}"))
    task = dataclasses.replace(task, spec=spec)
    samples.write(directory / "test_predictions.csv", {UNKIND: task}, {UNKIND: {UNKIND: task}})
    text = page(directory)
    assert "<script" not in text and "<img src=x" not in text
    shown = html.escape(UNKIND).replace("&quot;", "&#34;")
    # Title, rows, conditions, parts, sizes, genome, sample, words, classes, command.
    assert text.count(shown) >= 20
    assert f'<td class="number" data-name="truth">=2{shown}</td>' in text


def test_values_of_a_genome_are_shown_in_words(tmp_path):
    genome = {"links": ["a>b", "b>a"], "off": [], "on": True, "of": {"x": [["a", "b"], ["c"]]}}
    genome |= {"none": None, "each": [{"name": "y"}], "dropout": 0.25, "kept": {}}
    (tmp_path / "best.json").write_text(json.dumps({"genome": genome, "fitness": 0.5}))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html.unescape(page(tmp_path)))
    assert _in_words((("a", "b"), ())) == "a + b, none"
    assert dict(zip(cells[::2], cells[1::2], strict=True)) == {
        "links": "a>b, b>a", "off": "none", "on": "yes", "of.x": "a + b, c", "none": "none",
        "each.1.name": "y", "dropout": "0.25",
    }  # fmt: skip


def test_a_table_escapes_what_would_be_markdown():
    table = tables.markdown({f"a {UNKIND}": {UNKIND: {"mae": [1.0]}, "[x](y)": {"mae": [2.0]}}})
    assert "<script" not in table.replace("\\<", "")
    row = next(line for line in table.splitlines() if "loud" in line and line.startswith("|"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "[x](y)" not in table
    assert "| \\*loud\\* \\`x\\` |" in tables.markdown({"a": {"*loud* `x`": {"mae": [1.0]}}})


def test_commands_of_any_bytes_are_shown(tmp_path):
    (tmp_path / "commands.txt").write_bytes(b"python -m launch.train --data_dir=/caf\xe9\n")
    assert "launch.train --data_dir=/caf\ufffd" in page(tmp_path)


def test_a_file_of_another_form_is_refused(tmp_path):
    for text in ("{", "[1]", '{"a": {"b": 3}}', "[" * 99_999):
        (tmp_path / "test.json").write_text(text)
        with pytest.raises(InputError, match=r"test\.json is not as launch\.evaluate"):
            page(tmp_path)


def test_a_yardstick_that_is_better_is_named_on_the_page(tmp_path):
    rows = {"HAEMSA": {"mae": [0.3]}, "ridge audio": {"mae": [0.1]}}
    (tmp_path / "test.json").write_text(json.dumps({"talks:score": rows}))
    assert "ridge audio, which is no network, is better than HAEMSA by MAE" in page(tmp_path)


def test_a_page_begins_with_what_came_out(tmp_path):
    rows = {"HAEMSA": {"mae": [0.3]}}
    (tmp_path / "test.json").write_text(json.dumps({"talks:score": rows}))
    (tmp_path / "best.json").write_text('{"fitness": 0.51, "random_fitness": 0.53, "genome": {}}')
    top = page(tmp_path).partition("<nav>")[0]
    assert "of fitness 0.510; a random search of as many training steps, 0.530. Fitness is" in top
    assert "Nothing says whether a network is needed: evaluate again with --baselines." in top


def test_commands_that_come_next_read_the_same_data(tmp_path):
    assert next_command(tmp_path, "evaluate", "--run_dir=r") == (
        "python -m launch.evaluate --run_dir=r"
    )
    (tmp_path / "commands.txt").write_text(
        "python -m launch.train --data_dir=old\npython -m launch.train '--data_dir=my data'\n"
    )
    assert next_command(tmp_path, "evaluate", "--run_dir=r") == (
        "python -m launch.evaluate --run_dir=r '--data_dir=my data'"
    )
    (tmp_path / "commands.txt").write_text("python -m launch.train --data_dir other\ncut 'off")
    assert next_command(tmp_path, "train").endswith("launch.train --data_dir=other")


def test_an_unknown_metric_is_named_with_its_file(tmp_path):
    (tmp_path / "test.json").write_text('{"a": {"b": {"charm": [1.0]}}}')
    with pytest.raises(InputError, match=r"test\.json: .*'charm'"):
        page(tmp_path)


def test_words_and_names_reach_no_spreadsheet_as_formulas(tmp_path):
    spec = TaskSpec("mood", "classification", ("accuracy",), ("=sad", "-gay"))
    task = dataclasses.replace(said("mood", [[[0.9, 0.1]]], [1]), spec=spec)
    task = dataclasses.replace(task, ids=["@SUM(A1)"], words=["+cmd|' /C calc'!A0"])
    score = said("score", [[-1.0]], [-2.0])
    path = tmp_path / "predictions.csv"
    samples.write(path, {"=t:mood": task, "talks:score": score}, {})
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert [first[name] for name in ("task", "id", "truth", "prediction")] == [
        "'=t:mood", "'@SUM(A1)", "'-gay", "'=sad 0.90",
    ]  # fmt: skip
    assert first["words"].startswith("'+cmd")
    assert (second["truth"], second["prediction"], second["network 0"]) == ("-2", "-1", "-1.0")
    (sample,) = samples.largest_errors(path, 1)["=t:mood"]
    assert (sample.id, sample.words) == ("@SUM(A1)", "+cmd|' /C calc'!A0")
    assert (sample.truth, sample.prediction) == ("-gay", "=sad 0.90")


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds nothing of a run; name what launch\.train"):
        page(tmp_path)
    with pytest.raises(InputError, match="there is no such directory"):
        page(tmp_path / "nowhere")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: looks at the page in a browser")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page(run, tmp_path, width):
    """Pictures load and are not blown up, nobody scrolls sideways, wide things scroll within, and
    truth, prediction and error are on a telephone's screen."""
    Figure(figsize=(2, 1)).savefig(run / "test_diagnosis.png")
    looks = """<script>addEventListener("load", () => { const numbers =
      [...document.querySelectorAll(".stack td.number")]; parent.document.title = JSON.stringify([
      document.documentElement.scrollWidth - document.documentElement.clientWidth,
      document.images.length, numbers.length,
      [...document.images].every(x => x.naturalWidth > 0 && x.width <= x.naturalWidth),
      numbers.every(x => x.getBoundingClientRect().right <= innerWidth)]) })</script>"""
    seen = tmp_path / "seen.html"
    whole = html.escape(page(run).replace("</body>", f"{looks}</body>"))
    # No window is narrower than 500 pixels.
    seen.write_text(f'<title></title><iframe width="{width}" height="900" srcdoc="{whole}">')
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900", "--dump-dom",
            seen.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"<title>(.*?)</title>", done.stdout)[1] == "[0,2,15,true,true]", done.stdout[
        -500:
    ]
