"""Writes the table of token-server/docs/languages/forgeries.md from the record of the suites."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "token-server/docs/languages/forgeries.md"
BEGIN, END = "<!-- the table: python3 tests/interop/python/gallery_table.py -->\n", "<!-- end of the table -->\n"


def table() -> str:
    forgeries = json.loads((ROOT / "token-interceptor/testdata/forgeries.json").read_text())["forgeries"]
    record = json.loads((ROOT / "tests/interop/gallery.json").read_text())
    rows = [
        ["forgery", *record, "rule"],
        ["---"] * (len(record) + 2),
        ["accepted in total", *(str(len(accepted)) for accepted in record.values()), ""],
    ]
    for forgery in forgeries:
        marks = ["accepts" if forgery["name"] in accepted else "" for accepted in record.values()]
        if any(marks):
            rows.append([f"`{forgery['name']}`", *marks, forgery["why"]])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
