"""A WSGI application; every gunicorn of the app listens on the socket that wpm holds.

wpm start gunicorn -i 2 --listen 127.0.0.1:8000 --cwd python -- --workers 1 app:app
"""

import os


def app(environ, start_response):
    body = os.environ["WPM_INSTANCE"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
