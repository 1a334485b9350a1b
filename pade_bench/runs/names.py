"""Names of files and folders that are made of text from records and configurations."""

from __future__ import annotations

import hashlib
import re

LONGEST = 120  # characters of a text that are kept; file systems take 255 bytes


def file_name(text: str, also: str = "") -> str:
    """Return the name of a file or folder for a text, whoever wrote that.

    It holds ASCII letters, digits, ``_``, ``-`` and ``.`` alone, and begins with neither dash nor
    dot. Texts that differ have names that differ: where a character was replaced or the text was
    cut, a hash of the whole follows.

    Args:
        text: anything.
        also: further characters that are kept within the name.
    """
    unsafe = rf"[^A-Za-z0-9_.\-{re.escape(also)}]|^[^A-Za-z0-9_]|[. ]\Z"
    name = re.sub(unsafe, "_", text)[:LONGEST] or "_"
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
