"""Hazumi: the corpora as published, and files written like them for what can go wrong."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import haemsa_datasets
from haemsa_datasets.hazumi.folds import FOLDS
from haemsa_datasets.hazumi.sessions import PARTS_OF_SPEECH, parse_session
from haemsa_jax.errors import InputError

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")

HEADER = [
    "ID", "start(exchange)", "end(system)", "end(exchange)", "dialogue_act",
    *(f"UI_{who}" for who in ("F1", "F2", "F3", "M1", "M2")),
    *(f"TC_{who}" for who in ("F1", "F2", "F4", "M1", "M3")),
    "UI_Aver", "TC_Aver",
    *(f"pcm_fftMag_mfcc_sma[{place}]_max" for place in range(350)),
    *(f"voiceProb_sma_{place}" for place in range(17)),
    *(f"F0_sma_{place}" for place in range(17)),
    *(f"{place}_{what}" for place in range(17, 29) for what in (
        "acceleration_max", "velocity_max", "velocity_mean", "velocity_std\n")),
    *(f"AU{place:02d}_c_mean" for place in range(18)),
    *PARTS_OF_SPEECH,
    *(f"bert{place}" for place in range(768)),
]  # fmt: skip
SPLITS = {"train": ["2010F0001", "2010F0002"], "valid": ["2012M0001"], "test": ["2010M0003"]}


def rows_of(participant, count=3):
    """Cells of `count` exchanges; features tell row and column, labels the row."""
    table = []
    for row in range(count):
        features = [f"{100 * row + column % 90 + 1}" for column in range(len(HEADER) - 17)]
        ui, tc = [str(3 + row)] * 4 + ["7"], ["1"] * 5
        table.append([str(row), str(1000 * row), "", "9", "op", *ui, *tc, "9", "9", *features])
    return table


def to_csv(table, header=HEADER):
    quoted = [f'"{name}"' if "\n" in name else name for name in header]
    lines = [",".join(cells) for cells in [quoted, *table]]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode("utf-8")


@pytest.fixture
def raw(tmp_path):
    """Dump files of four participants, as folders, with their own splits."""
    for name in (name for names in SPLITS.values() for name in names):
        path = tmp_path / "raw" / f"Hazumi{name[:4]}" / "dumpfiles" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_csv(rows_of(name)))
    (tmp_path / "raw" / "splits.json").write_text(json.dumps(SPLITS))
    return tmp_path / "raw"


def prepare(raw, tmp_path):
    haemsa_datasets.prepare("hazumi", raw, tmp_path / "data")
    return haemsa_datasets.load("hazumi", tmp_path / "data")


def failure(raw, tmp_path):
    with pytest.raises(InputError) as caught:
        prepare(raw, tmp_path)
    return str(caught.value)


def file_of(raw, name="2010F0001"):
    return raw / f"Hazumi{name[:4]}" / "dumpfiles" / f"{name}.csv"


def test_columns_go_where_they_belong(raw, tmp_path):
    dataset = prepare(raw, tmp_path)
    train = dataset.splits["train"]
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 6, "validation": 3, "test": 3,
    }  # fmt: skip
    assert train.ids[:4] == ["2010F0001_1", "2010F0001_2", "2010F0001_3", "2010F0002_1"]
    np.testing.assert_array_equal(train.group, [0, 0, 0, 1, 1, 1])
    features = np.array([100 + column % 90 + 1 for column in range(len(HEADER) - 17)], np.float32)
    np.testing.assert_array_equal(train.features["audio"][1, 0], features[:384])
    np.testing.assert_array_equal(train.features["vision"][1, 0], features[384:450])
    np.testing.assert_array_equal(train.features["text"][1, 0], features[450:])
    # Four of five say 3, 4, 5; the fifth 7. The published averages (9) are not used.
    np.testing.assert_allclose(train.labels["ui"][:3], [-0.2, 0.6, 1.4], atol=1e-6)
    np.testing.assert_array_equal(train.labels["tc"], -3.0)


def test_archive_and_folder_are_the_same(raw, tmp_path):
    folders = prepare(raw, tmp_path)
    for corpus in ("Hazumi2010", "Hazumi2012"):
        with tarfile.open(raw / f"{corpus}.tar.xz", "w:xz") as archive:
            archive.add(raw / corpus, corpus)
        (raw / corpus).rename(raw / f"{corpus} unpacked")
    before = sorted(raw.rglob("*"))
    archives = prepare(raw, tmp_path / "again")
    assert sorted(raw.rglob("*")) == before
    for split, one in folders.splits.items():
        other = archives.splits[split]
        assert one.ids == other.ids
        np.testing.assert_array_equal(one.features["text"], other.features["text"])
        np.testing.assert_array_equal(one.labels["ui"], other.labels["ui"])


def test_a_vector_of_zeros_is_an_absent_modality(raw, tmp_path):
    table = rows_of("2010F0001")
    table[0][17:401] = ["0.0"] * 384
    table[1][401:467] = ["0"] * 66
    table[2][484:] = ["0"] * 768  # the counts before it stay
    file_of(raw).write_bytes(to_csv(table))
    presence = prepare(raw, tmp_path).splits["train"].presence
    np.testing.assert_array_equal(presence["audio"][:3], [False, True, True])
    np.testing.assert_array_equal(presence["vision"][:3], [True, False, True])
    np.testing.assert_array_equal(presence["text"][:3], [True, True, False])


def test_empty_and_infinite_features_are_replaced_by_the_training_mean(raw, tmp_path):
    for name, cells in {"2010F0001": ("", "1e999"), "2010M0003": ("nan", "")}.items():
        table = rows_of(name)
        table[0][17], table[0][-1] = cells
        file_of(raw, name).write_bytes(to_csv(table))
    dataset = prepare(raw, tmp_path)
    column = dataset.splits["train"].features["audio"][:, 0, 0]
    np.testing.assert_allclose(column, [121, 101, 201, 1, 101, 201])
    assert dataset.splits["test"].features["audio"][0, 0, 0] == 121
    found = haemsa_datasets.metadata("hazumi", tmp_path / "data")["summary"]["replaced"]
    assert found["audio"] == found["text"] == {"values": 2, "samples": 2}


def test_missing_corpus(raw, tmp_path):
    (raw / "Hazumi2012").rename(raw / "elsewhere")
    message = failure(raw, tmp_path)
    assert f"{raw}: neither Hazumi2012/ nor Hazumi2012.tar.xz is there" in message
    assert "GitHub organisation ouktlab" in message


def test_missing_participant(raw, tmp_path):
    file_of(raw).unlink()
    message = failure(raw, tmp_path)
    assert "no dump file of 2010F0001; expected Hazumi2010/dumpfiles/2010F0001.csv" in message


def test_missing_column(raw, tmp_path):
    place = HEADER.index("AU03_c_mean")
    table = [cells[:place] + cells[place + 1 :] for cells in [HEADER, *rows_of("2010F0001")]]
    file_of(raw).write_bytes(to_csv(table[1:], table[0]))
    assert f"{file_of(raw)}: 65 columns of vision; expected 66" in failure(raw, tmp_path)


@pytest.mark.parametrize("cell", ["", "nan"])
def test_missing_label(raw, tmp_path, cell):
    table = rows_of("2010F0001")
    table[1][HEADER.index("TC_M1")] = cell
    file_of(raw).write_bytes(to_csv(table))
    message = failure(raw, tmp_path)
    assert message.startswith(f"{file_of(raw)}, row 2: label nan of sample '2010F0001_2'")
    assert "for task 'tc' is not a number in [-3, 3]" in message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda table: table[1].__setitem__(20, "loud"),
            "row 2, column 21: 'loud' is not a number",
        ),
        (lambda table: table[2].pop(), "row 3: 1251 columns; expected 1252"),
        (lambda table: table.clear(), "there is no row in it"),
    ],
    ids=["word", "short row", "no row"],
)
def test_rows_that_do_not_fit(raw, tmp_path, spoil, message):
    table = rows_of("2010F0001")
    spoil(table)
    file_of(raw).write_bytes(to_csv(table))
    assert str(file_of(raw)) in failure(raw, tmp_path)
    assert message in failure(raw, tmp_path)


def test_not_a_text_file():
    with pytest.raises(InputError, match=r"x\.csv: not a CSV file in UTF-8"):
        parse_session("x", "x.csv", b"\xff\xfe\x00")


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"no archive"])
def test_damaged_archive(raw, tmp_path, damage):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz") as archive:
        archive.add(raw / "Hazumi2012", "Hazumi2012")
    (raw / "Hazumi2012").rename(raw / "elsewhere")
    (raw / "Hazumi2012.tar.xz").write_bytes(damage(content.getvalue()))
    message = failure(raw, tmp_path)
    assert f"{raw / 'Hazumi2012.tar.xz'}: the archive is damaged" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected lists of ids named train, valid, test"),
        ('{"train": []}', "found a problem with 'valid'"),
        (
            '{"train": ["2010F0001"], "valid": ["2010F0002"], "test": ["2010F0001"]}',
            "'2010F0001' is in train and in test; a group belongs to one",
        ),
    ],
)
def test_splits_that_do_not_fit(raw, tmp_path, content, message):
    (raw / "splits.json").write_text(content)
    assert f"{raw / 'splits.json'}: " in failure(raw, tmp_path)
    assert message in failure(raw, tmp_path)


def test_own_split_of_the_project():
    assert {split: len(names) for split, names in FOLDS.items()} == {
        "train": 90, "validation": 12, "test": 23,
    }  # fmt: skip
    assert len({name for names in FOLDS.values() for name in names}) == 125


@pytest.mark.skipif(not (REAL / "hazumi").is_dir(), reason="real data: none at $HAEMSA_DATA")
def test_the_corpora_as_published(tmp_path):
    metadata = haemsa_datasets.prepare("hazumi", REAL / "hazumi", tmp_path)
    summary = metadata["summary"]
    assert summary["samples"] == {"train": 7449, "validation": 1030, "test": 1882}
    assert summary["groups"] == {"train": 90, "validation": 12, "test": 23}
    assert summary["absent"] == {"text": 1097, "audio": 5, "vision": 8}
    assert all(found["values"] == 0 for found in summary["replaced"].values())
    assert summary["labels"]["ui"]["train"]["mean"] == pytest.approx(1.34, abs=0.01)
    split = haemsa_datasets.load("hazumi", tmp_path, ["train"]).splits["train"]
    row = split.ids.index("2010F2002_40")  # nothing was said: an average of 3.4 and no text
    assert split.labels["ui"][row] == pytest.approx(-0.6) and not split.presence["text"][row]
    np.testing.assert_allclose(
        split.features["audio"][row, 0, :3], [3.4e-05, 1.09e-05, 2.31e-05], rtol=1e-2
    )
    splits = json.loads((REAL / "hazumi" / "splits.json").read_text())
    assert {n.split("_")[0] for n in split.ids} == set(splits["train"]) == set(FOLDS["train"])
