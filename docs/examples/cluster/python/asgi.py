"""An ASGI application for uvicorn.

wpm start uvicorn -i 2 --listen 127.0.0.1:8000 --cwd python -- --fd 3 asgi:app
"""

import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = os.environ["WPM_INSTANCE"].encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
