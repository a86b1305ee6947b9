"""Small raw files in the format of every reader, all of them right."""

import csv
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from haemsa_datasets.hazumi.sessions import PARTS_OF_SPEECH

KEYS = "train", "valid", "test"


def _csv(path: Path, rows: list[list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _pickle(path: Path, content) -> None:
    path.write_bytes(pickle.dumps(content, 2))


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def labels(raw: Path) -> None:
    """`label.csv` as of MOSI."""
    rows = [[f"{key}_{clip}", f"words {clip}", clip - 1.5, key] for key in KEYS for clip in (1, 2)]
    _csv(raw / "label.csv", [["id", "text", "label", "mode"], *rows])


def times(raw: Path) -> None:
    """`label.csv` as of MOSEI."""
    rows = [[key, f"{clip}_5", f"words, {clip}", 0.5, key] for key in KEYS for clip in (3, 14)]
    _csv(raw / "label.csv", [["video_id", "clip_id", "text", "label", "mode"], *rows])


def sims(raw: Path) -> None:
    """`label.csv` as of CH-SIMS."""
    rows = [[f"{key}_{clip}", "\u597d", "good", clip / 4, key] for key in KEYS for clip in (1, 2)]
    _csv(raw / "label.csv", [["id", "text", "english", "label", "mode"], *rows])


def meld(raw: Path) -> None:
    """MELD's three tables."""
    names = "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"
    rows = [["so, what", "Ross", "joy", "positive", 0, 0], ["No!", "Amy", "fear", "negative", 0, 1]]
    for name in ("train", "dev", "test"):
        _csv(raw / f"{name}_sent_emo.csv", [list(names), *rows])


def contextual(raw: Path) -> None:
    """bc-LSTM's files."""
    videos = dict(zip(KEYS, ("v_1", "v2", "v3"), strict=True))
    clips = [f"{video}_{clip}" for video in videos.values() for clip in (1, 2)]
    words = [[clip, f"words of {clip}", 3, place % 2] for place, clip in enumerate(clips)]
    _csv(raw / "bclstm" / "transcripts.csv", words)
    for part, places in (("train", range(4)), ("test", range(4, 6))):
        for modality, width in (("text", 100), ("audio", 73), ("video", 100)):
            rows = [
                [place, *[0.5] * width] if modality == "text" else [*[0.5] * width, place % 2]
                for place in places
            ]
            end = "" if modality == "text" else "0"
            _csv(raw / "bclstm" / f"{modality}_{part}{end}.csv", rows)
    with h5py.File(raw / "CMU_MOSI_Opinion_Labels.csd", "w") as file:
        for video in videos.values():
            data = file.create_group(f"Opinion Segment Labels/data/{video}")
            data["features"] = np.array([[-1.0], [2.4]], np.float32)
    (raw / "splits.json").write_text(
        json.dumps({"contextual": {key: [video] for key, video in videos.items()}})
    )


def misa(raw: Path) -> None:
    """MISA's three pickles."""
    for name in ("train", "dev", "test"):
        words = ["so", "what"]
        inside = np.arange(2), _numbers(2, 47), _numbers(2, 74), words
        _pickle(raw / f"{name}.pkl", [(inside, _numbers(1, 1), f"{name}[{k}]") for k in (0, 1)])


def mmsa(kind: str, audio: int, vision: int) -> Callable[[Path], None]:
    """MMSA's pickle, with emotions beside the sentiment."""

    def split(key: str) -> dict:
        text_bert = np.zeros((2, 3, 3), np.float32)
        text_bert[:, :2] = 1
        fields = {
            "raw_text": np.array(["so what", "never"]),
            "id": [f"{key}$_$1", f"{key}$_$2"],
            "text": _numbers(2, 3, 768),
            "audio": _numbers(2, 3, audio),
            "vision": _numbers(2, 3, vision),
            "text_bert": text_bert,
            "regression_labels": np.array([-3.0, 0.4]),
            "emotion_labels": np.eye(6)[:2],
        }
        lengths = {} if kind == "aligned" else {"audio_lengths": [3, 2], "vision_lengths": [1, 3]}
        return {**fields, **lengths}

    return lambda raw: _pickle(raw / f"{kind}_50.pkl", {key: split(key) for key in KEYS})


def hazumi(raw: Path) -> None:
    """Dump files of four people: a folder and an archive."""
    header = [
        *("ID", "start(exchange)", "end(system)", "end(exchange)", "dialogue_act"),
        *(f"UI_F{k}" for k in range(5)),
        *(f"TC_F{k}" for k in range(5)),
        *(f"pcm_{k}" for k in range(384)),
        *(f"{k}_velocity_{what}" for k in range(24) for what in ("max", "mean")),
        *(f"AU{k:02d}_c_mean" for k in range(18)),
        *PARTS_OF_SPEECH,
        *(f"bert{k}" for k in range(768)),
    ]
    rows = [[row, 0, "", 9, "op", *[4] * 10, *[row + 1] * (len(header) - 15)] for row in (0, 1)]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    content = stream.getvalue().encode()
    people = {"train": ["2010F0001", "2010F0002"], "valid": ["2012M0001"], "test": ["2010M0003"]}
    folder = raw / "Hazumi2010" / "dumpfiles"
    folder.mkdir(parents=True)
    for name in ("2010F0001", "2010F0002", "2010M0003"):
        (folder / f"{name}.csv").write_bytes(content)
    with tarfile.open(raw / "Hazumi2012.tar.xz", "w:xz") as archive:
        member = tarfile.TarInfo("Hazumi2012/dumpfiles/2012M0001.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (raw / "splits.json").write_text(json.dumps(people))


def utterances(raw: Path) -> None:
    """IEMOCAP as a table, with vectors of sound."""
    names = ["id", "dialogue", "order", "split", "speaker", "label6", "text", "val", "act", "dom"]
    rows = [
        [f"{split}{k}", split, k, split, "F", "happy", f"yes, {k}", 2.5, 3, 5]
        for split in ("train", "dev", "test")
        for k in (0, 1)
    ]
    _csv(raw / "utterances.csv", [names, *rows])
    ids = [row[0] for row in rows]
    np.savez(raw / "whisper_base.npz", ids=ids, x=_numbers(len(ids), 1024).astype(np.float16))


def release(raw: Path) -> None:
    """IEMOCAP's official tree: a dialogue for each split."""
    for name in ("Ses01F_impro01", "Ses01M_impro01", "Ses05F_impro01"):
        places = [
            raw / f"Session{name[4]}" / "dialog" / of / f"{name}.txt"
            for of in ("EmoEvaluation", "transcriptions")
        ]
        lines = (
            "[%f]\n[6.2 - 8.5]\t{0}_F000\tneu\t[2.5, 2.5, 2.5]\n",
            "{0}_F000 [006.2-008.5]: Yes.\n",
        )
        for path, line in zip(places, lines, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line.format(name))


def conversations(audio: int, vision: int) -> Callable[[Path], None]:
    """IEMOCAP's pickle of the conversational line."""
    names = [f"Ses0{k}" for k in range(5)]

    def each(make: Callable[[int], object]) -> dict:
        return {name: [make(turn) for turn in (0, 1)] for name in names}

    parts = (
        each(str), each(lambda turn: "MF"[turn]), each(lambda turn: turn),
        *(each(lambda turn, w=w: _numbers(w)) for w in (100, audio, vision)),
        each(lambda turn: f"words {turn}"), set(names[:4]), set(names[4:]),
    )  # fmt: skip
    return lambda raw: _pickle(raw / "IEMOCAP_features.pkl", parts)


def mult(raw: Path) -> None:
    """IEMOCAP's pickle of the MulT line."""
    widths = {"text": 300, "audio": 74, "vision": 35}
    labels = np.stack([1 - np.eye(4)[:2], np.eye(4)[:2]], -1).astype(np.int64)
    fields = {m: _numbers(2, 3, width) for m, width in widths.items()}
    content = {key: {**fields, "labels": labels, "id": np.array([["a"], ["b"]])} for key in KEYS}
    _pickle(raw / "iemocap_data.pkl", content)


SOURCES: dict[str, Callable[[Path], None]] = {
    "cmu_mosi/standard": lambda raw: (contextual(raw), labels(raw))[0],
    "cmu_mosi/contextual": contextual,
    "cmu_mosi/misa": misa,
    "cmu_mosi/mmsa_aligned": mmsa("aligned", 5, 20),
    "cmu_mosi/mmsa_unaligned": mmsa("unaligned", 5, 20),
    "mmsa": mmsa("aligned", 9, 7),
    "cmu_mosei/standard": times,
    "cmu_mosei/mmsa_aligned": mmsa("aligned", 74, 35),
    "cmu_mosei/mmsa_aligned_emotions": mmsa("aligned", 74, 35),
    "cmu_mosei/mmsa_unaligned": mmsa("unaligned", 74, 35),
    "cmu_mosei/mmsa_unaligned_emotions": mmsa("unaligned", 74, 35),
    "ch_sims/standard_english": sims,
    "hazumi": hazumi,
    "iemocap/release": release,
    "iemocap/utterances": utterances,
    "iemocap/mmgcn": conversations(1582, 342),
    "iemocap/dialoguernn": conversations(100, 512),
    "iemocap/mult": mult,
    "meld": meld,
}
