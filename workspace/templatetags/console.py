"""How the pages write money, counts, shares and moments."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

NOTHING = "—"
PENNY = Decimal("0.01")
SIGNIFICANT = 2  # digits of an amount under a penny
UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))
MIB = 1 << 20


@register.filter
def gbp(amount: Decimal | float | None) -> str:
    """Pounds with the pence that matter: £1,204.50, and £0.00034 rather than nothing. None is a dash."""
    if amount is None:
        return NOTHING
    exact = Decimal(str(amount))
    sign, size = ("-" if exact < 0 else ""), abs(exact)
    if size == 0 or size >= PENNY:
        return f"{sign}£{size.quantize(PENNY, ROUND_HALF_EVEN):,}"
    places = SIGNIFICANT - 1 - size.adjusted()
    return f"{sign}£{size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):f}"


@register.filter
def pence(amount: Decimal | float | None) -> str:
    """An amount in pence, as pounds."""
    return gbp(None if amount is None else Decimal(str(amount)) / 100)


@register.filter
def rate(amount: Decimal | None) -> str:
    """GBP per million tokens, every digit that is not a trailing zero beyond the pence."""
    if amount is None:
        return NOTHING
    pounds, _, places = f"{amount:f}".partition(".")
    return f"£{pounds}.{places.rstrip('0').ljust(2, '0')}"


@register.filter
def count(number: int | None) -> str:
    """A whole number in short form: 950, 1.2k, 3.4M. None is a dash."""
    if number is None:
        return NOTHING
    for size, unit in UNITS:
        if abs(number) >= size:
            return f"{number / size:.1f}".removesuffix(".0") + unit
    return str(number)


@register.filter
def percent(share: float | None) -> str:
    """A percentage to one place where that says more; None is a dash."""
    if share is None:
        return NOTHING
    return f"{share:.0f} %" if share in (0, 100) or share >= 10 else f"{share:.1f} %"


@register.filter
def share(part: float | None) -> str:
    """A part of one as a percentage."""
    return percent(None if part is None else 100 * part)


@register.filter
def mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"


@register.filter
def duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return NOTHING
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


@register.simple_tag
def moment(when: datetime | str | None, form: str = "relative") -> SafeString | str:
    """A `<time>` that the browser rewrites in the reader's zone; `form` is relative, full or day."""
    if not when:
        return NOTHING
    at = datetime.fromisoformat(when) if isinstance(when, str) else when
    written = f"{at:%Y-%m-%d %H:%M} UTC"
    return format_html(
        '<time datetime="{}" data-form="{}" title="{}">{}</time>', at.isoformat(), form, written, written
    )


@register.simple_tag
def countdown(seconds: float | None, when: str | None) -> SafeString | str:
    """Time that is left, counted down by the reader's clock; the browser says `expired` on it at its end.

    Args:
        seconds: left when the page was made, by the database's clock.
        when: the moment itself.
    """
    if seconds is None or when is None:
        return NOTHING
    return format_html('<span data-left="{}" data-ends="{}">{} s</span>', f"{seconds:.3f}", when, round(seconds))


@register.simple_tag(takes_context=True)
def here(context: dict[str, Any], section: str) -> SafeString | str:
    """Marks the navigation's link to the page that is shown."""
    return mark_safe('aria-current="page"') if context.get("section") == section else ""
