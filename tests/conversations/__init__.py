"""Conversations with a proxy, in the order of the grader's levels."""

from . import basic, concurrent, persistent, tunnel, streaming, failures, hostile, refused  # noqa: F401
from .stage import (CASES, CONNECT, GET, OK, POST, Case, End, Open, Stage, Wrong, lines,
                    status, want)

LEVELS = ["basic", "concurrent", "persistent", "tunnel", "streaming", "failures", "hostile"]
