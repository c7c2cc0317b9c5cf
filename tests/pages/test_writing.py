"""How amounts, counts and shares are written on the pages."""

from decimal import Decimal

import pytest

from workspace.templatetags.console import count, duration, gbp, pence, percent, rate


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "—"),
        ("0", "£0.00"),
        ("1204.5", "£1,204.50"),
        ("0.01", "£0.01"),
        ("0.0049", "£0.0049"),
        ("0.000048312", "£0.000048"),
        ("0.00999", "£0.0100"),
        ("-0.5", "-£0.50"),
    ],
)
def test_money_has_the_pence_that_matter(amount: str | None, text: str) -> None:
    assert gbp(None if amount is None else Decimal(amount)) == text


def test_the_other_figures() -> None:
    assert pence(250) == "£2.50"
    assert [rate(Decimal(amount)) for amount in ("0.400000", "1.234500", "12")] == ["£0.40", "£1.2345", "£12.00"]
    assert [count(number) for number in (None, 0, 999, 1250, 3_400_000)] == [
        "—",
        "0",
        "999",
        "1.2k",
        "3.4M",
    ]
    assert [percent(share) for share in (None, 0, 0.26, 33.3, 100)] == ["—", "0 %", "0.3 %", "33 %", "100 %"]
    assert [duration(milliseconds) for milliseconds in (None, 812, 1500)] == ["—", "812 ms", "1.5 s"]
