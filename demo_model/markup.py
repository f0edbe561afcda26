"""The tokens that are markup; needed without the libraries that training needs."""

from __future__ import annotations

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Shown in the output, since clients parse them; still one token each.
MARKUP = (
    "<tools>",
    "</tools>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
