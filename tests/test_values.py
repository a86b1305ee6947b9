"""Raw values become checked arrays and texts, or one line that names place, field and value."""

import numpy as np
import pytest

from haemsa_jax.data import values
from haemsa_jax.errors import InputError


def failure(function, *args, **settings):
    with pytest.raises(InputError) as caught:
        function(*args, **settings)
    message = str(caught.value)
    assert message.startswith("a.pkl") and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("käse", "käse"),
        ("käse".encode(), "käse"),
        (np.str_("so"), "so"),
        (np.bytes_(b"so"), "so"),
        (np.array("so"), "so"),
        ("\ud83d\ude00", "\U0001f600"),  # two halves that stand together
        ("", ""),
    ],
)
def test_texts(given, read):
    found = values.text(given, "a.pkl", "raw_text")
    assert found == read and type(found) is str


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "raw_text is None; expected a string"),
        (np.nan, "raw_text is nan; expected a string"),
        (["this"], "raw_text is ['this']; expected a string"),
        (np.array([["a"], ["b"]]), "raw_text is an array of shape (2, 1); expected a string"),
        (7, "raw_text is 7; expected"),
        ([np.zeros((2, 2))], "raw_text is [array([[0., 0.], [0., 0.]])]; expected"),
        (b"caf\xe9", "which is not UTF-8"),
        ("cut \ud83d", "half of a character"),
    ],
)
def test_what_is_no_text(given, message):
    assert message in failure(values.text, given, "a.pkl", "raw_text")


def test_names_are_strings_or_whole_numbers():
    given = np.array(["a", b"b", 3, np.int64(4)], object)
    assert values.identifiers(given, "a.pkl", "id") == ["a", "b", "3", "4"]
    assert values.identifiers(np.array([["a"], ["b"]]), "a.pkl", "id", 2) == ["a", "b"]
    for odd in (True, 1.0, None, " ", ["x"]):
        assert "sample 1: id is" in failure(values.identifiers, ["a", odd], "a.pkl", "id")


@pytest.mark.parametrize("given", [None, "abc", 3, np.array("abc"), {"a": 1}, {"a", "b"}])
def test_no_list_of_values(given):
    assert "words is" in failure(values.sequence, given, "a.pkl", "words")


def test_lists_of_another_length():
    message = failure(values.texts, ["a", "b"], "a.pkl", "raw_text", 3)
    assert message == "a.pkl: raw_text has 2 values; expected 3, one a sample"


def test_names_of_fields_may_be_bytes():
    assert values.fields({b"id": 1, "text": 2}, "a.pkl", ["id"]) == {"id": 1, "text": 2}
    assert "'id' is there twice" in failure(values.fields, {b"id": 1, "id": 2}, "a.pkl")
    assert "'audio' is missing; it has id" in failure(values.fields, {"id": 1}, "a.pkl", ["audio"])
    assert "a dict of fields, not [1]" in failure(values.fields, [1], "a.pkl")


RAGGED = [np.ones((3, 2)), np.ones((2, 2))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RAGGED, "audio has shape (2, 2) in sample 1 and (3, 2) in sample 0; pad"),
        (np.array([*RAGGED, None], object)[:2], "shape (2, 2) in sample 1"),
        ([[[1, 2], [3]], [[1, 2], [3, 4]]], "sample 0: audio has shape (1,) in row 1 and (2,)"),
        ([[[1.0, None]]], "sample 0, row 0, row 1: audio is None; expected numbers"),
        ([[["1", "2"]]], "audio is '1'; expected numbers"),
        (None, "audio is None; expected numbers"),
        ({"a": 1}, "audio is {'a': 1}; expected numbers"),
        ([[[1j, 2]]], "audio is 1j; expected numbers"),
        (np.ones((2, 3)), "audio has shape (2, 3); expected (2, T, 2)"),
        (np.ones((3, 1, 2)), "audio has shape (3, 1, 2); expected (2, T, 2)"),
        (5, "audio has shape (); expected (2, T, 2)"),
    ],
)
def test_what_are_no_features(given, message):
    found = failure(values.numbers, given, "a.pkl", "audio", shape=(2, None, 2))
    assert message in found


def test_features_in_lists_and_arrays_of_objects():
    expected = np.arange(8.0, dtype=np.float32).reshape(2, 2, 2)
    objects = np.empty(2, object)
    objects[:] = list(expected)
    for given in (expected.tolist(), list(expected), objects, expected.astype(">f8")):
        found = values.numbers(given, "a.pkl", "audio", shape=(2, None, 2))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("given", [[4, 2], (4.0, 2.0), np.array([[4], [2]]), np.uint8([4, 2])])
def test_lengths(given):
    assert values.lengths(given, "a.pkl", "audio_lengths", 2).tolist() == [4, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([4], "audio_lengths has 1 values; expected 2, one a sample"),
        ([4, 2, 1], "audio_lengths has 3 values; expected 2"),
        (4, "audio_lengths has shape (); expected (2,)"),
        (np.ones((2, 2)), "audio_lengths has shape (2, 2); expected (2,)"),
        (["four", "two"], "sample 0: audio_lengths is 'four'; expected numbers"),
        ([4, "2"], "sample 1: audio_lengths is '2'; expected numbers"),
        ([4, 2.5], "sample 1: audio_lengths is 2.5; expected a whole number from 0"),
        ([4, -1], "sample 1: audio_lengths is -1; expected a whole"),
        ([np.nan, 2], "sample 0: audio_lengths is not finite"),
    ],
)
def test_what_are_no_lengths(given, message):
    assert message in failure(values.lengths, given, "a.pkl", "audio_lengths", 2)


@pytest.mark.parametrize("given", [2, 2.0, np.int8(2), np.float32(2), np.array(2), np.array([2])])
def test_class_numbers(given):
    assert values.class_number(given, "a.pkl", "label", 6) == 2


ODD_CLASSES = [2.7, 6, -1, "xxx", "2", None, np.nan, True, np.bool_(True), np.eye(6)[2], [0, 1, 0]]


@pytest.mark.parametrize("given", ODD_CLASSES)
def test_what_are_no_class_numbers(given):
    assert "is none of 0 to 5" in failure(values.class_number, given, "a.pkl", "label", 6)


@pytest.mark.parametrize("given", [[True, False], [1, 0], [1.0, 0.0], np.uint8([1, 0])])
def test_masks(given):
    assert values.mask(given, "a.npz", "audio_mask").tolist() == [True, False]


@pytest.mark.parametrize("given", [[0, -10000], [0, np.nan], [1, 2], ["1", "0"], [None, True]])
def test_masks_of_unknown_meaning(given):
    with pytest.raises(InputError, match=r"a\.npz: audio_mask holds .*; expected booleans, or 1"):
        values.mask(given, "a.npz", "audio_mask")


def test_numbers_in_texts():
    assert values.decimal(" -1.5 ", "a.csv", "label") == -1.5
    for odd in ("1_5", "good", "", "1,5"):
        with pytest.raises(InputError, match=r"a\.csv: label .* is not a number"):
            values.decimal(odd, "a.csv", "label")
    assert values.whole_number("07")
    assert not any(map(values.whole_number, ("", "-1", "1.0", "²", "٣", "1" * 10)))


def test_control_characters():
    """What tokenisers would drop, so that words grow together."""
    assert values.printable("a\x97b\x85 \x93c\x94") == ("a—b… “c”", 4)
    assert values.printable("a\nb\tc\x81d\x00e") == ("a b c d e", 4)
    assert values.printable("käse\u2028 — so") == ("käse\u2028 — so", 0)
