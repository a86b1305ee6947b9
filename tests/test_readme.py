"""What the README shows is run."""

import re
import subprocess

from conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_its_commands_name_programs_and_flags_that_exist(environment):
    commands = re.findall(r"python -m (launch\.\w+)((?: --[\w]+(?:=\S+)?)*)", README)
    assert {program for program, _ in commands} >= {
        "launch.prepare_data", "launch.train", "launch.evaluate"
    }  # fmt: skip
    for program in {program for program, _ in commands}:
        done = subprocess.run(
            [environment["PYTHON"], "-m", program, "--help"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for flag in re.findall(r"--(\w+)", " ".join(f for p, f in commands if p == program)):
            listed = re.search(rf"--(\[no\])?{flag}\b", done.stdout)
            assert listed or flag == "help", (program, flag)
