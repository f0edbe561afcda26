"""Splits generated text into reasoning and content at the model's tags."""

from __future__ import annotations

from .stopping import held_back

__all__ = ["ReasoningSplitter", "opens_reasoning"]


def opens_reasoning(prompt: str, start: str, end: str, *, last: str, continued: bool) -> bool:
    """True if a rendered prompt ends inside an open tag.

    Only what the template adds after the last message counts: a tag in a message is text. If the
    last message is `continued`, it counts too where it begins with the tag.
    """
    if continued:
        return last.lstrip().startswith(start) and end not in last
    text = last if last in prompt else last.strip()
    opening = prompt[prompt.rfind(text) + len(text) :]
    return opening.rfind(start) > opening.rfind(end)


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
