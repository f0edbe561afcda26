"""What a program pays before its first chunk: importing the client, and a whole fresh process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

__all__ = ["FRESH", "fresh", "imports"]

_IMPORT = """
import sys, time, resource
def memory():
    try:
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
memory()
before, started = memory(), time.process_time()
import {}
took, used = time.process_time() - started, memory() - before
import json
print(json.dumps({{"import_ms": took * 1e3, "import_mib": used / 2**20}}))
"""

_SYNC = """
import sys, tabbyapi
client = tabbyapi.Client(sys.argv[1], api_key="k")
with client.chat.create_stream([tabbyapi.user("Hello")], max_tokens=20) as stream:
    print(next(stream).text)
"""

_ASYNC = """
import asyncio, sys, tabbyapi
async def main():
    async with tabbyapi.AsyncClient(sys.argv[1], api_key="k") as client:
        async with client.chat.create_stream([tabbyapi.user("Hello")], max_tokens=20) as stream:
            print((await anext(stream)).text)
asyncio.run(main())
"""

_OPENAI_SYNC = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="k")
messages = [{"role": "user", "content": "Hello"}]
with client.chat.completions.create(
    model="m", messages=messages, max_tokens=20, stream=True
) as stream:
    print(next(stream).choices[0].delta.content)
"""

_OPENAI_ASYNC = """
import asyncio, sys, openai
async def main():
    async with openai.AsyncOpenAI(base_url=sys.argv[1] + "/v1", api_key="k") as client:
        messages = [{"role": "user", "content": "Hello"}]
        async with await client.chat.completions.create(
            model="m", messages=messages, max_tokens=20, stream=True
        ) as stream:
            print((await anext(stream)).choices[0].delta.content)
asyncio.run(main())
"""

FRESH = {
    "tabbyapi sync": _SYNC,
    "tabbyapi async": _ASYNC,
    "openai sync": _OPENAI_SYNC,
    "openai async": _OPENAI_ASYNC,
}
"""Whole programs that print the first chunk of a stream from the address they are given."""


def imports(module: str) -> dict[str, float]:
    """Milliseconds of CPU and MiB of memory that importing a module adds to a bare process."""
    command = [sys.executable, "-c", _IMPORT.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def fresh(program: str, url: str) -> dict[str, float]:
    """Milliseconds of CPU from the start of a process to its end, right after the first chunk."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.stdout != "Hello\n":
        raise RuntimeError(f"the program printed {done.stdout!r}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"fresh_ms": used * 1e3}
