"""Check bodies of sendMessage with aiogram's models, and print what is wrong as JSON: [[index, problem]…].

usage: python telegram.py BODIES.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from aiogram.methods import SendMessage  # type: ignore[import-not-found]  # of .venv-external
from pydantic import BaseModel, ValidationError


def unknown(model: BaseModel, place: str = "") -> list[str]:
    """Return the fields that the Bot API does not have; the models take any."""
    found = [f"{place}{name} is unknown" for name in model.model_extra or {}]
    for name, value in model:
        if isinstance(value, BaseModel):
            found += unknown(value, f"{place}{name}.")
    return found


def problems(body: Any) -> list[str]:
    try:
        return unknown(SendMessage.model_validate(body))
    except ValidationError as error:
        return [str(one) for one in error.errors()]


if __name__ == "__main__":
    sent = json.loads(Path(sys.argv[1]).read_text())["telegram"]
    print(json.dumps([[index, one] for index, body in enumerate(sent) for one in problems(body)]))
