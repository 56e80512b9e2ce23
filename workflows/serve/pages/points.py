"""The table of labels, with a filter line; the store filters, sorts, counts and pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nicegui import ui
from starlette.requests import Request

from datastore.errors import DataError
from workflows.serve.pages.layout import SLOWEST, address, frame, known, refreshed, told
from workflows.serve.shelf import POLL_SECONDS, Shelf
from workflows.serve.table import LARGEST, SORTABLE, Query, count, read_page, read_query

EXAMPLES = ("verdict=rejected", "ordering=AFM-II,FM", "deformation=volume", "fmax>1 generation>=1", "x(Ni)>0.5")

COLUMNS = (
    ("point_id", "label"),
    ("formula", "formula"),
    ("cell", "cell"),
    ("ordering", "ordering"),
    ("found", "found instead"),
    ("deformation", "deformation"),
    ("generation", "round"),
    ("energy_per_atom", "energy, eV/atom"),
    ("fmax", "largest force, eV/Å"),
    ("total_moment", "total moment, μB"),
    ("verdict", "verdict"),
    ("level", "level of theory"),
)
RIGHT = ("generation", "energy_per_atom", "fmax", "total_moment")

LINK = """
<q-td :props="props"><a :href="'%s' + encodeURIComponent(props.value)" class="mono">{{ props.value.slice(0, 12) }}</a>
</q-td>"""
NUMBER = r"""
<q-td :props="props">
{{ typeof props.value === 'number' ? props.value.toFixed(%d).replace(/^-(0\.?0*)$/, '$1') : '' }}</q-td>"""
VERDICT = """
<q-td :props="props"><span :class="'badge ' + (props.value === 'accepted' ? 'good' : 'bad')">{{ props.value }}</span>
<q-tooltip v-if="props.row.reasons">{{ props.row.reasons }}</q-tooltip></q-td>"""
CUT = """
<q-td :props="props"><span style="display:inline-block;max-width:%dpx;overflow:hidden;text-overflow:ellipsis;
vertical-align:bottom" :title="props.value">{{ props.value }}</span></q-td>"""


def register(shelf: Shelf) -> None:
    """Make the page."""

    @ui.page("/{key}/points", response_timeout=SLOWEST)
    async def points(key: str, request: Request) -> None:
        project = known(shelf, key)
        if project is None:
            return
        with frame(shelf, f"Labels of {key}", project, "points"):
            await _Table(shelf, key).build(dict(request.query_params))


class _Table:
    """The table of one open page: its query, and the elements that show the answer."""

    def __init__(self, shelf: Shelf, key: str) -> None:
        self.shelf, self.key = shelf, key
        self.query = Query()
        self.total: int | None = None

    async def build(self, parameters: dict[str, str]) -> None:
        """Lay the page out and fill it."""
        with ui.row().classes("w-full items-baseline").style("gap: 12px"):
            ui.label("Labels").classes("h1")
            self.counted = ui.label().classes("soft").mark("counted")
        self._filter_line()
        self.message = ui.label().classes("text-negative").mark("problem")
        self.table = self._table()
        try:
            self.query = read_query(parameters)
        except DataError as error:
            self.message.text = told(error)
        self.line.value = self.query.where
        await self.fill()
        refreshed(POLL_SECONDS, lambda: self.shelf.stamp(self.key), self._arrived)

    async def fill(self) -> None:
        """Ask the store for the page and show it, then count."""
        try:
            store = await self.shelf.run(self.shelf.store, self.key)
            rows = await self.shelf.run(read_page, store, self.query)
            self.message.text = ""
            self._show(rows)
            self.total = await self.shelf.run(count, store, self.query)
        except Exception as error:
            self.message.text = told(error)
            return
        self._show(rows)

    def _filter_line(self) -> None:
        with ui.column().classes("card w-full").style("gap: 6px"):
            with ui.row(wrap=False).classes("w-full items-center"):
                hint = "such as: ordering=AFM-II m(Ni)>1.2 not verdict=rejected"
                self.line = ui.input(placeholder=hint).props("dense outlined clearable").classes("mono")
                self.line.style("flex: 1").mark("filter").on("keydown.enter", self._asked).on("clear", self._asked)
                ui.button("Filter", on_click=self._asked).props("unelevated no-caps")
            with ui.row().classes("items-center").style("gap: 8px"):
                ui.label("FIELD=VALUE, != < <= > >=, or, not, ( ). Examples:").classes("soft")
                for example in EXAMPLES:
                    here = address(self.key, "points", where=example)
                    ui.link(example, here).classes("mono link")

    def _table(self) -> ui.table:
        columns = [
            {
                "name": name,
                "label": label,
                "field": name,
                "sortable": name in SORTABLE,
                "align": "right" if name in RIGHT else "left",
            }
            for name, label in COLUMNS
        ]
        table = ui.table(rows=[], columns=columns, row_key="point_id", pagination={"rowsPerPage": self.query.size})
        table.props(f"dense flat binary-state-sort :rows-per-page-options=[10,25,50,100,{LARGEST}]")
        table.classes("w-full card").style("padding: 4px 6px").mark("points")
        table.add_slot("body-cell-point_id", LINK % f"{address(self.key, 'point')}/")
        table.add_slot("body-cell-verdict", VERDICT)
        for name, digits in (("energy_per_atom", 4), ("fmax", 3), ("total_moment", 2)):
            table.add_slot(f"body-cell-{name}", NUMBER % digits)
        for name, width in (("ordering", 110), ("found", 110), ("level", 150), ("cell", 110)):
            table.add_slot(f"body-cell-{name}", CUT % width)
        table.on("request", self._turned)
        return table

    def _show(self, rows: list[dict[str, Any]]) -> None:
        query = self.query
        full = len(rows) == query.size
        total = (query.page - 1) * query.size + len(rows) + int(full) if self.total is None else self.total
        self.table.rows = rows
        self.table.pagination = {
            **{"page": query.page, "rowsPerPage": query.size, "rowsNumber": total},
            **{"sortBy": query.sort.removeprefix("-") or None, "descending": query.sort.startswith("-")},
        }
        self.counted.text = "counting…" if self.total is None else f"{self.total:,} match"
        ui.navigate.history.replace(address(self.key, "points", **query.parameters))

    async def _asked(self) -> None:
        """The filter line was entered: the first page of what it asks for."""
        await self._turn_to(Query((self.line.value or "").strip(), self.query.sort, 1, self.query.size))

    async def _turned(self, event: Any) -> None:
        """A page, a number of rows or an order was chosen in the table."""
        asked = event.args["pagination"]
        field = asked.get("sortBy") or ""
        sort = f"-{field}" if field and asked.get("descending") else field
        size = min(max(1, int(asked.get("rowsPerPage") or LARGEST)), LARGEST)
        page = int(asked.get("page") or 1) if sort == self.query.sort and size == self.query.size else 1
        await self._turn_to(replace(self.query, sort=sort if field in SORTABLE else "", page=page, size=size))

    async def _turn_to(self, query: Query) -> None:
        if query.where != self.query.where:
            self.total = None
        self.query = query
        await self.fill()

    async def _arrived(self, _: Any) -> None:
        """Something new is in the store."""
        await self.fill()
