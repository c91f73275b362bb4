"""The snippets of docs/scaling.md, which the tests run unchanged."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


def block(language, part):
    """Return the only snippet of a language that contains this part."""
    found = [
        code for code in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if part in code
    ]
    assert len(found) == 1, f"{len(found)} snippets have {part}"
    return found[0]


def parameters(part):
    """Return the settings of postgresql.conf, or of another ini file, in a snippet."""
    return dict(line.split(" = ") for line in block("ini", part).splitlines() if " = " in line)
