"""The control group of a deployment: instances of the old version that run beside the new one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.matchers import Matcher, NoMatchers, matchers_of, written
from explain.facts import Fact
from outbound.endpoints import origin_of, parse_endpoint
from projects.guarding import refused_endpoint
from projects.models import ENDPOINT, Environment

# The kinds of sources that a URL or a selector of labels tells which instances to measure.
URL_KINDS, SELECTOR_KINDS = (ENDPOINT, "openmetrics"), ("prometheus",)
FIELDS = ("endpoint", "selector", "treatment")
# Of a deployment with a control group: its course since then is taken out, so one sample from before would be few.
PRE_SAMPLES = 3
PRE_SPACING_S = 4.0


class InvalidControl(ValueError):
    """Not a control group. field: which part of it is wrong, "" for the whole; str() says what."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Control:
    """Where the control group is measured: at an endpoint of its own, or by labels of the series that it has.

    selector: of the old version; treatment: of the new one, without it those series that the selector does not match,
    if it is of one label.
    """

    endpoint: str = ""
    selector: Sequence[Matcher] = ()
    treatment: Sequence[Matcher] = ()

    @classmethod
    def parse(cls, given: Any) -> "Control | None":
        """Return the control group of a call; None where it names none. A text is a URL if absolute, else a selector.

        Raises InvalidControl.
        """
        if given is None or given in ("", {}):
            return None
        if isinstance(given, str):
            given = {"endpoint" if "://" in given else "selector": given}
        if not isinstance(given, Mapping):
            raise InvalidControl('Say where the old version is measured: {"endpoint": URL} or {"selector": LABELS}.')
        unknown = [str(name)[:40] for name in given if name not in FIELDS]
        if unknown:
            raise InvalidControl(f"Unknown: {unknown[0]}. These are known: {', '.join(FIELDS)}.")
        texts = {name: given.get(name) or "" for name in FIELDS}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise InvalidControl("This has to be a text.", name)
        control = cls(
            _checked(texts["endpoint"].strip()),
            _matchers(texts["selector"], "selector"),
            _matchers(texts["treatment"], "treatment"),
        )
        if not (control.endpoint or control.selector):
            raise InvalidControl('Say where the old version is measured: {"endpoint": URL} or {"selector": LABELS}.')
        return control

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> "Control":
        return cls(
            stored.get("endpoint", ""),
            matchers_of(stored.get("selector", "")),
            matchers_of(stored.get("treatment", "")),
        )

    def as_json(self) -> dict[str, str]:
        found = {
            "endpoint": self.endpoint,
            "selector": written(self.selector),
            "treatment": written(self.treatment),
        }
        return {name: text for name, text in found.items() if text}

    @property
    def of_treatment(self) -> Sequence[Matcher]:
        """Return what selects the new version once both are running; () where that cannot be said."""
        if self.treatment or len(self.selector) != 1:
            return self.treatment
        return (self.selector[0].opposite,)


def _checked(url: str) -> str:
    if url:
        try:
            parse_endpoint(url)
        except ValueError as error:
            raise InvalidControl(str(error), "endpoint") from None
    return url


def _matchers(text: str, field: str) -> tuple[Matcher, ...]:
    try:
        found = matchers_of(text)
    except NoMatchers as error:
        raise InvalidControl(
            f'{error} This has to be label matchers, such as version="1.2", or a URL.', field
        ) from None
    if any(matcher.label == "__name__" for matcher in found):
        raise InvalidControl("The name of the metric is none of the labels to select by.", field)
    return found


def is_configured(url: str, environment: Environment) -> bool:
    """Return whether a person configured the origin of a URL that a call names: only then requests are signed."""
    own = [origin_of(environment.metrics_endpoint)] if environment.metrics_endpoint else []
    return origin_of(url) in (*own, *map(origin_of, environment.origins))


def notes_about(control: Control | None, environment: Environment) -> list[Fact]:
    """Return what the caller should know of the control group that it names."""
    if control is None:
        return []
    kinds = environment.source_kinds or [ENDPOINT]
    by_url = bool(control.endpoint) and takes_urls(environment)
    if not by_url and not (control.selector and {*SELECTOR_KINDS} & {*kinds}):
        return [Fact("control_not_askable", {"kinds": ", ".join(kinds)})]
    refused = refused_endpoint(control.endpoint) if by_url else None
    notes = [] if refused is None else [refused]
    if by_url and not is_configured(control.endpoint, environment):
        notes.append(Fact("control_unsigned", {"url": control.endpoint}))
    return notes


def takes_urls(environment: Environment) -> bool:
    """Return whether calls may name where other instances than usual are measured."""
    return not environment.source_kinds or bool({*URL_KINDS} & {*environment.source_kinds})
