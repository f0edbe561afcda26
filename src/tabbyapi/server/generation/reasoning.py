"""Splits generated text into reasoning and content at the model's tags."""

from __future__ import annotations

__all__ = ["ReasoningSplitter", "held_back", "opens_reasoning"]


def held_back(text: str, tag: str) -> int:
    """How many characters at the end of `text` could be the beginning of `tag`."""
    if tag[:1] not in text[1 - len(tag) :]:
        return 0
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0


def opens_reasoning(prompt: str, start: str, end: str) -> bool:
    """Whether a rendered prompt ends inside an open tag."""
    return prompt.rfind(start) > prompt.rfind(end)


class ReasoningSplitter:
    """Feed it text in any pieces; tags are found also when split across them, and removed.

    Whitespace between a closing tag and content is kept, but dropped if nothing else follows.
    """

    def __init__(self, start: str, end: str, *, reasoning: bool = False) -> None:
        self.start, self.end = start, end
        self.reasoning = reasoning
        self._rest = ""
        self._after_end = False

    def feed(self, text: str) -> tuple[str, str]:
        """Take a piece; returns (reasoning, content) that is certain by now."""
        parts = {True: "", False: ""}
        text, self._rest = self._rest + text, ""
        while text:
            tag = self.end if self.reasoning else self.start
            at = text.find(tag)
            if at < 0:
                keep = held_back(text, tag)
                parts[self.reasoning] += text[: len(text) - keep]
                self._rest = text[len(text) - keep :]
                break
            parts[self.reasoning] += text[:at]
            text = text[at + len(tag) :]
            self._after_end = self.reasoning
            self.reasoning = not self.reasoning
        content = parts[False]
        if self._after_end and content:
            if content.isspace():
                self._rest, content = content + self._rest, ""
            else:
                self._after_end = False
        return parts[True], content

    def finish(self) -> tuple[str, str]:
        """What was held back as a possible tag."""
        rest, self._rest = self._rest, ""
        if self.reasoning:
            return rest, ""
        if self._after_end and rest.isspace():
            return "", ""
        return "", rest
