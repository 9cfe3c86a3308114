"""The web tier: an order is accepted once its task is in the broker."""

from flask import Flask, request

from tasks import __version__, orders, work

app = Flask(__name__)


@app.get("/healthz")
def healthz():
    orders.ping()
    return __version__


@app.post("/orders/<int:number>")
def order(number):
    work.delay(number, float(request.args.get("takes_s", "1")))
    return {"accepted": number}, 202
