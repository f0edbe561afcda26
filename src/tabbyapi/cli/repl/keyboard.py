"""Keys typed while no prompt reads them: during an answer, and between an answer and a prompt.

The terminal stays in raw mode for the whole conversation, so a key is never a signal: Ctrl-C,
Ctrl-D and Ctrl-Z reach `poll` or the next prompt, at whatever moment they are pressed. During an
answer `poll` reads and parses keys as a prompt does (a bracketed paste is one key) and hands
them to the next prompt; Ctrl-C drops what was typed before it. Since the terminal is always
read, a long paste cannot fill its queue and block Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from enum import Enum, auto

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.keys import Keys

__all__ = ["Keyboard", "Pressed"]

_READS = 64  # of 1,024 bytes, each time: more than a terminal's queue holds
_LOOK = 1 / 25  # seconds between two looks at the keys
_PASTE_ON, _PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
_SIGTSTP = getattr(signal, "SIGTSTP", None)  # not on Windows


class Pressed(Enum):
    """Action of a key pressed during an answer."""

    NOTHING = auto()
    STOP = auto()
    SUSPEND = auto()


class Keyboard:
    """The terminal's input, shared with prompt_toolkit."""

    def __init__(self, source: Input) -> None:
        self.source = source

    def raw(self) -> contextlib.AbstractContextManager[None]:
        """Raw mode, for the whole conversation."""
        return self.source.raw_mode()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """The time between two prompts, when `poll` reads the keys."""
        _write(_PASTE_ON)
        try:
            yield
        finally:
            _write(_PASTE_OFF)

    def poll(self) -> Pressed:
        """Read the keys that have been pressed. Does not wait."""
        keys = get_typeahead(self.source)
        for _ in range(_READS):
            keys += self.source.read_keys()
        for i, press in enumerate(keys):
            if press.key is Keys.ControlC:
                store_typeahead(self.source, keys[i + 1 :])
                return Pressed.STOP
            if press.key is Keys.ControlZ and _SIGTSTP is not None:
                store_typeahead(self.source, keys[:i] + keys[i + 1 :])
                return Pressed.SUSPEND
        store_typeahead(self.source, [press for press in keys if press.key != Keys.CPRResponse])
        return Pressed.STOP if self.source.closed else Pressed.NOTHING

    def approves(self) -> bool:
        """Wait for y, or for n, Enter or Escape.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        while not self.source.closed:
            for press in self.source.read_keys():
                if press.key is Keys.ControlC:
                    raise KeyboardInterrupt
                if press.key in ("y", "Y"):
                    return True
                if press.key in ("n", "N", Keys.ControlM, Keys.Escape):
                    return False
            for press in self.source.flush_keys():  # Escape alone
                if press.key is Keys.Escape:
                    return False
            time.sleep(_LOOK)
        return False

    def suspend(self) -> None:
        """Stop the program until the shell goes on with it."""
        assert _SIGTSTP is not None
        _write(_PASTE_OFF)
        with self.source.cooked_mode():
            os.kill(0, _SIGTSTP)  # the process group, as a terminal does
        _write(_PASTE_ON)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
