"""server/web/splitter.py against python-multipart and the standard library's email parser."""

import email
import email.policy
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from server.errors import MalformedForm
from server.web.splitter import FormEnds, PartBegins, PartEnds, Splitter

Parts = list[tuple[dict[bytes, bytes], bytes]]
MIB = 1 << 20
# what bodies are made of: everything that frames one, whole and cut, and what only looks like it
TOKENS = st.sampled_from(
    [b"--edge", b"\r\n--edge", b"\r\n", b"--", b"\r", b"\n", b"-", b" ", b"\t", b"\r\n--edg", b"e",
     b"edge", b"A: b", b"A: b\r\n\r\n", b"\r\n\r\n", b": ", b"data", b"\r\n--edge--", b"\x00"]
)  # fmt: skip
CUTS = st.lists(st.integers(1, 40), max_size=60)


def cut(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for size in cuts:
        yield body[at : at + size]
        at += size
    yield body[at:]


def split(pieces: Iterator[bytes]) -> tuple[Parts, bool]:
    """Return what is in a body's parts, the last perhaps unfinished, and whether the form ended."""
    splitter = Splitter(b"edge")
    for piece in pieces:
        splitter.feed(piece)
    parts: Parts = []
    for event in splitter.events:
        if isinstance(event, PartBegins):
            parts.append((event.headers, b""))
        elif isinstance(event, bytes | memoryview):
            headers, data = parts.pop()
            parts.append((headers, data + event))
    return parts, FormEnds() in splitter.events


def split_by_library(body: bytes) -> tuple[Parts, bool]:
    parts: list[tuple[list[tuple[bytes, bytes]], bytes]] = []
    fields = {"name": b"", "value": b""}
    ended: list[bool] = []

    def add(field: str) -> object:
        def added(data: bytes, start: int, end: int) -> None:
            fields[field] += data[start:end]

        return added

    def header_ends() -> None:
        headers.append((fields["name"].lower(), fields["value"]))
        fields.update(name=b"", value=b"")

    def data(data: bytes, start: int, end: int) -> None:
        parts[-1] = (parts[-1][0], parts[-1][1] + data[start:end])

    headers: list[tuple[bytes, bytes]] = []
    parser = MultipartParser(
        b"edge",
        {  # type: ignore[arg-type]  # its callbacks' types are stricter than their use
            "on_part_begin": headers.clear,
            "on_header_field": add("name"),
            "on_header_value": add("value"),
            "on_header_end": header_ends,
            "on_headers_finished": lambda: parts.append((list(headers), b"")),
            "on_part_data": data,
            "on_end": lambda: ended.append(True),
        },
    )
    parser.write(body)
    return [(dict(headers), data) for headers, data in parts], bool(ended)


def outcome(pieces: Iterator[bytes]) -> tuple[Parts, bool] | None:
    try:
        return split(pieces)
    except MalformedForm:
        return None


@settings(max_examples=1000, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(b"".join), CUTS)
@example(b"\r\n\r\n--edge\r\n\r\nx\r\n--edge--", [1] * 60)
def test_a_body_means_the_same_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    for start in (b"", b"--edge\r\nA: b\r\n\r\n"):
        whole = outcome(cut(start + body, []))
        in_pieces = outcome(cut(start + body, cuts))
        assert in_pieces == whole


@settings(max_examples=1000, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(b"".join), CUTS)
def test_parts_are_those_that_python_multipart_finds(body: bytes, cuts: list[int]) -> None:
    body = b"--edge\r\nA: b\r\n\r\n" + body + b"\r\n--edge--\r\n"
    found = outcome(cut(body, cuts))
    taken = found if found is not None and found[1] else None  # whole forms only
    try:
        expected = split_by_library(body)
    except MultipartParseError:
        assert taken is None
        return
    bare = any(b"\n" in value for headers, _ in expected[0] for value in headers.values())
    assert taken == (expected if expected[1] and not bare else None)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), CUTS)
def test_parts_are_those_that_the_email_parser_finds(
    contents: list[bytes], cuts: list[int]
) -> None:
    # that parser ends lines in many ways: hexadecimal digits have none
    contents = [content.hex().encode() for content in contents]
    parts = [b"--edge\r\nX-Part: 1\r\n\r\n" + content + b"\r\n" for content in contents]
    body = b"before\r\n" + b"".join(parts) + b"--edge--\r\nbehind"
    head = b"Content-Type: multipart/mixed; boundary=edge\r\n\r\n"
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    expected = [part.get_payload(decode=True) for part in message.iter_parts()]
    assert [data for _, data in split(cut(body, cuts))[0]] == expected == contents


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_boundary_is_found_wherever_it_is_cut(size: int) -> None:
    content = bytes(range(256)) + b"\r\n--edg\r\n--edgeX\r\r\n-" + bytes(100)
    body = (
        b"--edge\r\nA: b\r\n\r\n" + content + b"\r\n--edge \t\r\n\r\n" + content + b"\r\n--edge--"
    )
    expected = [({b"a": b"b"}, content), ({}, content)]
    assert split(cut(body, [size] * (len(body) // size))) == (expected, True)


def test_a_piece_inside_a_part_is_not_copied() -> None:
    splitter = Splitter(b"edge")
    splitter.feed(b"--edge\r\n\r\n")
    splitter.events.clear()
    splitter.feed(piece := bytes(MIB))
    assert splitter.events.pop() is piece


def test_what_comes_before_and_behind_the_parts_is_dropped() -> None:
    body = (
        b"a preamble\r\n--edge\r\n\r\nx\r\n--edge--\r\nan epilogue\r\n--edge\r\n\r\ny\r\n--edge--"
    )
    assert split(iter([body])) == ([({}, b"x")], True)


def test_a_form_without_parts_ends() -> None:
    assert split(iter([b"--edge--"])) == ([], True)


def test_every_part_ends_before_the_next_begins() -> None:
    splitter = Splitter(b"edge")
    splitter.feed(b"--edge\r\n\r\n\r\n--edge\r\n\r\n\r\n--edge--")
    kinds = [type(event) for event in splitter.events]
    assert kinds == [PartBegins, PartEnds, PartBegins, PartEnds, FormEnds]


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 2000,
        b"\r\n" * 1000 + b"--edge\r\n\r\nx\r\n--edge--",
        b"--edge\r\nno colon\r\n\r\n",
        b"--edge\r\n: no name\r\n\r\n",
        b"--edge\r\nA b: blank in its name\r\n\r\n",
        b"--edge\r\nA: b\r\n folded\r\n\r\n",
        b"--edge\r\nA: b\rc\r\n\r\n",
        b"--edge\r\nA: b\nB: c\r\n\r\n",
        b"--edge\r\n" + b"A: b\r\n" * 9 + b"\r\n",
        b"--edge\r\nA: " + b"b" * 10_000 + b"\r\n\r\n",
        b"--edge\r\nA: " + b"b" * 10_000,
        b"--edge x\r\n\r\n",
        b"--edge" + b" " * 100 + b"\r\n\r\n",
    ],
)
def test_what_frames_no_part_is_refused(body: bytes) -> None:
    for size in (1, len(body)):
        with pytest.raises(MalformedForm):
            split(cut(body, [size] * (len(body) // size)))


def test_a_boundary_with_a_line_break_is_refused() -> None:
    with pytest.raises(MalformedForm):
        Splitter(b"e\rdge")


@pytest.mark.parametrize(
    "content",
    [b"\r" * MIB, b"\r\n" * (MIB // 2), b"\r\n--" * (MIB // 4), b"\r\n--" + b"a" * MIB,
     (b"\r\n--" + b"a" * 69) * (MIB // 73), (b"\r\n--" + b"a" * 70 + b"b") * (MIB // 75)],
    ids=["cr", "crlf", "dashes", "tail", "nearly", "longer"],
)  # fmt: skip
def test_content_made_to_be_searched_slowly_arrives_whole(content: bytes) -> None:
    splitter = Splitter(b"a" * 70)
    splitter.feed(b"--" + b"a" * 70 + b"\r\n\r\n")
    splitter.events.clear()
    for piece in cut(content + b".", [4096] * (len(content) // 4096)):
        splitter.feed(piece)
    assert (
        b"".join(e for e in splitter.events if isinstance(e, bytes | memoryview)) == content + b"."
    )
