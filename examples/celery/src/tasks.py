"""The tasks. Each takes its order's number, works for a while, and writes down when it began and when it was done."""

import os
import time

import redis
from celery import Celery, __version__

orders = redis.Redis.from_url(os.environ["BROKER_URL"])
app = Celery("tasks", broker=os.environ["BROKER_URL"])
app.conf.update(
    # False: a task is acknowledged before it runs, so that it never runs twice, and is lost if its worker is killed.
    # True: after it has run, so that it is never lost, and runs again if its worker was killed. A warm shutdown does neither.
    task_acks_late=os.environ.get("ACKS_LATE") == "1",
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)


@app.task
def work(number, takes_s):
    orders.rpush("begun", f"{number} {__version__}")
    time.sleep(takes_s)
    orders.rpush("done", f"{number} {__version__}")
