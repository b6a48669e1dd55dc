import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from server.audio.decode import decode, decode_windows
from server.audio.source import SoundBudget
from server.audio.window import Window, WindowRule, windows_of
from server.errors import BadExtension, ServerError, UnusableInput
from server.sound_errors import (
    BadSampleRate,
    EmptySound,
    LfsPointer,
    SoundNotFinite,
    SoundTooLong,
    SoundTooShort,
    TooManyChannels,
    TruncatedSound,
    UnreadableSound,
    WrongExtension,
)

_Encode = Callable[..., bytes]
_Melody = Callable[..., NDArray[np.float32]]
_SHORT = WindowRule(min_samples=2205, whole_min=20_000, whole_max=24_000, length=22_050)


def _level(y: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of two sounds over the samples that both have."""
    n = min(len(y), len(other))
    return float(np.corrcoef(y[:n], other[:n])[0, 1])


def _unstated_mp3(data: bytes) -> bytes:
    """Drop the first frame, whose Xing tag states the length."""
    return data[data.index(b"\xff\xfb", 4) :]


def _unstated_flac(data: bytes) -> bytes:
    """Set the number of samples in STREAMINFO to 0, which means unknown."""
    head = bytearray(data[:26])
    head[21] &= 0xF0
    head[22:26] = bytes(4)
    return bytes(head) + data[26:]


def _as_it_is(data: bytes) -> bytes:
    return data


def _unstated_au(data: bytes) -> bytes:
    """Set the size of the samples to the number that means unknown."""
    return data[:8] + b"\xff\xff\xff\xff" + data[12:]


def _little_endian_au(data: bytes) -> bytes:
    """Turn the magic, the header and the samples around."""
    width = {1: 1, 3: 2, 6: 4}[data[15]]
    samples = np.frombuffer(data, f"V{width}", offset=24)
    words = np.frombuffer(data[:24], ">u4").astype("<u4")
    turned = samples.view(np.uint8).reshape(-1, width)[:, ::-1]
    return words.tobytes() + turned.tobytes()


@pytest.mark.parametrize(
    ("kind", "ext", "likeness"),
    [
        (("WAV", "PCM_U8"), "wav", 0.99),
        (("WAV", "PCM_16"), "wave", 0.9999),
        (("WAV", "PCM_24"), "wav", 0.9999),
        (("WAV", "FLOAT"), "wav", 0.9999),
        (("WAV", "ULAW"), "wav", 0.99),
        (("WAV", "IMA_ADPCM"), "wav", 0.99),
        (("WAVEX", "PCM_16"), "wav", 0.9999),
        (("AIFF", "PCM_16"), "aiff", 0.9999),
        (("AIFF", "FLOAT"), "wav", 0.9999),
        (("AU", "PCM_16"), "au", 0.9999),
        (("AU", "ALAW"), "snd", 0.99),
        (("FLAC", "PCM_16"), "flac", 0.9999),
        (("OGG", "VORBIS"), "ogg", 0.98),
        (("MP3", None), "mp3", 0.98),
    ],
)
def test_every_format_gives_back_the_sound(
    encode: _Encode, melody: _Melody, kind: tuple[str, str | None], ext: str, likeness: float
) -> None:
    y = melody(2, 44_100)
    waveform = decode(encode(np.stack([y, y], axis=1), 44_100, *kind), ext=ext)
    assert waveform.y.dtype == np.float32
    assert waveform.sample_rate_hz == 22_050
    assert abs(waveform.source_samples - 44_100) <= 1100  # ADPCM blocks are filled up
    assert _level(waveform.y, soxr.resample(y, 44_100, 22_050)) > likeness


def test_opus_gives_back_the_sound(encode: _Encode, melody: _Melody) -> None:
    y = melody(2, 48_000)
    waveform = decode(encode(y, 48_000, "OGG", "OPUS"), ext="opus")
    assert _level(waveform.y, soxr.resample(y, 48_000, 22_050)) > 0.98


def test_samples_at_the_own_rate_are_kept_to_the_bit(encode: _Encode) -> None:
    pcm = np.random.default_rng(0).integers(-32_768, 32_768, 70_000).astype(np.int16)
    waveform = decode(encode(pcm, 22_050))
    assert np.array_equal(waveform.y, pcm.astype(np.float32) / 32_768)


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "FLOAT"])
@pytest.mark.parametrize("change", [_as_it_is, _unstated_au, _little_endian_au])
def test_au_holds_the_samples_that_wav_holds(
    encode: _Encode, melody: _Melody, subtype: str, change: Callable[[bytes], bytes]
) -> None:
    y = np.stack([melody(2, 44_100), -0.5 * melody(2, 44_100)], axis=1)
    waveform = decode(change(encode(y, 44_100, "AU", subtype)), ext="au")
    assert np.array_equal(waveform.y, decode(encode(y, 44_100, "WAV", subtype)).y)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 24_414, 44_100, 48_000, 192_000])
def test_blocks_resample_to_what_the_whole_resamples_to(encode: _Encode, rate: int) -> None:
    y = np.random.default_rng(rate).standard_normal(150_001).astype(np.float32)
    waveform = decode(encode(y, rate, "WAV", "FLOAT"))
    assert np.array_equal(waveform.y, soxr.resample(y, rate, 22_050, quality="HQ"))


@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "AU", "FLAC"])
def test_samples_of_sixteen_bits_are_the_floats_that_libsndfile_makes(
    encode: _Encode, fmt: str
) -> None:
    ends = np.array([-32_768, -32_767, -1, 0, 1, 32_767], np.int16)
    noise = np.random.default_rng(0).integers(-32_768, 32_768, 70_000).astype(np.int16)
    data = encode(np.concatenate((ends, noise)), 22_050, fmt, "PCM_16")
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert np.array_equal(decode(data).y, expected)


@pytest.mark.parametrize("channels", range(1, 9))
def test_any_number_of_channels_is_averaged(encode: _Encode, channels: int) -> None:
    y = np.random.default_rng(channels).uniform(-1, 1, (30_000, channels)).astype(np.float32)
    found = decode(encode(y, 22_050, "WAV", "FLOAT")).y
    assert np.allclose(found, y.mean(axis=1), rtol=0, atol=5e-7)


def test_channels_are_averaged(encode: _Encode) -> None:
    channels = np.array([[0.5, 0.25, -0.5]] * 3000, np.float32)
    assert np.allclose(decode(encode(channels, 22_050, "WAV", "FLOAT")).y, 0.25 / 3)


@pytest.mark.parametrize("fmt", ["WAV", "FLAC", "OGG", "MP3"])
def test_the_window_is_cut_from_the_whole(encode: _Encode, melody: _Melody, fmt: str) -> None:
    data = encode(melody(6, 44_100), 44_100, fmt)
    whole = decode(data)
    waveform = decode(data, rule=_SHORT)
    window = waveform.window
    assert waveform.source_samples == whole.source_samples
    assert window.length == window.stop - window.start == 22_050
    assert abs(window.start - (whole.source_samples - 22_050) // 2) <= 1
    assert np.array_equal(waveform.y, whole.y[window.start : window.stop])


@pytest.mark.parametrize("seconds", [0.5, 1.0, 6])
@pytest.mark.parametrize(("fmt", "strip"), [("MP3", _unstated_mp3), ("FLAC", _unstated_flac)])
def test_a_sound_of_unstated_length_has_the_same_window(
    encode: _Encode, melody: _Melody, seconds: float, fmt: str, strip: Callable[[bytes], bytes]
) -> None:
    data = strip(encode(melody(seconds, 44_100), 44_100, fmt))
    whole = decode(data)
    waveform = decode(data, rule=_SHORT)
    window = waveform.window
    used = whole.y[window.start : window.stop]
    assert waveform.source_samples == whole.source_samples
    assert np.array_equal(waveform.y, np.resize(used, window.length))


def test_a_short_sound_is_repeated(encode: _Encode) -> None:
    y = np.random.default_rng(0).integers(-9, 9, 30_000).astype(np.int16)
    waveform = decode(encode(y, 22_050), rule=WindowRule())
    assert waveform.window == Window(0, 30_000, 661_794)
    assert np.array_equal(waveform.y[30_000:60_000], waveform.y[:30_000])


def test_a_sound_below_the_rules_minimum_is_told_what_it_needs(encode: _Encode) -> None:
    with pytest.raises(SoundTooShort, match=r"22050 \(1\.000 s\)"):
        decode(encode(np.zeros(4000, np.int16), 8000), rule=WindowRule())


def test_a_long_sound_is_never_held_whole(encode: _Encode) -> None:
    data = encode(np.zeros(8000 * 900, np.int16), 8000, "FLAC")  # 15 minutes, 79 MB as float32
    tracemalloc.start()
    try:
        waveform = decode(data, rule=WindowRule())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert waveform.source_samples == 900 * 22_050
    assert peak < 12_000_000


@pytest.mark.parametrize(
    ("data", "ext", "refusal"),
    [
        (b"", "wav", EmptySound),
        (b"", None, EmptySound),
        (b"", "exe", BadExtension),
        (b"fLaC", "wav", WrongExtension),
        (b"fLaC", "flac", UnreadableSound),
        (b".snd", "wav", WrongExtension),
        (b".snd", "au", TruncatedSound),
        (b"dns." + bytes(60), "au", UnreadableSound),
        (b"OggS", None, TruncatedSound),
        (b"\xff\xfb\x90\x64" + bytes(2000), None, UnreadableSound),
        (b"version https://git-lfs.github.com/spec/v1\n", "flac", LfsPointer),
        (b"hello", "mp3", UnreadableSound),
    ],
)
def test_each_unreadable_input_has_its_own_refusal(
    data: bytes, ext: str | None, refusal: type[ServerError]
) -> None:
    with pytest.raises(refusal) as caught:
        decode(data, ext=ext)
    assert type(caught.value) is refusal


@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "AU", "FLAC"])
def test_a_file_without_samples_is_empty(encode: _Encode, fmt: str) -> None:
    with pytest.raises(EmptySound):
        decode(encode(np.zeros(0, np.int16), 22_050, fmt))


@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "AU", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_a_file_is_refused(encode: _Encode, melody: _Melody, fmt: str, share: float) -> None:
    data = encode(melody(4, 44_100), 44_100, fmt)
    with pytest.raises(TruncatedSound):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("fmt", "rate"),
    [
        ("WAV", 1),
        ("WAV", 7999),
        ("WAV", 192_001),
        ("AIFF", 384_000),
        ("AIFF", 1),
        ("AU", 7999),
        ("FLAC", 7999),
    ],
)
def test_a_sample_rate_out_of_range_is_refused(encode: _Encode, fmt: str, rate: int) -> None:
    with pytest.raises(BadSampleRate, match=f"{rate} Hz"):
        decode(encode(np.zeros(5000, np.int16), rate, fmt))


@pytest.mark.parametrize("fmt", ["WAV", "AU"])
def test_nine_channels_are_too_many(encode: _Encode, fmt: str) -> None:
    with pytest.raises(TooManyChannels, match="9 channels"):
        decode(encode(np.zeros((5000, 9), np.int16), 22_050, fmt))


def test_eight_channels_are_read(encode: _Encode) -> None:
    assert len(decode(encode(np.zeros((5000, 8), np.int16), 22_050)).y) == 5000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(encode: _Encode, value: float) -> None:
    y = np.zeros((90_000, 2), np.float32)
    y[80_000, 1] = value
    with pytest.raises(SoundNotFinite):
        decode(encode(y, 44_100, "WAV", "FLOAT"))


def test_opposite_infinities_do_not_cancel(encode: _Encode) -> None:
    y = np.array([[np.inf, -np.inf]] * 3000, np.float32)
    with pytest.raises(SoundNotFinite):
        decode(encode(y, 44_100, "WAV", "FLOAT"))


def test_samples_that_no_sound_has_are_refused(encode: _Encode) -> None:
    with pytest.raises(UnusableInput, match=r"reach 3e\+38"):
        decode(encode(np.full(3000, 3e38, np.float32), 44_100, "WAV", "FLOAT"))


@pytest.mark.parametrize("fmt", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("budget", [SoundBudget(max_seconds=1.9), SoundBudget(max_values=88_199)])
def test_a_sound_over_the_budget_is_refused(encode: _Encode, fmt: str, budget: SoundBudget) -> None:
    data = encode(np.zeros(88_200, np.int16), 44_100, fmt)
    with pytest.raises(SoundTooLong):
        decode(data, budget=budget)


@pytest.mark.parametrize(("fmt", "strip"), [("MP3", _unstated_mp3), ("FLAC", _unstated_flac)])
def test_the_budget_holds_while_decoding_where_no_length_is_stated(
    encode: _Encode, melody: _Melody, fmt: str, strip: Callable[[bytes], bytes]
) -> None:
    data = strip(encode(melody(8, 44_100), 44_100, fmt))
    with pytest.raises(SoundTooLong):
        decode(data, budget=SoundBudget(max_seconds=5))


def test_an_hour_and_a_second_is_refused_by_the_header_alone(encode: _Encode) -> None:
    data = bytearray(encode(np.zeros(8000, np.int16), 8000, "FLAC"))
    data[22:26] = (3601 * 8000).to_bytes(4, "big")
    with pytest.raises(SoundTooLong, match="3600 s"):
        decode(bytes(data))


def test_an_mp3_of_changing_bit_rate_keeps_its_end_without_a_tag(
    encode: _Encode, melody: _Melody
) -> None:
    data = encode(melody(8, 44_100), 44_100, "MP3")
    assert decode(_unstated_mp3(data)).source_samples == pytest.approx(8 * 22_050, rel=0.01)


def test_the_same_bytes_decode_to_the_same_samples(encode: _Encode, melody: _Melody) -> None:
    data = encode(melody(1, 44_100), 44_100, "MP3")
    assert np.array_equal(decode(data).y, decode(data).y)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("absurd_rate.wav", "bad-sample-rate"),
        ("empty.wav", "empty-sound"),
        ("lfs_pointer.wav", "git-lfs-pointer"),
        ("text_as_wav.wav", "unreadable-sound"),
        ("truncated_data.wav", "truncated-sound"),
        ("truncated_header.wav", "truncated-sound"),
    ],
)
def test_each_bad_input_has_its_refusal(
    shared_data: Callable[[str], Path], name: str, slug: str
) -> None:
    with pytest.raises(ServerError) as caught:
        decode(shared_data(f"bad_inputs/{name}").read_bytes(), ext="wav", rule=WindowRule())
    assert caught.value.slug == slug
    assert 400 <= caught.value.status < 500


def test_every_shared_sound_decodes(shared_data: Callable[[str], Path]) -> None:
    paths = [
        path
        for folder in ("songs", "speech", "stems")
        for path in shared_data(folder).rglob("*.*")
        if path.suffix[1:] in ("wav", "flac", "ogg", "mp3")
    ]
    assert len(paths) >= 15
    for path in paths:
        waveform = decode(path.read_bytes(), ext=path.suffix[1:])
        assert len(waveform.y) == waveform.source_samples > 5000, path.name


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (("WAV", "PCM_16"), _as_it_is),
        (("FLAC", "PCM_16"), _as_it_is),
        (("FLAC", "PCM_16"), _unstated_flac),
        (("MP3", None), _as_it_is),
        (("MP3", None), _unstated_mp3),
    ],
    ids=["wav", "flac", "flac-unstated", "mp3", "mp3-unstated"],
)
def test_windows_are_the_samples_of_the_whole_sound(
    encode: _Encode, melody: _Melody, kind: tuple[str, str | None], changed: Callable[..., bytes]
) -> None:
    data = changed(encode(melody(7.3, 44_100), 44_100, *kind))
    whole = decode(data)
    first, count = decode_windows(data, rule=_SHORT, first=0, most=3)
    last, again = decode_windows(data, rule=_SHORT, first=3, most=100)
    windows = windows_of(len(whole.y), _SHORT)
    assert count == again == len(windows) == 8
    assert [one.window for one in first + last] == windows
    assert len(first) == 3
    for one in first + last:
        assert one.source_samples == len(whole.y)
        np.testing.assert_array_equal(one.y, whole.y[one.window.start : one.window.stop])


def test_a_short_sound_has_one_window(encode: _Encode, melody: _Melody) -> None:
    data = encode(melody(0.5), 22_050)
    (only,), count = decode_windows(data, rule=_SHORT, first=0, most=8)
    assert count == 1
    np.testing.assert_array_equal(only.y, decode(data, rule=_SHORT).y)
    assert decode_windows(data, rule=_SHORT, first=1, most=8) == ([], 1)
