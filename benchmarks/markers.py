"""Documents with measured tables: what stands between two markers is made afresh, the rest stays as it is."""

import re
from collections.abc import Callable

from scoter.errors import DataError


def filled(text: str, name: str, made: Callable[[str], str]) -> str:
    """`text` with `made(WHAT)` between each `<!-- NAME:WHAT -->` and `<!-- /NAME -->`, markers on lines of their own.

    Raises:
        DataError: a text without a pair of markers, or a marker without its other half.

    Example:
        >>> print(filled("<!-- sum:two -->\\nold\\n<!-- /sum -->", "sum", lambda what: f"{what} and two\\n"))
        <!-- sum:two -->
        two and two
        <!-- /sum -->
    """
    marked = re.compile(rf"(<!-- {name}:([a-z0-9_-]+) -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    pairs = len(marked.findall(text))
    openings, closings = text.count(f"<!-- {name}:"), text.count(f"<!-- /{name} -->")
    if not pairs or not pairs == openings == closings:
        raise DataError(
            f"found {openings} opening and {closings} closing markers that make {pairs} tables; "
            f"write <!-- {name}:beauty --> and <!-- /{name} --> on lines of their own"
        )
    return marked.sub(lambda found: found[1] + made(found[2]) + found[3], text)
