"""The pictures of the README and of the docs: ``python -m tests.screenshots`` takes them again, in Chromium."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import ROOT, clean_environment

IMAGES = ROOT / "docs" / "images"
MODEL = "sample_data/tagged.jsonl --field tokens --model sample_data.models:attender"
REPORT = f"report {MODEL} --targets-field classes"
SECTIONS = ("leaks", "attention")
"""Those of the page that have a picture of their own."""
DRAWN = {"graph": f"{REPORT} --picture graph", "mask": f"{REPORT} --picture mask"}
TERMINAL = {
    "heat-full": "inspect {rows} --mask-source none --model embedding-lstm --heat full",
    "heat-half": "loss {rows} --targets shift --heat half",
}
WIDTH, HEIGHT, COLUMNS = 1100, 900, 80


def maskcli(command: str, **environment: str) -> str:
    """Return the output of a command, run in the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "maskcli", *shlex.split(command)],
        capture_output=True,
        cwd=ROOT,
        env=clean_environment(**environment),
        check=False,
    )
    if done.returncode > 1:
        raise SystemExit(done.stderr.decode())
    return done.stdout.decode()


def take(folder: Path) -> None:
    """Write all pictures into a folder."""
    from playwright.sync_api import sync_playwright

    page, rows = folder / "report.html", folder / "rows.jsonl"
    chance = np.random.default_rng(0)
    rows.write_text("".join(f"{chance.integers(1, 50, length).tolist()}\n" for length in chance.integers(2, 28, 20)))
    maskcli(f"{REPORT} --output {page} --quiet")
    for name, command in DRAWN.items():
        maskcli(f"{command} --output {folder / name}.svg --quiet")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, bypass_csp=True)
            tab.goto(page.as_uri())
            _drawn(tab)
            tab.screenshot(path=folder / f"report-{scheme}.png")
            tab.add_style_tag(content="header{display:none!important} section{padding:1rem!important}")
            for name in SECTIONS if scheme == "light" else ():
                tab.locator(f"#{name}").screenshot(path=folder / f"{name}.png")
            tab.close()
        for name, command in TERMINAL.items():
            tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            tab.set_content(f"<body style='margin:0'>{_terminal(command, rows)}")
            tab.locator("svg").first.screenshot(path=folder / f"{name}.png")
            tab.close()
        browser.close()
    page.unlink()
    rows.unlink()
    smaller(folder)


def _drawn(tab: Any) -> None:
    """Wait until the charts of the whole page are there."""
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.wait_for_timeout(1500)
    tab.evaluate("window.scrollTo(0, 0)")
    tab.wait_for_timeout(500)


def _terminal(command: str, rows: Path) -> str:
    """Return the terminal output of a command as SVG, with the file of its data as if in the working directory."""
    from rich.console import Console
    from rich.text import Text

    output = maskcli(command.format(rows=rows), COLUMNS=str(COLUMNS), FORCE_COLOR="1", COLORTERM="truecolor")
    shown = output.replace(str(rows), rows.name)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), soft_wrap=False)
    return console.export_svg(title=f"maskcli {command.split()[0]}")


def smaller(folder: Path) -> None:
    """Store pictures with a palette, where there is a program for it."""
    if shutil.which("pngquant"):
        for path in folder.glob("*.png"):
            subprocess.run(["pngquant", "--force", "--ext", ".png", "--strip", str(path)], check=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        take(Path(temporary))
        IMAGES.mkdir(exist_ok=True)
        for path in sorted(Path(temporary).iterdir()):
            shutil.copy(path, IMAGES / path.name)
