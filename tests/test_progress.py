"""server/progress.py: a bar where somebody looks."""

import io

from server.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is() -> None:
    screen = Terminal()
    Progress(screen).show(1_200_000_000, 2_900_000_000)
    assert screen.getvalue() == "\r\x1b[K[############                  ]  41%  1.2 of 2.9 GB"


def test_it_is_drawn_at_most_ten_times_a_second() -> None:
    screen = Terminal()
    progress = Progress(screen)
    for done in range(100):
        progress.show(done, 100)
    assert screen.getvalue().count("[") < 100


def test_the_end_is_drawn_however_soon_it_comes() -> None:
    screen = Terminal()
    progress = Progress(screen)
    for done in range(3):
        progress.show(done, 2)
    assert "100%" in screen.getvalue()


def test_it_goes_when_it_is_done() -> None:
    screen = Terminal()
    progress = Progress(screen)
    progress.show(0, 0)
    progress.clear()
    assert screen.getvalue().endswith("100%  0.0 of 0.0 GB\r\x1b[K")


def test_a_file_sees_nothing() -> None:
    file = io.StringIO()
    progress = Progress(file)
    progress.show(1, 2)
    progress.clear()
    assert file.getvalue() == ""


def test_other_things_than_bytes_are_told_in_their_words() -> None:
    screen = Terminal()
    Progress(screen, told=lambda done, total: f"{done} of {total} songs").show(1, 4)
    assert screen.getvalue().endswith("]  25%  1 of 4 songs")
