"""Answers with who it runs as and what the image has besides its packages."""

import http.server
import os
import pwd


class Clock(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/etc/clock/banner", encoding="utf-8") as banner:
            text = banner.read()
        who = pwd.getpwuid(os.getuid())
        text += f"user {who.pw_name} ({os.getuid()}:{os.getgid()}), home {who.pw_dir}\n"
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8080), Clock).serve_forever()
