"""The names of the 58 features, in the order of the published table and of the models."""

_TRACKS = (
    "chroma_stft",
    "rms",
    "spectral_centroid",
    "spectral_bandwidth",
    "rolloff",
    "zero_crossing_rate",
    "harmony",
    "perceptr",
)
_MFCCS = tuple(f"mfcc{k}" for k in range(1, 21))


def _mean_and_var(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_{statistic}" for name in names for statistic in ("mean", "var"))


FEATURE_NAMES: tuple[str, ...] = (
    "length",
    *_mean_and_var(_TRACKS),
    "tempo",
    *_mean_and_var(_MFCCS),
)
