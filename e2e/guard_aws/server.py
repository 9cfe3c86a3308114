"""moto's server on a port that the system chooses; prints the port. It counts calls: GET /calls answers and clears them."""

import json
import logging
import threading
from collections import Counter

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

logging.getLogger("werkzeug").setLevel(logging.ERROR)

moto = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()
calls = Counter()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/calls":
        with lock:
            body = json.dumps(calls)
            calls.clear()
        return Response(body)(environ, start_response)
    # .../20260101/us-east-1/s3/aws4_request
    scope = environ.get("HTTP_AUTHORIZATION", "").split("Credential=")[-1].split(",")[0].split("/")
    with lock:
        calls[scope[3] if len(scope) > 3 else "other"] += 1
    return moto(environ, start_response)


server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
