"""E-mail: HTML and text, a mail for each address, which can stop them."""

import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.mime.image import MIMEImage
from email.utils import parseaddr
from threading import Timer
from typing import Any

from django.conf import settings as django_settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from analysis.chart_image import limit_of, png_of
from analysis.charts import WIDTH, Chart, level_in_words, name_in_words
from notifications.channels.base import Asked, ChannelKind, Field, SendError, Sent, Settings
from notifications.channels.layout import colour, lines, mark, shortened
from notifications.message import Message
from notifications.recipients import Recipient, addresses_in, recipients_of, waiting_for

MOST_SUBJECT = 200
# Of one answer of the mail server, and of all mails of one message.
TIMEOUT_S, DEADLINE_S = 10.0, 25.0
GOODBYE_S = 2.0
ANSWER_SHOWN = 500
# Backends that deliver no mail.
NOWHERE = ("console", "dummy")
# Of the deployments of a digest.
MOST_CHARTS = 5


class Email(ChannelKind):
    """A mail to each address whose owner agreed; mails about one deployment make a thread."""

    name = "email"
    label = _("E-mail")
    fields = (
        Field(
            "addresses",
            _("Addresses"),
            _("At most 20, with commas between. Whoever is no member of the team is asked for consent first."),
            "emails",
        ),
    )
    draws = True
    reports = True
    deadline_s = DEADLINE_S

    def place(self, settings: Settings) -> str:
        return ", ".join(addresses_in(settings["addresses"]))

    def waiting(self, settings: Settings, team_id: int) -> list[str]:
        return waiting_for(addresses_in(settings["addresses"]), team_id)

    def ready(self, asked: Sequence[Asked]) -> list[Settings]:
        found = recipients_of([(addresses_in(one.settings["addresses"]), one.team_id) for one in asked])
        return [
            {**one.settings, "recipients": recipients, "reference": one.reference}
            for one, recipients in zip(asked, found, strict=True)
        ]

    def send(self, settings: Settings, message: Message) -> Sent:
        recipients: list[Recipient] = settings["recipients"]
        if not recipients:
            raise SendError("delivery.no_recipient", retry=False)
        if django_settings.EMAIL_BACKEND.split(".")[-2] in NOWHERE:
            raise SendError("delivery.no_mail_server", retry=False)
        taken = {one.short for one in recipients if one.short in in_reference(settings["reference"])}
        charts = charts_in(message)
        refusals: list[smtplib.SMTPException | OSError] = []
        with connected(self.deadline_s) as connection:
            for recipient in recipients:
                if recipient.short in taken:
                    continue
                try:
                    connection.send_messages([mail_of(message, recipient, charts)])
                    taken.add(recipient.short)
                except (smtplib.SMTPException, OSError) as error:
                    refusals.append(error)
                    if not isinstance(error, smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused):
                        break
        return outcome(taken, refusals, len(recipients))


def in_reference(reference: str) -> set[str]:
    """Return who has the message from earlier attempts."""
    size = Recipient.SHORT
    return {reference[start : start + size] for start in range(0, len(reference), size)}


def outcome(taken: set[str], refusals: list[smtplib.SMTPException | OSError], count: int) -> Sent:
    """Return that all who can have it have it. Raises SendError."""
    status, said = answer_of(refusals[0]) if refusals else (250, "")
    answer = f"{len(taken)}/{count} {said}".strip() if count > 1 else said
    again = next((error for error in refusals if is_temporary(error)), None)
    # Kept, so that the next attempt leaves out those who have it.
    sent = Sent(status, answer[:ANSWER_SHOWN], "".join(sorted(taken)) if again else "")
    if again is not None:
        raise unreachable(again, sent)
    if not taken:
        raise SendError("delivery.refused", retry=False, sent=sent, status=status)
    return sent


def unreachable(error: smtplib.SMTPException | OSError, sent: Sent) -> SendError:
    status, said = answer_of(error)
    if status is not None:
        return SendError("delivery.busy", retry=True, sent=sent, status=status)
    return SendError("delivery.no_answer", retry=True, sent=sent, error=said)


def answer_of(error: smtplib.SMTPException | OSError) -> tuple[int | None, str]:
    """Return status and text of a mail server's answer; the type of the error where it did not answer."""
    status: int
    text: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        status, text = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        status, text = error.smtp_code, error.smtp_error
    else:
        status, text = 0, ""
    if not 400 <= status <= 599:
        return None, type(error).__name__
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return status, " ".join("".join(c if c.isprintable() else " " for c in said).split())


def is_temporary(error: smtplib.SMTPException | OSError) -> bool:
    """Return whether another attempt can help; a wrong password is the operator's, who may correct it meanwhile."""
    status, _said = answer_of(error)
    return status is None or status < 500 or isinstance(error, smtplib.SMTPAuthenticationError)


# --- the connection -------------------------------------------------------------------------------------------------


class Bounded(EmailBackend):
    """Django's SMTP, whose socket can be ended from another thread at any moment after it was connected."""

    first: Any = None

    @property
    def connection_class(self) -> Any:
        backend = self

        class Watched(super().connection_class):  # type: ignore[misc]  # a computed base
            def _get_socket(self, *args: Any) -> Any:
                backend.first = super()._get_socket(*args)
                return backend.first

        return Watched

    def end(self) -> None:
        for one in (self.first, getattr(self.connection, "sock", None)):
            if one is not None:
                with suppress(OSError):  # closed already
                    one.shutdown(socket.SHUT_RDWR)


@contextmanager
def connected(deadline_s: float) -> Iterator[Any]:
    """Return a connection to the mail server that ends at the deadline, whatever the server does. Raises SendError."""
    over_smtp = django_settings.EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend"
    connection: Any = (Bounded if over_smtp else get_connection)(timeout=TIMEOUT_S)
    timer = ending(connection, deadline_s)
    try:
        connection.open()
        yield connection
    except (smtplib.SMTPException, OSError) as error:
        status, said = answer_of(error)
        raise unreachable(error, Sent(status, said[:ANSWER_SHOWN])) from error
    finally:
        timer.cancel()
        # QUIT is a courtesy: the mail is accepted or refused by now.
        timer = ending(connection, GOODBYE_S)
        with suppress(smtplib.SMTPException, OSError):
            connection.close()
        timer.cancel()


def ending(connection: Any, after_s: float) -> Timer:
    """Return the timer that ends the connection."""
    timer = Timer(after_s, getattr(connection, "end", lambda: None))
    timer.daemon = True
    timer.start()
    return timer


# --- the mail -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart in a mail. headline: of the event that it is of, where the mail has several; png: its content."""

    cid: str
    alt: str
    headline: str
    png: bytes


def charts_in(message: Message) -> list[Picture]:
    """Draw the charts of a message, once for all addresses: one for each of its deployments."""
    found: dict[str, tuple[Message, Chart]] = {}
    for one in (message, *message.others):
        if one.chart is not None and len(found) < MOST_CHARTS:
            found.setdefault(one.deployment or one.id, (one, one.chart))
    several = bool(message.others)
    with translation.override(message.language):
        return [
            Picture(f"chart-{number}@seqpulse", alternative(chart), one.headline if several else "", png_of(chart))
            for number, (one, chart) in enumerate(found.values(), 1)
        ]


def mail_of(message: Message, recipient: Recipient, charts: Sequence[Picture]) -> EmailMultiAlternatives:
    """Return the mail to one address. charts: of the message."""
    subject = shortened(f"{mark(message)} {message.headline}", MOST_SUBJECT)
    context = {
        "message": message,
        "subject": subject,
        "lines": lines(message),
        "colour": f"#{colour(message):06x}",
        "stop": recipient.stop,
        "charts": charts,
        "width": WIDTH,
    }
    with translation.override(message.language):
        text = render_to_string("mail/notification.txt", context)
        html = render_to_string("mail/notification.html", context)
    mail = EmailMultiAlternatives(subject, text, to=[recipient.address], headers=headers_of(message, recipient))
    mail.attach_alternative(html, "text/html")
    if charts:
        # Shown inside the HTML part, instead of being listed as an attachment.
        mail.mixed_subtype = "related"  # type: ignore[attr-defined]  # the stubs do not know it
        for picture in charts:
            mail.attach(inline(picture))
    return mail


def alternative(chart: Chart) -> str:
    """Return what the chart says, in words, in the active language."""
    before, after = (level_in_words(value, chart) for value in (chart.before, chart.after))
    said = f"{name_in_words(chart)} {before} → {after}"
    return f"{said}, {limit_of(chart)}" if chart.limit_value is not None else said


def inline(picture: Picture) -> MIMEImage:
    image = MIMEImage(picture.png, "png")
    image["Content-ID"] = f"<{picture.cid}>"
    image["Content-Disposition"] = f"inline; filename={picture.cid.partition('@')[0]}.png"
    return image


def headers_of(message: Message, recipient: Recipient) -> dict[str, str]:
    """Return the headers: a channel's mails about one deployment refer to one root message, which is never sent."""
    domain = parseaddr(django_settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    headers = {"Message-ID": f"<{message.id}@{domain}>", "Auto-Submitted": "auto-generated"}
    if message.deployment:
        channel = message.id.rpartition(".")[0]
        first = f"<{channel}.{message.deployment}@{domain}>"
        headers |= {"References": first, "In-Reply-To": first}
    if recipient.stop:
        headers |= {"List-Unsubscribe": f"<{recipient.stop}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    return headers
