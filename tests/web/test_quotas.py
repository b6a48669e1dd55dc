"""server/web/quotas.py with a clock that the test moves."""

from collections.abc import AsyncIterator

import pytest

from server.errors import QuotaExceeded
from server.signing.principal import Dialect, Limits, Principal
from server.web.quotas import Quotas


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def of(key_id: str = "one", *, requests: int | None = None, size: int | None = None) -> Principal:
    limits = Limits(requests_per_minute=requests, bytes_per_hour=size)
    return Principal(key_id, Dialect.MESSAGE, limits=limits)


def refused(quotas: Quotas, principal: Principal) -> int:
    with pytest.raises(QuotaExceeded) as caught:
        quotas.spend(principal, 0)
    return caught.value.retry_after_s


def test_a_key_without_limits_is_never_refused(quotas: Quotas) -> None:
    for _ in range(1000):
        quotas.spend(of(), 0)
        quotas.spend_bytes(of(), 1 << 40)


def test_requests_beyond_the_limit_wait_for_their_share_of_a_minute(
    quotas: Quotas, clock: Clock
) -> None:
    for _ in range(6):
        quotas.spend(of(requests=6), 0)
    assert refused(quotas, of(requests=6)) == 10
    clock.now += 9.9
    assert refused(quotas, of(requests=6)) == 1
    clock.now += 0.2
    quotas.spend(of(requests=6), 0)
    assert refused(quotas, of(requests=6)) == 10


def test_what_is_told_to_wait_for_comes(quotas: Quotas, clock: Clock) -> None:
    for _ in range(7):
        quotas.spend(of(requests=7), 0)
    clock.now += refused(quotas, of(requests=7))
    quotas.spend(of(requests=7), 0)


def test_no_more_is_saved_than_the_limit(quotas: Quotas, clock: Clock) -> None:
    quotas.spend(of(requests=2), 0)
    clock.now += 3600
    quotas.spend(of(requests=2), 0)
    quotas.spend(of(requests=2), 0)
    refused(quotas, of(requests=2))


def test_keys_do_not_take_from_each_other(quotas: Quotas) -> None:
    quotas.spend(of("one", requests=1), 0)
    quotas.spend(of("two", requests=1), 0)
    refused(quotas, of("one", requests=1))


def test_a_changed_limit_begins_anew(quotas: Quotas) -> None:
    quotas.spend(of(requests=1), 0)
    quotas.spend(of(requests=2), 0)
    quotas.spend(of(requests=2), 0)
    refused(quotas, of(requests=2))


def test_a_body_may_take_more_than_is_left_and_is_waited_for(quotas: Quotas, clock: Clock) -> None:
    quotas.spend_bytes(of(size=3600), 7200)
    with pytest.raises(QuotaExceeded) as caught:
        quotas.spend_bytes(of(size=3600), 1)
    assert caught.value.retry_after_s == 3601
    clock.now += 3601
    quotas.spend_bytes(of(size=3600), 1)


def test_an_empty_body_takes_nothing(quotas: Quotas) -> None:
    quotas.spend_bytes(of(size=1), 1)
    quotas.spend_bytes(of(size=1), 0)


async def test_a_body_of_unknown_size_is_counted_as_it_comes(quotas: Quotas) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(100)

    counted = quotas.counted(of(size=250), pieces())
    taken = [await anext(counted) for _ in range(3)]
    with pytest.raises(QuotaExceeded):
        await anext(counted)
    assert len(taken) == 3
