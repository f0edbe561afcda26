"""A question about an image. Give a path or a URL as the argument.

A local file travels inside the request; a URL is fetched by the server. The server needs a
model with vision.
"""

import base64
import sys

import tabbyapi
from tabbyapi import image, system, user

# A red square of 8 x 8 pixels, so that the example runs without a file.
RED_SQUARE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU"
    "lEQVR42mN4oKCAFTEMLQkAUmxIAUwYLx4AAAAASUVORK5CYII="
)

picture = image(sys.argv[1]) if len(sys.argv) > 1 else image(RED_SQUARE)

with tabbyapi.Client() as client:
    try:
        reply = client.chat.create(
            messages=[
                system("You are a helpful assistant that can analyze images."),
                user("What's in this image? Describe it in detail.", picture),
            ],
            max_tokens=80,
            temperature=0.7,
        )
    except (tabbyapi.ValidationError, tabbyapi.InvalidRequestError) as error:
        print(f"The server cannot look at images: {error}")
    else:
        print("Assistant's response:")
        print(reply.text)
