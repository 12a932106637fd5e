"""Onlookers of a synthetic search, and how one ends it without a word."""

from __future__ import annotations

from pipeline.progress import Quiet


class Killed(BaseException):
    """Stands for a kill -9: nothing below catches it, so what was being done stays as it was left."""


class Heard(Quiet):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)
