"""The static files: built from their sources, with the licences of what is in them."""

import hashlib
from pathlib import Path

import segments

STATIC = Path(segments.__file__).parent / "static" / "segments"

FRONTEND = Path(segments.__file__).parent.parent / "frontend"


def test_editor__was_built_from_its_sources():
    sources = b"".join(
        (FRONTEND / name).read_bytes() for name in ("editor.js", "package-lock.json")
    )
    digest = hashlib.sha256(sources).hexdigest()
    built = (STATIC / "editor.js").read_text()
    assert digest in built[:1000], "run: npm ci && npm run build, in frontend/"


def test_editor__has_its_licences():
    built = (STATIC / "editor.js").read_text()
    for words in ("@codemirror/view", "@lezer/lr", "style-mod", "Permission is hereby granted",
                  "Copyright (C) 2018-2021 by Marijn Haverbeke"):  # fmt: skip
        assert words in built


def test_static_files__name_no_other_host():
    for path in STATIC.iterdir():
        text = path.read_text()
        for line in text.partition("*/")[2].splitlines() if path.name == "editor.js" else [text]:
            assert "import(" not in line
            assert "https://" not in line.replace("https://codemirror.net", "")
