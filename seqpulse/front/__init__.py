"""The front of the web server: an event loop per worker, between the sockets and the WSGI application.

gunicorn supervises (hooks, reload, graceful stop); uvicorn parses. `connections.py` bounds what clients may take in
time and number, `bridge.py` hands complete requests to the WSGI application in a small pool of threads and sends its
answers back. So a client that is slow, whichever way, occupies a socket and some memory, never a thread.

**Waiting.** A view that wants to wait leaves a `common.holding.Answer` or `Stream` in its request. `waiting.py` holds
it in the loop, without thread and database connection, until one of its topics (`topics.py`) changes; `listening.py`
hears of changes from the database.
"""
