"""What README and docs show exists."""

import re
import subprocess

from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_its_commands_name_programs_and_flags_that_exist(environment):
    commands = re.findall(r"python -m (launch\.\w+)((?:[ \\\n]+--[\w]+(?:=\S+)?)*)", TEXT)
    assert {program for program, _ in commands} == {
        "launch.prepare_data", "launch.train", "launch.evaluate", "launch.evolve", "launch.ablate",
        "launch.predict", "launch.export", "launch.report",
    }  # fmt: skip
    for program in {program for program, _ in commands}:
        done = subprocess.run(
            [environment["PYTHON"], "-m", program, "--help"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for flag in re.findall(r"--(\w+)", " ".join(f for p, f in commands if p == program)):
            listed = re.search(rf"--(\[no\])?{flag}\b", done.stdout)
            assert listed or flag == "help", (program, flag)


def test_its_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)
