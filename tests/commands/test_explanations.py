"""What is said of keys that are none."""

import pytest

from focvs.commands.explanations import explain, unknown_key
from focvs.commands.overrides import UsageError, compose
from focvs.config import SCHEMAS


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("config", ["scan=a", "+foo=3"], r"^foo is not a key; accepted are scan"),
        ("config", ["scan=a", "+sampler.step=3"], r"^sampler\.step is not a key; did you mean steps\? accepted"),
        ("config", ["scan=a", "+samples=3"], "samples is a key already; write it without the plus sign"),
        ("evaluate", ["truth=a", "estimates=[b]", "+trims=1"], "did you mean trim"),
    ],
)
def test_keys_are_not_added(name, words, said):
    with pytest.raises(UsageError, match=said):
        compose(name, words)


@pytest.mark.parametrize("name", sorted(set(SCHEMAS) - {"sweep"}))
def test_what_conf_has_is_known(name):
    assert unknown_key(compose(name, []), SCHEMAS[name]) == ""


def test_anything_else_is_one_sentence():
    assert explain(ValueError("odd\nlines"), "config", ["a=b"]) == "the options a=b could not be understood: odd"
