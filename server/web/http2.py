"""HTTP/2 as uploads need it: larger windows and frames, and late data that harms nobody.

Hypercorn 0.18 leaves the windows at 64 KiB and the frames at 16 KiB, which makes a client that cuts
a large body at every frame (httpx 0.28) copy what is left of it thousands of times; and it raises
`KeyError` on data for a stream that was answered before its body ended, which takes the connection
and its other streams down. h2 (4.4) writes every frame down in hexadecimal for a log that nobody
keeps.
"""

import dataclasses
import itertools
from typing import Any, cast

import h2.connection
import h2.errors
import h2.events
import h2.settings
import hypercorn.protocol
from h2.settings import SettingCodes
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import DataFrame

_FRAME_BYTES = 1 << 20
_WINDOW_BYTES = 4 << 20
_FIRST_WINDOW_BYTES = 65_535  # RFC 9113 section 6.9.2: a connection begins with this


class StreamingH2(H2Protocol):
    """Hypercorn's protocol with the changes that the module describes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        values = {SettingCodes(k): v for k, v in self.connection.local_settings.items()}
        values[SettingCodes.INITIAL_WINDOW_SIZE] = _WINDOW_BYTES
        values[SettingCodes.MAX_FRAME_SIZE] = _FRAME_BYTES
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.connection.max_inbound_frame_size = _FRAME_BYTES

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin the connection and open its window."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(_WINDOW_BYTES - _FIRST_WINDOW_BYTES)
        await self._flush()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        # one by one: handling one event may end the stream of the next
        for event in _joined(events):
            data = event if isinstance(event, h2.events.DataReceived) else None
            if data is not None and data.stream_id not in self.streams:
                self._refuse_late(data)
            else:
                await super()._handle_events([event])
        await self._flush()

    def _refuse_late(self, event: h2.events.DataReceived) -> None:
        """Ask the client to stop sending: its answer is complete (RFC 9113 section 8.1)."""
        self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        try:
            self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)
        except h2.exceptions.StreamClosedError:
            return


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


def install() -> None:
    """Have Hypercorn speak HTTP/2 so; it knows no other way to choose the class."""
    setattr(hypercorn.protocol, "H2Protocol", StreamingH2)  # noqa: B010  # mypy knows no export
    setattr(DataFrame, "_body_repr", _size)  # noqa: B010  # only what a log would say


def _size(frame: DataFrame) -> str:
    return f"{len(frame.data)} bytes"
