import pytest

from focvs.errors import FocvsError, InputError, PriorError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("  broken\nat line 3"), "broken"), (RuntimeError(), "RuntimeError"), (OSError(" \n"), "OSError")],
)
def test_other_libraries_are_quoted_by_their_first_line(error, line):
    assert first_line(error) == line


def test_every_error_of_ours_is_printed_as_one_line():
    assert issubclass(InputError, FocvsError) and issubclass(PriorError, FocvsError)
    assert issubclass(InputError, ValueError)  # so that core functions' errors and ours are caught alike
