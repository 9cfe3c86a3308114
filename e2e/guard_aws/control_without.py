"""S3's control plane of an account that has no block and no access points, for emulators that lack it; prints its port."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    "configuration/publicAccessBlock": (404, "<ErrorResponse><Error><Code>NoSuchPublicAccessBlockConfiguration</Code></Error></ErrorResponse>"),
    "accesspoint": (200, "<ListAccessPointsResult><AccessPointList/></ListAccessPointsResult>"),
    "mrap/instances": (200, "<ListMultiRegionAccessPointsResult><AccessPoints/></ListMultiRegionAccessPointsResult>"),
}


class Control(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, body = ANSWERS.get(self.path.partition("?")[0].removeprefix("/v20180820/"), (501, ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Control)
print(server.server_port, flush=True)
server.serve_forever()
