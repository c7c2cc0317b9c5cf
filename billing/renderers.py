from typing import Any

import simplejson
from rest_framework.renderers import JSONRenderer


class ExactJSONRenderer(JSONRenderer):
    """JSON whose amounts of money are numbers with every digit of their `Decimal`."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        encode = self.encoder_class().default
        return simplejson.dumps(data, use_decimal=True, default=encode, ensure_ascii=False).encode()
