"""The examples of the README are those that `run` runs from the built wheel."""

from pathlib import Path

HERE = Path(__file__).parents[1]


def test_the_readme_has_the_examples():
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    for name in ("client.py", "server.py"):
        assert (HERE / "examples" / name).read_text(encoding="utf-8") in readme, name
