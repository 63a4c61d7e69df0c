"""Any text goes through Hydra's grammar and comes back as it was typed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from focvs.commands.overrides import compose, quote

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=30)


@settings(max_examples=12, deadline=None)
@given(TEXT)
def test_quoted_text_is_the_text(text):
    assert compose("config", [f"scan={quote(text)}"]).scan == text


@settings(max_examples=6, deadline=None)
@given(st.lists(TEXT, max_size=3))
def test_lists_of_quoted_texts_are_the_list(texts):
    assert list(compose("config", ["scan=a", f"stacks=[{','.join(map(quote, texts))}]"]).stacks) == texts
