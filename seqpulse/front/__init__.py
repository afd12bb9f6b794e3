"""The front of the web server: an event loop per worker, between the sockets and the WSGI application.

gunicorn supervises (hooks, reload, graceful stop); uvicorn parses. `connections.py` bounds what clients may take in
time and number, `bridge.py` hands complete requests to the WSGI application in a small pool of threads and sends its
answers back. So a client that is slow, whichever way, occupies a socket and some memory, never a thread.

**Waiting.** A view that wants to wait leaves a `common.parking.Parking` in its request: the loop parks the request,
without thread and database connection, and calls `resume` in the pool when a topic has changed.

**Streams of events.** `Bridge.streams` maps paths to ASGI applications that the loop serves itself. They must not
block.
"""
