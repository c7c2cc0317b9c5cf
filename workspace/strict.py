"""Request bodies, read strictly."""

from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, so that a misspelt one is not ignored in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError({unknown[0]: f"This field is not known; there are: {known}."})
        return super().to_internal_value(data)

    @classmethod
    def read(cls, data: Any, **options: Any) -> dict[str, Any]:
        """The validated fields of a body.

        Raises:
            ValidationError: 400, naming the first field at fault.
        """
        serializer = cls(data=data, **options)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data
