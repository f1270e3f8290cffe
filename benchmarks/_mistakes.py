"""The mistakes that search spaces are broken with, each of them one that people make.

A repair is *known* where the mistake itself says what was meant: the word that a typo was made of,
the name that another tool has for an option, the place where an option belongs, the value without
its quotes. It is not known where a value is merely impossible (which other one was meant?) or a
thing is missing that has no default. No typo is left out for being ambiguous: where it is as near
to another word, a wrong guess counts as wrong.
"""

from __future__ import annotations

from _key_mistakes import KEY_MISTAKES
from _mutations import Mistake
from _text_mistakes import TEXT_MISTAKES
from _value_mistakes import VALUE_MISTAKES

MISTAKES: tuple[Mistake, ...] = (*KEY_MISTAKES, *VALUE_MISTAKES, *TEXT_MISTAKES)
