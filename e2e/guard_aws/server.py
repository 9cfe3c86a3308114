"""moto's server on a port that the system chooses; prints the port. It counts calls: GET /calls answers and clears them.

POST /fault {"deny": NAME} refuses calls of that name, {"kill_at": N, "pid": PID} kills the process at its Nth call from now, before the call is done if
N is even and after it if not; {} ends both. GET /fault lists the names of the calls since.

GET /break?action=s3:GetBucketPolicy&kind=denied breaks every answer to calls that this IAM action allows, as faults.py says; GET /break alone none.
It answers how many it broke since the last time.
"""

import io
import json
import logging
import os
import signal
import threading
from collections import Counter
from urllib.parse import parse_qs

from faults import action_of, broken
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

logging.getLogger("werkzeug").setLevel(logging.ERROR)

moto = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()
calls = Counter()
fault = {}
names = []
breaks = {"action": None, "kind": None, "count": 0}


def name_of(environ, body):
    """The operation of a query, else the method and what of a bucket is asked for: "PUT s3 policy"."""
    action = parse_qs(body.decode("latin-1")).get("Action")
    if action and environ["REQUEST_METHOD"] == "POST":
        return action[0]
    kind = "control" if environ["PATH_INFO"].startswith("/v20180820/") else "s3"
    return " ".join([environ["REQUEST_METHOD"], kind, environ["QUERY_STRING"].split("=")[0].split("&")[0]])


def set_fault(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        wanted = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with lock:
            fault.clear()
            fault.update(wanted)
            names.clear()
    with lock:
        return Response(json.dumps(names))(environ, start_response)


def with_fault(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    with lock:
        name = name_of(environ, body)
        number = len(names)
        names.append(name)
        kills = fault.get("kill_at") == number
    if fault.get("deny") == name:
        denied = "<Error><Code>AccessDenied</Code><Message>denied by the trial</Message></Error>"
        return Response(denied, status=403, content_type="text/xml")(environ, start_response)
    if not kills:
        return moto(environ, start_response)
    answer = [] if number % 2 == 0 else list(moto(environ, start_response))
    os.kill(fault["pid"], signal.SIGKILL)
    return answer or Response("", status=500)(environ, start_response)


def set_break(environ, start_response):
    wanted = Request(environ).args
    with lock:
        body = str(breaks["count"])
        breaks.update(action=wanted.get("action"), kind=wanted.get("kind"), count=0)
    return Response(body)(environ, start_response)


def with_break(environ, start_response, scope):
    action = action_of(scope, Request(environ))
    with lock:
        is_chosen = breaks["action"] == action
        breaks["count"] += is_chosen
        kind, number = breaks["kind"], breaks["count"]
    answer = broken(kind, number, action, scope, lambda: Response.from_app(moto, environ)) if is_chosen else None
    return (answer or moto)(environ, start_response)


def application(environ, start_response):
    if environ["PATH_INFO"] == "/calls":
        with lock:
            body = json.dumps(calls)
            calls.clear()
        return Response(body)(environ, start_response)
    if environ["PATH_INFO"] == "/fault":
        return set_fault(environ, start_response)
    if environ["PATH_INFO"] == "/break":
        return set_break(environ, start_response)
    # .../20260101/us-east-1/s3/aws4_request
    scope = environ.get("HTTP_AUTHORIZATION", "").split("Credential=")[-1].split(",")[0].split("/")
    with lock:
        calls[scope[3] if len(scope) > 3 else "other"] += 1
    if breaks["action"]:
        return with_break(environ, start_response, scope)
    return with_fault(environ, start_response) if fault else moto(environ, start_response)


server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
