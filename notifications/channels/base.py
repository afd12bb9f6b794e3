"""What a kind of channel is: its settings, and how it sends a message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise

from explain.errors import ExplainedError
from explain.facts import Param
from notifications.message import Message

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a kind.

    type: text, url, secret, emails (addresses with commas between). pattern: a regular expression for all of the value;
    "": printable, without spaces at the ends.
    """

    name: str
    label: str | Promise
    help: str | Promise = ""
    type: str = "text"
    required: bool = True
    pattern: str = ""

    @property
    def hidden(self) -> bool:
        """Return whether it is never shown again: secrets, and URLs, which contain one."""
        return self.type in ("secret", "url")


@dataclass(frozen=True, slots=True)
class Sent:
    """What the receiver answered. status: of HTTP; reference: what it calls the message, for threads."""

    status: int | None = None
    answer: str = ""
    reference: str = ""


class SendError(ExplainedError):
    """A message that was not taken.

    status, answer: what the receiver said, if anything; retry: whether another attempt can help; after_s: when, if the
    receiver said so; gone: the receiver said that it will never take anything again.
    """

    def __init__(
        self,
        code: str,
        /,
        *,
        retry: bool,
        sent: Sent | None = None,
        after_s: float | None = None,
        gone: bool = False,
        **params: Param,
    ) -> None:
        super().__init__(code, **params)  # type: ignore[arg-type]  # `field` is no parameter of these
        self.sent = sent or Sent()
        self.retry = retry
        self.after_s = after_s
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Asked:
    """Settings of a channel that is to send. reference: what the last attempt returned as such, "" before the first."""

    settings: Settings
    team_id: int
    reference: str = ""


class ChannelKind:
    """A kind of channel: one module here defines one, and `CHANNEL_KINDS` lists it."""

    name: str
    label: str | Promise
    fields: tuple[Field, ...] = ()
    draws: bool = False  # the charts of messages
    reports: bool = False  # once a week about the team
    buttons: bool = False  # below messages, which are changed after they were sent (`update`)
    signs: bool = False  # with its field `secret`, which is made where none is given

    def place(self, settings: Settings) -> str:
        """Return where it goes, for people, without anything secret: a host, an address."""
        raise NotImplementedError

    def waiting(self, settings: Settings, team_id: int) -> list[str]:
        """Return the addresses whose owner did not agree to get anything from this team."""
        return []

    def ready(self, asked: Sequence[Asked]) -> list[Settings]:
        """Return the settings of each with what the database has to say about them: a few queries for all."""
        return [one.settings for one in asked]

    def send(self, settings: Settings, message: Message) -> Sent:
        """Send the message, outside any transaction.

        Raises: SendError, OutboundError.
        """
        raise NotImplementedError

    def update(self, settings: Settings, message: Message, place: str) -> None:
        """Change a message that was sent, outside any transaction. place: what the receiver calls it.

        Raises: SendError, OutboundError.
        """
        raise NotImplementedError
