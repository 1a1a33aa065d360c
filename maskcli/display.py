"""What a notebook shows of a record: asked for by the record, made by the renderer."""

from __future__ import annotations


class Displayed:
    """A record that a notebook shows as its command shows it in a terminal."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        # The one import that points upwards: the words of every floor load no renderer until a notebook asks.
        from maskcli.render.notebook import render_record

        return render_record(self)
