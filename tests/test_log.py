"""The log survives kills and reads back bit for bit."""

import json
import math
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.errors import InputError
from haemsa_jax.training.persistence import log


def row(step, **values):
    return {"step": step, "kind": "train", "loss": 1 / (step + 3), **values}


def write_log(directory, steps):
    with log.RunLog(directory) as run_log:
        for step in steps:
            run_log.write(row(step))


def scalars(directory):
    """(step, tag, value) of all event files, oldest first, and the steps at which they begin.

    A TFRecord is uint64 length, uint32 checksum, payload, uint32 checksum.
    """
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found, starts = [], []
    for path in sorted((directory / log.EVENTS).iterdir()):
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            event = event_pb2.Event.FromString(data[position + 12 : position + 12 + length])
            position += 16 + length
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
            if event.HasField("session_log"):
                starts.append(event.step)
    return found, starts


def test_rows_read_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(size=50) * 10.0 ** rng.integers(-300, 300, 50), [0.1, -0.0]]
    )
    rows = [row(step, value=float(value)) for step, value in enumerate(values)]
    with log.RunLog(tmp_path) as run_log:
        for each in rows:
            run_log.write(each)
    found = log.read(tmp_path)
    assert found == rows
    assert [each["value"].hex() for each in found] == [float(value).hex() for value in values]


def test_array_scalars_words_and_non_finite_numbers(tmp_path):
    with log.RunLog(tmp_path) as run_log:
        run_log.write(
            {"step": np.int64(3), "a": np.float32(0.1), "b": jnp.float32(0.1), "note": "warm-up"}
        )
        run_log.write({"step": 4, "loss": math.inf})
    first, second = log.read(tmp_path)
    assert first == {"step": 3, "a": float(np.float32(0.1)), "b": first["a"], "note": "warm-up"}
    assert second["loss"] == math.inf


def test_rows_are_there_before_the_log_is_closed(tmp_path):
    with log.RunLog(tmp_path) as run_log:
        run_log.write(row(1))
        assert log.read(tmp_path) == [row(1)]


def test_resume_drops_later_rows(tmp_path):
    write_log(tmp_path, range(6))
    with log.RunLog(tmp_path, resume_step=3) as run_log:
        assert log.read(tmp_path) == [row(step) for step in range(4)]
        run_log.write(row(4))
    assert log.read(tmp_path) == [row(step) for step in range(5)]
    assert {path.name for path in tmp_path.iterdir()} == {log.FILE, log.EVENTS}


def test_resume_keeps_the_bytes(tmp_path):
    write_log(tmp_path, range(3))
    before = (tmp_path / log.FILE).read_bytes()
    log.RunLog(tmp_path, resume_step=9).close()
    assert (tmp_path / log.FILE).read_bytes() == before


def test_no_resume_begins_anew(tmp_path):
    write_log(tmp_path, range(3))
    write_log(tmp_path, [7])
    assert log.read(tmp_path) == [row(7)]


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b'{"step": 2, "loss": 0.5}', b"\x00"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    write_log(tmp_path, range(2))
    with (tmp_path / log.FILE).open("ab") as file:
        file.write(torn)
    assert log.read(tmp_path) == [row(0), row(1)]
    with log.RunLog(tmp_path, resume_step=5) as run_log:
        run_log.write(row(6))
    assert log.read(tmp_path) == [row(0), row(1), row(6)]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        '{"loss": 1}',
        '{"step": "1"}',
        pytest.param("[" * 99_999, id="nested"),
        "",
    ],
)
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / log.FILE
    path.write_text(f"{json.dumps(row(0))}\n{line}\n{json.dumps(row(1))}\n")
    with pytest.raises(InputError, match=r"log\.jsonl, line 2: .* is not a JSON object"):
        log.read(tmp_path)


def test_a_run_without_a_log_has_no_rows(tmp_path):
    assert log.read(tmp_path) == []


def test_close_is_idempotent(tmp_path):
    run_log = log.RunLog(tmp_path / "new" / "run")
    run_log.close()
    run_log.close()
    with pytest.raises(ValueError):
        run_log.write(row(0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_hides_nothing(tmp_path):
    with pytest.raises(OSError) as caught, log.RunLog(tmp_path) as run_log:
        run_log._lines.close()
        run_log._lines = Path("/dev/full").open("ab")  # noqa: SIM115
        run_log.write(row(0))
    assert caught.value.filename == str(tmp_path / log.FILE)
    with pytest.raises(ZeroDivisionError), log.RunLog(tmp_path) as run_log:
        run_log._lines.close()
        run_log._lines = Path("/dev/full").open("ab")  # noqa: SIM115
        run_log._lines.write(b"x")
        raise ZeroDivisionError


def test_events_read_back(tmp_path):
    write_log(tmp_path, [5, 6])
    with log.RunLog(tmp_path, resume_step=5) as run_log:
        run_log.write(row(6, **{"loss/hazumi:ui": 2, "note": "words stay out"}))
    found, starts = scalars(tmp_path)
    assert starts == [0, 6]  # what stands before the second start is void from step 6 on
    losses = [(step, value) for step, tag, value in found if tag == "train/loss"]
    assert losses == [(step, np.float32(1 / (step + 3))) for step in (5, 6, 6)]
    assert (6, "train/loss/hazumi_ui", 2.0) in found
    assert not any("note" in tag for _, tag, _ in found)
