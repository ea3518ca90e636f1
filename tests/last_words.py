"""What a command says when it ends."""

from __future__ import annotations


def only_sentence(err: str) -> str:
    """The one sentence on stderr, behind the bars of the work that came before it."""
    *bars, sentence = err.strip().splitlines()
    said = [line for line in bars if line.strip() and "it/s" not in line and "s/it" not in line and "?" not in line]
    assert not said, said
    return sentence
