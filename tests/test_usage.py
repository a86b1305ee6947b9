"""`--help` of every launcher: by subject, in lines that fit."""

import re
import subprocess

import pytest
from absl import flags
from launchers import ROOT
from test_cli import SHARED

from launch.usage import FIRST, MOST, OTHERS, SUBJECTS, WIDTH, described

PROGRAMS = sorted({path.stem for path in (ROOT / "launch").glob("*.py")} - SHARED)
FLAG = re.compile(r"^  --(?:\[no\])?(\w+)", re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_has_a_subject_and_a_text(launch, program):
    done = launch(program, "--help")
    assert done.returncode == 0, done.stderr
    text, _, listed = done.stdout.partition("\nThe value behind a flag is its default; ")
    assert text.strip() and max(map(len, done.stdout.splitlines())) <= WIDTH
    groups = dict(re.findall(r"\n\n(.+):\n((?:  .*\n)+)", listed + "\n"))
    assert OTHERS not in groups
    named = [name for lines in groups.values() for name in FLAG.findall(lines)]
    assert len(named) == len({*named}) > 1
    first = FLAG.findall(groups["Most used"])
    assert 1 <= len(first) <= MOST and first == [name for name in FIRST if name in first]
    for lines in groups.values():
        for entry in re.split(r"\n(?=  --)", lines.strip("\n")):
            assert len(entry.split()) > 2, f"{entry} has no text"


def test_each_flag_is_of_one_subject():
    names = [name for of in SUBJECTS.values() for name in of]
    assert len(names) == len({*names}) and {*FIRST} <= {*names}


def test_what_has_no_subject_comes_last_and_is_shown():
    values = flags.FlagValues()
    flags.DEFINE_integer("epochs", 3, "passes over it.", flag_values=values)
    flags.DEFINE_multi_string("mine", [], "of a plugin.", flag_values=values)
    flags.DEFINE_bool("yardstick", True, "also that.", flag_values=values)
    known = [values[name] for name in values]
    assert described("Does it.", known).splitlines()[4:] == [
        "Most used:", "  --epochs=3                Passes over it.", "",
        "The search:", "  --[no]yardstick           Also that.", "",
        "Others:", "  --mine                    Of a plugin.",
    ]  # fmt: skip


def test_a_reader_that_stops_early_is_no_error(environment):
    command = (
        f"{environment['PYTHON']} -m launch.evaluate --help | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0" and "Traceback" not in done.stderr
