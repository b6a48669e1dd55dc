"""spectrogrampredictor/problems.py and replies.py: refusals as exceptions."""

import email.utils
import time
from typing import Any

import httpx
import pytest

from server import job_errors, model_errors, sound_errors, upload_errors  # noqa: F401  # branches of the tree
from server.errors import every_error
from spectrogrampredictor import Problem, problems
from spectrogrampredictor.replies import problem_of, retry_after

STATUSES = {slug: kind.status for slug, kind in every_error().items()}


def answer(status: int, told: Any = None, **headers: str) -> httpx.Response:
    content: dict[str, Any] = {"content": b"<html>"} if told is None else {"json": told}
    return httpx.Response(status, headers=headers, **content)


def said(slug: str, status: int, **members: Any) -> dict[str, Any]:
    told = {"type": f"/problems/{slug}", "title": "A title", "status": status}
    return told | {"detail": "What is wrong.", "instance": "urn:request:1"} | members


@pytest.mark.parametrize(("slug", "status"), STATUSES.items())
def test_every_refusal_of_the_server_has_its_class(slug: str, status: int) -> None:
    problem = problem_of(answer(status, said(slug, status)))
    assert type(problem).slug == slug
    assert type(problem).__mro__[2] is Problem, "a class of a kind"
    assert (problem.status, problem.slug, problem.detail) == (status, slug, "What is wrong.")


def test_no_class_is_for_a_refusal_that_there_is_not() -> None:
    kinds = Problem.__subclasses__()
    named = {one.slug for kind in kinds for one in kind.__subclasses__()}
    assert named == set(STATUSES)


def test_a_problem_says_what_it_knows() -> None:
    told = said("bad-feature-row", 422, missing=["tempo"])
    problem = problem_of(answer(422, told, **{"Retry-After": "7"}))
    assert isinstance(problem, problems.BadFeatureRow)
    assert problem.members == {"missing": ["tempo"]}
    assert problem.instance == "urn:request:1"
    assert problem.retry_after_s == 7
    assert str(problem) == "What is wrong. (bad-feature-row, 422)"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, problems.BadRequest), (401, problems.Forbidden), (404, problems.Unknown)),
        *((409, problems.Conflict), (429, problems.Busy), (502, problems.ServerFault)),
        *((503, problems.Busy), (418, Problem), (301, Problem)),
    ],
)
def test_what_is_newer_or_no_problem_is_of_its_kind(status: int, kind: type[Problem]) -> None:
    contents: list[Any] = [said("a-newer-slug", status), None, [], {"error": "x"}, "text"]
    for content in contents:
        assert type(problem_of(answer(status, content))) is kind


def test_a_clock_that_is_wrong_is_told() -> None:
    then = email.utils.formatdate(time.time() - 90, usegmt=True)
    problem = problem_of(answer(401, said("bad-signature", 401), Date=then))
    assert "this machine's clock is 9" in str(problem)
    assert "s ahead" in str(problem)
    now = email.utils.formatdate(time.time(), usegmt=True)
    assert "clock" not in str(problem_of(answer(401, said("bad-signature", 401), Date=now)))


def test_when_to_come_back_is_read_in_both_forms() -> None:
    assert retry_after(answer(503, **{"Retry-After": "12"})) == 12
    later = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after(answer(503, **{"Retry-After": later})) or 0) <= 100
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    assert retry_after(answer(503, **{"Retry-After": past})) == 0
    for text in ("soon", "-1", "1.5", "\u0663"):
        assert retry_after(httpx.Response(503, headers=[(b"Retry-After", text.encode())])) is None
    assert retry_after(answer(503)) is None
