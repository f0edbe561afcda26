"""What does my key allow? "api" is enough to ask, "admin" also to load models."""

import tabbyapi

with tabbyapi.Client() as client:
    try:
        level = client.auth.permission()
    except tabbyapi.AuthenticationError as error:
        raise SystemExit(f"The server takes no such key: {error}") from None

print(f"You are {level} on {client.base_url}.")
