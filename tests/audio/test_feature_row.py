import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.feature_names import FEATURE_NAMES
from server.audio.feature_row import parse_feature_row
from server.sound_errors import BadFeatureRow

_VALUES = [float(k) - 20.5 for k in range(58)]


def _csv(header: Sequence[object], *rows: Sequence[object]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def _refusal(data: bytes, columns: Sequence[str] = FEATURE_NAMES) -> BadFeatureRow:
    with pytest.raises(BadFeatureRow) as caught:
        parse_feature_row(data, columns)
    return caught.value


def test_there_are_58_names_in_the_published_order() -> None:
    assert len(set(FEATURE_NAMES)) == 58
    assert FEATURE_NAMES[:2] == ("length", "chroma_stft_mean")
    assert FEATURE_NAMES[17] == "tempo"
    assert FEATURE_NAMES[-1] == "mfcc20_var"


def test_a_plain_row_is_read() -> None:
    row = parse_feature_row(_csv(FEATURE_NAMES, _VALUES), FEATURE_NAMES)
    assert row.dtype == np.float32
    assert row.tolist() == _VALUES


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 12"])
def test_an_index_column_in_front_is_dropped(name: str) -> None:
    data = _csv([name, *FEATURE_NAMES], [992, *_VALUES])
    assert parse_feature_row(data, FEATURE_NAMES).tolist() == _VALUES


def test_file_name_and_label_are_dropped() -> None:
    data = _csv(["filename", *FEATURE_NAMES, "label"], ["rock.wav", *_VALUES, "rock"])
    assert parse_feature_row(data, FEATURE_NAMES).tolist() == _VALUES


@given(st.permutations(range(58)))
def test_any_order_of_columns_gives_the_same_row(order: list[int]) -> None:
    data = _csv([FEATURE_NAMES[k] for k in order], [_VALUES[k] for k in order])
    assert parse_feature_row(data, FEATURE_NAMES).tolist() == _VALUES


def test_canonical_names_that_the_model_does_not_use_are_dropped() -> None:
    data = _csv(FEATURE_NAMES, _VALUES)
    assert parse_feature_row(data, ["tempo", "length"]).tolist() == [_VALUES[17], _VALUES[0]]


def test_a_model_may_have_names_of_its_own() -> None:
    assert parse_feature_row(b"loudness\n-14\n", ["loudness"]).tolist() == [-14]


def test_missing_and_unknown_names_are_listed() -> None:
    refusal = _refusal(_csv(["tempo", "loudness"], [120, -14]), ["tempo", "length"])
    assert refusal.members == {"missing": ["length"], "extra": ["loudness"]}
    assert "missing: length" in refusal.detail
    assert "not known: loudness" in refusal.detail


def test_a_long_list_of_names_is_cut_in_the_sentence() -> None:
    refusal = _refusal(b"tempo\n120\n")
    assert "and 47 more" in refusal.detail
    assert len(str(refusal.members["missing"])) > 500


def test_bare_numbers_are_refused() -> None:
    assert _refusal(_csv(_VALUES, _VALUES)).members["missing"] == list(FEATURE_NAMES)


@pytest.mark.parametrize(
    "number",
    ["nan", "NaN", "inf", "-Infinity", "1_000", "0x10", "", "1,5", "one", "\u0661", "1e", "--1"],
)
def test_what_is_no_finite_decimal_is_refused_with_its_column(number: str) -> None:
    assert "tempo" in _refusal(_csv(["tempo"], [number]), ["tempo"]).detail


@pytest.mark.parametrize("number", ["1e12", "-1e12", "9" * 13, "1e400"])
def test_a_number_out_of_range_is_refused(number: str) -> None:
    assert "1e12" in _refusal(_csv(["tempo"], [number]), ["tempo"]).detail


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-0.5", -0.5), ("+2.", 2), (".5", 0.5), ("1e-3", 1e-3), ("2E+5", 2e5), (" 7 ", 7)],
)
def test_decimals_in_every_usual_spelling_are_read(text: str, value: float) -> None:
    row = parse_feature_row(_csv(["tempo"], [text]), ["tempo"])
    assert row[0] == np.float32(value)


@given(st.floats(-9e11, 9e11))
def test_what_python_prints_is_read_back(value: float) -> None:
    assert parse_feature_row(_csv(["tempo"], [repr(value)]), ["tempo"])[0] == np.float32(value)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b""])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends_do_not_matter(mark: bytes, end: bytes) -> None:
    assert parse_feature_row(mark + b"tempo\r\n120" + end, ["tempo"]).tolist() == [120]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds 0 rows"),
        (b"tempo\n", "holds 0 rows"),
        (b"tempo\n1\n2\n", "holds 2 rows"),
        (b"tempo,length\n1\n", "2 cells, the row 1"),
        (b"tempo,tempo\n1,1\n", "tempo appears twice"),
        (b"tempo\n\xff\n", "not UTF-8"),
        (b'tempo\n"1', "quoting"),
        (b"tempo\n" + b"1" * 65_536, "65536 is the most"),
        (b"tempo,\n1,2\n", "no name"),
    ],
)
def test_each_malformed_csv_is_refused_by_its_fault(data: bytes, words: str) -> None:
    assert words in _refusal(data, ["tempo"]).detail


@given(st.binary(max_size=300))
def test_any_bytes_are_a_row_or_a_refusal(data: bytes) -> None:
    try:
        row = parse_feature_row(data, ["tempo"])
    except BadFeatureRow:
        return
    assert np.isfinite(row).all()


@given(st.text(max_size=200))
def test_any_text_is_a_row_or_a_refusal(text: str) -> None:
    try:
        row = parse_feature_row(b"tempo\n" + text.encode("utf-8", "replace"), ["tempo"])
    except BadFeatureRow:
        return
    assert np.isfinite(row).all()


def test_what_pandas_writes_is_read(shared_data: Callable[[str], Path]) -> None:
    import pandas as pd  # noqa: PLC0415 - slow, and for this test alone

    table = pd.read_csv(shared_data("gtzan/features_30_sec.csv"))
    written = table[table.filename == "rock.00092.wav"].to_csv().encode()
    expected = table.loc[992, list(FEATURE_NAMES)].to_numpy(np.float32)
    assert np.array_equal(parse_feature_row(written, FEATURE_NAMES), expected)
