"""What all launchers share: being commands, overwriting, devices, errors as one line."""

import ast
import dataclasses
import functools
import os
import subprocess
import sys
import threading
import tomllib
import types

import pytest
from absl import flags
from launchers import ROOT

from haemsa_jax.config import NetworkConfig
from haemsa_jax.errors import InputError
from haemsa_jax.locking import locked
from haemsa_jax.models import HaemsaConfig
from launch import cli, program
from launch.emptying import empty

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Not programs, but what these share.
SHARED = {
    "__init__",
    "cli",
    "compilation",
    "emptying",
    "hearing",
    "interrupt",
    "processes",
    "program",
    "others",
    "recording",
    "tasks",
    "usage",
    "words",
}


def test_every_launcher_is_a_command():
    programs = {path.stem for path in (ROOT / "launch").glob("*.py")} - SHARED
    modules = {program: f"haemsa_launch.{program}:run" for program in programs}
    commands = PROJECT["project"]["scripts"]
    assert commands == {f"haemsa-{p.replace('_', '-')}": module for p, module in modules.items()}
    for name in programs:
        tree = ast.parse((ROOT / "launch" / f"{name}.py").read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "run" in functions and not ast.unparse(functions["run"].args), name


def test_the_folder_of_launchers_is_the_package_of_the_commands():
    (call,) = [
        node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "package_dir"
    ]  # fmt: skip
    folders = ast.literal_eval(call.value)
    assert folders["haemsa_launch"] == "launch"
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders.values())


def test_a_command_is_noted_as_it_was_started(tmp_path, monkeypatch):
    monkeypatch.delenv("HAEMSA_PLUGINS", raising=False)
    for command in ("/repo/launch/train.py", "/venv/bin/haemsa-train"):
        monkeypatch.setattr(sys, "argv", [command, "--run_dir=a b"])
        cli.note_command(tmp_path)
        cli.note_command(tmp_path)
    assert (tmp_path / "commands.txt").read_text().splitlines() == [
        "python -m launch.train '--run_dir=a b'", "haemsa-train '--run_dir=a b'",
    ]  # fmt: skip
    monkeypatch.setenv("HAEMSA_PLUGINS", "mine, yours")
    cli.note_command(tmp_path)
    assert (tmp_path / "commands.txt").read_text().splitlines()[-1] == (
        "HAEMSA_PLUGINS='mine, yours' haemsa-train '--run_dir=a b'"
    )


def test_flags_of_models_begin_with_what_they_are():
    for name, model in cli.MODELS.items():
        for field, text in cli._field_docs(cli.config_class(model)).items():
            assert text.split()[0] not in {"at", "by", "for", "from", "in", "of"}, (name, field)


def test_flags_of_models_join_what_each_says(monkeypatch, own_flags):
    @dataclasses.dataclass(frozen=True)
    class Bare(NetworkConfig):
        stride: int = 2
        depth: int = 7

    @dataclasses.dataclass(frozen=True)
    class Deep(NetworkConfig):
        """A model.

        Attributes:
          depth: blocks of it.
        """

        depth: int = 3

    models = {"bare": Bare, "deep": Deep, "haemsa": HaemsaConfig}
    monkeypatch.setattr(cli, "MODELS", models)
    monkeypatch.setattr(cli, "config_class", lambda config: config)
    cli.define_network_flags()
    said = __doc__.splitlines()[0].rstrip(".")
    assert f"The network's model. bare: {said}; deep: {said}; " in own_flags["model"].help
    assert own_flags["stride"].help == "By default 2 (bare)."
    assert own_flags["depth"].help == (
        "blocks of it (deep). L, blocks of local experts of each modality (haemsa). "
        "By default 7 (bare), 3 (deep), 1 (haemsa)."
    )
    assert own_flags["width"].help == (
        "D, width of the representation of every token and summary. By default 32."
    )
    other = flags.FlagValues()
    monkeypatch.setitem(
        cli._DEFINE, int, functools.partial(flags.DEFINE_integer, flag_values=other)
    )
    cli.define_flags(dataclasses.make_dataclass("Plain", [("count", int, 1)]))
    assert other["count"].default == 1


def test_one_of_several_data_sets_is_asked_for_by_its_flag(monkeypatch):
    several = types.SimpleNamespace(widths={"kitchen": {}, "garden": {}})
    alone = types.SimpleNamespace(widths={"kitchen": {}})
    for network, given, message in (
        (several, None, "^the network reads kitchen, garden; give --dataset=kitchen or another"),
        (several, "attic", "^--dataset=attic: the network reads kitchen, garden; give"),
        (alone, "attic", "^--dataset=attic: the network reads kitchen; give --dataset=kitchen$"),
    ):
        monkeypatch.setattr(cli.flags, "FLAGS", types.SimpleNamespace(dataset=given))
        with pytest.raises(InputError, match=message):
            cli.check_dataset(network)
    for network, given in ((alone, None), (alone, "kitchen"), (several, "garden")):
        monkeypatch.setattr(cli.flags, "FLAGS", types.SimpleNamespace(dataset=given))
        cli.check_dataset(network)


def test_a_command_shows_its_own_help(launch, environment):
    code = "from launch.export_encoder import run; run()"
    command = subprocess.run(
        [environment["PYTHON"], "-c", code, "--help"], cwd=ROOT, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    module = launch("export_encoder", "--help").stdout
    assert "Writes a run's text encoder" in module and "--output" in module
    assert command.stdout.splitlines()[:10] == module.splitlines()[:10]
    assert command.stdout.count("\n  --") == module.count("\n  --")


def test_a_package_is_named_as_it_was_started(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/repo/benchmarks/faults/__main__.py", "--seed=1"])
    assert cli.command() == ["python", "-m", "benchmarks.faults", "--seed=1"]


def test_commands_of_any_bytes_are_noted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/repo/launch/train.py", os.fsdecode(b"--init_from=caf\xe9")])
    cli.note_command(tmp_path)
    cli.note_command(tmp_path)
    noted = (tmp_path / "commands.txt").read_bytes()
    assert noted == b"python -m launch.train '--init_from=caf\xe9'\n"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (os.fsdecode(b"/data/caf\xe9"), r"^--data_dir=b'/data/caf\\xe9' is not UTF-8; rename"),
        ("~nouser/x", "^--data_dir=~nouser/x: there is no home directory ~nouser; give the whole"),
        ("gs://bucket/x", "^--data_dir=gs://bucket/x is a URL, and only files of this machine"),
        ("", "^--data_dir= is empty; name a directory"),
        (["/a", "~nouser"], "^--data_dir=~nouser: there is no home directory ~nouser"),
    ],
    ids=ascii,
)
def test_flags_that_name_no_place(monkeypatch, value, words):
    flag = types.SimpleNamespace(value=value)
    monkeypatch.setattr(program.flags, "FLAGS", {"data_dir": flag})
    with pytest.raises(InputError, match=words):
        program.check_texts()
    flag.value = ["/runs/lr=1,wd=0", "[v2] 日本"]
    program.check_texts()


def test_a_stream_that_is_closed_ends_no_program(environment, tmp_path):
    (tmp_path / "quiet.py").write_text(
        "import os, sys\nfrom launch import program\n\ndef main():\n"
        "    sys.stderr.write('said to nobody')\n    print(sys.stderr.fileno(), flush=True)\n\n"
        "program.run(main)\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$1" 2>&-', environment["PYTHON"], tmp_path / "quiet.py"],
        cwd=ROOT, text=True, check=False, env=environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2\n")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_a_terminal_cannot_show_ends_no_program(environment, tmp_path, encoding):
    (tmp_path / "arrow.py").write_text(
        "from haemsa_jax.errors import InputError\nfrom launch import program\n\n"
        "def main():\n    print('MAE \\u2193')\n    raise InputError('\\u2193 \\udce9')\n\n"
        "program.run(main)\n"
    )
    done = subprocess.run(
        [environment["PYTHON"], tmp_path / "arrow.py"], cwd=ROOT, text=True, check=False,
        env={**environment, "PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "MAE \\u2193\n"), done.stderr
    assert done.stderr == "error: \u2193 \\udce9\n"


@pytest.mark.parametrize(
    ("error", "why"),
    [("MemoryError('Unable to allocate 9 TiB')", "Unable to allocate 9 TiB"),
     ("jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 9 bytes\\nmore')",
      "RESOURCE_EXHAUSTED: 9 bytes")],
    ids=["host", "device"],
)  # fmt: skip
def test_full_memory_is_one_line(environment, tmp_path, error, why):
    (tmp_path / "full.py").write_text(
        f"import jax\nfrom launch import program\n\ndef main():\n    raise {error}\n\n"
        "program.run(main)\n"
    )
    done = subprocess.run(
        [environment["PYTHON"], tmp_path / "full.py"], cwd=ROOT, text=True, check=False,
        env=environment, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: memory is full ({why}); ask for less, such as")


def test_a_full_disk_is_no_full_memory():
    """TensorStore calls both alike."""
    full = InputError("cannot write the checkpoint of step 2: RESOURCE_EXHAUSTED: No space left")
    assert program._line(full) == str(full)


def test_a_flag_that_a_program_lacks_is_one_line(launch):
    done = launch("report", "--run_dir=runs/a", "--data_dirr=data")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown command line flag 'data_dirr'")
    assert done.stderr.endswith("--help lists its flags\n") and done.stderr.count("\n") == 1


def test_output_that_nobody_reads_to_its_end(environment, tmp_path):
    (tmp_path / "talk.py").write_text(
        "from launch import program\n\ndef main():\n    for _ in range(100_000):\n"
        "        print('a line')\n\nprogram.run(main)\n"
    )
    command = f"{environment['PYTHON']} {tmp_path / 'talk.py'} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, text=True, check=False,
        env=environment, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 141 and done.stdout == "a line\n"
    assert "Traceback" not in done.stderr and "cannot read" not in done.stderr


@pytest.mark.parametrize(
    ("processes", "words", "fault"),
    [
        (1, "INTERNAL: a fault", True),
        (2, "INVALID_ARGUMENT: a fault", True),
        (2, "UNKNOWN: Connection closed by peer", False),
        (1, "RESOURCE_EXHAUSTED: 9 bytes", False),
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, processes, words, fault):
    monkeypatch.setattr(program.jax, "process_count", lambda: processes)
    assert program._is_fault(program.jax.errors.JaxRuntimeError(words)) == fault
    assert not program._is_fault(InputError(words))


@pytest.mark.parametrize("words", ["Event loop is closed", "another fault"])
def test_threads_of_a_failed_write_are_silent(monkeypatch, words):
    passed = []
    monkeypatch.setattr(sys, "__unraisablehook__", passed.append)
    program._without_closed_loops(types.SimpleNamespace(exc_value=RuntimeError(words)))
    assert bool(passed) == (words == "another fault")


def test_a_working_directory_that_is_no_text(tmp_path, monkeypatch):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    monkeypatch.chdir(odd)
    monkeypatch.setattr(program.flags, "FLAGS", {})
    with pytest.raises(InputError, match=r"caf\\xe9' is not UTF-8; start in another directory"):
        program.check_texts()


def test_a_run_that_is_at_work_is_not_overwritten(tmp_path):
    """Neither it nor what it is part of; its lock stays where it is."""
    (tmp_path / "commands.txt").write_text("")
    inner = tmp_path / "planted" / "whole"
    refused = []

    def second():
        try:
            with locked(tmp_path):
                empty(tmp_path)
        except InputError as error:
            refused.append(str(error))

    with locked(inner):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused and refused[0].startswith(f"{inner} is in use by process")
    with locked(tmp_path):
        empty(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("mark", ["commands.txt", "log.jsonl", "search/3/_CHECKPOINT_METADATA"])
def test_a_run_is_overwritten(tmp_path, mark):
    for name in (mark, "best.json", "best/5/data"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    empty(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["thesis.tex", "runs/one/log.jsonl", "search/notes.txt"])
def test_a_directory_that_is_no_run_is_not_overwritten(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="holds no run, which is all that --overwrite deletes"):
        empty(tmp_path)
    assert (tmp_path / name).is_file()


def test_of_links_the_target_is_emptied_and_nothing_else(tmp_path):
    elsewhere, run, link = (tmp_path / name for name in ("elsewhere", "run", "link"))
    for directory in (elsewhere, run, run / "best"):
        directory.mkdir()
    (elsewhere / "kept").write_text("")
    (run / "log.jsonl").write_text("")
    (run / "shortcut").symlink_to(elsewhere)
    link.symlink_to(run)
    empty(link)
    assert link.is_symlink() and run.is_dir() and not list(run.iterdir())
    assert (elsewhere / "kept").is_file()


def test_overwriting_what_is_no_run_is_refused(launch, spoken_dir, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    flags = "--tasks=cmu_mosi/standard", f"--data_dir={spoken_dir}", f"--run_dir={tmp_path}"
    done = launch("train", *flags, "--text=minilm", "--overwrite")
    assert done.returncode == 2 and f"--run_dir={tmp_path} holds no run" in done.stderr
    assert (tmp_path / "thesis.tex").is_file()


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (1, True)])
def test_a_traceback_where_it_is_asked_for(launch, tmp_path, verbosity, shown):
    done = launch("report", f"--run_dir={tmp_path / 'none'}", f"--verbosity={verbosity}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert ("Traceback" in done.stderr) == shown


def split(monkeypatch, count: int, xla_flags: str) -> str:
    """What XLA is told where `--devices=count`."""
    values = flags.FlagValues()
    flags.DEFINE_integer("devices", count, "", flag_values=values)
    values(["program"])
    updated = []
    monkeypatch.setattr(program.flags, "FLAGS", values)
    monkeypatch.setattr(program.jax.config, "update", lambda *told: updated.append(told))
    monkeypatch.setenv("XLA_FLAGS", xla_flags)
    program._split_processor()
    assert bool(updated) == ("device_count" not in xla_flags)
    return program.os.environ["XLA_FLAGS"]


def test_parts_of_a_processor_wait_for_each_other(monkeypatch):
    told = split(monkeypatch, 2, "--xla_force_host_platform_device_count=2")
    assert told.startswith(
        "--xla_force_host_platform_device_count=2 --xla_cpu_collective_call_warn"
    )
    assert "--xla_cpu_collective_call_terminate_timeout_seconds=7200" in told
    own = "--xla_cpu_collective_call_terminate_timeout_seconds=5"
    told = split(monkeypatch, 2, own)
    assert told.count("terminate_timeout") == 1 and told.startswith(own)
    assert "--xla_cpu_collective_timeout_seconds=7200" in told
    assert split(monkeypatch, 1, "") == ""


def test_xla_knows_these_limits(launch, data_dir, tmp_path):
    """It ends a process that names a flag which it does not know."""
    given = "--tasks=planted", f"--data_dir={data_dir}", f"--run_dir={tmp_path}"
    done = launch("train", *given, "--devices=2", "--batch_size=13", XLA_FLAGS="")
    assert "batch_size=13 does not divide over 2 devices" in done.stderr
