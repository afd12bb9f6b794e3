"""Mail servers on loopback that answer as configured and keep what they accepted."""

import email
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from threading import Event, Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.test import override_settings

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


@dataclass
class MailServer:
    """A mail server. answers: to RCPT by address, else 250; after_data: the answers to the next mails, then 250."""

    answers: dict[str, str] = field(default_factory=dict)
    after_data: list[str] = field(default_factory=list)
    taken: list[tuple[str, EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 ok")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's)
        answer = self.after_data.pop(0) if self.after_data else "250 ok"
        if answer.startswith("250"):
            content: Any = envelope.content
            message: Any = email.message_from_bytes(content, policy=default)
            self.taken.append((envelope.rcpt_tos[0], message))
        return answer


@contextmanager
def mail_server(**answers: Any) -> Iterator[MailServer]:
    """Run a mail server, and use it."""
    server = MailServer(**answers)
    controller = Controller(server, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        with override_settings(EMAIL_BACKEND=SMTP_BACKEND, EMAIL_HOST="127.0.0.1", EMAIL_PORT=controller.port):
            yield server
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def dripping_mail_server() -> Iterator[None]:
    """Run a server whose greeting never ends: a byte now and then."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            while not over.wait(0.05):
                try:
                    connection.sendall(b"2")
                except OSError:
                    return

    thread = Thread(target=drip)
    thread.start()
    try:
        port = listener.getsockname()[1]
        with override_settings(EMAIL_BACKEND=SMTP_BACKEND, EMAIL_HOST="127.0.0.1", EMAIL_PORT=port):
            yield
    finally:
        over.set()
        thread.join()
        listener.close()
