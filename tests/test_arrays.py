"""Archives of arrays that are damaged, or none."""

import io

import numpy as np
import pytest

from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.errors import InputError


def saved(save=np.savez_compressed, **arrays) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


WHOLE = saved(a=np.arange(99.0), b=np.array(["so"]))
HUGE = (
    saved(np.savez, a=np.zeros(9)).replace(b"(9,)", b"(9999999999999,)").replace(b"  \n", b"\n", 1)
)


def test_arrays_by_name(tmp_path):
    (tmp_path / "a.npz").write_bytes(WHOLE)
    read = read_arrays(tmp_path / "a.npz")
    assert read["a"].tolist() == np.arange(99.0).tolist() and read["b"].tolist() == ["so"]


@pytest.mark.parametrize(
    "content",
    [
        WHOLE[:-40],
        WHOLE[:60] + bytes([WHOLE[60] ^ 255]) + WHOLE[61:],
        WHOLE.replace(b"PK\x03\x04", b"PK\x03\x05", 1),
        WHOLE.replace(b"\x08\x00", b"\x63\x00"),  # packed in no known way
        saved(np.save, arr=np.arange(3)),
        saved(a=np.array([None])),
        HUGE,
        b"",
        b"no archive",
    ],
    ids=["cut", "data", "mark", "packing", "npy", "objects", "huge", "empty", "text"],
)
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=rf"^cannot read {path}, as numpy.savez writes it: "
    ) as caught:
        read_arrays(path)
    assert len(str(caught.value).splitlines()) == 1


def test_errors_are_one_line():
    assert str(InputError("a\nb\r\nc\u2028d")) == "a b c d"
