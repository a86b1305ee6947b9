"""The restricted pickle reader: arrays and plain values are read, what runs code is refused."""

import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from haemsa_datasets.pickles import read_pickle
from haemsa_jax.errors import InputError

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")

CONTENT = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 5), np.float32),
    "words": np.array(["wie", "schön"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.array([["a", None], [[1, 2], np.arange(2)]], dtype=object),
    "bools": np.array([True, False]),
    "not finite": np.array([np.nan, -np.inf]),
    "scalar": np.float64(2.5),
    "plain": [1, 2.5, "x", b"\xff\x00", None, True, (1, {2}), frozenset({3}), 1j],
    "ordered": OrderedDict(b=1, a=2),
}


def equal(one, other):
    if isinstance(one, np.ndarray):
        if one.dtype == object:
            return one.shape == other.shape and all(map(equal, one.ravel(), other.ravel()))
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype == float)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_values(tmp_path, protocol):
    content = {**CONTENT, "ordered": dict(CONTENT["ordered"])}
    read = read_pickle(write(tmp_path / "a.pkl", CONTENT, protocol))
    assert list(read) == list(content)
    for name, value in content.items():
        assert equal(value, read[name]), name


def test_python_2_pickle(tmp_path):
    """As Python 2 wrote `{'x': numpy.array([1., 2.]), 'name': 'caf\\xe9'}`."""
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"\x80\x02}q\x00(U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x10" + np.array([1.0, 2.0]).tobytes() + b"tbU\x04nameU\x04caf\xe9u."
    )
    read = read_pickle(path)
    np.testing.assert_array_equal(read["x"], [1.0, 2.0])
    assert read["name"] == "café"


def test_python_2_strings_are_utf_8_where_they_can_be(tmp_path):
    """Strings in both encodings, and an array whose bytes would be valid UTF-8."""
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"\x80\x02}(U\x04k\xc3\xa9yU\x05caf\xc3\xa9U\x01bU\x04caf\xe9U\x01c"
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02u2K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x02\xc3\xa9\x86Ru."
    )
    assert read_pickle(path) == {"kéy": "café", "b": "café", "c": 0xA9C3}


def test_lone_surrogates_of_python_3_stay(tmp_path):
    text = "cut \ud83d, \udc94"
    assert read_pickle(write(tmp_path / "a.pkl", [text], 2)) == [text]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_names_of_numpy_1_16_0(tmp_path, protocol):
    path = write(tmp_path / "a.pkl", {"x": np.arange(3.0), "y": np.float32(2.5)}, protocol)
    old, new = b"numpy.core._multiarray_umath", b"numpy._core.multiarray"
    content = path.read_bytes()
    if protocol == 4:  # strings stand behind their lengths
        old, new = (b"\x8c" + bytes([len(x)]) + x for x in (old, new))
        frame = content[:2] + content[11:]  # without the frame, whose length would be another
        content = frame
    assert new in content
    path.write_bytes(content.replace(new, old))
    read = read_pickle(path)
    assert read["x"].tolist() == [0, 1, 2] and read["y"] == 2.5


@pytest.mark.parametrize("content", [CONTENT, {"id": "ab"}], ids=["arrays", "texts alone"])
def test_pickles_in_text_mode_are_called_so(tmp_path, content):
    path = write(tmp_path / "a.pkl", content, 0)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match=r"written or copied in text mode.*in binary mode"):
        read_pickle(path)
    path = write(tmp_path / "a.pkl", {"x": np.zeros(1)}, 2)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match=r"written or copied in text mode"):
        read_pickle(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="real data: none at $HAEMSA_DATA")
def test_the_pickle_that_misa_users_have():
    samples = read_pickle(REAL / "cmu_mosi" / "misa_dev.pkl")
    assert len(samples) == 229
    (word_ids, vision, audio, words), label, name = samples[0]
    assert (word_ids.shape, vision.shape, audio.shape) == ((18,), (18, 47), (18, 74))
    assert words[:3] == ["uh", "i", "really"] and name == "WKA5OygbEKI[0]"
    np.testing.assert_allclose(label, [[1.8]], rtol=1e-6)


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (np.load, "numpy.load"),
        (np.frombuffer, f"{np.frombuffer.__module__}.frombuffer"),
        (Path, f"{Path.__module__}.Path"),  # since 3.13 it is of pathlib._local
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_are_named_and_not_made(tmp_path, function, name, protocol):
    trace = tmp_path / "trace"
    trap = Calls(function, f"touch {trace}")
    hidden = {"train": [np.array([1, trap], dtype=object)]}
    path = write(tmp_path / "trap.pkl", hidden, protocol)
    assert any(
        name.endswith(str(arg).split()[-1])
        for _, arg, _ in pickletools.genops(path.read_bytes())
        if arg
    )
    with pytest.raises(InputError) as caught:
        read_pickle(path)
    message = str(caught.value).replace("__builtin__", "builtins")
    assert f"{path}: the pickle wants to call {name}," in message
    assert "Accepted are NumPy arrays, numbers, strings, lists" in message
    assert not trace.exists()


def test_attributes_of_accepted_modules_are_not_reachable(tmp_path):
    """Protocol 4 allows dotted names, by which `numpy.ndarray` would lead anywhere."""
    path = tmp_path / "dotted.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.")
    with pytest.raises(InputError, match=r"wants to call numpy\.ndarray\.__init__,"):
        read_pickle(path)


def test_a_dtype_with_forged_flags_gets_no_pointers(tmp_path):
    """With NumPy's own `dtype` and `ndarray` these bytes become a pointer: it crashes, or worse."""
    path = tmp_path / "forged.pkl"
    path.write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x01\x01\x01\x01\x01\x01\x01\x01tb."
    )
    with pytest.raises(InputError, match="cannot be read as a pickle of NumPy arrays"):
        read_pickle(path)


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2000000000\n"])
def test_a_damaged_number_of_a_value_takes_no_memory(tmp_path, put):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02U\x02ab" + put + b".")
    with pytest.raises(InputError, match=r"damaged: it has a value number 2\d+ after 2 operations"):
        read_pickle(path)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(CONTENT)[:-20],
        b"not a pickle",
        b"",
        pickle.dumps(np.zeros(2, [("x", "f4")])),
        pickle.dumps(np.zeros(2, "M8[s]")),
    ],
    ids=["truncated", "text", "empty", "structured", "dates"],
)
def test_what_cannot_be_read(tmp_path, content):
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as a pickle of NumPy arrays")
