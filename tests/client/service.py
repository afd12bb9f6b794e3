"""Run a service with the public client's middleware under uvicorn, in the client's own environment.

Argument: the port. HMAC_SECRET: the secret with which the middleware checks signatures.
"""

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from seqpulse import SeqPulse

seqpulse = SeqPulse(endpoint="/seqpulse-metrics", hmac_enabled=True, hmac_secret=os.environ["HMAC_SECRET"])
app = Starlette(
    routes=[Route("/", lambda request: PlainTextResponse("hello"))],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=seqpulse.middleware())],
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
