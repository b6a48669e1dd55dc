"""Secrets that are none: those that everybody knows, and those that everybody would try first.

Whoever has one message can try as many secrets as he likes; placeholders and what is printed in
manuals come first.
"""

import re
from itertools import pairwise

_FEW = 5  # different bytes; 16 random hexadecimal digits have fewer once in 2 million
_DIGITS = 10  # years, counts and the like behind the words
# what our own documentation prints
_PRINTED = frozenset({"correcthorsebatterystaple"})
_WORDS = frozenset(
    [
        "a",
        "abc",
        "admin",
        "an",
        "api",
        "app",
        "at",
        "auth",
        "be",
        "bytes",
        "chars",
        "change",
        "characters",
        "complex",
        "default",
        "demo",
        "dev",
        "development",
        "django",
        "do",
        "dummy",
        "example",
        "fake",
        "fixme",
        "flask",
        "for",
        "foo",
        "bar",
        "baz",
        "hello",
        "here",
        "hmac",
        "insecure",
        "insert",
        "is",
        "it",
        "itsdangerous",
        "key",
        "keys",
        "least",
        "letmein",
        "long",
        "me",
        "minimum",
        "model",
        "models",
        "my",
        "none",
        "not",
        "now",
        "of",
        "or",
        "our",
        "passphrase",
        "password",
        "phrase",
        "please",
        "pass",
        "placeholder",
        "prod",
        "production",
        "put",
        "qwerty",
        "random",
        "real",
        "replace",
        "safe",
        "salt",
        "sample",
        "secret",
        "secrets",
        "secure",
        "server",
        "set",
        "sign",
        "signature",
        "signed",
        "signing",
        "some",
        "something",
        "string",
        "strong",
        "super",
        "temp",
        "temporary",
        "test",
        "testing",
        "tests",
        "text",
        "the",
        "this",
        "to",
        "todo",
        "token",
        "tokens",
        "top",
        "unsafe",
        "unsecure",
        "use",
        "user",
        "value",
        "very",
        "with",
        "word",
        "world",
        "xxx",
        "your",
        "yours",
        "spectrogram",
        "predictor",
        "spectrogrampredictor",
    ]
)
_LONGEST = max(map(len, _WORDS))


def is_known(secret: bytes) -> bool:
    """Tell whether a secret is one that others know or guess.

    Such are placeholders ("change-me-please-123"), what the documentation prints, rows of the
    alphabet, and a few letters again and again. A random one is none of them.
    """
    text = secret.decode("latin-1").casefold()
    letters = re.sub(r"[^a-z]", "", text)
    if letters in _PRINTED or len(set(secret)) < _FEW or _is_repeated(secret):
        return True
    steps = sum(abs(here - there) <= 1 for here, there in pairwise(secret))
    if 4 * steps > 3 * len(secret):
        return True
    if not letters or sum(letter.isdigit() for letter in text) > _DIGITS:
        return False
    return text.isascii() and all(map(_is_of_words, re.findall("[a-z]+", text)))


def _is_repeated(secret: bytes) -> bool:
    """Tell whether a secret is one piece again and again, the last of them cut or not."""
    return any(secret.startswith(secret[size:]) for size in range(1, len(secret) // 2 + 1))


def _is_of_words(run: str) -> bool:
    """Tell whether letters are known words, one behind the other."""
    ends = {0}  # of words from the beginning on
    for stop in range(1, len(run) + 1):
        if any(run[start:stop] in _WORDS for start in ends if stop - start <= _LONGEST):
            ends.add(stop)
    return len(run) in ends
