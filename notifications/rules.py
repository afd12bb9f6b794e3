"""When a delivery is sent: at once, or held back by quiet hours, a digest or the cooldown. Pure."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from common.zones import zone_named

DIGEST_HOUR = 8  # of the channel's time zone


@dataclass(frozen=True, slots=True)
class Timing:
    """A channel's rules about time. quiet_from, quiet_until: None: no quiet hours; digest: "", hourly, daily."""

    time_zone: str = "UTC"
    quiet_from: time | None = None
    quiet_until: time | None = None
    digest: str = ""
    cooldown_s: int = 0


def send_at(timing: Timing, now: datetime, *, critical: bool, alike_sent_at: datetime | None) -> datetime:
    """Return when an event is sent that happened now; later than `now` means that it waits and goes with others.

    What is critical waits for the cooldown only, and no longer: quiet hours and digests are for what can wait.

    Args:
        alike_sent_at: when an event of the same kind in the same environment, and where it is critical, about the same
            deployment, was last sent or is going to be.
    """
    cooldown = timedelta(seconds=timing.cooldown_s)
    if timing.digest and not critical:
        return after_quiet_hours(timing, next_digest(timing, now))
    at = now
    if alike_sent_at is not None:
        # Where one waits already, this one goes with it.
        at = max(now, alike_sent_at if alike_sent_at > now else alike_sent_at + cooldown)
    return min(at, now + cooldown) if critical else after_quiet_hours(timing, at)


def next_digest(timing: Timing, after: datetime) -> datetime:
    """Return the next full hour, or the next DIGEST_HOUR of the channel's day."""
    local = after.astimezone(zone_named(timing.time_zone))
    if timing.digest == "hourly":
        return (after + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    morning = local.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0, fold=0)
    return (morning if morning > local else morning + timedelta(days=1)).astimezone(after.tzinfo)


def after_quiet_hours(timing: Timing, at: datetime) -> datetime:
    """Return `at`, or the end of the quiet hours that it falls into."""
    start, end = timing.quiet_from, timing.quiet_until
    if start is None or end is None or start == end:
        return at
    local = at.astimezone(zone_named(timing.time_zone))
    clock = local.time()
    if not (start <= clock < end if start < end else clock >= start or clock < end):
        return at
    # In the hour that clocks repeat, it keeps which of the two it is.
    ending = local.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    return (ending if ending > local else ending + timedelta(days=1)).astimezone(at.tzinfo)
