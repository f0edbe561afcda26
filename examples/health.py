"""Is the server well? Exits with 1 if it is not, for use as a health check."""

import tabbyapi

with tabbyapi.Client(timeout=10, retry=0) as client:
    try:
        health = client.health.check()
    except tabbyapi.RequestError as error:
        raise SystemExit(f"No answer: {error}") from None

print(f"{client.base_url} is {health.status}.")
for issue in health.issues:
    print(f"  {issue.time}: {issue.description}")
if not health.healthy:
    raise SystemExit(1)
