"""Inflate the bodies of answers, never to more than they may have. Pure."""

import zlib

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
# RFC 1952 allows several members in a row. Each costs a window of 32 KiB, however little it holds.
MOST_MEMBERS = 100
_GZIP, _ZLIB, _RAW = 31, 15, -15


def inflated(body: bytes, encoding: str, most: int) -> bytes:
    """Return the inflated body; of one that is larger than `most` its first `most + 1` bytes, and no more is inflated.

    encoding: one of ENCODINGS. An empty body is empty in every encoding.

    Raises: zlib.error for a body that is broken or ends too early.
    """
    if not body:
        return b""
    if encoding == "deflate":
        # RFC 9110 means zlib (RFC 1950), whose first byte names the method; some servers send the bare data.
        raw = body[0] & 0x0F != zlib.DEFLATED or int.from_bytes(body[:2], "big") % 31
        return _member(body, _RAW if raw else _ZLIB, most)[0]
    whole = bytearray()
    for _ in range(MOST_MEMBERS):
        piece, body = _member(body, _GZIP, most - len(whole))
        whole += piece
        if not body or len(whole) > most:
            return bytes(whole)
    raise zlib.error("too many members")


def _member(data: bytes, kind: int, most: int) -> tuple[bytes, bytes]:
    """Return what a stream holds, up to `most + 1` bytes of it, and what follows the stream."""
    stream = zlib.decompressobj(kind)
    piece = stream.decompress(data, most + 1)
    if not stream.eof and len(piece) <= most:
        raise zlib.error("incomplete")
    return piece, stream.unused_data
