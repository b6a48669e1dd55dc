"""HTTP/2 as uploads need it, and without the floods that cost a client nothing.

Hypercorn 0.18 leaves the windows at 64 KiB and the frames at 16 KiB, which makes a client that cuts
a large body at every frame (httpx 0.28) copy what is left of it thousands of times; and it raises
`KeyError` on data for a stream that was answered before its body ended, and on a stream that is
reset while its data waits for the client to read, which takes the connection and its other streams
down. h2 (4.4) writes every frame down in hexadecimal for a log that nobody
keeps.

Against floods: streams that are reset, by the client or by a fault of its own making (rapid reset,
MadeYouReset), and frames that carry nothing (`frames`) have an allowance; who spends it is told to
go away (ENHANCE_YOUR_CALM). Hypercorn keeps a buffer for every stream that was reset, and its tree
of priorities, which RFC 9113 gave up, fails at the thousandth. A client may allow the table of
headers to grow to 4 GiB, and hpack (4.2) looks through all of it for every header that it sends.
"""

import asyncio
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, cast

import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hypercorn.protocol
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hyperframe.frame import DataFrame

from server.errors import BadHttp, HeadersTooLarge, ServerError
from server.web.body import PROCEED
from server.web.doors import caller_of
from server.web.frames import Allowance, FrameCutter, FrameFault
from server.web.leaving import end_at_once
from server.web.problems import bare_problem
from server.web.strict import HOST, MAX_HEAD_BYTES, MAX_HEADERS, METHOD

_FRAME_BYTES = 1 << 20
_WINDOW_BYTES = 4 << 20
_TABLE_BYTES = 4 << 10  # of headers of answers that are remembered
_FIRST_WINDOW_BYTES = 65_535  # RFC 9113 section 6.9.2: a connection begins with this
_RESETS = (30, 10.0)  # at once, and each second
# RFC 9113 section 5.1.2: who sends its first requests has not heard yet how many there may be at
# once; clients take it for 100 (section 6.5.2). h2 ends the connection of whoever sends too many.
_FIRST_STREAMS = 128
_REFUSED = (_FIRST_STREAMS, 10.0)

_PATH = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")


class StreamingH2(H2Protocol):
    """Hypercorn's protocol with the changes that the module describes.

    Attributes
    ----------
    on_flood : callable
        Told whose connection was flooded.
    """

    on_flood: ClassVar[Callable[[str], None]] = staticmethod(lambda _caller: None)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._set(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: _FRAME_BYTES,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            }
        )
        self.connection.max_inbound_frame_size = _FRAME_BYTES
        # the setting alone only tells the client
        self.connection.decoder.max_header_list_size = MAX_HEAD_BYTES
        self._cutter = FrameCutter(MAX_HEAD_BYTES, _FRAME_BYTES)
        self._resets = Allowance(*_RESETS)
        self._refused = Allowance(*_REFUSED)
        self._sent_away = False

    def _set(self, changed: dict[SettingCodes, int]) -> None:
        values = {SettingCodes(k): v for k, v in self.connection.local_settings.items()}
        self.connection.local_settings = h2.settings.Settings(
            client=False, initial_values=values | changed
        )

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin the connection and open its window."""
        await super().initiate(headers, settings)
        self._set({SettingCodes.MAX_CONCURRENT_STREAMS: _FIRST_STREAMS})  # the client is told less
        self.connection.increment_flow_control_window(_WINDOW_BYTES - _FIRST_WINDOW_BYTES)
        await self._flush()

    async def handle(self, event: Event) -> None:
        """Take what arrived, few frames at a time."""
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        try:
            for k, piece in enumerate(self._cutter.cut(event.data)):
                if k:
                    await asyncio.sleep(0)  # others have their turn
                if self._sent_away:
                    return
                await super().handle(RawData(piece))
        except FrameFault:
            await self._send_away()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        resets = (event for event in events if isinstance(event, h2.events.StreamReset))
        if not all(self._resets.spend() for _ in resets):
            await self._send_away()
            return
        # one by one: handling one event may end the stream of the next
        for event in _joined(events):
            if self._sent_away:
                return
            data = event if isinstance(event, h2.events.DataReceived) else None
            if data is not None and data.stream_id not in self.streams:
                self._refuse_late(data)
            elif not isinstance(event, h2.events.PriorityUpdated):
                await super()._handle_events([event])
            if isinstance(event, h2.events.StreamReset):
                await self._forget(event.stream_id)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                encoder = self.connection.encoder
                encoder.header_table_size = min(encoder.header_table_size, _TABLE_BYTES)
        await self._flush()

    async def _send_away(self) -> None:
        """Close the connection and say why (RFC 9113 section 7)."""
        self._sent_away = True
        if self.client is not None:
            type(self).on_flood(caller_of(self.client[0]))
        self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())

    async def _forget(self, stream_id: int) -> None:
        """Drop what was kept for the answer of a stream."""
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            self.priority.remove_stream(stream_id)
            await buffer.close()

    async def _send_data(self, stream_id: int) -> None:
        # what waits here for the client to read may be reset meanwhile, and forgotten
        with suppress(KeyError):
            await super()._send_data(stream_id)

    def _refuse_late(self, event: h2.events.DataReceived) -> None:
        """Ask the client to stop sending: its answer is complete (RFC 9113 section 8.1)."""
        self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._reset(event.stream_id)

    def _reset(self, stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        try:
            self.connection.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:  # it is gone, or its connection
            return

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer."""
        if isinstance(event, Response):
            self._cutter.allow_for_answer()
        await super().stream_send(event)

    async def _proceed(self, stream_id: int) -> None:
        """Tell a client to send that waits to be told (RFC 9110 section 10.1.1)."""
        try:
            self.connection.send_headers(stream_id, [(b":status", b"100")])
        except h2.exceptions.ProtocolError:  # its stream is gone
            return
        await self._flush()

    async def _flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            self._cutter.allow_for(len(data))
            await self.send(RawData(data))

    def _is_full(self) -> bool:
        # both: a stream whose end was sent may still be among ours
        most = self.config.h2_max_concurrent_streams
        return len(self.streams) >= most and self.connection.open_inbound_streams > most

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        if self._is_full():
            self._reset(request.stream_id, ErrorCodes.REFUSED_STREAM)
            if not self._refused.spend():
                await self._send_away()
            return
        problem = _judge(request.headers)
        if problem is None:
            await super()._create_stream(request)
            stream = self.streams.get(request.stream_id)
            if isinstance(stream, HTTPStream):  # its application has not begun
                stream.scope["state"][PROCEED] = partial(self._proceed, request.stream_id)
            end_at_once(stream)
            return
        status, headers, body = bare_problem(problem)
        stream_id = request.stream_id
        try:
            told = [(b":status", b"%d" % status), *headers, *self.config.response_headers("h2")]
            self.connection.send_headers(stream_id, told)
            self.connection.send_data(stream_id, body, end_stream=True)
        except h2.exceptions.ProtocolError:  # a window that is closed, or a stream
            pass
        self._reset(stream_id)
        if not self._resets.spend():
            await self._send_away()


def _judge(headers: list[tuple[bytes, bytes]]) -> ServerError | None:
    """Find what Hypercorn would stumble over, or what is not served; h2 found the rest."""
    fields = dict(headers)
    times = Counter(name for name, _ in headers)
    if len(headers) > MAX_HEADERS:
        return HeadersTooLarge(f"a request has at most {MAX_HEADERS} headers")
    if not METHOD.fullmatch(fields.get(b":method", b"")) or fields[b":method"] == b"CONNECT":
        return BadHttp("the method is none that is served: no connection is upgraded here")
    if not _PATH.fullmatch(fields.get(b":path", b"")) or fields.get(b":scheme") != b"https":
        return BadHttp("the request target must be a path, and its scheme https")
    hosts = [value for name, value in headers if name in (b":authority", b"host")]
    if not hosts or not HOST.fullmatch(hosts[0]) or len(set(map(bytes.lower, hosts))) > 1:
        return BadHttp("a request names one host, and perhaps its port")
    length = fields.get(b"content-length", b"0")
    if times[b"content-length"] > 1 or not _LENGTH.fullmatch(length):
        return BadHttp("Content-Length is one decimal number")
    return None


def _joined(events: list[h2.events.Event]) -> list[h2.events.Event]:
    """Join neighbouring pieces of one body: each would take its own way through the server."""
    whole: list[h2.events.Event] = []
    for of_body, run in itertools.groupby(events, _body_of):
        group = list(run)
        whole += [_join(cast(list[h2.events.DataReceived], group))] if of_body else group
    return whole


def _body_of(event: h2.events.Event) -> int:
    return event.stream_id if isinstance(event, h2.events.DataReceived) else 0


def _join(events: list[h2.events.DataReceived]) -> h2.events.DataReceived:
    if len(events) == 1:
        return events[0]
    return dataclasses.replace(
        events[-1],
        data=b"".join(event.data for event in events),
        flow_controlled_length=sum(event.flow_controlled_length for event in events),
    )


def install(on_flood: Callable[[str], None]) -> None:
    """Have Hypercorn speak HTTP/2 so; it knows no other way to choose the class.

    Parameters
    ----------
    on_flood : callable
        Told whose connection was flooded.
    """
    StreamingH2.on_flood = staticmethod(on_flood)
    setattr(hypercorn.protocol, "H2Protocol", StreamingH2)  # noqa: B010  # mypy knows no export
    setattr(DataFrame, "_body_repr", _size)  # noqa: B010  # only what a log would say


def _size(frame: DataFrame) -> str:
    return f"{len(frame.data)} bytes"
