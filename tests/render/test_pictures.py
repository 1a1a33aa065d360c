"""Pictures: self-contained, safe with any names, and reproducible."""

from __future__ import annotations

import builtins
import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import maskcli
from maskcli.errors import UsageError
from maskcli.render import pictures
from maskcli.render.bundle_cache import load_or_bundle
from maskcli.render.charts import Figure, attention, batch, leaks, outputs
from tests.render.test_charts import FIGURES, NASTY, NONE, SMALL, inspection, leak_matrix, make_attention

pytest.importorskip("vl_convert")
SVG = "{http://www.w3.org/2000/svg}"


def parse_svg(figure: Figure) -> ET.Element:
    return ET.fromstring(pictures.render_svg(figure).decode())  # noqa: S314 - made here


def list_texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


@pytest.fixture
def sample() -> Figure:
    return batch.make_batch_figure(maskcli.pad([[83, 91, 1], [73]]))


def test_picture_is_white_with_title_and_description(sample: Figure) -> None:
    root = parse_svg(sample)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == sample.title
    assert root.findtext(f"{SVG}desc") == sample.about
    assert sample.title in list_texts(root)
    assert {"83", "91", "73", "timestep", "sample"} <= set(list_texts(root))
    (ground,) = [child for child in root if child.tag == f"{SVG}rect"]
    assert (ground.get("fill"), ground.get("width")) == ("white", root.get("width"))


def test_title_names_sample_and_feature() -> None:
    values = np.zeros((3, 6, 4))
    assert "Output of lstm, sample 2, feature 3" in list_texts(
        parse_svg(outputs.make_figure(inspection(SMALL, values), 2, 3))
    )
    assert "Output of lstm, sample 1" in list_texts(parse_svg(outputs.make_figure(inspection(None, values[:, 0]), 1)))
    assert "Effect of each padded timestep on y, sample 2" in list_texts(
        parse_svg(leaks.make_figure(leak_matrix(SMALL), 2))
    )
    assert any(
        text.endswith(", sample 1") for text in list_texts(parse_svg(attention.make_figure(make_attention(SMALL), 1)))
    )


def test_names_with_markup_are_text() -> None:
    for figure in (
        outputs.make_figure(inspection(SMALL, np.zeros((3, 6, 4)), call=NASTY)),
        leaks.make_figure(leak_matrix(SMALL, output=NASTY)),
        attention.make_figure(make_attention(SMALL, call=NASTY, type=NASTY)),
    ):
        root = parse_svg(figure)
        assert not list(root.iter("script"))
        assert not list(root.iter(f"{SVG}script"))
        assert any("<script>alert(1)</script>\"'&`|" in text for text in list_texts(root))
        pictures.convert_svg_to_png(pictures.render_svg(figure))


def test_long_title_is_shortened() -> None:
    root = parse_svg(leaks.make_figure(leak_matrix(SMALL, output="block/" * 100)))
    assert max(map(len, list_texts(root))) < 120


@pytest.mark.parametrize("scale", [1, 2, 3.5])
def test_png_has_the_size_of_the_svg(sample: Figure, scale: float) -> None:
    png = pictures.convert_svg_to_png(pictures.render_svg(sample), scale)
    root = parse_svg(sample)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    size = struct.unpack(">II", png[16:24])
    assert size == pytest.approx([scale * float(root.get(side) or 0) for side in ("width", "height")], abs=2)


def test_ids_are_unique_across_pictures() -> None:
    ids: list[str] = []
    for name, figure in FIGURES.items():
        if name in NONE:
            continue
        assert figure is not None
        svg = pictures.render_svg(figure).decode()
        svg_ids = re.findall(r' id="([^"]+)"', svg)
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(svg_ids)
        ids += svg_ids
    assert len(ids) > 10
    assert len({name.rsplit("-", 1)[0] for name in ids}) > 5


def test_drawing_keeps_the_specification(sample: Figure) -> None:
    before = json.dumps(sample.spec)
    pictures.convert_svg_to_png(pictures.render_svg(sample))
    assert json.dumps(sample.spec) == before


def test_page_scripts_are_complete() -> None:
    bundle = pictures.bundle_scripts()
    assert "</script" not in bundle.lower()
    assert len(bundle) < 1_000_000
    for name in ("vegaEmbed", "vega", "vegaLite"):
        assert f"window.{name}=" in bundle.replace(" ", "")
    assert bundle == pictures.bundle_scripts()


@pytest.mark.parametrize(
    "draw", [pictures.bundle_scripts, pictures.check_vl_convert, lambda: pictures.convert_svg_to_png(b"<svg/>")]
)
def test_missing_vl_convert_names_the_package(draw: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail_to_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "vl_convert":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "vl_convert", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail_to_import)
    with pytest.raises(UsageError, match=r"pip install 'igraph>=[0-9.]+' 'vl-convert-python>=[0-9.]+'"):
        draw()


def test_bundle_is_copied_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A copy that is damaged, or that others could have written, is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundled: list[str] = []

    def load(version: str = "1.0") -> str:
        return load_or_bundle(version, lambda: bundled.append(version) or f"let s = '{len(bundled)}\u00fc\r\n';")

    first = load()
    copy = tmp_path / "cache" / "maskcli" / "bundle-1.0.js"
    assert (load(), load(), bundled) == (first, first, ["1.0"])
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert load("2.0") != first
    for spoil in (
        lambda: copy.write_text(copy.read_text().replace("let", "xet")),
        lambda: copy.write_bytes(copy.read_bytes()[:50]),
        lambda: copy.write_bytes(b"\xff"),
        lambda: copy.chmod(0o622),
        copy.unlink,
        lambda: (copy.rename(copy.with_suffix(".old")), copy.symlink_to(copy.with_suffix(".old"))),
        lambda: copy.parent.chmod(0o777),
    ):
        before, count = load(), len(bundled)
        spoil()
        assert load() != before
        assert len(bundled) == count + 1
    assert [path.suffix for path in copy.parent.iterdir() if path.name.startswith("tmp")] == []
    # Nothing is written into a folder that is open to others, or that does not exist and cannot.
    assert load() != load()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert load() != load()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert load("../1") != load("../1")
    assert not (tmp_path / "other").exists()
