"""server/web/multipart.py on bodies in any pieces."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedForm
from server.web.multipart import FormReader

TYPE = "multipart/form-data; boundary=edge"


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, *, size: int = 64, content_type: str = TYPE) -> list[tuple[str, bytes]]:
    files = []
    async for file in FormReader(cut(body, size), content_type).files():
        files.append((file.field, b"".join([chunk async for chunk in file.chunks])))
    return files


def form(*contents: bytes, name: str = "model") -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
    return b"".join(head + content + b"\r\n" for content in contents) + b"--edge--\r\n"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 200))
async def test_files_come_out_as_they_went_in(contents: list[bytes], size: int) -> None:
    assert await read(form(*contents), size=size) == [("model", content) for content in contents]


@pytest.mark.parametrize(
    "content", [b"", b"\r", b"\n", b"\r\n", b"\r\n--edg", b"\r" * 100_000, b"-" * 500]
)
async def test_content_that_looks_like_a_boundary_is_kept(content: bytes) -> None:
    assert await read(form(content), size=4096) == [("model", content)]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=",
     "multipart/mixed; boundary=edge", "multipart/form-data; boundary=" + "x" * 300],
)  # fmt: skip
async def test_a_header_without_a_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MalformedForm):
        await read(form(b"x"), content_type=content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--edge",
        form(b"x")[:-20],
        form(b"x")[:20],
        b"--edge\r\n\r\nx\r\n--edge--\r\n",
        b"--edge\r\n" + b"X: y\r\n" * 9,
        b'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--edge--\r\n',
        b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n",
        b"--edge\r\nContent-Disposition: \xff\r\n\r\nx\r\n--edge--\r\n",
        b"x" * 100_000,
        b"--edge\r\nX: " + b"x" * 100_000,
    ],
)
async def test_a_body_that_is_no_form_of_files_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedForm):
        await read(body)


@given(st.binary(max_size=400), st.integers(1, 100))
async def test_no_bytes_raise_anything_but_a_malformed_form(noise: bytes, size: int) -> None:
    body = noise.replace(b"~", b"\r\n--edge\r\nContent-Disposition: form-data; filename=x\r\n\r\n")
    try:
        files = await read(b"--edge\r\n" + body, size=size)
    except MalformedForm:
        return
    assert isinstance(files, list)
