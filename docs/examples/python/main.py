"""An HTTP server for each instance on a port of its own.

PORT=8000 wpm start docs/examples/python -i 3 --increment-var PORT
curl http://localhost:8000/ http://localhost:8001/ http://localhost:8002/
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"instance {os.environ.get('WPM_INSTANCE')}, pid {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(os.environ.get("PORT", "8000"))
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print(f"listening on port {port}")
ThreadingHTTPServer(("", port), Handler).serve_forever()
