"""server/web/v1/forms.py on any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedForm
from server.web.v1.forms import MAX_SOUNDS, read_sounds

TYPE = "multipart/form-data; boundary=edge"
SOUND = 'name="sound"; filename="{}"'
ROW = 'name="csv"'
PIECES = st.lists(
    st.tuples(st.binary(max_size=60), st.none() | st.binary(max_size=60)),
    min_size=1,
    max_size=MAX_SOUNDS,
)


def form(*parts: tuple[str, bytes]) -> bytes:
    """Join parts, each with what its head says of it."""
    heads = ((f"--edge\r\nContent-Disposition: form-data; {told}\r\n\r\n", x) for told, x in parts)
    return b"".join(head.encode() + x + b"\r\n" for head, x in heads) + b"--edge--\r\n"


@given(PIECES)
async def test_sounds_come_out_with_their_rows(given: list[tuple[bytes, bytes | None]]) -> None:
    parts: list[tuple[str, bytes]] = []
    for number, (sound, row) in enumerate(given):
        parts.append((SOUND.format(f"{number}.wav"), sound))
        parts += [(ROW, row)] if row is not None else []
    found = await read_sounds(form(*parts), TYPE)
    assert [(bytes(one.data), one.csv) for one in found] == given
    assert [one.name for one in found] == [f"{number}.wav" for number in range(len(given))]


async def test_a_row_may_come_before_the_only_sound() -> None:
    (found,) = await read_sounds(form((ROW, b"tempo"), (SOUND.format("a"), b"x")), TYPE)
    assert (found.data, found.csv) == (b"x", b"tempo")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(ROW, b"x")],
        [('name="sound"', b"x")],
        [('name="model"; filename="a"', b"x")],
        [(SOUND.format("a"), b"x"), (ROW, b""), (ROW, b"")],
        [(ROW, b""), (ROW, b""), (SOUND.format("a"), b"x")],
        [(ROW, b""), (SOUND.format("a"), b"x"), (ROW, b"")],
        [(SOUND.format("a"), b"x")] * (MAX_SOUNDS + 1),
        [(SOUND.format("a"), b"x"), (ROW, b"x" * 1_100_000)],
    ],
    ids=range(9),
)
async def test_a_form_that_cannot_be_is_refused(parts: list[tuple[str, bytes]]) -> None:
    with pytest.raises(MalformedForm):
        await read_sounds(form(*parts), TYPE)


@given(st.binary(max_size=400))
async def test_no_bytes_raise_anything_but_a_malformed_form(noise: bytes) -> None:
    head = f"\r\n--edge\r\nContent-Disposition: form-data; {SOUND.format('a')}\r\n\r\n"
    body = b"--edge\r\n" + noise.replace(b"~", head.encode())
    try:
        found = await read_sounds(body, TYPE)
    except MalformedForm:
        return
    assert found
