"""find-lr.html: the loss over a learning rate that grows, and what it suggests."""

from trivium.evaluate.axes import NARROW, WIDE
from trivium.evaluate.charts import Series, line_chart
from trivium.evaluate.markup import Markup
from trivium.evaluate.page import Column, Row, card, figure, page, paragraph, section, statements, table
from trivium.train.find_lr import Found, Tried

_NUM_ROWS = 12


def find_lr_page(found: Found, *, name: str, optimiser: str, usual: float) -> str:
    """Return the page.

    Args:
        found: what was tried, and what it says.
        name: the recipe's.
        optimiser: what the learning rate is of.
        usual: the learning rate that the recipe has.
    """
    curve = Series("smoothed", [(each.lr, each.smoothed) for each in found.tried], 0, "faint")
    single = Series("loss", [(each.lr, each.loss) for each in found.tried], None, "faint")

    def draw(width: float) -> Markup:
        return line_chart(
            [single, curve],
            title="Loss over the learning rate",
            x_label="learning rate",
            y_label="loss, nats",
            log_x=True,
            width=width,
            height=340 if width > NARROW else 260,
        )

    columns = [Column("learning rate"), Column("loss"), Column("smoothed", best="lowest")]
    rows: list[Row] = [[f"{each.lr:.2e}", each.loss, each.smoothed] for each in shown(found)]
    caption = "Each step has a learning rate larger by the same factor; the network is thrown away."
    return page(
        title=f"Learning rate of {name}",
        overline="trivium find-lr",
        opening=[paragraph(f"{len(found.tried)} steps of {optimiser}, one learning rate each.", "lead")],
        content=[
            statements(lines(found, usual)) or Markup(),
            section("The curve", card(figure(draw, caption, width=WIDE))),
            section("Some of the steps", table(columns, rows)),
        ],
        footer="Made by trivium find-lr.",
    )


def lines(found: Found, usual: float) -> list[str]:
    """Return what was found in sentences, the suggestion first."""
    return [
        f"Try `--set optimiser.lr={found.suggestion:g}` (the recipe has {usual:g}).",
        f"The loss fell fastest at {found.steepest:.2g} and was lowest at {found.lowest:.2g}.",
    ]


def shown(found: Found) -> list[Tried]:
    """Return a dozen of the steps, evenly spread."""
    count = min(_NUM_ROWS, len(found.tried))
    return [found.tried[number * (len(found.tried) - 1) // max(1, count - 1)] for number in range(count)]
