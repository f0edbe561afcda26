"""The web page: chat with a model, and look after its server, in a browser.

`tabbyapi web` runs it in a process of its own, beside the API server. It is written with NiceGUI
on `AsyncClient` and `AsyncConversation`. Needs the extra `web`. Private: use the command.
"""
